"""What could not be judged, in words: a decision says it, because what was not looked at is not quiet."""

from collections.abc import Sequence

from perennial.loop.decision import Fact
from perennial.loop.unjudged import unjudged_in
from perennial.loop.window import WindowRecord


def unjudged(records: Sequence[WindowRecord]) -> list[Fact]:
    """For each window with columns that could not be judged how many they are, and why the first was not; or that it was empty.

    Args:
        records: in any order.
    """
    facts = []
    if any(not record.measurement.columns for record in records):
        nothing = "the spec watches no column for drift (monitoring.columns)."
        facts.append(Fact(name="nothing watched", value=None, limit=None, sentence=nothing))
    for record in records:
        day, gap = f"{record.start:%Y-%m-%d}", unjudged_in(record)
        if gap is None or gap.gap == "no column":
            continue
        if gap.gap == "no prediction":
            name, sentence = f"no prediction {day}", f"the window of {day} has no prediction."
        else:
            name, sentence = f"not judged {day}", f"{gap.count} of {gap.total} columns of the window of {day}: {gap.reason}"
        facts.append(Fact(name=name, value=None, limit=None, sentence=sentence))
    return facts


def unlimited(records: Sequence[WindowRecord]) -> list[Fact]:
    """For each judged window whose loss nothing is known to hold against, that nobody knows whether the model was degraded.

    Args:
        records: in any order.
    """
    return [
        Fact(name=f"degradation {record.start:%Y-%m-%d}", value=loss.value, limit=None, sentence=f"degradation. {loss.sentence}")
        for record in records
        if record.performance is not None
        and (loss := record.performance.loss) is not None
        and loss.limit is None
        and not loss.degraded
    ]


def late_labels(records: Sequence[WindowRecord]) -> list[Fact]:
    """For each judged window of which fewer than half of the labels had come when it matured, how many had.

    Args:
        records: in any order.
    """
    facts = []
    for record in records:
        if record.performance is None:
            continue
        labels = record.performance.labels
        every = labels.arrived + labels.missing
        if 2 * labels.arrived >= every:
            continue
        had = f"only {labels.arrived:,} of {every:,} predictions" if labels.arrived else f"none of {every:,} predictions"
        sentence = f"{had} of the window of {record.start:%Y-%m-%d} had a label when it matured; later labels decide nothing."
        facts.append(Fact(name=f"labels {record.start:%Y-%m-%d}", value=None, limit=None, sentence=sentence))
    return facts
