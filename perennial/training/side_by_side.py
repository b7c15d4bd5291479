"""Work that is done side by side, in forks of this process: what it works on is not copied, and what it comes to is as in a row.

A fork has this process's memory and none of its threads. So nothing that holds threads is used in one: each fits on one thread,
and a process that fits on several does so in a row, because OpenMP's threads do not survive a fork.
"""

import multiprocessing
import pickle
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import Any, TypeVar

from perennial.errors import PlatformError
from perennial.settings import Settings

Result = TypeVar("Result")


@dataclass(frozen=True)
class Power:
    """How much of a machine a training may use. Results do not depend on it."""

    threads: int = 1
    """Threads of one fit."""
    workers: int = 1
    """Processes that fit side by side, where a fit has one thread."""

    @classmethod
    def of(cls, settings: Settings) -> "Power":
        """What an installation's settings allow."""
        return cls(settings.threads, settings.workers)

    @property
    def processes(self) -> int:
        """Processes that may fit side by side: one where a fit has several threads."""
        return self.workers if self.threads == 1 else 1


def side_by_side(works: Sequence[Callable[[], Result]], processes: int) -> list[Result]:
    """What each piece of work comes to, in the order of the pieces. They are begun in that order: give the longest first.

    Args:
        works: pieces of work without arguments. What they return can be pickled.
        processes: how many are under way at once; with 1 they are done in this process.

    Raises:
        PlatformError: a process was killed, as where memory runs out; or whatever a piece of work raises.
    """
    if min(processes, len(works)) < 2:
        return [work() for work in works]
    fork, results = multiprocessing.get_context("fork"), dict[int, Result]()
    running: dict[Connection, tuple[int, ForkProcess]] = {}
    waiting = list(enumerate(works))
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                number, work = waiting.pop(0)
                reading, writing = fork.Pipe(duplex=False)
                process = fork.Process(target=_carry_out, args=(work, reading, writing), daemon=True)
                with warnings.catch_warnings():
                    # From 3.12 on Python warns of any thread; those of Arrow and DuckDB are not asked for anything in a fork.
                    warnings.simplefilter("ignore", DeprecationWarning)
                    process.start()
                writing.close()
                running[reading] = number, process
            for ready in wait(list(running)):
                assert isinstance(ready, Connection)  # nothing else is waited for
                number, process = running.pop(ready)
                results[number] = _received(ready, process)
    finally:
        for connection, (_, process) in running.items():
            process.kill()
            process.join()
            connection.close()
    return [results[number] for number in range(len(works))]


def _carry_out(work: Callable[[], Result], reading: Connection, writing: Connection) -> None:
    """In a fork: do a piece of work, and send what it came to. Where nobody reads it any more, the fork ends."""
    reading.close()
    try:
        message = pickle.dumps((work(), None))
    except Exception as error:
        error.add_note(traceback.format_exc())
        message = pickle.dumps((None, error))
    writing.send_bytes(message)
    writing.close()


def _received(reading: Connection, process: ForkProcess) -> Any:
    """What a fork sent.

    Raises:
        PlatformError: it was killed before.
    """
    with reading:
        try:
            message = reading.recv_bytes()
        except EOFError:
            process.join()
            raise PlatformError(
                f"a process that fitted a model ended with {process.exitcode} before it was done; the machine may be short of "
                "memory: give it more, or let fewer fit side by side (PERENNIAL_WORKERS=1)"
            ) from None
    process.join()
    result, error = pickle.loads(message)
    if error is not None:
        raise error
    return result
