"""The log of a local run, read by step: what ran, and how long. What broke is no matter of the log: see `steps`."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

ANSI = re.compile(r"\x1b\[[0-9;]*m")
MARK = re.compile(r"^(?P<time>\d\d:\d\d:\d\d\.\d{3}) - (INFO|ERROR) - (?P<what>.*)$")
EXECUTING = re.compile(r"^Executing task '(?P<step>[^']+)'")
FINISHED = re.compile(r"^Task '(?P<step>[^']+)' finished with status (?P<status>\w+)")


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
    current, start, printed = None, 0.0, list[str]()
    for line in lines:
        text = ANSI.sub("", line.rstrip("\n"))
        mark = MARK.match(text)
        if mark is None:
            printed.append(text.removeprefix("    "))
            continue
        time, what = _seconds(mark["time"]), mark["what"]
        if started := EXECUTING.match(what):
            current, start, printed = Step(re.sub(r"-\d+$", "", started["step"]), "running", 0.0), time, []
            yield current
        elif (finished := FINISHED.match(what)) and current is not None:
            state: Literal["succeeded", "failed"] = "succeeded" if finished["status"] == "SUCCESS" else "failed"
            yield replace(current, state=state, seconds=round((time - start) % 86_400, 3), lines=tuple(printed))
            current = None


def _seconds(clock: str) -> float:
    hours, minutes, seconds = clock.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def last_step(lines: Iterable[str]) -> tuple[str, list[str]]:
    """The step that a log ends in, if it did not succeed, and what it printed; else an empty name and what came last.

    >>> last_step(["06:15:35.500 - INFO - Executing task 'gate-2'", "    hello"])
    ('gate', ['    hello'])
    >>> last_step(["06:15:36.750 - INFO - Task 'gate' finished with status SUCCESS", "bye"])
    ('', ['bye'])
    """
    step, printed = "", list[str]()
    for line in lines:
        text = ANSI.sub("", line.rstrip("\n"))
        mark = MARK.match(text)
        if mark is None:
            printed.append(text)
        elif started := EXECUTING.match(mark["what"]):
            step, printed = re.sub(r"-\d+$", "", started["step"]), []
        elif (finished := FINISHED.match(mark["what"])) and finished["status"] == "SUCCESS":
            step, printed = "", []
    return step, printed
