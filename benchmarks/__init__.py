"""Each performance claim as one command that prints a ratio."""
