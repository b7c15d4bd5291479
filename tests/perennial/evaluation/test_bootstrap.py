import time as clock

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from perennial.errors import DataError
from perennial.evaluation.bootstrap import Resamples, auc, average_precision, interval, pair_counts, quantile

Block = tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.datetime64]]


def block(days: int, rows: int, seed: int, day_effect: float = 0.5, decimals: int = 3) -> Block:
    """Probabilities with ties, labels with a common luck by day, times."""
    random = np.random.default_rng(seed)
    day = np.sort(random.integers(0, days, rows))
    day[:days] = np.arange(days)
    odds = random.normal(-1.2, 1.0, rows)
    probability = np.round(1 / (1 + np.exp(-odds)), decimals)
    label = random.random(rows) < 1 / (1 + np.exp(-odds - random.normal(0, day_effect, days)[day]))
    time = np.datetime64("2020-02-01", "us") + day * np.timedelta64(1, "D") + random.integers(0, 86_400, rows).astype("m8[s]")
    return probability, label, time


@pytest.mark.parametrize("days", [2, 28, 90])
def test_auc_of_a_resample_is_that_of_scikit_learn_on_the_drawn_rows(days: int) -> None:
    probability, label, time = block(days, 4_000, seed=days)
    resamples = Resamples.draw(time, 200, seed=1)
    counts = pair_counts(probability, label, resamples)
    found = auc(counts, resamples.sums(label), resamples.sums(~label), resamples.weights)
    for number in range(0, 200, 20):
        drawn = np.repeat(np.arange(len(label)), resamples.weights[number][resamples.day].astype(int))
        assert found[number] == pytest.approx(roc_auc_score(label[drawn], probability[drawn]), abs=1e-12)


@pytest.mark.parametrize("chunk", [7, 1_000, 10_000])
def test_average_precision_of_a_resample_is_that_of_scikit_learn_on_the_drawn_rows(chunk: int) -> None:
    probability, label, time = block(28, 3_000, seed=4, decimals=2)
    resamples = Resamples.draw(time, 50, seed=1)
    found = average_precision(probability, label, resamples.day, resamples.weights, chunk)
    for number in range(0, 50, 10):
        drawn = np.repeat(np.arange(len(label)), resamples.weights[number][resamples.day].astype(int))
        assert found[number] == pytest.approx(average_precision_score(label[drawn], probability[drawn]), abs=1e-12)


def test_sums_by_day_give_the_mean_of_the_drawn_rows() -> None:
    probability, label, time = block(28, 2_000, seed=5)
    resamples = Resamples.draw(time, 100, seed=2)
    squares = (probability - label) ** 2
    means = (resamples.weights @ resamples.sums(squares)) / (resamples.weights @ resamples.sums(np.ones(2_000)))
    drawn = np.repeat(np.arange(2_000), resamples.weights[7][resamples.day].astype(int))
    assert means[7] == pytest.approx(squares[drawn].mean(), abs=1e-12)


def test_a_month_of_thirty_thousand_rows_takes_well_under_a_second() -> None:
    probability, label, time = block(28, 30_000, seed=6, decimals=9)
    begun = clock.perf_counter()
    resamples = Resamples.draw(time, 1_000, seed=0)
    auc(pair_counts(probability, label, resamples), resamples.sums(label), resamples.sums(~label), resamples.weights)
    average_precision(probability, label, resamples.day, resamples.weights)
    assert clock.perf_counter() - begun < 2.0  # 0.15 s on an idle core


def test_the_interval_of_a_mean_of_equal_days_is_the_textbook_one() -> None:
    by_day = np.random.default_rng(0).normal(size=20)
    time = np.repeat(np.arange("2020-02-01", "2020-02-21", dtype="datetime64[D]"), 5)
    resamples = Resamples.draw(time, 20_000, seed=0)
    found = resamples.estimate(np.divide, 5 * by_day, np.full(20, 5.0), confidence=0.95)
    textbook = by_day.std(ddof=1) / np.sqrt(20)
    assert found.standard_error == pytest.approx(textbook, rel=0.02)
    assert found.high - found.value == pytest.approx(1.729 * textbook, rel=0.02)


def test_intervals_hold_the_truth_as_often_as_they_say_although_days_are_alike() -> None:
    probability, label, time = block(6_000, 300_000, seed=99)
    truth_brier, truth_auc = float(((probability - label) ** 2).mean()), roc_auc_score(label, probability)
    held, held_by_rows, repeats = {"brier": 0, "auc": 0}, 0, 250
    for seed in range(repeats):
        probability, label, time = block(28, 2_800, seed)
        squares = (probability - label) ** 2
        resamples = Resamples.draw(time, 300, seed)
        brier = resamples.estimate(np.divide, resamples.sums(squares), resamples.sums(np.ones(2_800)), confidence=0.95)
        weights = np.vstack([np.ones(28), resamples.weights])
        values = auc(pair_counts(probability, label, resamples), resamples.sums(label), resamples.sums(~label), weights)
        ranking = interval(float(values[0]), values[1:], 28, 0.95, units=28)
        held["brier"] += brier.low <= truth_brier <= brier.high
        held["auc"] += ranking.low <= truth_auc <= ranking.high
        by_rows = 1.645 * squares.std() / np.sqrt(2_800)
        held_by_rows += abs(squares.mean() - truth_brier) <= by_rows
    assert held["brier"] / repeats >= 0.86  # stated .90, whose own error over 250 repeats is .019
    assert held["auc"] / repeats >= 0.86
    assert held_by_rows / repeats < 0.80  # what an interval over rows would do


def test_the_same_seed_draws_the_same_days_and_another_seed_others() -> None:
    time = block(28, 100, seed=0)[2]
    first, again, other = (Resamples.draw(time, 50, seed).weights for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_one_day_makes_no_interval() -> None:
    with pytest.raises(DataError, match="at least 2 days; found 1 in 3 rows"):
        Resamples.draw(np.array(["2020-02-01T01", "2020-02-01T02", "2020-02-01T03"], dtype="datetime64[us]"), 200, seed=0)


def test_resamples_in_which_a_number_does_not_exist_do_not_spoil_it() -> None:
    found = interval(1.0, np.array([0.9, np.nan, 1.1, np.inf]), days=28, confidence=0.95, units=28)
    assert np.isfinite([found.low, found.high, found.standard_error]).all()


def test_fewer_days_make_a_wider_bound() -> None:
    assert quantile(0.95, 3) > quantile(0.95, 28) > 1.645
