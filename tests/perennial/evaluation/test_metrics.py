from datetime import UTC, datetime

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from perennial.errors import DataError
from perennial.evaluation.calibration import expit, log_odds
from perennial.evaluation.metrics import Baseline, BlockEvaluation, Comparison, EvaluationBlock, baseline_of, compare, evaluate
from perennial.evaluation.predictions import Predictions
from perennial.spec.objective import Criterion, Objective, Utility
from perennial.spec.training import Evaluation

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Times = NDArray[np.datetime64]

UTILITY = Utility(unit="points", true_positive=3.0, false_positive=-1.0)
OBJECTIVE = Objective(
    question="Will it break?",
    action="Repair it",
    utility=UTILITY,
    success_criteria=(Criterion(name="ranks", metric="auc", at_least=0.6, margin=0.02, why="Else it is a coin."),),
)
EVALUATION = Evaluation(days=28, resamples=400, confidence=0.95)
BASELINE = Baseline(probability=0.25, acts=True)


def block(days: int = 28, rows: int = 2_800, seed: int = 0) -> tuple[Floats, Bools, Times]:
    random = np.random.default_rng(seed)
    day = np.arange(rows) * days // rows
    odds = random.normal(-1.2, 1.0, rows)
    label = random.random(rows) < expit(odds + random.normal(0, 0.3, days)[day])
    return expit(odds), label, np.datetime64("2020-02-01T06", "us") + day * np.timedelta64(1, "D")


def evaluated(
    probability: Floats, label: Bools, time: Times, unlabelled: dict[str, tuple[int, int]] | None = None
) -> BlockEvaluation:
    return evaluate(
        Predictions(probability, label, time),
        EvaluationBlock(
            datetime(2020, 2, 1, tzinfo=UTC),
            datetime(2020, 2, 29, tzinfo=UTC),
            {f"2020-02-{day:02}": (2, 102) for day in range(1, 29)} if unlabelled is None else unlabelled,
        ),
        utility=UTILITY,
        evaluation=EVALUATION,
        baseline=BASELINE,
        threshold=0.25,
        seed=1,
    )


def compared(challenger: Floats, champion: Floats, label: Bools, time: Times) -> Comparison:
    return compare(
        Predictions(challenger, label, time),
        champion,
        thresholds=(0.25, 0.25),
        utility=UTILITY,
        evaluation=EVALUATION,
        basis="both versions",
        seed=1,
    )


def test_point_estimates_are_those_of_scikit_learn() -> None:
    probability, label, time = block()
    found = evaluated(probability, label, time).metrics
    assert found["auc"].value == pytest.approx(roc_auc_score(label, probability), abs=1e-12)
    assert found["average_precision"].value == pytest.approx(average_precision_score(label, probability), abs=1e-12)
    assert found["log_loss"].value == pytest.approx(log_loss(label, probability), abs=1e-12)
    assert found["brier"].value == pytest.approx(brier_score_loss(label, probability), abs=1e-12)
    assert found["calibration_gap"].value == pytest.approx(abs(probability.mean() - label.mean()), abs=1e-12)
    assert found["baseline_log_loss"].value == pytest.approx(log_loss(label, np.full(len(label), 0.25)), abs=1e-12)


def test_utility_is_what_was_earned_above_the_constant_action() -> None:
    probability, label, time = block()
    found = evaluated(probability, label, time).metrics
    acted = np.where(probability >= 0.25, np.where(label, 3.0, -1.0), 0.0)
    always = np.where(label, 3.0, -1.0)
    assert found["baseline_utility"].value == pytest.approx(1000 * always.mean())
    assert found["utility"].value == pytest.approx(1000 * (acted.mean() - always.mean()))


def test_the_same_inputs_give_the_same_evaluation_and_it_survives_its_json() -> None:
    first, again = evaluated(*block()), evaluated(*block())
    assert first.to_json() == again.to_json()
    assert BlockEvaluation.model_validate_json(first.to_json()) == first


def test_requests_without_a_label_are_counted_by_day() -> None:
    found = evaluated(*block(), unlabelled={"2020-02-01": (10, 20), "2020-02-02": (0, 80), "2020-02-03": (0, 0)})
    assert found.unlabelled == 10
    assert found.metrics["unlabelled_share"].value == pytest.approx(0.1)
    assert found.metrics["unlabelled_share"].high > 0.3


def test_intervals_are_wider_than_those_of_independent_rows_where_days_are_alike() -> None:
    probability, label, time = block(rows=28_000)
    by_rows = ((probability - label) ** 2).std() / np.sqrt(28_000)
    assert evaluated(probability, label, time).metrics["brier"].standard_error > 1.5 * by_rows


def test_a_block_without_labels_is_an_error_that_says_so() -> None:
    probability, label, time = block()
    with pytest.raises(DataError, match="2020-02-01 to 2020-02-29 has no labelled request"):
        evaluated(probability[:0], label[:0], time[:0])


def test_without_positives_the_ranking_is_left_out_and_the_rest_is_there() -> None:
    probability, label, time = block()
    found = evaluated(probability, np.zeros_like(label), time)
    assert {"auc", "average_precision"} == set(found.missing)
    assert "a class occurs on 0 days" in found.missing["auc"]
    assert found.metrics["log_loss"].value > 0
    assert found.roc.x == ()


def test_with_positives_on_few_days_the_ranking_is_as_unsure_as_those_days_are_few() -> None:
    probability, label, time = block()
    few = label & np.isin(time.astype("datetime64[D]"), np.unique(time.astype("datetime64[D]"))[:3])
    found = evaluated(probability, few, time).metrics["auc"]
    assert found.high - found.value > 2.5 * found.standard_error or found.high == 1.0


def test_one_day_makes_no_interval_and_no_metric() -> None:
    probability, label, time = block(days=1, rows=100)
    found = evaluated(probability, label, time)
    assert set(found.metrics) == {"unlabelled_share"}
    assert "one day makes no interval" in found.missing["utility"]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -0.1, 1.1])
def test_what_is_no_probability_counts_as_the_worst_answer_and_is_counted(wrong: float) -> None:
    probability, label, time = block()
    sound = evaluated(probability, label, time)
    probability[:5] = wrong
    found = evaluated(probability, label, time)
    assert found.invalid == 5
    assert found.metrics["log_loss"].value > sound.metrics["log_loss"].value
    assert compared(probability, np.full(2_800, 0.25), label, time).invalid == 5
    assert compared(np.full(2_800, 0.25), probability, label, time).invalid == 5


def test_a_model_compared_with_itself_differs_by_nothing() -> None:
    probability, label, time = block()
    found = compared(probability, probability, label, time)
    assert found.auc_difference is not None
    for estimate in (found.log_loss_ratio, found.auc_difference, found.utility_difference):
        assert (estimate.value, estimate.low, estimate.high) == (0, 0, 0)


def test_a_comparison_is_the_difference_on_the_same_rows_and_surer_than_either() -> None:
    probability, label, time = block(rows=14_000)
    worse = expit(log_odds(probability) + np.random.default_rng(5).normal(0, 0.5, 14_000))
    found = compared(worse, probability, label, time)
    assert found.auc_difference is not None
    assert found.auc_difference.value == pytest.approx(roc_auc_score(label, worse) - roc_auc_score(label, probability), abs=1e-12)
    assert found.log_loss_ratio.value == pytest.approx(log_loss(label, worse) / log_loss(label, probability) - 1, abs=1e-12)
    single = evaluated(probability, label, time).metrics
    assert found.log_loss_ratio.standard_error < single["log_loss"].standard_error / single["log_loss"].value
    assert found.log_loss_ratio.low > 0


def test_thresholds_of_the_two_models_are_their_own() -> None:
    probability, label, time = block()
    never = compare(
        Predictions(probability, label, time),
        probability,
        thresholds=(0.25, 2.0),
        utility=UTILITY,
        evaluation=EVALUATION,
        basis="both versions",
        seed=1,
    )
    assert never.utility_difference.value == pytest.approx(
        1000 * np.where(probability >= 0.25, np.where(label, 3.0, -1.0), 0.0).mean()
    )


def test_compared_rows_without_positives_have_no_auc_difference() -> None:
    probability, label, time = block()
    assert compared(probability, probability, np.zeros_like(label), time).auc_difference is None


def test_the_baseline_acts_where_acting_always_pays_more() -> None:
    assert baseline_of(np.array([True] * 26 + [False] * 74), UTILITY).acts
    assert not baseline_of(np.array([True] * 24 + [False] * 76), UTILITY).acts
    with pytest.raises(DataError, match="found none"):
        baseline_of(np.array([], dtype=bool), UTILITY)
