"""`perennial tick` and `perennial watch`: the controller, once or until it is told to end."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime

from console.display.output import console, minute
from controller.ticked import Ticked
from controller.watch import until_idle, watch
from perennial.errors import PlatformError
from perennial.ledger import Ledger
from perennial.loop.decision import Decision
from perennial.settings import Settings


def tick_and_show(settings: Settings, now: datetime, clock: Callable[[], datetime], wait: bool, json: bool) -> None:
    """Tick for one time, once or until nothing is in flight or due, and print what was done.

    Raises:
        PlatformError: something was in the way; each thing was printed.
    """
    from controller.tick import tick

    ticks: Iterable[Ticked] = until_idle(settings, now, clock) if wait else [tick(settings, now, clock)]
    last = _show(settings, ticks, json)
    if last is not None and last.problems:
        raise PlatformError("; ".join(f"{problem.model or 'controller'}: {problem.sentence}" for problem in last.problems))


def watch_and_show(settings: Settings, clock: Callable[[], datetime], every_seconds: float, json: bool) -> None:
    """Tick until SIGTERM or SIGINT, and print what is done and what is in the way."""
    if not json:
        console().print(f"Watching {settings.models} every {every_seconds:g} s; end with Ctrl-C.")
    _show(settings, watch(settings, clock, every_seconds), json)


def _show(settings: Settings, ticks: Iterable[Ticked], json: bool) -> Ticked | None:
    """Print each tick that did or found something, with the decisions made meanwhile; returns the last tick."""
    printer, last = console(), Ticked(now=datetime.min)
    decisions_before = _decided(settings) if not json else {}
    for ticked in ticks:
        seen, before = ((one.problems, one.notes, one.waits) for one in (ticked, last))
        news = ticked.acts or seen != before
        if json:
            if news:
                sys.stdout.write(ticked.model_dump_json() + "\n")
        else:
            decisions = (_decided(settings) or decisions_before) if news or not ticked.waits else decisions_before
            for line in _lines(ticked, last, [decision for key, decision in decisions.items() if key not in decisions_before]):
                printer.print(f"  {minute(ticked.now)}  {line}", soft_wrap=True)
            decisions_before = decisions
        sys.stdout.flush()
        last = ticked
    return last


def _lines(ticked: Ticked, last: Ticked, decided: Sequence[Decision]) -> Iterator[str]:
    """What a tick did and found that the one before did not say."""
    for decision in decided:
        yield f"{decision.model}: decision {decision.number}: {decision.sentence}"
    for act in ticked.acts:
        yield f"{act.model}: {act.what}: {act.sentence}"
    for sentence in ticked.waits if ticked.waits != last.waits else ():
        yield f"waits: {sentence}"
    for note in ticked.notes if ticked.notes != last.notes else ():
        yield f"{note.model}: note: {note.sentence}"
    for problem in ticked.problems if ticked.problems != last.problems else ():
        yield f"{problem.model or 'controller'}: problem: {problem.sentence}"


def _decided(settings: Settings) -> dict[tuple[str, int], Decision]:
    """The newest decisions of every model; empty while the ledger cannot be read, which its tick says."""
    try:
        with Ledger.open(settings.ledger) as ledger:
            newest = [decision for name in ledger.models() for decision in reversed(ledger.decisions(name, 5))]
    except PlatformError:
        return {}
    return {(decision.model, decision.number): decision for decision in newest}
