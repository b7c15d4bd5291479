"""Calibration: a few numbers, fitted on time-ordered out-of-fold predictions, kept in the contract and applied by us.

Serving applies the map, so pandas is not imported here, and scikit-learn not at all. On which predictions it is fitted is decided
by the training.
"""

from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from perennial.errors import DataError
from perennial.record import Record
from perennial.spec.training import Calibration, Isotonic, NoCalibration

Floats = NDArray[np.float64]

SMALLEST = 1e-6
"""Probabilities are kept this far from 0 and 1 before their log-odds are taken: a forest says 0 where no leaf was positive."""


class Calibrator(Record):
    """A map from the model's probability to a calibrated one."""

    kind: Literal["none", "sigmoid", "isotonic"]
    """Kind of map."""
    slope: float = 1.0
    """Sigmoid: factor of the log-odds; above 0."""
    intercept: float = 0.0
    """Sigmoid: added to the log-odds."""
    x: tuple[float, ...] = ()
    """Isotonic: probabilities of the model at the knots, increasing."""
    y: tuple[float, ...] = ()
    """Isotonic: calibrated probabilities at the knots, not decreasing; straight lines between them, level beyond them."""
    note: str = ""
    """Why the kind is `none` although the spec asked for another; else empty."""

    def apply(self, probability: Floats) -> Floats:
        """Calibrated probabilities: never decreasing in the model's, within [0, 1]; what is not a number stays so.

        >>> Calibrator(kind="none").apply(np.array([0.2, 0.7])).tolist()
        [0.2, 0.7]
        >>> Calibrator(kind="sigmoid", intercept=np.log(2)).apply(np.array([0.0, 0.5])).round(3).tolist()
        [0.0, 0.667]
        >>> Calibrator(kind="isotonic", x=(0.2, 0.6), y=(0.1, 0.3)).apply(np.array([0.0, 0.4, 0.9])).round(3).tolist()
        [0.1, 0.2, 0.3]

        Args:
            probability: of the model, [rows].
        """
        probabilities = np.asarray(probability, dtype=np.float64)
        if self.kind == "sigmoid":
            return expit(self.slope * log_odds(probabilities) + self.intercept)
        if self.kind == "isotonic":
            return np.interp(probabilities, self.x, self.y)
        return probabilities.copy()


def log_odds(probability: Floats) -> Floats:
    """The log-odds of probabilities, which are cut at 1e-6 and 1 - 1e-6.

    >>> log_odds(np.array([0.5, 0.0])).round(3).tolist()
    [0.0, -13.816]
    """
    cut = np.clip(probability, SMALLEST, 1 - SMALLEST)
    result: Floats = np.log(cut) - np.log1p(-cut)
    return result


def expit(odds: Floats) -> Floats:
    """The probabilities that have these log-odds; large ones do not overflow.

    >>> expit(np.array([-1000.0, 0.0, 1000.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    exponential = np.exp(-np.abs(odds))
    return np.where(odds >= 0, 1.0, exponential) / (1.0 + exponential)


def fit_calibrator(spec: Calibration, probability: Floats, label: NDArray[np.bool_]) -> Calibrator:
    """The map of the kind that the spec asks for; `none`, with a note, where the labels give no increasing one.

    >>> from perennial.spec.training import Sigmoid
    >>> probability, label = np.array([0.2, 0.2, 0.8, 0.8]), np.array([True, True, False, False])
    >>> fit_calibrator(Sigmoid(kind="sigmoid"), probability, label).kind
    'none'
    >>> fit_calibrator(Sigmoid(kind="sigmoid"), probability, ~label).kind
    'sigmoid'

    Args:
        spec: kind of calibration.
        probability: out-of-fold predictions, [rows].
        label: what came true, [rows].

    Raises:
        DataError: a prediction is not a number.
    """
    if isinstance(spec, NoCalibration):
        return Calibrator(kind="none")
    invalid_count = int(np.count_nonzero(~np.isfinite(probability)))
    if invalid_count:
        raise DataError(
            f"calibration: {invalid_count:,} of {len(probability):,} out-of-fold predictions are not numbers; fix the model"
        )
    if label.all() or not label.any():
        return Calibrator(kind="none", note=f"the {len(label):,} out-of-fold labels are all the same: nothing can be calibrated")
    if isinstance(spec, Isotonic):
        return isotonic(probability, label, spec.knots)
    return sigmoid(probability, label)


def sigmoid(probability: Floats, label: NDArray[np.bool_]) -> Calibrator:
    """Slope and intercept of greatest likelihood on the log-odds.

    The targets are Platt's, (n₊ + 1) / (n₊ + 2) and 1 / (n₋ + 2), so that the maximum exists even where a threshold separates the
    classes; Newton's method with a halved step is that of Lin, Lin and Weng, *A note on Platt's probabilistic outputs for support
    vector machines*, Machine Learning 68 (2007). Platt maps a margin; on the log-odds (beta calibration's symmetric case: Kull,
    Silva Filho and Flach, AISTATS 2017) the identity is among the maps, so a calibrated model is left as it is.
    """
    odds = log_odds(probability)
    if np.ptp(odds) == 0:
        return Calibrator(kind="none", note="every prediction is the same: not calibrated")
    positives = int(np.count_nonzero(label))
    target = np.where(label, (positives + 1) / (positives + 2), 1 / (len(label) - positives + 2))
    inputs = np.column_stack([odds, np.ones_like(odds)])
    parameters = np.array([1.0, 0.0])
    loss = _cross_entropy(inputs @ parameters, target)
    for _ in range(100):
        predictions = expit(inputs @ parameters)
        gradient = inputs.T @ (predictions - target)
        if np.abs(gradient).max() < 1e-8 * len(label):
            break
        curvature = (inputs * (predictions * (1 - predictions))[:, None]).T @ inputs + 1e-12 * np.eye(2)
        step, size = np.linalg.solve(curvature, gradient), 1.0
        while size > 1e-10 and _cross_entropy(inputs @ (parameters - size * step), target) > loss:
            size /= 2
        parameters = parameters - size * step
        loss = _cross_entropy(inputs @ parameters, target)
    slope, intercept = float(parameters[0]), float(parameters[1])
    if not slope > 1e-6 or not np.isfinite(intercept):
        return Calibrator(kind="none", note=f"the labels do not rise with the prediction (slope {slope:.3g}): not calibrated")
    return Calibrator(kind="sigmoid", slope=slope, intercept=intercept)


def _cross_entropy(odds: Floats, target: Floats) -> float:
    return float(np.sum(np.logaddexp(0.0, odds) - target * odds))


def isotonic(probability: Floats, label: NDArray[np.bool_], knots: int) -> Calibrator:
    """The increasing map of least squares (pool adjacent violators), its blocks merged until at most `knots` are left.

    A block becomes one knot: its mean prediction and its label rate. The two neighbours are merged whose merging costs the fewest
    squares, so the map stays increasing. Rates are kept within 1 / (n + 2) of 0 and 1: a block of 20 negatives is no proof that
    the event cannot happen.
    """
    order = np.argsort(probability, kind="stable")
    value, first, count = np.unique(probability[order], return_index=True, return_counts=True)
    hits = np.add.reduceat(label[order].astype(np.float64), first)
    blocks: list[list[float]] = []  # rows, sum of predictions, positives
    for rows, prediction, positives in zip(count.tolist(), (value * count).tolist(), hits.tolist(), strict=True):
        blocks.append([rows, prediction, positives])
        while len(blocks) > 1 and blocks[-2][2] * blocks[-1][0] >= blocks[-1][2] * blocks[-2][0]:
            _merge(blocks, len(blocks) - 2)
    if len(blocks) < 2:
        return Calibrator(kind="none", note="the labels do not rise with the prediction: not calibrated")
    while len(blocks) > knots:
        _merge(blocks, int(np.argmin([_cost(left, right) for left, right in pairwise(blocks)])))
    x = tuple(prediction / rows for rows, prediction, _ in blocks)
    y = tuple(min(max(positives / rows, 1 / (rows + 2)), 1 - 1 / (rows + 2)) for rows, _, positives in blocks)
    return Calibrator(kind="isotonic", x=x, y=tuple(np.maximum.accumulate(y).tolist()))


def _merge(blocks: list[list[float]], at: int) -> None:
    blocks[at : at + 2] = [[left + right for left, right in zip(blocks[at], blocks[at + 1], strict=True)]]


def _cost(left: list[float], right: list[float]) -> float:
    difference = left[2] / left[0] - right[2] / right[0]
    return left[0] * right[0] / (left[0] + right[0]) * difference * difference
