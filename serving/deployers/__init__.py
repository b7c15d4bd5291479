"""Where versions run: today a local process (`local`). What the process does with a version belongs to `serving.runtime`."""
