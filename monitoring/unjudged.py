"""What could not be judged, in words: a decision says it, because what was not looked at is not quiet."""

from collections.abc import Sequence

from perennial.loop.decision import Fact
from perennial.loop.window import WindowRecord


def unjudged(records: Sequence[WindowRecord]) -> list[Fact]:
    """For each window with columns that could not be judged how many they are, and why the first was not.

    Args:
        records: in any order.
    """
    found = []
    for record in records:
        columns = [column for column in record.measurement.columns if column.verdict == "not judged"]
        if columns and record.measurement.rows:
            which = f"{len(columns)} of {len(record.measurement.columns)} columns of the window of {record.start:%Y-%m-%d}"
            name = f"not judged {record.start:%Y-%m-%d}"
            found.append(Fact(name=name, value=None, limit=None, sentence=f"{which}: {columns[0].sentence}"))
    return found


def late_labels(records: Sequence[WindowRecord]) -> list[Fact]:
    """For each judged window of which fewer than half of the labels had come when it matured, how many had.

    Args:
        records: in any order.
    """
    found = []
    for record in records:
        if record.performance is None:
            continue
        labels = record.performance.labels
        every = labels.arrived + labels.missing
        if 2 * labels.arrived >= every:
            continue
        had = f"only {labels.arrived:,} of {every:,} predictions" if labels.arrived else f"none of {every:,} predictions"
        sentence = f"{had} of the window of {record.start:%Y-%m-%d} had a label when it matured; later labels decide nothing."
        found.append(Fact(name=f"labels {record.start:%Y-%m-%d}", value=None, limit=None, sentence=sentence))
    return found
