"""`perennial tick` and `perennial watch`: the controller, once or until it is told to end."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from json import dumps as to_line
from typing import Literal, NamedTuple

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


def watch_and_show(
    settings: Settings, clock: Callable[[], datetime], every_seconds: float, json: bool, port: int | None = None
) -> None:
    """Tick until SIGTERM or SIGINT, and print what is done and what is in the way.

    Args:
        settings: where things are.
        clock: gives the real time.
        every_seconds: from the end of a tick to the begin of the next.
        json: print each tick as JSON instead of text.
        port: where probes and metrics are answered; nowhere if None.

    Raises:
        PlatformError: the port cannot be listened on.
    """
    if not json:
        opening = f"watching {settings.models} every {every_seconds:g} s"
        if settings.log == "json":
            _print_event(clock(), Event("info", "", "began", opening))
        else:
            console().print(f"{opening[0].upper()}{opening[1:]}; end with Ctrl-C.")
    if port is None:
        _show(settings, watch(settings, clock, every_seconds), json)
        return
    from controller.health import Health, served
    from controller.metrics import ControllerMetrics
    from controller.tick import holder

    health, metrics = Health(holder()), ControllerMetrics()
    with served(port, health, metrics.text):
        _show(settings, watch(settings, clock, every_seconds, health=health, metrics=metrics), json)


class Event(NamedTuple):
    """One thing that a tick did or found."""

    level: Literal["info", "warning", "error"]
    """`error` where it concerns all models, `warning` where it concerns one."""
    model: str
    """Name of the model; empty when it concerns all."""
    what: str
    """What kind of thing it is: an act's own word, `decision N`, `waits` or `problem`."""
    sentence: str
    """The same in words."""


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
            for event in _events(ticked, last, [decision for key, decision in decisions.items() if key not in decisions_before]):
                if settings.log == "json":
                    _print_event(ticked.now, event)
                else:
                    printer.print(f"  {minute(ticked.now)}  {_line(event)}", soft_wrap=True)
            decisions_before = decisions
        sys.stdout.flush()
        last = ticked
    return last


def _print_event(time: datetime, event: Event) -> None:
    """One JSON object in a line of its own."""
    sys.stdout.write(to_line({"time": time.isoformat(), **event._asdict()}, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def _line(event: Event) -> str:
    """An event for people.

    >>> _line(Event("warning", "churn", "problem", "MLflow is away")), _line(Event("info", "", "waits", "run r is executing"))
    ('churn: problem: MLflow is away', 'waits: run r is executing')
    """
    if event.what == "waits":
        return f"waits: {event.sentence}"
    return f"{event.model or 'controller'}: {event.what}: {event.sentence}"


def _events(ticked: Ticked, last: Ticked, decided: Sequence[Decision]) -> Iterator[Event]:
    """What a tick did and found that the one before did not say."""
    for decision in decided:
        yield Event("info", decision.model, f"decision {decision.number}", decision.sentence)
    for act in ticked.acts:
        yield Event("info", act.model, act.what, act.sentence)
    for sentence in ticked.waits if ticked.waits != last.waits else ():
        yield Event("info", "", "waits", sentence)
    if ticked.stands_by:
        yield from () if last.stands_by else (Event("info", "", "problem", problem.sentence) for problem in ticked.problems)
        return
    for note in ticked.notes if ticked.notes != last.notes else ():
        yield Event("info", note.model, "note", note.sentence)
    for problem in ticked.problems if ticked.problems != last.problems else ():
        yield Event("warning" if problem.model else "error", problem.model, "problem", problem.sentence)


def _decided(settings: Settings) -> dict[tuple[str, int], Decision]:
    """The newest decisions of every model; empty while the ledger cannot be read, which its tick says."""
    try:
        with Ledger.open(settings.ledger) as ledger:
            newest = [decision for name in ledger.models() for decision in reversed(ledger.decisions(name, 5))]
    except PlatformError:
        return {}
    return {(decision.model, decision.number): decision for decision in newest}
