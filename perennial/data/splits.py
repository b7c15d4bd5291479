"""Splits by time: the evaluation block, and folds that never train on what was not known yet.

Here: which rows belong to which side. Not here: fitting and scoring.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from perennial.data.rows import Rows
from perennial.errors import DataError
from perennial.spec.training import Folds


@dataclass(frozen=True)
class Block:
    """Whole days [start, end), UTC midnights."""

    start: datetime
    end: datetime


@dataclass(frozen=True)
class Fold:
    """One fold: masks over the rows."""

    train: NDArray[np.bool_]
    """Requests from before the fold's start whose label was known before it."""
    test: NDArray[np.bool_]
    """Requests of the fold's block of whole days."""
    start: datetime
    """Begin of the test block, UTC midnight."""


def evaluation_block(now: datetime, maturity_hours: float, days: int) -> Block:
    """The newest `days` whole days whose labels had time to arrive.

    A day has matured `maturity_hours` after its end.

    Args:
        now: time of the build, UTC.
        maturity_hours: hours from the end of a day until its labels count as arrived.
        days: length of the block.

    >>> evaluation_block(datetime(2013, 4, 1, 23, 59, tzinfo=UTC), 24, 28).end.isoformat()
    '2013-03-31T00:00:00+00:00'
    >>> evaluation_block(datetime(2013, 4, 2, tzinfo=UTC), 24, 28).end.isoformat()
    '2013-04-01T00:00:00+00:00'
    """
    cutoff = now.astimezone(UTC) - timedelta(hours=maturity_hours)
    end = cutoff.replace(hour=0, minute=0, second=0, microsecond=0)
    return Block(end - timedelta(days=days), end)


def time_folds(rows: Rows, folds: Folds, until: datetime) -> tuple[Fold, ...]:
    """Folds in the order of time: each is tested on a block of whole days, by what was known before the block began.

    The days from the first request to `until` are cut: `first_share` of them come before the first block, the rest is divided
    evenly among the blocks. Rows from `until` on are in no fold.

    Args:
        rows: labelled rows, in any order.
        folds: number of folds and share of the days before the first.
        until: end of the last block, UTC midnight, exclusive.

    Raises:
        DataError: too few days; a fold has nothing to be tested on, or only one label to train on.
    """
    day = rows.day
    end = np.datetime64(until.astimezone(UTC).date(), "D")
    before = day[day < end]
    if len(before) == 0:
        raise DataError(f"no labelled row before {until:%Y-%m-%d}; folds need at least {folds.count + 1} days of them")
    first = before.min()
    days = int((end - first).astype(int))
    bounds = block_bounds(days, folds)
    if len(set(bounds)) <= folds.count or bounds[0] < 1:
        raise DataError(
            f"{days} days of labelled rows before {until:%Y-%m-%d} are too few for {folds.count} folds after the first "
            f"{folds.first_share:.0%}; lower training.folds.count or use more days"
        )
    splits = []
    for begin, stop in pairwise(bounds):
        start = first + np.timedelta64(begin, "D")
        train = (rows.known_at < start) & (rows.time < start)
        test = (day >= start) & (day < first + np.timedelta64(stop, "D"))
        splits.append(Fold(train, test, datetime.combine(start.astype(object), datetime.min.time(), UTC)))
        _check(splits[-1], rows, len(splits))
    return tuple(splits)


def block_bounds(days: int, folds: Folds) -> list[int]:
    """Day numbers at which the test blocks begin, and the end of the last.

    >>> block_bounds(60, Folds(count=4, first_share=0.4))
    [24, 33, 42, 51, 60]
    """
    first = round(days * folds.first_share)
    return [first + round((days - first) * number / folds.count) for number in range(folds.count + 1)]


def _check(fold: Fold, rows: Rows, number: int) -> None:
    where = f"fold {number}, from {fold.start:%Y-%m-%d}"
    if not fold.test.any():
        raise DataError(f"{where}: no labelled row to test on; lower training.folds.count, so that blocks are longer")
    positive, total = int(rows.label[fold.train].sum()), int(fold.train.sum())
    if positive in (0, total):
        raise DataError(
            f"{where}: of {total} rows known before it {positive} are positive; both labels are needed: use more days or "
            f"raise training.folds.first_share"
        )
