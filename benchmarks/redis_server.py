"""A Redis of a benchmark's own: on the loopback, on a core that is not the server's, without a password, gone afterwards."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 10.0


@contextmanager
def started_redis(folder: Path, core: int) -> Iterator[str]:
    """URL of the Redis; ends the program where none is installed."""
    if shutil.which("redis-server") is None:
        sys.exit("redis-server is needed: apt-get install redis-server")
    os.environ.pop("REDISCLI_AUTH", None)  # that of another one
    with socket.socket() as drawn:
        drawn.bind(("127.0.0.1", 0))
        port = int(drawn.getsockname()[1])
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
    try:
        os.sched_setaffinity(process.pid, {core})
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                if time.monotonic() > until:
                    sys.exit(f"redis-server did not listen on port {port} within {START_SECONDS:g} s")
                time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()
