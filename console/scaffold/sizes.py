"""How large the parts of a first spec are: what a table of its size can be judged by."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from math import ceil, sqrt

import numpy as np

from console.scaffold.split import Split
from perennial.errors import DataError
from perennial.spec.part import TIME

DAY = timedelta(days=1)
MIN_DAYS = 42
"""Days of requests whose labels are known: two weeks are judged, on what four weeks before have taught."""
MIN_ROWS = 500
"""Labelled rows before the judged block: with fewer, a gate can hardly tell a model from chance."""
MIN_OF_A_LABEL = 50
"""Rows of the rarer label among them: each fold must have some of both."""
LONG = 84
"""Days from which on the judged block has four weeks: the same number before it three times as long."""
GAP_ERRORS = 4.0
"""Standard errors of the label rate that calibration is allowed: less stops an honest model by chance."""


@dataclass(frozen=True)
class Sizes:
    """What a spec needs to know of its table."""

    rows: int
    days: int
    """Whole days of requests whose labels are known, judged ones included."""
    rate: float
    """Share of the positive label."""
    unlabelled: float
    """Share of requests before the training's time that have no label."""
    evaluation_days: int
    folds: int
    first_share: float
    """Share of the days before the judged block that comes before the first fold."""
    training_rows: int
    """Labelled rows before the judged block."""
    max_gap: float
    """Largest gap between mean probability and label rate that the gate allows."""
    start: datetime
    """A midnight before the first row, UTC."""
    now: datetime
    """When to train, UTC: all labels are known, or it is the real time."""
    is_current: bool
    """Whether that is the real time."""


def midnight(moment: datetime) -> datetime:
    """The midnight that its day begins with, UTC."""
    return datetime.combine(moment.astimezone(UTC).date(), time(), UTC)


def sizes(where: str, found: Split, label_hours: float, now: datetime) -> Sizes:
    """The sizes for a split table.

    Args:
        where: the table, in messages.
        found: its sources.
        label_hours: hours until a label is known.
        now: the real time.

    Raises:
        DataError: there is too little for any gate to judge.
    """
    moments = found.requests[TIME]
    first, last, wait = moments[0].as_py(), moments[-1].as_py(), timedelta(hours=label_hours)
    matured = midnight(last) + DAY + wait
    at = min(matured, now)
    end = midnight(at - wait)
    days = (end - midnight(first)).days
    if days < MIN_DAYS:
        raise DataError(
            f"{where}: {max(days, 0)} whole days, from {first:%Y-%m-%d} on, have labels that are known at {at:%Y-%m-%d %H:%M}; "
            f"allowed: at least {MIN_DAYS}, because days are what the gates count; give a longer history, or a smaller "
            f"--label-hours (it is {label_hours:g})"
        )
    evaluation_days = 28 if days >= LONG else 14
    begin, before = end - evaluation_days * DAY, days - evaluation_days
    folds = 4 if before >= LONG else 2
    first_share = max(0.4, (wait / DAY + 14) / before)
    if first_share > 0.7:
        raise DataError(
            f"{where}: labels that are known after {label_hours:g} hours leave too few of {before} days to learn from; allowed: "
            f"at most {(0.7 * before - 14) * 24:.0f} hours; give a longer history, or a smaller --label-hours"
        )
    times = (found.labels[TIME].cast("timestamp[us]").to_numpy() - np.timedelta64(wait)).astype("datetime64[us]")
    truth = found.labels[2].to_numpy()
    bound = np.datetime64(begin.replace(tzinfo=None))
    earlier, evaluation = truth[times < bound], truth[times >= bound]
    _check_enough(where, earlier, evaluation, evaluation_days)
    rate = float(truth.mean())
    matured_rows = sum(moment < at - wait for moment in moments.to_pylist())
    return Sizes(
        rows=len(moments),
        days=days,
        rate=rate,
        unlabelled=max(0.0, 1 - len(truth) / matured_rows),
        evaluation_days=evaluation_days,
        folds=folds,
        first_share=ceil(first_share * 100) / 100,
        training_rows=len(earlier),
        max_gap=min(0.2, max(0.05, ceil(100 * GAP_ERRORS * sqrt(rate * (1 - rate) / len(evaluation))) / 100)),
        start=midnight(first) - DAY,
        now=at,
        is_current=at == now,
    )


def _check_enough(where: str, earlier: np.ndarray, judged: np.ndarray, evaluation_days: int) -> None:
    """The rows before the judged block can teach, and those in it can tell."""
    rarer = min(int(earlier.sum()), len(earlier) - int(earlier.sum()))
    allowed = f"at least {MIN_ROWS} rows with a label, {MIN_OF_A_LABEL} of them of the rarer one"
    if len(earlier) < MIN_ROWS or rarer < MIN_OF_A_LABEL:
        raise DataError(
            f"{where}: {len(earlier):,} rows with a label come before the {evaluation_days} judged days, {rarer} of them "
            f"of the rarer label; allowed: {allowed}; give more rows, or a longer history"
        )
    if len(set(judged.tolist())) < 2:
        raise DataError(
            f"{where}: the newest {evaluation_days} days with known labels have {len(judged):,} rows with a label, and not both "
            "labels among them; a model could not be judged; allowed: both; give more rows, or name the right --time and --label"
        )
