"""The controller as a process: ticks at a steady beat until it is told to end, and outlives what is wrong for a while."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from types import FrameType
from typing import TYPE_CHECKING

from controller.health import Health
from controller.runner import Runner, open_runner
from controller.tick import LEASE_SECONDS, holder, tick
from controller.ticked import LEASE, Obstacle, Ticked
from perennial.errors import FencedError, PerennialError, PlatformError
from perennial.ledger import Ledger
from perennial.loop.request import Request
from perennial.settings import Settings
from perennial.spec.read import reread

if TYPE_CHECKING:  # commands that follow a request measure nothing
    from controller.metrics import ControllerMetrics

LOOKS_SECONDS = 1.0
"""Between two looks for what a person asked for, or for a lease that is free: nobody minds a second, and it costs one query."""
RENEWS_SECONDS = LEASE_SECONDS / 3
"""Between two renewals of the lease while nothing is due: two may fail before another controller takes it."""


def watch(
    settings: Settings,
    clock: Callable[[], datetime],
    every_seconds: float,
    *,
    health: Health | None = None,
    metrics: "ControllerMetrics | None" = None,
) -> Iterator[Ticked]:
    """One tick after the other, for the real time; ends after SIGTERM or SIGINT, when the tick it is in has ended.

    An error that may pass (a locked ledger, a lease that was lost) is a problem of its tick, and the next one comes. Who does not
    hold the lease takes it within a second after it has run out or was given back.

    Args:
        settings: where things are.
        clock: gives the real time.
        every_seconds: from the end of a tick to the begin of the next.
        health: is told of every beat.
        metrics: are told of every tick.
    """
    ended, runner, health = threading.Event(), open_runner(settings), health or Health(holder())

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    def beating() -> datetime:
        """The real time. A tick asks for it after each model, which shows that it goes on."""
        health.beat()
        return clock()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    while not ended.is_set():
        now, begin = clock(), time.monotonic()
        try:
            ticked = tick(settings, now, beating, runner=runner, release=False)
            health.ticked(ticked)
        except PlatformError as error:
            ticked = Ticked(now=now, problems=(Obstacle(model="", sentence=str(error)),), holds_lease=False, broke=True)
            health.failed(str(error))
        if metrics is not None:
            _measure(settings, metrics, ticked, clock(), time.monotonic() - begin)
        yield ticked
        seconds = min(every_seconds, 1.0) if ticked.waits else every_seconds
        _Pause(settings.ledger, ended, health, clock).rest(seconds, ticked.holds_lease)
    release(settings.ledger, clock)


def _measure(settings: Settings, metrics: "ControllerMetrics", ticked: Ticked, ended: datetime, seconds: float) -> None:
    """The metrics know of the tick. After an idle one the ledger is not asked again."""
    from controller.metrics import Backlog

    backlog, budgets = None, dict[str, int]()
    with suppress(PlatformError):  # the next tick says so, and what was known stays
        if metrics.wants_backlog(ticked):
            with Ledger.open(settings.ledger) as ledger:
                backlog = Backlog.read(ledger, ticked.now)
    for path in settings.specs if ticked.holds_lease else ():
        with suppress(PerennialError):  # a wrong spec is a problem of its tick
            budgets[path.stem] = reread(path).spec.retraining.per_quarter
    metrics.note(ticked, ended, seconds, backlog, budgets)


class _Pause:
    """The time between two ticks. It is cut short where waiting any longer would keep somebody waiting."""

    def __init__(self, ledger_url: str, ended: threading.Event, health: Health, clock: Callable[[], datetime]) -> None:
        self._ledger_url, self._ended, self._health, self._clock = ledger_url, ended, health, clock

    def rest(self, seconds: float, leads: bool) -> None:
        """Wait for the next tick. Who leads renews the lease meanwhile, and looks for requests; another looks for the lease."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._ended.is_set():
            try:
                with Ledger.open(self._ledger_url) as ledger:
                    if self._look(ledger, until, leads):
                        return
            except PlatformError as error:  # the next tick says so
                self._health.failed(str(error))
                self._ended.wait(min(left, LOOKS_SECONDS))

    def _look(self, ledger: Ledger, until: float, leads: bool) -> bool:
        """Look at an open ledger until the pause is over; whether it is cut short."""
        renewed = time.monotonic()
        while (left := until - time.monotonic()) > 0 and not self._ended.wait(min(left, LOOKS_SECONDS)):
            if leads and time.monotonic() - renewed >= RENEWS_SECONDS:
                renewed = time.monotonic()
                if ledger.take_lease(LEASE, holder(), now=self._clock(), seconds=LEASE_SECONDS) is None:
                    return True
            if ledger.open_requests() if leads else self._is_free(ledger):
                return True
            self._health.answered()
        return False

    def _is_free(self, ledger: Ledger) -> bool:
        """Whether this process may take the lease, or has it already: its last tick broke."""
        lease = ledger.lease(LEASE)
        return lease is None or lease.holder == holder() or lease.expires <= self._clock()


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
