"""Points of the stored curves: ROC, precision and recall, reliability. `reports.run_plots` draws them."""

import numpy as np
from numpy.typing import NDArray

from perennial.record import Record

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

CURVE_POINTS = 200
"""Most points of a stored curve: more than a plot can show."""


class Curve(Record):
    """Points of a plot."""

    x: tuple[float, ...]
    """Horizontal positions."""
    y: tuple[float, ...]
    """Vertical positions."""


def curves(probability: Floats, label: Bools) -> dict[str, Curve]:
    """The three curves that an evaluation stores, by the name of its field.

    >>> sorted(curves(np.array([0.9, 0.1]), np.array([True, False])))
    ['precision_recall', 'reliability', 'roc']
    """
    roc, precision_recall = ranking_curves(probability, label)
    return {"roc": roc, "precision_recall": precision_recall, "reliability": reliability_curve(probability, label)}


def ranking_curves(probability: Floats, label: Bools) -> tuple[Curve, Curve]:
    """False against true positive rate, and recall against precision; empty where a class is missing.

    >>> roc, precision_recall = ranking_curves(np.array([0.9, 0.6, 0.4]), np.array([True, False, True]))
    >>> roc.x, roc.y
    ((0.0, 0.0, 1.0, 1.0), (0.0, 0.5, 0.5, 1.0))
    >>> precision_recall.x
    (0.5, 0.5, 1.0)
    """
    positives = int(np.count_nonzero(label))
    if positives in (0, len(label)):
        return Curve(x=(), y=()), Curve(x=(), y=())
    order = np.argsort(-probability, kind="stable")
    last = np.append(np.flatnonzero(np.diff(probability[order])), len(label) - 1)
    hits = np.cumsum(label[order])[last].astype(np.float64)
    recall, false_rate = hits / positives, (last + 1 - hits) / (len(label) - positives)
    roc = thinned(np.append(0.0, false_rate), np.append(0.0, recall))
    return roc, thinned(recall, hits / (last + 1))


def thinned(x: Floats, y: Floats) -> Curve:
    """A curve of at most 200 of the points, evenly spread along x and y; the first and last stay."""
    if len(x) > CURVE_POINTS:
        distance = np.append(0.0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y))))
        indices = np.unique(np.searchsorted(distance, np.linspace(0, distance[-1], CURVE_POINTS)).clip(max=len(x) - 1))
        x, y = x[indices], y[indices]
    return Curve(x=tuple(x.tolist()), y=tuple(y.tolist()))


def reliability_curve(probability: Floats, label: Bools, bins: int = 10) -> Curve:
    """Mean probability against label rate in equally filled bins, by rising probability.

    >>> reliability_curve(np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True]), bins=2).y
    (0.0, 1.0)
    """
    parts = [part for part in np.array_split(np.argsort(probability, kind="stable"), bins) if len(part)]
    return Curve(x=tuple(float(probability[part].mean()) for part in parts), y=tuple(float(label[part].mean()) for part in parts))
