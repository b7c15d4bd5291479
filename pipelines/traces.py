"""Traces of exceptions, as Python prints them into a log."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from traceback import FrameSummary

from perennial.outages import place_of, says_outage

BEGIN = "Traceback (most recent call last):"
CAUSED = "The above exception was the direct cause of the following exception:"
FRAME = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>.+)$')
RAISED = re.compile(r"^(?P<name>[A-Za-z_][\w.]*)(: (?P<text>.*))?$")


@dataclass(frozen=True)
class Trace:
    """One exception that was printed."""

    name: str
    """Of its type, with the module; built-in ones stand without."""
    text: str
    """The first line of what it says; may be empty."""
    place: str
    """Where it was raised, in our code if the trace comes there; empty where no frame was printed."""
    is_outage: bool
    """Whether it, or what it was raised from, says that a platform failed."""


def read_traces(lines: Iterable[str]) -> Iterator[Trace]:
    """Every trace of a log, in order.

    Args:
        lines: of the log, without colours.

    >>> log = [BEGIN, '  File "/app/perennial/data/rows.py", line 7, in do', "    1 / 0", "ZeroDivisionError: division by zero"]
    >>> [(found.name, found.text, found.place) for found in read_traces(["hello", *log, "", "bye"])]
    [('ZeroDivisionError', 'division by zero', 'perennial/data/rows.py, line 7, in do')]
    """
    before: Trace | None = None
    caused, indent, frames = False, -1, list[FrameSummary]()
    for line in lines:
        text = line.strip()
        depth = len(line) - len(line.lstrip())
        if text == BEGIN:
            indent, frames = depth, []
        elif text == CAUSED:
            caused = True
        elif indent >= 0 and text and depth <= indent:
            if raised := RAISED.match(text):
                said = raised["text"] or ""
                by_cause = caused and before is not None and before.is_outage
                before = Trace(raised["name"], said, place_of(frames), by_cause or says_outage(raised["name"], said))
                yield before
            indent, caused = -1, False
        elif indent >= 0 and (frame := FRAME.match(line)):
            frames.append(FrameSummary(frame["file"], int(frame["line"]), frame["function"], lookup_line=False))
