"""`perennial tick` and `perennial watch`: the controller, once or until it is told to end."""

import sys
from collections.abc import Callable, Iterable
from datetime import datetime

from console.output import console, minute
from controller.ticked import Ticked
from controller.watch import until_idle, watch
from perennial.errors import PlatformError
from perennial.settings import Settings


def tick_and_show(settings: Settings, now: datetime, clock: Callable[[], datetime], wait: bool, json: bool) -> None:
    """Tick for one time, once or until nothing is in flight or due, and print what was done.

    Raises:
        PlatformError: something was in the way; each thing was printed.
    """
    from controller.tick import tick

    ticks: Iterable[Ticked] = until_idle(settings, now, clock) if wait else [tick(settings, now, clock)]
    last = _show(ticks, json)
    if last is not None and last.problems:
        raise PlatformError("; ".join(f"{problem.model or 'controller'}: {problem.sentence}" for problem in last.problems))


def watch_and_show(settings: Settings, clock: Callable[[], datetime], every_seconds: float, json: bool) -> None:
    """Tick until SIGTERM or SIGINT, and print what is done and what is in the way."""
    if not json:
        console().print(f"Watching {settings.models} every {every_seconds:g} s; end with Ctrl-C.")
    _show(watch(settings, clock, every_seconds), json)


def _show(ticks: Iterable[Ticked], json: bool) -> Ticked | None:
    """Print each tick that did or found something, and a wait when it is new; returns the last tick."""
    printer, waits, problems, ticked = console(), tuple[str, ...](), None, None
    for ticked in ticks:
        if json:
            if ticked.acts or ticked.problems != problems or ticked.waits != waits:
                sys.stdout.write(ticked.model_dump_json() + "\n")
        else:
            for act in ticked.acts:
                printer.print(f"  {minute(ticked.now)}  {act.model}: {act.what}: {act.sentence}", soft_wrap=True)
            for sentence in ticked.waits if ticked.waits != waits else ():
                printer.print(f"  {minute(ticked.now)}  waits: {sentence}", soft_wrap=True)
            for problem in ticked.problems if ticked.problems != problems else ():
                printer.print(
                    f"  {minute(ticked.now)}  {problem.model or 'controller'}: problem: {problem.sentence}", soft_wrap=True
                )
        sys.stdout.flush()
        waits, problems = ticked.waits, ticked.problems
    return ticked
