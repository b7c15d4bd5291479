import numpy as np
import pytest

from perennial.evaluation.utility import threshold, value
from perennial.spec.objective import Utility

CASES = [
    Utility(unit="points", true_positive=3.0, false_positive=-1.0),
    Utility(unit="euros", true_positive=80.0, false_positive=-20.0, true_negative=5.0, false_negative=-40.0),
    Utility(unit="minutes", true_positive=-5.0, false_positive=-5.5, true_negative=0.0, false_negative=-60.0),
]


@pytest.mark.parametrize("utility", CASES, ids=lambda utility: utility.unit)
def test_at_the_threshold_acting_is_worth_what_not_acting_is_worth(utility: Utility) -> None:
    cut = threshold(utility)
    acting = cut * utility.true_positive + (1 - cut) * utility.false_positive
    not_acting = cut * utility.false_negative + (1 - cut) * utility.true_negative
    assert 0 < cut < 1
    assert acting == pytest.approx(not_acting)


@pytest.mark.parametrize("utility", CASES, ids=lambda utility: utility.unit)
def test_with_calibrated_probabilities_no_other_cut_earns_more(utility: Utility) -> None:
    random = np.random.default_rng(0)
    probability = random.beta(1, 3, 200_000)
    label = random.random(200_000) < probability
    earned = {cut: value(utility, probability >= cut, label).mean() for cut in np.linspace(0, 1, 41)}
    best = max(earned.values())
    assert value(utility, probability >= threshold(utility), label).mean() >= best - 0.005 * abs(best)
