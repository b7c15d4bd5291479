"""Calibration: a few numbers, fitted on time-ordered out-of-fold predictions, kept in the contract and applied by us."""

from typing import Literal

from perennial.record import Record


class Calibrator(Record):
    """A map from the model's probability to a calibrated one."""

    kind: Literal["none", "sigmoid", "isotonic"]
    """Kind of map."""
    slope: float = 1.0
    """Sigmoid: factor of the log-odds."""
    intercept: float = 0.0
    """Sigmoid: added to the log-odds."""
    x: tuple[float, ...] = ()
    """Isotonic: probabilities of the model at the knots, increasing."""
    y: tuple[float, ...] = ()
    """Isotonic: calibrated probabilities at the knots, not decreasing."""
