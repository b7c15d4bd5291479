"""History played again: the requests of a source are asked for at their own times, of a server that lets them say those.

Here: the caller, a server of its own for it, and what is published meanwhile. Not here: the controller's ticks between two
stretches, and what the answers were worth.
"""
