"""Utility: what an answer is worth, and the decision threshold that follows from it. Nothing here is tuned on data."""

import numpy as np
from numpy.typing import NDArray

from perennial.spec.objective import Utility

PER_REQUESTS = 1000
"""Utilities are stated per so many requests."""


def threshold(utility: Utility) -> float:
    """The probability from which on acting is worth at least as much as not acting.

    Acting is worth `p · TP + (1 - p) · FP`, not acting `p · FN + (1 - p) · TN`. They are equal at
    `p = (TN - FP) / ((TN - FP) + (TP - FN))`; the spec guarantees that both differences are positive.

    >>> threshold(Utility(unit="points", true_positive=3.0, false_positive=-1.0))
    0.25
    >>> threshold(Utility(unit="points", true_positive=0.0, false_positive=-1.0, false_negative=-9.0))
    0.1
    """
    cost = utility.true_negative - utility.false_positive
    benefit = utility.true_positive - utility.false_negative
    return cost / (cost + benefit)


def value(utility: Utility, decision: NDArray[np.bool_], label: NDArray[np.bool_]) -> NDArray[np.float64]:
    """What each request was worth, by what was decided and what came true.

    >>> spec = Utility(unit="points", true_positive=3.0, false_positive=-1.0)
    >>> value(spec, np.array([True, True, False, False]), np.array([True, False, True, False])).tolist()
    [3.0, -1.0, 0.0, 0.0]

    Args:
        utility: of the objective.
        decision: whether it was acted, [rows].
        label: what came true, [rows].
    """
    action_utility = np.where(label, utility.true_positive, utility.false_positive)
    inaction_utility = np.where(label, utility.false_negative, utility.true_negative)
    return np.where(decision, action_utility, inaction_utility)
