"""Feature selection: permutation importance with its noise, and which columns it keeps.

Here: pure functions over a fitted model's answers. Not here: fitting, and whether the smaller recipe is taken (training).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perennial.evaluation.scores import row_log_loss

ROWS = 5_000
"""Most rows that importance is measured on: enough for a standard error over days, few enough to take seconds."""


@dataclass(frozen=True)
class Importance:
    """Permutation importance of each column, in nats of log loss."""

    mean: NDArray[np.float64]
    """Increase of the log loss when the column is shuffled, mean over the repeats."""
    standard_error: NDArray[np.float64]
    """The larger of two standard errors of that mean: between the repeats, and between days."""


def permutation_importance(
    answer: Callable[[NDArray[np.object_]], NDArray[np.float64]],
    matrix: NDArray[np.object_],
    label: NDArray[np.bool_],
    day: NDArray[np.datetime64],
    repeats: int,
    seed: int,
) -> Importance:
    """Importance of each column of a fitted model, on rows that it was not fitted on (Breiman 2001, section 10).

    Repeats shuffle the same rows, so their spread says nothing about other rows. Rows of one day resemble each other, so the
    uncertainty over rows is that of a mean of days (a ratio of day sums, Cochran 1977, section 9A). The larger of the two counts.

    Args:
        answer: the model's probabilities for a matrix.
        matrix: rows to shuffle; more than `ROWS` are sampled.
        label: what came true.
        day: day of each row; one day alone gives no standard error between days.
        repeats: shuffles of each column, at least 2.
        seed: seed of the sample and of the shuffles.
    """
    random = np.random.default_rng(seed)
    if len(label) > ROWS:
        sample = np.sort(random.permutation(len(label))[:ROWS])
        matrix, label, day = matrix[sample], label[sample], day[sample]
    base = row_log_loss(answer(matrix), label)
    means, errors = [], []
    for position in range(matrix.shape[1]):
        shuffled = matrix.copy()
        increase = np.empty((repeats, len(label)))
        for repeat in range(repeats):
            shuffled[:, position] = random.permutation(matrix[:, position])
            increase[repeat] = row_log_loss(answer(shuffled), label) - base
        means.append(increase.mean())
        errors.append(max(_between_repeats(increase), _between_days(increase.mean(axis=0), day)))
    return Importance(np.array(means), np.array(errors))


def kept(importance: Importance, min_z: float) -> NDArray[np.bool_]:
    """Which columns stay: those whose importance is at least `min_z` standard errors above 0.

    A column that the model does not use (0 in every repeat) stays only with `min_z` 0.

    >>> kept(Importance(np.array([0.02, 0.001, 0.0]), np.array([0.004, 0.002, 0.0])), 1.0).tolist()
    [True, False, False]
    >>> kept(Importance(np.array([0.02, 0.001, 0.0]), np.array([0.004, 0.002, 0.0])), 0.0).tolist()
    [True, True, True]
    """
    clear = importance.mean >= min_z * importance.standard_error
    return clear & ((importance.mean > 0) | (min_z == 0))


def _between_repeats(increase: NDArray[np.float64]) -> float:
    return float(increase.mean(axis=1).std(ddof=1) / np.sqrt(len(increase)))


def _between_days(increase: NDArray[np.float64], day: NDArray[np.datetime64]) -> float:
    """Standard error of the mean of rows that come in days.

    >>> days = np.array(["2013-01-01", "2013-01-01", "2013-01-02", "2013-01-02"], "datetime64[D]")
    >>> _between_days(np.array([1.0, 1.0, 3.0, 3.0]), days)  # two days, means 1 and 3: the deviation over the root of 2
    1.0
    """
    days, position = np.unique(day, return_inverse=True)
    if len(days) < 2:
        return 0.0
    sums = np.bincount(position, weights=increase - increase.mean())
    return float(np.sqrt(len(days) / (len(days) - 1) * (sums**2).sum()) / len(increase))
