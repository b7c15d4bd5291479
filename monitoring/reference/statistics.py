"""Evidently's statistic for one column, in one direction: larger is more different. What is too much is decided elsewhere.

Methods are always named: Evidently's own choice changes with the number of rows, and so does whether small or large means
different. Missing values are dropped before anything is computed; whether there are too many is a check of its own (`checks`).
"""

import math
import warnings
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Method = Literal["wasserstein", "psi", "jensenshannon", "ks", "chisquare", "mean"]
Values = NDArray[np.float64] | NDArray[np.object_]
"""Values of a column: numbers with NaN where there is none, or texts with None."""

MIN_SPREAD = 0.001
"""Evidently divides by no smaller standard deviation."""
MIN_P = 1e-300
"""Smaller p-values are not told apart."""
NUMBERS_ONLY = ("wasserstein", "ks", "mean")


def present(values: Values) -> Values:
    """The values that are there: neither None nor NaN nor infinite.

    >>> present(np.array([1.0, np.nan, np.inf])).tolist(), present(np.array(["a", None], dtype=object)).tolist()
    ([1.0], ['a'])
    """
    if values.dtype == object:
        return values[[value is not None and value == value for value in values]]
    return values[np.isfinite(values.astype(np.float64))]


def unsuited(method: Method, is_text: bool) -> str:
    """Why a method cannot be used for a column; empty when it can.

    >>> unsuited("wasserstein", True), unsuited("psi", True)
    ('wasserstein compares numbers, and the column holds texts', '')
    """
    return f"{method} compares numbers, and the column holds texts" if is_text and method in NUMBERS_ONLY else ""


def statistic(current: Values, reference: Values, method: Method) -> float | None:
    """How different two samples of a column are; None when one has no value.

    `wasserstein`, `psi` and `jensenshannon` are Evidently's distances. `ks` and `chisquare` are its p-values turned round, as
    -log10 p: 2 says that p is .01. `mean` is the difference of its two means in standard deviations of the reference.
    `chisquare` reads numbers as categories.

    Args:
        current: the sample that is asked about.
        reference: what it is held against.
        method: Evidently's name.

    Raises:
        ValueError: texts, and a method for numbers.
    """
    is_text = current.dtype == object or reference.dtype == object
    if reason := unsuited(method, is_text):
        raise ValueError(reason)
    current, reference = present(current), present(reference)
    if not len(current) or not len(reference):
        return None
    if method == "mean":
        spread = max(float(np.std(reference)), MIN_SPREAD)
        return abs(float(np.mean(current)) - float(np.mean(reference))) / spread
    score = _drift_score(current, reference, method, is_text or method == "chisquare")
    if method in ("ks", "chisquare"):
        return -math.log10(max(score, MIN_P))
    return score


def _drift_score(current: Values, reference: Values, method: Method, as_categories: bool) -> float:
    """What Evidently calls the drift score."""
    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its import uses names that numpy gives up; a new category divides by zero
        from evidently.legacy.calculations import stattests
        from evidently.legacy.core import ColumnType

        tests = {
            "wasserstein": stattests.wasserstein_stat_test,
            "psi": stattests.psi_stat_test,
            "jensenshannon": stattests.jensenshannon_stat_test,
            "ks": stattests.ks_stat_test,
            "chisquare": stattests.chi_stat_test,
        }
        kind = ColumnType.Categorical if as_categories else ColumnType.Numerical
        result = tests[method](pd.Series(reference), pd.Series(current), kind, None)
    score = float(result.drift_score)
    return 0.0 if math.isnan(score) else score


def standard_deviation(values: Values) -> float | None:
    """Of the values that are there; None for texts, and without two values.

    >>> standard_deviation(np.array([1.0, 3.0, np.nan])), standard_deviation(np.array(["a", "b"], dtype=object))
    (1.0, None)
    """
    present_values = present(values)
    return None if present_values.dtype == object or len(present_values) < 2 else float(np.std(present_values))


def size_in_deviations(current: Values, reference: Values, spread: float | None) -> float | None:
    """The size of a difference in standard deviations, whatever method found it; None when a sample has no value.

    Numbers: how far the average value would have to be moved (Wasserstein's distance), by `spread`. Texts: the largest change of
    a category's share, in standard deviations of being in that category.

    >>> round(size_in_deviations(np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, 4.0]), 2.0), 3)
    0.5
    >>> before, after = np.array(["a"] * 5 + ["b"] * 5, dtype=object), np.array(["a"] * 6 + ["b"] * 4, dtype=object)
    >>> round(size_in_deviations(after, before, None), 2)
    0.2

    Args:
        current: the sample that is asked about.
        reference: what it is held against.
        spread: standard deviation of the training's values; of the reference's when there is none.
    """
    current, reference = present(current), present(reference)
    if not len(current) or not len(reference):
        return None
    if current.dtype != object and reference.dtype != object:
        from scipy.stats import wasserstein_distance

        divisor = max(spread or float(np.std(reference)), MIN_SPREAD)
        numbers = (np.asarray(sample, dtype=np.float64) for sample in (current, reference))
        return float(wasserstein_distance(*numbers)) / divisor
    categories = sorted({*map(str, current), *map(str, reference)})
    now, before = (_shares(sample, categories) for sample in (current, reference))
    pooled = (now * len(current) + before * len(reference)) / (len(current) + len(reference))
    deviation = np.sqrt(pooled * (1 - pooled))
    changes = np.divide(np.abs(now - before), deviation, out=np.zeros_like(now), where=deviation > 0)
    return float(changes.max())


def _shares(values: Values, categories: list[str]) -> NDArray[np.float64]:
    index_of = {category: number for number, category in enumerate(categories)}
    counts = np.bincount([index_of[str(value)] for value in values], minlength=len(categories))
    return counts / len(values)
