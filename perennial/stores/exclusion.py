"""One process at a time: what libraries do to a database of ours without expecting another one beside them."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perennial import sqlite
from perennial.errors import PlatformError
from perennial.stores import postgresql

WAIT_SECONDS = 120.0
"""How long another process is waited for. Making MLflow's tables takes a good part of a minute on a busy machine."""

PAUSE_SECONDS = 0.05


@contextmanager
def alone(name: str, url: str, wait_seconds: float = WAIT_SECONDS) -> Iterator[None]:
    """No other process is in such a block about the same database, on this machine or, with PostgreSQL, on any.

    Args:
        name: what the database is to the reader.
        url: its SQLAlchemy URL; beside the file of an SQLite database a lock file is made.
        wait_seconds: how long another process is waited for.

    Raises:
        PlatformError: the database does not answer, or another process is in the block for too long.
    """
    database = sqlite.file_of(url)
    if database is None:
        with postgresql.queued(name, url, wait_seconds):
            yield
        return
    file = Path(f"{database}.lock")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = file.open("w")
    except OSError as error:
        raise PlatformError(f"{name} {file}: {error.strerror}; its folder must be writable") from error
    with lock:
        _wait(lock.fileno(), f"{name} {file}", wait_seconds)
        yield


def _wait(descriptor: int, where: str, wait_seconds: float) -> None:
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise PlatformError(
                    f"{where}: another process has held it for more than {wait_seconds:g} s: wait for its end and try again"
                ) from error
        time.sleep(PAUSE_SECONDS)
