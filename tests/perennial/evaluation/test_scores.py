"""The scores agree with scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from perennial.evaluation.scores import area_under_curve, row_log_loss


@pytest.mark.parametrize("decimals", [1, 3, 16])
def test_they_agree_with_scikit_learn_with_and_without_ties(decimals: int) -> None:
    random = np.random.default_rng(decimals)
    probability = np.clip(random.random(500).round(decimals), 0.001, 0.999)
    label = random.random(500) < probability
    assert row_log_loss(probability, label).mean() == pytest.approx(log_loss(label, probability))
    assert area_under_curve(probability, label) == pytest.approx(roc_auc_score(label, probability))


def test_a_sure_mistake_has_a_finite_loss() -> None:
    assert np.isfinite(row_log_loss(np.array([0.0, 1.0]), np.array([True, False]))).all()
