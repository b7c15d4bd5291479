"""How things are printed: tables for people, JSON for programs."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

WIDTH = 130
"""Width of a table where there is no terminal to ask."""


def console() -> Console:
    """The console of standard output; plain when piped. Texts are printed as they are: brackets are no markup."""
    return Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False, markup=False)


def print_json(value: object) -> None:
    """Print a JSON value, indented, keys in their order."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str | Text]], numbers: Sequence[str] = ()) -> Group:
    """A table below its title; its `numbers` columns are right-aligned."""
    body = Table(header_style="bold")
    for name in columns:
        body.add_column(name, justify="right" if name in numbers else "left", overflow="fold")
    for row in rows:
        body.add_row(*row)
    return Group(Text(f"\n{title}", style="bold"), body)


def labelled(lines: Iterable[tuple[str, str]]) -> Table:
    """Lines of text, each beside its label; what is too long goes on below itself."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, line in lines:
        grid.add_row(Text(f"  {label}"), Text(line))
    return grid


def minute(time: datetime | None) -> str:
    """A time to the minute, UTC; a dash where there is none.

    >>> from datetime import UTC
    >>> minute(datetime(2013, 4, 2, 6, 30, tzinfo=UTC)), minute(None)
    ('2013-04-02 06:30', '–')
    """
    return "–" if time is None else f"{time:%Y-%m-%d %H:%M}"
