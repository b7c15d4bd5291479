"""The lock of a run: held by the process that executes it, and free the moment that process is gone.

The lock's file also names the process group of whoever held it last. A run's process can be killed while one of its steps lives
on; who gets the lock next kills what is left of that group before it begins.
"""

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from perennial.errors import PlatformError

MARK = "PIPELINE_RUN"
"""Variable that names the run in the environment of its processes: a group's number alone may have become somebody else's."""
GLANCE_SECONDS = 0.3
"""How long a lock may be held by somebody who only looks whether it is held."""
PATIENCE_SECONDS = 10.0
"""How long killed processes may take to go."""


def open_lock(runs: Path, run_id: str) -> IO[str]:
    """The run's lock file, locked for whoever holds the open file.

    Raises:
        PlatformError: another process holds it.
    """
    lock = (runs / run_id / "lock").open("a+")
    until = time.monotonic() + GLANCE_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except OSError as error:
            if time.monotonic() > until:
                lock.close()
                raise PlatformError(f"run {run_id} is executed by another process already") from error
        time.sleep(0.02)


@contextmanager
def held(lock: IO[str], run_id: str) -> Iterator[None]:
    """This process's group is the run's only one; what an earlier one left is killed before.

    Args:
        lock: the run's lock, locked.
        run_id: the run.
    """
    with lock:
        lock.seek(0)
        before = lock.read().strip()
        if before.isdigit():
            kill_left(int(before), run_id)
        lock.truncate(0)
        lock.write(f"{os.getpgrp()}\n")
        lock.flush()
        yield


def is_executing(runs: Path, run_id: str) -> bool:
    """Whether a process holds the run's lock."""
    path = runs / run_id / "lock"
    if not path.exists():
        return False
    with path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def kill_left(group: int, run_id: str) -> tuple[int, ...]:
    """No process of the run is alive in this group; returns those that were killed.

    Raises:
        PlatformError: one cannot be killed.
    """
    killed: set[int] = set()
    until = time.monotonic() + PATIENCE_SECONDS
    while processes := [process for process in living(group, run_id) if process != os.getpid()]:
        if time.monotonic() > until:
            raise PlatformError(
                f"run {run_id}: processes {processes} of an earlier start cannot be killed; end them, then try again"
            )
        for process in processes:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
            except PermissionError as error:
                raise PlatformError(f"run {run_id}: process {process} of an earlier start is another user's") from error
            killed.add(process)
        time.sleep(0.02)
    return tuple(sorted(killed))


def living(group: int, run_id: str) -> Iterator[int]:
    """Processes of a group that carry the run's mark and are no zombies: those stay in the table where nobody reaps them."""
    mark = f"{MARK}={run_id}".encode()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            state, _, process_group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(process_group) == group and state not in "ZX" and mark in (folder / "environ").read_bytes().split(b"\0"):
                yield int(folder.name)
        except (OSError, ValueError):
            continue  # it ended while it was looked at, or is not ours to look at
