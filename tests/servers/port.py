"""A free port for a server that a test starts as a command of its own."""

import itertools
import os
import socket

FIRST, COUNT = 10_000, 500
"""Each worker of the suite has so many ports of its own, all below those that systems hand out for connections (32,768 on)."""
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))

_next = itertools.cycle(range(FIRST + WORKER % 40 * COUNT, FIRST + (WORKER % 40 + 1) * COUNT))


def free_port() -> int:
    """A port of the loopback that nobody listens on, and that no other worker is given; the next call gives another."""
    for _ in range(COUNT):
        port = next(_next)
        with socket.socket() as drawn:
            try:
                drawn.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError(f"none of {COUNT} ports is free")
