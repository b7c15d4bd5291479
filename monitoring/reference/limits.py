"""Limits with a stated false alarm rate, from what weekly blocks of the reference showed. Arithmetic only.

The unit is the week: rows of one week resemble each other, so that a test that counts rows alarms in every window. A handful of
weeks holds no tail of its own (13 of them cannot say what is exceeded once in 260 windows), so the shape of Student's t is
borrowed. What makes the statistics about normal was found by simulation: `docs/decisions/0009-alarm-thresholds.md`.
"""

import numpy as np
from numpy.typing import NDArray

from monitoring.reference.statistics import Method

Floats = NDArray[np.float64]

MIN_BLOCKS = 8
"""With fewer weeks no rate is claimed."""
NEIGHBOURS = 4
"""Blocks that the drift of one is measured against."""
DAYS_OF_A_QUARTER = 91
HIGHEST_RATE = 0.5
"""Of all tests of one window together: beyond, an alarm says nothing."""
SMALLEST = 1e-9
POWERS: dict[Method, float] = {"mean": 0.5, "jensenshannon": 0.5, "psi": 0.25, "ks": 0.25, "chisquare": 0.25}
"""Powers that make the statistics of weeks about normal: PSI and the logarithms of p-values are squares of distances."""
ROUND, FOLDED = 0.35, 0.75
"""Relative spread of Wasserstein's distances when only samples differ, and when the weeks' means do."""


def rate_per_test(false_alarms_per_quarter: float, window_days: int, tests: int) -> float:
    """The false alarm rate of one test in one window, the budget being split evenly among all (Sidak).

    >>> round(rate_per_test(1.0, 7, 1), 4), round(rate_per_test(1.0, 7, 21), 5)
    (0.0769, 0.0038)

    Args:
        false_alarms_per_quarter: of all tests together.
        window_days: length of a window.
        tests: how many there are.
    """
    together = min(HIGHEST_RATE, false_alarms_per_quarter * window_days / DAYS_OF_A_QUARTER)
    return float(1 - (1 - together) ** (1 / tests))


def neighbours(block: int) -> list[int]:
    """The four blocks that a block is compared with: those before it, of the first four those after it.

    Drift backwards in time is as large as forwards. So every block gives a statistic, and not only those after the fourth: with
    eight blocks that is twice as many.

    >>> neighbours(6), neighbours(1)
    ([2, 3, 4, 5], [2, 3, 4, 5])
    """
    return list(range(block - NEIGHBOURS, block)) if block >= NEIGHBOURS else list(range(block + 1, block + 1 + NEIGHBOURS))


def prediction_limit(values: Floats, rate: float, lost_degrees: int = 1) -> Floats:
    """The upper end of the one-sided t prediction interval: the next value is above it with this probability.

    >>> float(prediction_limit(np.array([1.0, 2.0, 3.0]), 0.05).round(3))
    5.372

    Args:
        values: of the blocks, [blocks, ...].
        rate: of exceeding it.
        lost_degrees: degrees of freedom that were spent.
    """
    from scipy.special import stdtrit

    blocks = len(values)
    reach = float(stdtrit(blocks - lost_degrees, 1 - rate)) * np.sqrt(1 + 1 / blocks)
    limit: Floats = values.mean(axis=0) + reach * values.std(axis=0, ddof=1)
    return limit


def drift_limit(found: Floats, method: Method, rate: float) -> Floats:
    """The largest window-over-window drift that is no alarm, by the drift between the blocks.

    A power of them is about normal; the prediction interval is that of the power. Wasserstein's distance has two shapes:
    where weeks differ only as samples do it is nearly log-normal, where their means differ it is the size of a normal number, and
    the root is nearer. Its relative spread says which. A degree of freedom goes for the choice of the power, two where it is
    estimated.

    >>> drifts = np.array([0.03, 0.04, 0.05, 0.04, 0.03, 0.05, 0.04, 0.06])
    >>> bool(drift_limit(drifts, "wasserstein", 0.01) > drift_limit(drifts, "wasserstein", 0.1) > 0.06)
    True

    Args:
        found: statistics of the blocks against their `neighbours`, [blocks, ...].
        method: which statistic.
        rate: of exceeding the limit when nothing changes.
    """
    found = np.maximum(found, SMALLEST)
    if method == "wasserstein":
        spread = found.std(axis=0, ddof=1) / found.mean(axis=0)
        power, lost = 0.5 * np.clip((spread - ROUND) / (FOLDED - ROUND), 0, 1), 3
    else:
        power, lost = np.full(found.shape[1:], POWERS[method]), 2
    is_log = power < 0.02
    exponent = np.where(is_log, 1.0, power)
    limit = prediction_limit(np.where(is_log, np.log(found), found**exponent), rate, lost_degrees=lost)
    return np.where(is_log, np.exp(np.where(is_log, limit, 0.0)), np.maximum(limit, 0.0) ** (1 / exponent))
