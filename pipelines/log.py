"""The log of a local run, read by step: what ran, how long, and why it failed."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from perennial import errors
from perennial.outages import in_words

ANSI = re.compile(r"\x1b\[[0-9;]*m")
MARK = re.compile(r"^(?P<time>\d\d:\d\d:\d\d\.\d{3}) - (INFO|ERROR) - (?P<what>.*)$")
EXECUTING = re.compile(r"^Executing task '(?P<step>[^']+)'")
FINISHED = re.compile(r"^Task '(?P<step>[^']+)' finished with status (?P<status>\w+)")
RAISED = re.compile(r"^\s*perennial\.errors\.(?P<kind>\w+): (?P<message>.*)$")
ANY_RAISED = re.compile(r"^\s{0,8}(?P<kind>[A-Za-z_][\w.]*(Error|Exception|Interrupt|Killed|Timeout))(: (?P<message>.*))?$")


@dataclass(frozen=True)
class Step:
    """One step of a run."""

    name: str
    """Name of the task, without the number that KFP adds to a repeated one."""
    state: Literal["running", "succeeded", "failed"]
    """How it stands."""
    seconds: float
    """How long it took; 0 while it runs."""
    lines: tuple[str, ...] = ()
    """What it printed."""


def read_steps(lines: Iterable[str]) -> Iterator[Step]:
    """Every change of a step's state, in order: once when it starts, once when it has finished (with its lines).

    >>> log = ["06:15:35.500 - INFO - Executing task 'gate'", "    hello"]
    >>> log.append("06:15:36.750 - INFO - Task 'gate' finished with status SUCCESS")
    >>> [(step.name, step.state, step.seconds, step.lines) for step in read_steps(log)]
    [('gate', 'running', 0.0, ()), ('gate', 'succeeded', 1.25, ('hello',))]
    """
    current, begun, printed = None, 0.0, list[str]()
    for line in lines:
        text = ANSI.sub("", line.rstrip("\n"))
        mark = MARK.match(text)
        if mark is None:
            printed.append(text.removeprefix("    "))
            continue
        time, what = _seconds(mark["time"]), mark["what"]
        if started := EXECUTING.match(what):
            current, begun, printed = Step(re.sub(r"-\d+$", "", started["step"]), "running", 0.0), time, []
            yield current
        elif (finished := FINISHED.match(what)) and current is not None:
            state: Literal["succeeded", "failed"] = "succeeded" if finished["status"] == "SUCCESS" else "failed"
            yield replace(current, state=state, seconds=round((time - begun) % 86_400, 3), lines=tuple(printed))
            current = None


def _seconds(clock: str) -> float:
    hours, minutes, seconds = clock.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def find_error(lines: Iterable[str]) -> errors.PerennialError | None:
    r"""The error that a run printed last; ours with its own type, whatever else was printed after it.

    An exception that is not ours is a `PlatformError` when its type says that a platform failed, else an `UnexpectedError`.

    >>> str(find_error(["Traceback", "    perennial.errors.DataError: orders.parquet: empty", "      add rows", "", "bye"]))
    'orders.parquet: empty\n  add rows'
    >>> later = "urllib3.exceptions.MaxRetryError: gone"
    >>> type(find_error(["  perennial.errors.DataError: empty", "", later])).__name__, type(find_error([later])).__name__
    ('DataError', 'PlatformError')
    >>> type(find_error(["  ValueError: no"])).__name__
    'UnexpectedError'
    >>> find_error(["all is well"]) is None
    True
    """
    kind: type[errors.PerennialError] | None = None
    name, step = "", "run"
    message, trace, place = list[str](), list[str](), list[str]()
    inside = False
    for line in lines:
        text = ANSI.sub("", line.rstrip("\n"))
        if started := EXECUTING.match(MARK.sub(r"\g<what>", text)):
            step = re.sub(r"-\d+$", "", started["step"])
        elif ours := RAISED.match(text):
            kind, message, inside = getattr(errors, ours["kind"], errors.PerennialError), [ours["message"]], True
        elif kind is None and (other := ANY_RAISED.match(text)):
            name, message, place, trace, inside = other["kind"], [other["message"] or ""], trace, [], True
        elif inside and text.strip() and not MARK.match(text):
            message.append(text.removeprefix("    "))
        else:
            inside = False
            trace.append(text)
    if kind is not None:
        return kind("\n".join(message))
    return in_words(step, name, "\n".join(message), place) if message else None
