"""The log of a local run, read by step: what ran, how long, and why it failed."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from perennial import errors
from perennial.outages import outage, unexpected
from pipelines.traces import read_traces

ANSI = re.compile(r"\x1b\[[0-9;]*m")
MARK = re.compile(r"^(?P<time>\d\d:\d\d:\d\d\.\d{3}) - (INFO|ERROR) - (?P<what>.*)$")
EXECUTING = re.compile(r"^Executing task '(?P<step>[^']+)'")
FINISHED = re.compile(r"^Task '(?P<step>[^']+)' finished with status (?P<status>\w+)")
RAISED = re.compile(r"^\s*perennial\.errors\.(?P<kind>\w+): (?P<message>.*)$")
ANY_RAISED = re.compile(r"^\s{0,8}([A-Za-z_]\w*\.)*[A-Za-z_]\w*(Error|Exception|Interrupt|Killed): ")


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


def find_error(lines: Iterable[str], run_id: str = "RUN") -> errors.PerennialError | None:
    r"""The error that ended the last step of a log, or none: that step ended well, or said nothing.

    The last error of ours counts, whatever was printed after it. Of foreign exceptions the last one does: a `PlatformError` where
    it says that a platform failed, else an `UnexpectedError`.

    Args:
        lines: of the log.
        run_id: the run, for the command that shows its log.

    >>> str(find_error(["Traceback", "    perennial.errors.DataError: orders.parquet: empty", "      add rows", "", "bye"]))
    'orders.parquet: empty\n  add rows'
    >>> type(find_error(["Traceback (most recent call last):", "ValueError: no"])).__name__
    'UnexpectedError'
    >>> find_error(["all is well"]) is None
    True
    """
    step, printed = last_step(lines)
    ours = _ours(printed)
    if ours is not None:
        return ours
    *_, trace = (None, *read_traces(printed))
    if trace is None:
        return None
    where = step or "run"
    if trace.is_outage:
        return outage(where, trace.name, trace.text)
    return unexpected(where, trace.name, trace.text, trace.place, report_of(run_id, step))


def report_of(run_id: str, step: str) -> str:
    """What whoever reports a broken run sends along; the step may be empty."""
    return f"what `perennial logs {run_id}{' ' * bool(step)}{step}` shows"


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


def _ours(printed: Iterable[str]) -> errors.PerennialError | None:
    """The last error of ours, with all its lines."""
    kind, message, inside = errors.PerennialError, list[str](), False
    for text in printed:
        if raised := RAISED.match(text):
            kind, message, inside = getattr(errors, raised["kind"], errors.PerennialError), [raised["message"]], True
        elif inside and text.strip() and not ANY_RAISED.match(text):
            message.append(text.removeprefix("    "))
        else:
            inside = False
    return kind("\n".join(message)) if message else None
