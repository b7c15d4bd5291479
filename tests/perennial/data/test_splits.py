"""No fold trains on what was not known when it began."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from perennial.data.rows import Rows
from perennial.data.splits import evaluation_block, time_folds
from perennial.errors import DataError
from perennial.spec.training import Folds

START = np.datetime64("2013-01-01", "us")


def rows_of(hours: np.ndarray, delay: np.ndarray, label: np.ndarray) -> Rows:
    """Requests `hours` after the start whose label is known `delay` hours later."""
    time = START + (hours * 3600e6).astype("timedelta64[us]")
    matrix = np.zeros((len(hours), 1), dtype=object)
    return Rows(np.arange(len(hours)), matrix, label, time, time + (delay * 3600e6).astype("timedelta64[us]"))


@pytest.mark.parametrize("seed", range(20))
def test_folds_never_train_on_a_label_that_was_not_known_yet(seed: int) -> None:
    random = np.random.default_rng(seed)
    count, days = 600, int(random.integers(15, 90))
    rows = rows_of(random.uniform(0, days * 24, count), random.exponential(60, count), random.random(count) < 0.4)
    until = datetime(2013, 1, 1, tzinfo=UTC) + timedelta(days=days - int(random.integers(0, 3)))
    spec = Folds(count=int(random.integers(2, 6)), first_share=float(random.uniform(0.3, 0.6)))
    folds = time_folds(rows, spec, until)
    assert len(folds) == spec.count
    for fold in folds:
        start = np.datetime64(fold.start.replace(tzinfo=None), "us")
        assert (rows.known_at[fold.train] < start).all()
        assert (rows.time[fold.train] < start).all()
        assert (rows.time[fold.test] >= start).all()
        assert not (fold.train & fold.test).any()
        left_out = ~fold.train & (rows.time < start)
        assert (rows.known_at[left_out] >= start).all(), "a row was left out although its label was known"
    tested = np.sum([fold.test for fold in folds], axis=0)
    assert tested.max() == 1, "a row is tested twice"
    end, first = np.datetime64(until.replace(tzinfo=None), "us"), np.datetime64(folds[0].start.replace(tzinfo=None), "us")
    assert np.array_equal(tested == 1, (rows.time >= first) & (rows.time < end))


def test_a_label_known_at_the_very_start_of_a_fold_is_not_used() -> None:
    hours = np.arange(0, 40 * 24, 6.0)
    rows = rows_of(hours, np.full(len(hours), 6.0), np.arange(len(hours)) % 2 == 0)
    first = time_folds(rows, Folds(count=2, first_share=0.5), datetime(2013, 2, 10, tzinfo=UTC))[0]
    assert first.start == datetime(2013, 1, 21, tzinfo=UTC)
    assert rows.time[first.train].max() == np.datetime64("2013-01-20T12:00", "us")  # the one of 18:00 is known at midnight


def test_blocks_are_whole_days_of_about_equal_length() -> None:
    hours = np.arange(0, 60 * 24, 3.0)
    rows = rows_of(hours, np.full(len(hours), 1.0), np.arange(len(hours)) % 3 == 0)
    folds = time_folds(rows, Folds(count=4, first_share=0.4), datetime(2013, 3, 2, tzinfo=UTC))
    assert [len(np.unique(rows.day[fold.test])) for fold in folds] == [9, 9, 9, 9]


def test_too_few_days_are_said() -> None:
    hours = np.arange(0, 72, 2.0)
    rows = rows_of(hours, np.full(len(hours), 1.0), np.arange(len(hours)) % 2 == 0)
    with pytest.raises(DataError, match="3 days of labelled rows before 2013-01-04 are too few for 4 folds"):
        time_folds(rows, Folds(count=4, first_share=0.4), datetime(2013, 1, 4, tzinfo=UTC))
    with pytest.raises(DataError, match="no labelled row before 2012-12-01"):
        time_folds(rows, Folds(count=2, first_share=0.4), datetime(2012, 12, 1, tzinfo=UTC))


def test_one_label_only_to_train_on_is_said() -> None:
    hours = np.arange(0, 40 * 24, 6.0)
    rows = rows_of(hours, np.full(len(hours), 1.0), hours > 30 * 24)
    with pytest.raises(DataError, match=r"fold 1, from 2013-01-17: of 64 rows known before it 0 are positive"):
        time_folds(rows, Folds(count=2, first_share=0.4), datetime(2013, 2, 10, tzinfo=UTC))


def test_a_gap_that_empties_a_block_is_said() -> None:
    hours = np.concatenate([np.arange(0, 24 * 24, 6.0), np.arange(35 * 24, 40 * 24, 6.0)])
    rows = rows_of(hours, np.full(len(hours), 1.0), np.arange(len(hours)) % 2 == 0)
    with pytest.raises(DataError, match="fold 1, from 2013-01-25: no labelled row to test on"):
        time_folds(rows, Folds(count=4, first_share=0.6), datetime(2013, 2, 10, tzinfo=UTC))


@pytest.mark.parametrize(
    ("now", "end"),
    [
        (datetime(2013, 4, 2, 0, 0, tzinfo=UTC), datetime(2013, 4, 1, tzinfo=UTC)),
        (datetime(2013, 4, 1, 23, 59, 59, tzinfo=UTC), datetime(2013, 3, 31, tzinfo=UTC)),
        (datetime(2013, 4, 1, 20, 0, tzinfo=timezone(timedelta(hours=-4))), datetime(2013, 4, 1, tzinfo=UTC)),
    ],
)
def test_the_block_ends_with_the_newest_matured_day(now: datetime, end: datetime) -> None:
    block = evaluation_block(now, maturity_hours=24, days=28)
    assert (block.start, block.end) == (end - timedelta(days=28), end)
