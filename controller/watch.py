"""The controller as a process: ticks at a steady beat until it is told to end, and outlives what is wrong for a while."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from types import FrameType

from controller.runner import Runner, open_runner
from controller.tick import holder, tick
from controller.ticked import LEASE, Obstacle, Ticked
from perennial.errors import FencedError, PerennialError, PlatformError
from perennial.ledger import Ledger
from perennial.loop.request import Request
from perennial.settings import Settings

LOOKS_SECONDS = 1.0
"""Between two looks for what a person asked for: nobody minds a second, and it costs one query."""


def watch(settings: Settings, clock: Callable[[], datetime], every_seconds: float) -> Iterator[Ticked]:
    """One tick after the other, for the real time; ends after SIGTERM or SIGINT, when the tick it is in has ended.

    An error that may pass (a locked ledger, a lease that was lost) is a problem of its tick, and the next one comes.

    Args:
        settings: where things are.
        clock: gives the real time.
        every_seconds: from the end of a tick to the begin of the next.
    """
    ended, runner = threading.Event(), open_runner(settings)

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    while not ended.is_set():
        now = clock()
        try:
            ticked = tick(settings, now, clock, runner=runner, release=False)
        except PlatformError as error:
            ticked = Ticked(now=now, problems=(Obstacle(model="", sentence=str(error)),))
        yield ticked
        _pause(settings.ledger, ended, min(every_seconds, 1.0) if ticked.waits else every_seconds)
    release(settings.ledger, clock)


def _pause(ledger_url: str, ended: threading.Event, seconds: float) -> None:
    """Wait for the next tick; a person's request, who waits for its end, is not kept waiting as long."""
    until = time.monotonic() + seconds
    while (seconds_left := until - time.monotonic()) > 0 and not ended.wait(min(seconds_left, LOOKS_SECONDS)):
        try:
            with Ledger.open(ledger_url) as ledger:
                if ledger.open_requests():
                    return
        except PlatformError:
            continue  # the next tick says so


def release(ledger_url: str, clock: Callable[[], datetime]) -> None:
    """This process holds the lease no longer: another controller need not wait for its end."""
    try:
        with Ledger.open(ledger_url) as ledger:
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
    beat, last, runner = threading.Event(), None, runner or open_runner(settings)
    while True:
        ticked = tick(settings, now, clock, runner=runner)
        yield ticked
        stuck = bool(ticked.problems) and ticked.is_idle and ticked.problems == last
        if (ticked.is_idle and not ticked.problems) or stuck or not ticked.holds_lease:
            return
        last = ticked.problems
        beat.wait(pause_seconds)


def until_done(
    settings: Settings,
    request: Request,
    clock: Callable[[], datetime],
    *,
    runner: Runner | None = None,
    pause_seconds: float = 0.5,
) -> Iterator[Request]:
    """The request as it stands, again and again until it is done.

    Whoever holds the lease answers requests. Where nobody watches, that is this process, for as long as it takes: it does what
    people asked for, and nothing that is due beyond it.

    Args:
        settings: where things are.
        request: what a person asked for.
        clock: gives the real time.
        runner: executes runs; local processes when absent.
        pause_seconds: between two looks.

    Raises:
        PlatformError: the ledger cannot be opened or is locked.
    """
    beat, runner = threading.Event(), runner or open_runner(settings)
    while True:
        with suppress(FencedError):  # another process is the controller now, and answers
            tick(settings, request.now, clock, runner=runner, unasked=False)
        with Ledger.open(settings.ledger) as ledger:
            request = ledger.request(request.model, request.number)
        yield request
        if request.state == "done":
            return
        beat.wait(pause_seconds)
