"""Importance finds what the model uses, and knows how sure it is."""

import numpy as np
import pytest
from numpy.typing import NDArray

from perennial.training.selection import ROWS, kept, permutation_importance


def block(count: int, days: int, seed: int) -> tuple[NDArray[np.object_], NDArray[np.bool_], NDArray[np.datetime64]]:
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(count, 3)).astype(object)
    label = random.random(count) < used(matrix)
    day = np.datetime64("2013-01-01") + np.sort(random.integers(0, days, count))
    return matrix, label, day


def used(matrix: NDArray[np.object_]) -> NDArray[np.float64]:
    """A model that knows the truth: the first column matters, the second a little, the third not at all."""
    numbers = matrix.astype(np.float64)
    return np.asarray(1 / (1 + np.exp(-(2 * numbers[:, 0] + 0.5 * numbers[:, 1]))))


def test_the_used_columns_are_found_and_the_unused_one_has_no_importance() -> None:
    importance = permutation_importance(used, *block(3_000, 30, seed=0), repeats=5, seed=0)
    assert importance.mean[0] > importance.mean[1] > 0
    assert (importance.mean[2], importance.standard_error[2]) == (0.0, 0.0)
    assert kept(importance, min_z=1.0).tolist() == [True, True, False]


def test_a_column_that_hurts_is_not_kept_even_at_zero() -> None:
    def wrong(matrix: NDArray[np.object_]) -> NDArray[np.float64]:
        return np.asarray(1 / (1 + np.exp(matrix[:, 0].astype(np.float64))))

    importance = permutation_importance(wrong, *block(3_000, 30, seed=0), repeats=3, seed=0)
    assert importance.mean[0] < 0
    assert kept(importance, min_z=0.0).tolist() == [False, True, True]


def test_the_same_seed_gives_the_same_importance() -> None:
    first, second = (permutation_importance(used, *block(500, 9, seed=3), repeats=2, seed=7) for _ in range(2))
    assert np.array_equal(first.mean, second.mean)
    assert np.array_equal(first.standard_error, second.standard_error)


def test_no_more_rows_than_the_limit_are_asked() -> None:
    asked = []

    def counting(matrix: NDArray[np.object_]) -> NDArray[np.float64]:
        asked.append(len(matrix))
        return used(matrix)

    permutation_importance(counting, *block(ROWS + 3_000, 30, seed=0), repeats=2, seed=0)
    assert set(asked) == {ROWS}


def test_the_error_covers_other_days_and_not_only_other_shuffles() -> None:
    """A column that helps on half of the days and hurts on the others: shuffles agree, days do not."""
    random = np.random.default_rng(0)
    days, each = 12, 200
    day = np.repeat(np.datetime64("2013-01-01") + np.arange(days), each)
    x = random.normal(size=days * each)
    sign = np.repeat(np.where(np.arange(days) % 2 == 0, 1.0, -0.8), each)
    label = random.random(days * each) < 1 / (1 + np.exp(-2 * sign * x))

    def answer(matrix: NDArray[np.object_]) -> NDArray[np.float64]:
        return np.asarray(1 / (1 + np.exp(-0.5 * matrix[:, 0].astype(np.float64))))

    matrix = x.astype(object).reshape(-1, 1)
    by_days = permutation_importance(answer, matrix, label, day, repeats=5, seed=0)
    one_day = permutation_importance(answer, matrix, label, np.full(len(day), day[0]), repeats=5, seed=0)
    assert by_days.standard_error[0] > 3 * one_day.standard_error[0]


@pytest.mark.parametrize("min_z", [1.0, 2.0])
def test_pure_noise_is_rarely_kept(min_z: float) -> None:
    """A model that uses a column which means nothing: it is kept about as often as a normal variable exceeds `min_z`."""
    share = []
    for seed in range(60):
        matrix, _, day = block(600, 20, seed)
        label = np.random.default_rng(seed + 1_000).random(600) < 0.5

        def answer(matrix: NDArray[np.object_]) -> NDArray[np.float64]:
            return np.asarray(1 / (1 + np.exp(-0.02 * matrix[:, 0].astype(np.float64))))

        share.append(kept(permutation_importance(answer, matrix[:, :1], label, day, repeats=3, seed=seed), min_z)[0])
    assert np.mean(share) < {1.0: 0.30, 2.0: 0.12}[min_z]
