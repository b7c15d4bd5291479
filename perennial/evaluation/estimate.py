"""An estimate: a number with its uncertainty, as it is stored. `bootstrap` finds the uncertainty."""

from perennial.record import Record


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
