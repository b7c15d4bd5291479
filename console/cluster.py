"""What `perennial cluster check` shows: each row with what was found, and how to get what is missing or was not seen."""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime

from rich.text import Text

from console.display.output import console, print_json, table
from controller.preflight import PreflightRow, preflight
from perennial.settings import Settings

MARKS = {"ok": Text("ok", "green"), "missing": Text("missing", "red"), "not shown": Text("not shown", "yellow")}


def check(settings: Settings, clock: Callable[[], datetime], json: bool) -> bool:
    """Print what an installation on a cluster needs and has; whether all that is needed was seen to be there."""
    rows = preflight(settings, os.environ, clock)
    complete = not any(row.is_lacking for row in rows)
    if json:
        print_json({"complete": complete, "rows": [asdict(row) for row in rows]})
    else:
        show(rows)
    return complete


def show(rows: Sequence[PreflightRow]) -> None:
    """Print the rows as a table, and below it what to do, the first thing first."""
    out = console()
    out.print(table("Cluster", ("what", "state", "found"), [(row.name, MARKS[row.state], row.found) for row in rows]))
    lacking = [row for row in rows if row.is_lacking]
    if not lacking:
        out.print("Nothing is missing.")
    for number, row in enumerate((row for row in lacking if row.remedy), 1):
        out.print(f"{number}. {row.name}: {row.remedy}", soft_wrap=True)
