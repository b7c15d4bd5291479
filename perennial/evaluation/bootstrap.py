"""The bootstrap over days: how sure a number is when the requests of one day share their season, staff and luck.

Days are drawn with replacement, never rows: rows of one day are alike, and an interval that takes them for independent is 2 to 8
times too short. Every metric is written as a function of sums by day, so that a resample costs a product of matrices and no pass
over the rows. Nothing here knows what is measured; `perennial.evaluation.metrics` does.

Days are taken for independent of each other. Where bad weeks follow bad weeks, the intervals are a little short.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perennial.errors import DataError
from perennial.evaluation.estimate import Estimate as Estimate

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Times = NDArray[np.datetime64]


def quantile(confidence: float, units: int) -> float:
    """The t quantile that makes a one-sided bound of this confidence from a standard error over so many days.

    >>> round(quantile(0.95, 28), 3), round(quantile(0.95, 2), 3)
    (1.703, 6.314)

    Args:
        confidence: one-sided, between .5 and 1.
        units: days, at least 2.
    """
    from scipy.special import stdtrit

    return float(stdtrit(units - 1, confidence))


@dataclass(frozen=True)
class Resamples:
    """Days drawn with replacement, the same draws for every metric and every model: differences are paired."""

    days: Times
    """The distinct days, increasing, [D]."""
    day: NDArray[np.intp]
    """Position in `days` of each row, [rows]."""
    weights: Floats
    """How often each day was drawn in each resample, [resamples, D]."""

    @classmethod
    def draw(cls, time: Times, resamples: int, seed: int) -> "Resamples":
        """Resamples of the days of some rows.

        >>> time = np.array(["2013-03-01T08", "2013-03-02T09", "2013-03-02T23"], dtype="datetime64[us]")
        >>> drawn = Resamples.draw(time, 4, seed=0)
        >>> drawn.weights.sum(axis=1).tolist(), drawn.sums([1, 2, 3]).tolist()
        ([2.0, 2.0, 2.0, 2.0], [1.0, 5.0])

        Args:
            time: UTC time of each row.
            resamples: how many.
            seed: of the draws.

        Raises:
            DataError: there are rows of fewer than two days.
        """
        days, day = np.unique(time.astype("datetime64[D]"), return_inverse=True)
        if len(days) < 2:
            raise DataError(f"an interval over days needs rows of at least 2 days; found {len(days)} in {len(time):,} rows")
        weights = np.random.default_rng(seed).multinomial(len(days), np.full(len(days), 1 / len(days)), size=resamples)
        return cls(days, day.astype(np.intp), weights.astype(np.float64))

    @property
    def count(self) -> int:
        """How many days there are."""
        return len(self.days)

    def sums(self, values: ArrayLike) -> Floats:
        """Sum of the values of each day, [D]."""
        return np.bincount(self.day, weights=np.asarray(values), minlength=self.count).astype(np.float64)

    def days_with(self, rows: Bools) -> int:
        """On how many days one of these rows occurs."""
        return int(np.count_nonzero(self.sums(rows)))

    def estimate(
        self, statistic: Callable[..., Floats], *sums: Floats, confidence: float, bounds: tuple[float, float] | None = None
    ) -> Estimate:
        """A function of totals, with its interval.

        >>> time = np.repeat(np.arange("2013-03-01", "2013-03-29", dtype="datetime64[D]"), 10)
        >>> drawn = Resamples.draw(time, 1000, seed=0)
        >>> even = drawn.estimate(np.divide, drawn.sums(np.ones(280)), drawn.sums(np.ones(280)), confidence=0.95)
        >>> even.low, even.value, even.high
        (1.0, 1.0, 1.0)

        Args:
            statistic: takes one array of totals for each of `sums` and returns one number for each element.
            sums: sums by day, [D] each.
            confidence: one-sided, of each end.
            bounds: the smallest and largest value that there can be; the interval is cut there.
        """
        value = float(statistic(*(np.array([total.sum()]) for total in sums))[0])
        with np.errstate(divide="ignore", invalid="ignore"):
            replicates = statistic(*(self.weights @ total for total in sums))
        return interval(value, replicates, self.count, confidence, self.count, bounds)


def interval(
    value: float, resampled: Floats, days: int, confidence: float, units: int, bounds: tuple[float, float] | None = None
) -> Estimate:
    """The interval `value ± t · standard error`, the standard error being that of the resampled values.

    Not the percentiles of the resampled values: with 30 days they are too short twice, because a resample has (D - 1) / D of the
    variance and because the variance itself is estimated from few days. √(D / (D - 1)) repairs the first, Student's t with
    D - 1 degrees of freedom the second; for the mean of equally large days that is the exact textbook interval.

    >>> found = interval(1.0, np.array([0.8, 1.2, 0.9, 1.1]), days=28, confidence=0.95, units=28)
    >>> round(found.low, 3), round(found.high, 3)
    (0.683, 1.317)

    Args:
        value: on the days as they are.
        resampled: the same number on each resample; not finite where it does not exist.
        days: D, of the resamples.
        confidence: one-sided, of each end.
        units: days that carry information (with the rarer class, with the group): they make the degrees of freedom.
        bounds: the smallest and largest value that there can be; the interval is cut there.
    """
    replicates = resampled[np.isfinite(resampled)]
    error = float(replicates.std(ddof=1)) * float(np.sqrt(days / (days - 1))) if len(replicates) > 1 else 0.0
    reach = quantile(confidence, units) * error
    minimum, maximum = bounds or (-np.inf, np.inf)
    return Estimate(value=value, low=max(value - reach, minimum), high=min(value + reach, maximum), standard_error=error)


def pair_counts(score: Floats, label: Bools, resamples: Resamples) -> Floats:
    """How many positives of one day score higher than negatives of another: [day of the positive, day of the negative].

    Ties count half. With it the AUC of any weighting of days is a quotient of two quadratic forms, exactly.

    >>> time = np.array(["2013-03-01", "2013-03-01", "2013-03-02", "2013-03-02"], dtype="datetime64[us]")
    >>> drawn = Resamples.draw(time, 1, seed=0)
    >>> pair_counts(np.array([0.7, 0.2, 0.4, 0.4]), np.array([True, False, True, False]), drawn).tolist()
    [[1.0, 1.0], [1.0, 0.5]]

    Args:
        score: higher is more likely positive, [rows].
        label: [rows].
        resamples: of the same rows.
    """
    code = np.unique(score, return_inverse=True)[1]
    levels, days = int(code.max()) + 1, resamples.count
    positive_code, positive_day = code[label], resamples.day[label]
    counts = np.zeros((days, days))
    negatives = np.argsort(resamples.day[~label], kind="stable")
    starts = np.searchsorted(resamples.day[~label][negatives], np.arange(days + 1))
    for day in range(days):
        level_counts = np.bincount(code[~label][negatives[starts[day] : starts[day + 1]]], minlength=levels)
        wins = np.cumsum(level_counts) - 0.5 * level_counts
        counts[:, day] = np.bincount(positive_day, weights=wins[positive_code], minlength=days)
    return counts


def auc(counts: Floats, positives: Floats, negatives: Floats, weights: Floats) -> Floats:
    """The AUC of each weighting of days.

    Args:
        counts: `pair_counts`, [D, D].
        positives: positives by day, [D].
        negatives: negatives by day, [D].
        weights: [weightings, D].

    Returns:
        [weightings]; not finite where a class is missing.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Floats = ((weights @ counts) * weights).sum(axis=1) / ((weights @ positives) * (weights @ negatives))
    return result


def average_precision(score: Floats, label: Bools, day: NDArray[np.intp], weights: Floats, chunk: int = 4096) -> Floats:
    """The average precision of each weighting of days, exactly: Σ (recall step · precision) over the distinct scores.

    The rows are sorted once. At each distinct score the counts by day above it, times the weights, are the weighted counts.

    >>> score, label = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False])
    >>> average_precision(score, label, np.array([0, 0, 1, 1]), np.array([[1.0, 1.0], [1.0, 0.0]])).round(4).tolist()
    [0.8333, 1.0]

    Args:
        score: higher is more likely positive, [rows].
        label: [rows].
        day: day of each row, [rows].
        weights: [weightings, D].
        chunk: rows at a time; bounds the memory.

    Returns:
        [weightings]; not finite where there is no positive.
    """
    order = np.argsort(-score, kind="stable")
    score, label, day = score[order], label[order], day[order]
    last = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)
    hits = np.diff(np.cumsum(label)[last], prepend=0)
    ends = last[hits > 0]
    days = weights.shape[1]
    total, positives_before = np.zeros(len(weights)), np.zeros(len(weights))
    rows_above, positives_above = np.zeros(days), np.zeros(days)
    for start in range(0, len(score), chunk):
        rows = slice(start, min(start + chunk, len(score)))
        of_day = day[rows, None] == np.arange(days)
        row_counts = rows_above + np.cumsum(of_day, axis=0)
        positive_counts = positives_above + np.cumsum(of_day & label[rows, None], axis=0)
        cutoffs = ends[(ends >= rows.start) & (ends < rows.stop)] - start
        weighted_rows, weighted_positives = row_counts[cutoffs] @ weights.T, positive_counts[cutoffs] @ weights.T
        step = np.diff(weighted_positives, axis=0, prepend=positives_before[None, :])
        total += np.divide(
            step * weighted_positives, weighted_rows, out=np.zeros_like(weighted_positives), where=weighted_rows > 0
        ).sum(axis=0)
        rows_above, positives_above = row_counts[-1], positive_counts[-1]
        positives_before = weighted_positives[-1] if len(cutoffs) else positives_before
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Floats = total / positives_before
    return result
