"""The lock of a run: held by the process that executes it, and free the moment that process is gone."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from perennial.errors import PlatformError
from perennial.settings import Settings


@contextmanager
def held(settings: Settings, run_id: str) -> Iterator[None]:
    """The run's lock is held; its file names the process.

    Raises:
        PlatformError: another process holds it.
    """
    with (settings.runs / run_id / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise PlatformError(f"run {run_id} is executed by another process already") from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def is_executing(settings: Settings, run_id: str) -> bool:
    """Whether a process holds the run's lock."""
    path = settings.runs / run_id / "lock"
    if not path.exists():
        return False
    with path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
