"""The log of a local run, read by step: what ran, how long, and why it failed."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from perennial import errors

ANSI = re.compile(r"\x1b\[[0-9;]*m")
MARK = re.compile(r"^(?P<time>\d\d:\d\d:\d\d\.\d{3}) - (INFO|ERROR) - (?P<what>.*)$")
EXECUTING = re.compile(r"^Executing task '(?P<step>[^']+)'")
FINISHED = re.compile(r"^Task '(?P<step>[^']+)' finished with status (?P<status>\w+)")
RAISED = re.compile(r"^\s*perennial\.errors\.(?P<kind>\w+): (?P<message>.*)$")
ANY_RAISED = re.compile(r"^\s{0,8}(?P<kind>[A-Za-z_][\w.]*(Error|Exception|Interrupt|Killed)): (?P<message>.*)$")


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
    r"""The last error that a step raised; ours with its own type, any other as a `PlatformError`, or none.

    >>> str(find_error(["Traceback", "    perennial.errors.DataError: orders.parquet: empty", "      add rows", "", "bye"]))
    'orders.parquet: empty\n  add rows'
    >>> type(find_error(["  ValueError: no"])).__name__
    'PlatformError'
    >>> find_error(["all is well"]) is None
    True
    """
    kind: type[errors.PerennialError] = errors.PlatformError
    message: list[str] = []
    inside = False
    for line in lines:
        text = ANSI.sub("", line.rstrip("\n"))
        if ours := RAISED.match(text):
            kind, message, inside = getattr(errors, ours["kind"], errors.PerennialError), [ours["message"]], True
        elif other := ANY_RAISED.match(text):
            kind, message, inside = errors.PlatformError, [f"{other['kind']}: {other['message']}"], True
        elif inside and text.strip() and not MARK.match(text):
            message.append(text.removeprefix("    "))
        else:
            inside = False
    return kind("\n".join(message)) if message else None
