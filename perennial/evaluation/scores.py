"""Scores of probabilities against labels, row by row or pooled: the ones that training compares candidates by."""

import numpy as np
from numpy.typing import NDArray

SMALLEST = 1e-15
"""Probabilities are kept this far from 0 and 1: one sure mistake must not make a loss infinite."""


def row_log_loss(probability: NDArray[np.float64], label: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Log loss of each row, in nats.

    >>> row_log_loss(np.array([0.5, 1.0]), np.array([True, True])).round(4).tolist()
    [0.6931, 0.0]
    """
    clipped_probability = np.clip(probability, SMALLEST, 1 - SMALLEST)
    return -np.log(np.where(label, clipped_probability, 1 - clipped_probability))


def area_under_curve(probability: NDArray[np.float64], label: NDArray[np.bool_]) -> float:
    """Share of (positive, negative) pairs that are ranked rightly, ties counted half; both labels must be there.

    >>> area_under_curve(np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, False, True, True]))
    0.875
    """
    _, position, counts = np.unique(probability, return_inverse=True, return_counts=True)
    rank = np.cumsum(counts) - (counts - 1) / 2
    positive = int(label.sum())
    negative = len(label) - positive
    return float((rank[position][label].sum() - positive * (positive + 1) / 2) / (positive * negative))
