"""An estimate: a number with its uncertainty, as it is stored. `bootstrap` finds the uncertainty."""

import math
from collections.abc import Sequence

from perennial.record import Record

OLD_METRICS = {f"naive_{name}": f"baseline_{name}" for name in ("log_loss", "brier", "utility")}
"""Names of metrics in what an older release stored, each with the one of today."""

NORMAL = 1.96
"""Standard errors on each side of a 95 % interval."""


class Estimate(Record):
    """A number with its uncertainty."""

    value: float
    """Point estimate."""
    low: float
    """Lower end of the two-sided interval."""
    high: float
    """Upper end of the two-sided interval."""
    standard_error: float
    """Standard deviation of the bootstrap over days, times √(D / (D - 1)) for D days."""


def total(parts: Sequence[tuple[Estimate, float]]) -> Estimate | None:
    """The weighted sum of independent estimates with its 95 % interval; None without any.

    >>> one = Estimate(value=10.0, low=2.0, high=18.0, standard_error=4.0)
    >>> found = total([(one, 0.5), (one, 0.5)])
    >>> found.value, round(found.standard_error, 2), total([]) is None
    (10.0, 2.83, True)

    Args:
        parts: estimates and their weights.
    """
    if not parts:
        return None
    value = sum(part.value * weight for part, weight in parts)
    error = math.sqrt(sum((part.standard_error * weight) ** 2 for part, weight in parts))
    return Estimate(value=value, low=value - NORMAL * error, high=value + NORMAL * error, standard_error=error)
