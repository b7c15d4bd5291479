"""Rows with what a model said of them and what came of it: they travel together through every metric."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Times = NDArray[np.datetime64]


@dataclass(frozen=True)
class Predictions:
    """Labelled rows that a model has scored."""

    probability: Floats
    """Calibrated, [rows]."""
    label: Bools
    """What came of each, [rows]."""
    time: Times
    """UTC time of each request, [rows]."""

    def __len__(self) -> int:
        """Rows."""
        return len(self.label)

    @property
    def days(self) -> int:
        """Days on which they lie, UTC."""
        return len(np.unique(self.time.astype("datetime64[D]")))

    def take(self, chosen: Bools) -> "Predictions":
        """Some of the rows, in their order.

        Args:
            chosen: which, [rows].
        """
        return Predictions(self.probability[chosen], self.label[chosen], self.time[chosen])

    def scored(self, probability: Floats) -> "Predictions":
        """The same rows with what another model says of them.

        Args:
            probability: calibrated, [rows].
        """
        return Predictions(probability, self.label, self.time)
