import math

import numpy as np
import pytest

from perennial.evaluation.bootstrap import Estimate, quantile
from perennial.evaluation.bounds import MAX_DAYS, Limit, chance, decide, digits_for, more_days

LEAST = Limit(0.70, at_least=True, margin=0.02)
MOST = Limit(0.50, at_least=False, margin=0.02)
BELOW = Limit(0.0, at_least=False, margin=0.02, strict=True)


def estimate(value: float, error: float, days: int = 28) -> Estimate:
    reach = quantile(0.95, days) * error
    return Estimate(value=value, low=value - reach, high=value + reach, standard_error=error)


@pytest.mark.parametrize(
    ("limit", "value", "error", "verdict"),
    [
        (LEAST, 0.73, 0.01, "pass"),
        (LEAST, 0.71, 0.01, "undecided"),
        (LEAST, 0.69, 0.01, "undecided"),
        (LEAST, 0.67, 0.01, "fail"),
        (LEAST, 0.70, 0.0, "pass"),
        (MOST, 0.47, 0.01, "pass"),
        (MOST, 0.49, 0.01, "undecided"),
        (MOST, 0.53, 0.01, "fail"),
        (BELOW, -0.02, 0.01, "pass"),
        (BELOW, -0.01, 0.01, "undecided"),
        (BELOW, 0.02, 0.01, "fail"),
        (BELOW, 0.0, 0.0, "fail"),
    ],
)
def test_the_end_of_the_interval_decides_and_not_the_point(limit: Limit, value: float, error: float, verdict: str) -> None:
    assert decide("It", estimate(value, error), limit, confidence=0.95, days=28).verdict == verdict


@pytest.mark.parametrize("value", [0.691, 0.709, 0.714])
def test_after_the_stated_days_the_same_value_would_be_decided_and_a_few_days_earlier_not(value: float) -> None:
    found = decide("It", estimate(value, 0.01), LEAST, confidence=0.95, days=28)
    more = found.numbers["needed_days"]
    assert found.verdict == "undecided"
    assert more is not None

    def after(days: float) -> str:
        reach = quantile(0.95, 28) * 0.01 * math.sqrt(28 / (28 + days))
        later = Estimate(value=value, low=value - reach, high=value + reach, standard_error=0.01)
        return decide("It", later, LEAST, confidence=0.95, days=28).verdict

    assert after(more) == ("pass" if value > 0.70 else "fail")
    assert after(more - 2) == "undecided"
    assert f"needs about {more:.0f} more day" in found.sentence


def test_a_value_on_the_limit_is_not_waited_for() -> None:
    found = decide("It", estimate(0.7000001, 0.01), LEAST, confidence=0.95, days=28)
    assert found.numbers["needed_days"] == MAX_DAYS
    assert "1,000 more days would not settle" in found.sentence


def test_more_days_are_never_less_than_one() -> None:
    assert more_days(distance=0.0199999, reach=0.02, days=7) == 1


@pytest.mark.parametrize(("margin", "error"), [(0.02, 0.005), (0.02, 0.01), (0.02, 0.02), (0.02, 0.1)])
def test_the_power_is_the_share_of_passes_when_the_truth_is_better_by_the_margin(margin: float, error: float) -> None:
    limit = Limit(0.70, at_least=True, margin=margin)
    values = np.random.default_rng(0).normal(0.70 + margin, error, 4_000)
    passes = np.mean(
        [decide("It", estimate(value, error), limit, confidence=0.95, days=28).verdict == "pass" for value in values]
    )
    stated = decide("It", estimate(0.7, error), limit, confidence=0.95, days=28).numbers["power"]
    assert passes == pytest.approx(stated, abs=0.03)


def test_without_any_error_a_margin_is_seen_for_sure_and_no_margin_never() -> None:
    assert chance(0.02, 0.0, 1.7) == 1.0
    assert chance(0.0, 0.0, 1.7) == 0.0


def test_numbers_are_written_with_one_digit_more_than_the_limit() -> None:
    assert digits_for(0.65, 0.02) == 3
    assert digits_for(0.1, 0.1) == 3
    assert digits_for(0.123456) == 4
