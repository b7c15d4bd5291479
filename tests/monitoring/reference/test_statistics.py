"""The statistics are Evidently's own: equal to its report, in one direction, and there is none without values."""

import math
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

from monitoring.reference.statistics import Method, Values, size_in_deviations, statistic

RANDOM = np.random.default_rng(0)
NUMBERS = (RANDOM.normal(0.2, 1.1, 1000), RANDOM.normal(0, 1, 4000))
TEXTS = tuple(
    RANDOM.choice(np.array(list("abcdef"), dtype=object), size, p=p)
    for size, p in ((1000, [0.4, 0.2, 0.2, 0.1, 0.05, 0.05]), (4000, [0.35, 0.25, 0.2, 0.1, 0.05, 0.05]))
)
CASES: list[tuple[Method, str]] = [
    ("wasserstein", "numbers"),
    ("ks", "numbers"),
    ("psi", "numbers"),
    ("jensenshannon", "numbers"),
    ("psi", "texts"),
    ("jensenshannon", "texts"),
    ("chisquare", "texts"),
    ("mean", "numbers"),
]


def with_nulls(values: Any, null: object) -> Any:
    spoilt = values.copy()
    spoilt[::7] = null
    return spoilt


@pytest.fixture(scope="module")
def report() -> dict[str, float]:
    """What Evidently's report says of the same samples, by method and kind."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in monitoring.reference.statistics
        from evidently import DataDefinition, Dataset, Report
        from evidently.metrics import MeanValue, ValueDrift

        definition = DataDefinition(numerical_columns=["numbers"], categorical_columns=["texts"])
        now, before = (
            Dataset.from_pandas(
                pd.DataFrame({"numbers": with_nulls(NUMBERS[place], np.nan), "texts": with_nulls(TEXTS[place], None)}),
                data_definition=definition,
            )
            for place in (0, 1)
        )
        metrics = [ValueDrift(column=kind, method=method) for method, kind in CASES if method != "mean"]
        found = Report(metrics, include_tests=False).run(now, before).dict()["metrics"]
        means = [Report([MeanValue(column="numbers")]).run(side).dict()["metrics"][0]["value"] for side in (now, before)]
    scores = {f"{m} {kind}": float(f["value"]) for (m, kind), f in zip(CASES, found, strict=False)}
    return scores | {"mean now": float(means[0]), "mean before": float(means[1])}


@pytest.mark.parametrize(("method", "kind"), CASES)
def test_a_statistic_is_that_of_evidentlys_report(method: Method, kind: str, report: dict[str, float]) -> None:
    now, before = (
        with_nulls(NUMBERS[place], np.nan) if kind == "numbers" else with_nulls(TEXTS[place], None) for place in (0, 1)
    )
    found = statistic(now, before, method)
    assert found is not None and found > 0
    if method == "mean":
        expected = abs(report["mean now"] - report["mean before"]) / float(np.nanstd(before))
    else:
        score = report[f"{method} {kind}"]
        expected = -math.log10(score) if method in ("ks", "chisquare") else score
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("method", "kind"), CASES)
def test_a_larger_statistic_is_a_larger_difference(method: Method, kind: str) -> None:
    now, before = NUMBERS if kind == "numbers" else TEXTS
    further = now + 1.0 if kind == "numbers" else np.where(now == "a", "f", now)
    near, far = statistic(now, before, method), statistic(further, before, method)
    assert near is not None and far is not None and far > near


@pytest.mark.parametrize(("method", "kind"), CASES)
def test_a_column_without_values_has_no_statistic(method: Method, kind: str) -> None:
    now, before = NUMBERS if kind == "numbers" else TEXTS
    nothing: Values = np.full(50, np.nan) if kind == "numbers" else np.full(50, None, dtype=object)
    assert statistic(nothing, before, method) is None
    assert statistic(now, nothing, method) is None
    assert size_in_deviations(nothing, before, 1.0) is None


def test_texts_have_no_mean() -> None:
    with pytest.raises(ValueError, match="mean compares numbers"):
        statistic(TEXTS[0], TEXTS[1], "mean")


def test_the_size_of_a_difference_is_in_standard_deviations() -> None:
    before = NUMBERS[1]
    assert size_in_deviations(before + 0.5, before, 1.0) == pytest.approx(0.5, abs=1e-9)
    assert size_in_deviations(before, before, 1.0) == 0
    assert size_in_deviations(before * 2, before, 1.0) == pytest.approx(0.8, abs=0.05), "the same mean, twice the spread"
