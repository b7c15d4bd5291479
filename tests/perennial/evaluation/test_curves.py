import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from perennial.evaluation.curves import CURVE_POINTS, ranking_curves, reliability_curve


def scored(rows: int = 5_000) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    probability = random.beta(1, 3, rows)
    return probability, random.random(rows) < probability


def test_a_thinned_roc_keeps_its_area() -> None:
    probability, label = scored()
    roc, precision_recall = ranking_curves(probability, label)
    assert len(roc.x) <= CURVE_POINTS
    assert len(precision_recall.x) <= CURVE_POINTS
    assert (roc.x[0], roc.y[0], roc.x[-1], roc.y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(roc.y, roc.x) == pytest.approx(roc_auc_score(label, probability), abs=1e-3)
    assert precision_recall.x[-1] == 1


def test_a_calibrated_model_lies_on_the_diagonal_and_a_shifted_one_does_not() -> None:
    probability, label = scored(50_000)
    calibrated, shifted = reliability_curve(probability, label), reliability_curve(np.clip(probability + 0.1, 0, 1), label)
    assert np.abs(np.subtract(calibrated.x, calibrated.y)).max() < 0.03
    assert np.subtract(shifted.x, shifted.y).min() > 0.06


def test_fewer_rows_than_bins_make_fewer_bins() -> None:
    assert len(reliability_curve(np.array([0.1, 0.2]), np.array([True, False])).x) == 2
