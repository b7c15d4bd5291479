"""The serving process: keys in, features looked up, prediction out, a row in the log. `python -m serving.runtime` starts it.

Nothing is imported here: `__main__` must come first, with the hook that refuses what the process must never load.
"""
