"""What of a window could not be judged: decided here, worded by those who say it. What was not looked at is not quiet."""

from dataclasses import dataclass
from typing import Literal

from perennial.loop.window import WindowRecord


@dataclass(frozen=True)
class Unjudged:
    """What of a window could not be judged."""

    gap: Literal["no prediction", "no column", "columns"]
    """`no prediction`: nobody asked; `no column`: the spec watches none; `columns`: some of those that it watches."""
    count: int = 0
    """Columns that were not judged."""
    total: int = 0
    """Columns that are watched."""
    reason: str = ""
    """Why the first of them was not, in one sentence."""


def unjudged_in(record: WindowRecord) -> Unjudged | None:
    """What of a window could not be judged; None where everything was.

    Args:
        record: as the ledger keeps it.
    """
    watched_columns = record.measurement.columns
    if not record.measurement.rows:
        return Unjudged("no prediction", len(watched_columns), len(watched_columns))
    if not watched_columns:
        return Unjudged("no column")
    columns = [column for column in watched_columns if column.verdict == "not judged"]
    return Unjudged("columns", len(columns), len(watched_columns), columns[0].sentence) if columns else None
