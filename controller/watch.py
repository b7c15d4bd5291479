"""The controller as a process: ticks at a steady beat until it is told to end, and outlives what is wrong for a while."""

import signal
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from types import FrameType

from controller.runner import LocalRunner, Runner
from controller.tick import holder, tick
from controller.ticked import LEASE, Problem, Ticked
from perennial.errors import PerennialError, PlatformError
from perennial.ledger import Ledger
from perennial.settings import Settings


def watch(settings: Settings, clock: Callable[[], datetime], every_seconds: float) -> Iterator[Ticked]:
    """One tick after the other, for the real time; ends after SIGTERM or SIGINT, when the tick it is in has ended.

    An error that may pass (a locked ledger, a lease that was lost) is a problem of its tick, and the next one comes.

    Args:
        settings: where things are.
        clock: gives the real time.
        every_seconds: from the end of a tick to the begin of the next.
    """
    ended, runner = threading.Event(), LocalRunner(settings)

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    while not ended.is_set():
        now = clock()
        try:
            ticked = tick(settings, now, clock, runner=runner, release=False)
        except PlatformError as error:
            ticked = Ticked(now=now, problems=(Problem(model="", sentence=str(error)),))
        yield ticked
        ended.wait(min(every_seconds, 1.0) if ticked.waits else every_seconds)
    release(settings, clock)


def release(settings: Settings, clock: Callable[[], datetime]) -> None:
    """This process holds the lease no longer: another controller need not wait for its end."""
    try:
        with Ledger.open(settings.ledger) as ledger:
            lease = ledger.lease(LEASE)
            if lease is not None and lease.holder == holder():
                ledger.release_lease(lease, clock())
    except PerennialError:
        return  # it runs out by itself


def until_idle(
    settings: Settings,
    now: datetime,
    clock: Callable[[], datetime],
    *,
    runner: Runner | None = None,
    pause_seconds: float = 1.0,
) -> Iterator[Ticked]:
    """Ticks for one time until nothing is in flight or due, or the same problem stands twice in a row.

    Args:
        settings: where things are.
        now: the time for which it ticks.
        clock: gives the real time.
        runner: executes runs; local processes when absent.
        pause_seconds: between two ticks.
    """
    beat, last, runner = threading.Event(), None, runner or LocalRunner(settings)
    while True:
        ticked = tick(settings, now, clock, runner=runner)
        yield ticked
        stuck = bool(ticked.problems) and ticked.is_idle and ticked.problems == last
        if (ticked.is_idle and not ticked.problems) or stuck or not ticked.holds_lease:
            return
        last = ticked.problems
        beat.wait(pause_seconds)
