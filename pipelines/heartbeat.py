"""The heartbeat of a run: while its process lives, another one notes in the ledger that it does, and where.

A controller on the same disk looks at the run's lock. One in another pod sees neither lock nor folder, and goes by the heartbeat.
"""

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from perennial.ledger import Ledger, Run

BEATS_SECONDS = 10.0
"""Between two beats: one small write for each run."""
AGAIN_SECONDS = 1.0
"""After a beat that failed: a ledger that is back soon hears of the run before a controller looks for it."""
DEAD = timedelta(seconds=120)
"""From this long without a beat on a run is taken for dead by who cannot see its process. Twice the controller's lease: whoever
was about to start it has lost the lease by then, and finds so before it starts it."""


def is_beating(run: Run, now: datetime) -> bool:
    """Whether a run may be executed somewhere: its last beat, or without one its beginning, is not long ago.

    Args:
        run: without an end.
        now: the real time, UTC.
    """
    return now - (run.heartbeat or run.started) < DEAD


@contextmanager
def beating(ledger_url: str, run_id: str) -> Iterator[None]:
    """The heart of the run beats until the block is left, or this process is gone.

    A process does it and no thread: the steps are forks of this one, and a fork must copy no thread that works. It belongs to no
    group of the run, so that nobody takes it for a step.

    Args:
        ledger_url: of the ledger.
        run_id: the run.
    """
    parent = os.getpid()
    heart = os.fork()
    if heart == 0:
        try:
            os.setpgid(0, 0)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            _beat(ledger_url, run_id, parent)
        finally:
            os._exit(0)
    try:
        yield
    finally:
        os.kill(heart, signal.SIGKILL)
        os.waitpid(heart, 0)


def _beat(ledger_url: str, run_id: str, parent: int) -> None:
    host = f"{socket.gethostname()}/{parent}"
    while os.getppid() == parent:
        try:
            with Ledger.open(ledger_url) as ledger:
                ledger.note_heartbeat(run_id, host=host, now=datetime.now(UTC))
            seconds = BEATS_SECONDS
        except Exception:  # the run's own steps say what is wrong with the ledger
            seconds = AGAIN_SECONDS
        until = time.monotonic() + seconds
        while time.monotonic() < until and os.getppid() == parent:
            time.sleep(min(AGAIN_SECONDS, seconds))
