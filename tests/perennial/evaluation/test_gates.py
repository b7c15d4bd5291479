"""Each gate is shown to fire and to stay silent on simulated days, through the evaluation and comparison that it reads."""

from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from perennial.evaluation.calibration import expit
from perennial.evaluation.gates import (
    GateResult,
    Judged,
    calibration_gate,
    champion_gates,
    criterion_gate,
    judge,
    passed,
    rank_agreement,
    segments_gate,
)
from perennial.evaluation.metrics import (
    Baseline,
    BlockEvaluation,
    Comparison,
    ErrorAnalysis,
    Estimate,
    EvaluationBlock,
    compare,
    evaluate,
)
from perennial.evaluation.predictions import Predictions
from perennial.evaluation.slices import Comparator, analyse
from perennial.spec.gates import CalibrationGate, Gates, NonInferiority, SegmentsGate
from perennial.spec.model import Specification
from perennial.spec.objective import Criterion, Metric, Objective, Utility
from perennial.spec.training import Evaluation

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

UTILITY = Utility(unit="points", true_positive=3.0, false_positive=-1.0)
EVALUATION = Evaluation(days=28, resamples=300, confidence=0.95)
MARGINS = NonInferiority(log_loss_margin=0.02, auc_margin=0.01, min_days=14)
SEGMENTS = SegmentsGate(min_rows=300, min_days=14, log_loss_margin=0.05)
NAMES = ("non-inferiority:log-loss", "non-inferiority:auc", "utility", "superiority")


@dataclass
class Block:
    """Days whose luck is common to their requests; `odds` is what the best model knows."""

    odds: Floats
    day: NDArray[np.intp]
    label: Bools
    seed: int = 0

    @classmethod
    def draw(cls, seed: int = 0, days: int = 28, rows: int = 400, day_effect: float = 0.2) -> "Block":
        random = np.random.default_rng(seed)
        day = np.repeat(np.arange(days), rows)
        odds = random.normal(-1.2, 1.2, days * rows)
        label = random.random(days * rows) < expit(odds + random.normal(0, day_effect, days)[day])
        return cls(odds, day, label, seed)

    @property
    def time(self) -> NDArray[np.datetime64]:
        return np.datetime64("2020-02-01T06", "us") + self.day * np.timedelta64(1, "D")

    def model(self, noise: float = 0.0, shift: float = 0.0, other: int = 0) -> Floats:
        """Probabilities of a model that errs, a third of it alike on a day; `other` makes another model that errs as much."""
        random = np.random.default_rng((self.seed, other))
        common = random.normal(0, noise, self.day.max() + 1)[self.day]
        return expit(self.odds + shift + np.sqrt(1 / 3) * common + np.sqrt(2 / 3) * random.normal(0, noise, len(self.odds)))

    def evaluate(self, probability: Floats, unlabelled: int = 2) -> BlockEvaluation:
        return evaluate(
            Predictions(probability, self.label, self.time),
            EvaluationBlock(
                datetime(2020, 2, 1, tzinfo=UTC),
                datetime(2020, 2, 29, tzinfo=UTC),
                {f"2020-02-{day:02}": (unlabelled, 100) for day in range(1, 29)},
            ),
            utility=UTILITY,
            evaluation=EVALUATION,
            baseline=Baseline(probability=0.25, acts=False),
            threshold=0.25,
            seed=3,
        )

    def compare(self, challenger: Floats, champion: Floats) -> Comparison:
        return compare(
            Predictions(challenger, self.label, self.time),
            champion,
            thresholds=(0.25, 0.25),
            utility=UTILITY,
            evaluation=EVALUATION,
            basis="both versions",
            seed=3,
        )


def objective(segments: tuple[str, ...] = ("depot",)) -> Objective:
    return Objective(
        question="Will it break?",
        action="Repair it",
        utility=UTILITY,
        success_criteria=(criterion("auc", at_least=0.70, margin=0.02, name="ranks-well"),),
        guard_rails=(criterion("unlabelled_share", at_most=0.1, margin=0.02, name="labels"),),
        segments=segments,
    )


def criterion(
    metric: Metric, *, at_least: float | None = None, at_most: float | None = None, margin: float, name: str = "it"
) -> Criterion:
    return Criterion(name=name, metric=metric, at_least=at_least, at_most=at_most, margin=margin, why="A reason.")


def against_champion(comparison: Comparison | None, changed: bool = False, champion: str = "") -> dict[str, GateResult]:
    results = champion_gates(
        MARGINS,
        cast(
            "Judged",
            SimpleNamespace(
                comparison=comparison, champion=champion, no_comparison="there is no champion yet", recipe_changed=changed
            ),
        ),
        0.95,
    )
    assert tuple(result.name for result in results) == NAMES
    return {result.name: result for result in results}


@pytest.fixture(scope="module")
def block() -> Block:
    return Block.draw()


@pytest.mark.parametrize(
    ("metric", "bound", "verdict"),
    [
        ("auc", {"at_least": 0.70}, "pass"),
        ("auc", {"at_least": 0.85}, "fail"),
        ("average_precision", {"at_least": 0.40}, "pass"),
        ("average_precision", {"at_least": 0.70}, "fail"),
        ("log_loss", {"at_most": 0.60}, "pass"),
        ("log_loss", {"at_most": 0.40}, "fail"),
        ("brier", {"at_most": 0.20}, "pass"),
        ("brier", {"at_most": 0.10}, "fail"),
        ("calibration_gap", {"at_most": 0.06}, "pass"),
        ("calibration_gap", {"at_least": 0.10}, "fail"),
        ("utility", {"at_least": 0.0}, "pass"),
        ("utility", {"at_least": 1000.0}, "fail"),
        ("unlabelled_share", {"at_most": 0.05}, "pass"),
        ("unlabelled_share", {"at_most": 0.01}, "fail"),
    ],
)
def test_a_criterion_on_every_metric_fires_and_stays_silent(
    block: Block, metric: Metric, bound: dict[str, float], verdict: str
) -> None:
    limit = criterion(metric, at_least=bound.get("at_least"), at_most=bound.get("at_most"), margin=0.02)
    result = criterion_gate(limit, block.evaluate(block.model()))
    assert result.verdict == verdict
    assert result.sentence.endswith(".")
    assert {"value", "low", "high", "limit", "margin", "power", "days", "needed_days"} == set(result.numbers)


def test_a_criterion_between_the_ends_of_the_interval_is_undecided_and_says_the_days(block: Block) -> None:
    evaluation = block.evaluate(block.model())
    limit = round(evaluation.metrics["auc"].low + 0.001, 4)
    result = criterion_gate(criterion("auc", at_least=limit, margin=0.02), evaluation)
    assert result.verdict == "undecided"
    assert (result.numbers["needed_days"] or 0) >= 1
    assert "more day" in result.sentence


def test_calibration_fires_on_a_shifted_model_and_not_on_a_calibrated_one(block: Block) -> None:
    gate = CalibrationGate(max_gap=0.05)
    silent, fires = (calibration_gate(gate, block.evaluate(block.model(shift=shift))) for shift in (0.0, 0.8))
    assert (silent.verdict, fires.verdict) == ("pass", "fail")
    assert (silent.numbers["power"] or 0) > 0.9
    assert calibration_gate(CalibrationGate(max_gap=0.005), block.evaluate(block.model())).numbers["power"] == 0


def test_without_a_champion_nothing_is_compared_and_the_reason_is_said() -> None:
    for result in against_champion(None, changed=True).values():
        assert result.verdict == "not applicable"
        assert result.sentence == "Not compared with a champion: there is no champion yet."


def test_a_champion_that_cannot_be_scored_leaves_the_run_undecided() -> None:
    for result in against_champion(None, champion="c0ffee").values():
        assert result.verdict == "undecided"
        assert "Nothing is shown against the champion" in result.sentence


def test_a_better_challenger_passes_every_gate_against_a_worse_champion(block: Block) -> None:
    results = against_champion(block.compare(block.model(), block.model(noise=1.0)), changed=True)
    assert {result.verdict for result in results.values()} == {"pass"}


def test_a_worse_challenger_fails_every_gate(block: Block) -> None:
    results = against_champion(block.compare(block.model(noise=1.0), block.model()), changed=True)
    assert {result.verdict for result in results.values()} == {"fail"}


def test_shuffled_labels_are_stopped(block: Block) -> None:
    shuffled = np.random.default_rng(9).normal(0.25, 0.02, len(block.label))
    results = against_champion(block.compare(shuffled, block.model()))
    assert results["non-inferiority:auc"].verdict == "fail"
    assert results["utility"].verdict == "fail"
    assert criterion_gate(criterion("auc", at_least=0.6, margin=0.02), block.evaluate(shuffled)).verdict == "fail"


def test_a_model_against_itself_is_no_worse_but_earns_no_more_and_is_not_superior(block: Block) -> None:
    probability = block.model()
    results = against_champion(block.compare(probability, probability), changed=True)
    assert [results[name].verdict for name in NAMES] == ["pass", "pass", "fail", "fail"]
    assert "+0.0 per 1000" in results["utility"].sentence


def test_superiority_is_asked_only_of_a_changed_recipe(block: Block) -> None:
    comparison = block.compare(block.model(noise=0.3), block.model(noise=0.3, other=1))
    assert against_champion(comparison, changed=False)["superiority"].verdict == "not applicable"
    assert against_champion(comparison, changed=True)["superiority"].verdict in ("undecided", "fail")


def test_a_comparison_on_too_few_days_is_undecided_and_says_how_many_are_missing() -> None:
    short = Block.draw(days=10)
    results = against_champion(short.compare(short.model(), short.model(noise=1.0)))
    assert {result.verdict for result in results.values()} == {"undecided"}
    assert results["utility"].numbers["needed_days"] == 4
    assert "needs 4 more days" in results["utility"].sentence


def test_a_true_loss_of_just_the_margin_passes_no_more_often_than_stated() -> None:
    """At the margin a pass is an error; its share must not exceed 1 - confidence by more than the simulation's own error."""
    large = Block.draw(seed=1000, days=3_000, rows=60)
    shift = _shift_that_costs(large, 0.02)
    passes, repeats = 0, 400
    for seed in range(repeats):
        small = Block.draw(seed=seed, rows=60)
        comparison = small.compare(small.model(shift=shift), small.model())
        passes += against_champion(comparison)["non-inferiority:log-loss"].verdict == "pass"
    assert passes / repeats <= 0.08  # stated .05; 400 repeats have a standard error of .011


def _shift_that_costs(block: Block, share: float) -> float:
    """Shift of the log-odds that raises the log loss by a share, by bisection on many days."""
    low, high = 0.0, 2.0
    for _ in range(30):
        middle = (low + high) / 2
        ratio = _ratio(block, middle)
        low, high = (middle, high) if ratio < share else (low, middle)
    return low


def _ratio(block: Block, shift: float) -> float:
    sign = np.where(block.label, -1.0, 1.0)
    worse, best = (np.logaddexp(0, sign * (block.odds + moved)).mean() for moved in (shift, 0.0))
    return float(worse / best - 1)


def test_equal_models_pass_as_often_as_the_power_says() -> None:
    passes, stated = [], []
    for seed in range(200):
        small = Block.draw(seed=seed, rows=60)
        found = against_champion(small.compare(small.model(noise=0.25), small.model(noise=0.25, other=1)))[
            "non-inferiority:log-loss"
        ]
        passes.append(found.verdict == "pass")
        stated.append(found.numbers["power"])
    assert 0.2 < np.mean(passes) < 0.98
    assert np.mean(passes) == pytest.approx(np.mean(np.array(stated, dtype=float)), abs=0.1)


def depots(block: Block) -> NDArray[np.object_]:
    return np.array(list("ABCDEFGH"), dtype=object)[np.arange(len(block.label)) % 8]


def analysed(block: Block, probability: Floats, comparator: Floats, values: NDArray[np.object_] | None = None) -> ErrorAnalysis:
    columns = {"depot": depots(block) if values is None else values}
    return analyse(
        columns,
        ("depot",),
        Predictions(probability, block.label, block.time),
        Comparator("champion", comparator),
        gate=SEGMENTS,
        evaluation=EVALUATION,
        seed=3,
    )


def test_a_group_that_suffers_is_named_and_stops_the_candidate(block: Block) -> None:
    suffers = depots(block) == "C"
    worse = np.where(suffers, block.model(noise=1.5), block.model())
    result = segments_gate(SEGMENTS, analysed(block, worse, block.model()), ("depot",), 0.95)
    assert result.verdict == "fail"
    assert "depot = C" in result.sentence
    assert result.numbers["harmed"] == 1


def test_groups_that_do_not_suffer_seldom_stop_a_candidate_although_there_are_eight() -> None:
    fired = 0
    for seed in range(60):
        small = Block.draw(seed=seed, rows=100)
        analysis = analysed(small, small.model(noise=0.3), small.model(noise=0.3, other=1))
        result = segments_gate(SEGMENTS, analysis, ("depot",), 0.95)
        fired += result.verdict == "fail"
        assert result.numbers["groups"] == 8
    assert fired <= 6  # stated: at most .05 of 60 expected


def test_groups_without_support_are_not_judged(block: Block) -> None:
    each = np.array([str(row % 200) for row in range(len(block.label))], dtype=object)
    result = segments_gate(SEGMENTS, analysed(block, block.model(noise=2.0), block.model(), each), ("depot",), 0.95)
    assert result.verdict == "not applicable"
    assert "300 labelled rows on 14 days" in result.sentence


def test_an_objective_without_segments_has_nothing_to_judge() -> None:
    nothing = ErrorAnalysis(declared=(), found=())
    assert segments_gate(SEGMENTS, nothing, (), 0.95).verdict == "not applicable"


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 2.0])
def test_a_probability_that_is_none_fails_every_gate(block: Block, wrong: float) -> None:
    probability = block.model()
    probability[17] = wrong
    evaluation = block.evaluate(probability)
    results = [
        criterion_gate(criterion("auc", at_least=0.1, margin=0.02), evaluation),
        calibration_gate(CalibrationGate(max_gap=0.9), evaluation),
        segments_gate(SEGMENTS, analysed(block, probability, block.model()), ("depot",), 0.95, evaluation.invalid),
        *against_champion(block.compare(probability, block.model(noise=2.0)), changed=True).values(),
        *against_champion(block.compare(block.model(), probability), changed=True).values(),
    ]
    assert {result.verdict for result in results} == {"fail"}
    assert "On one row" in results[0].sentence


def test_an_estimate_that_is_not_a_number_fails(block: Block) -> None:
    nothing = Estimate.model_construct(value=float("nan"), low=0.9, high=0.9, standard_error=0.0)
    evaluation = block.evaluate(block.model()).model_copy(update={"metrics": {"auc": nothing}})
    assert criterion_gate(criterion("auc", at_least=0.1, margin=0.02), evaluation).verdict == "fail"


def test_a_metric_that_the_labels_do_not_determine_is_undecided(block: Block) -> None:
    empty = Block(block.odds, block.day, np.zeros_like(block.label))
    result = criterion_gate(criterion("auc", at_least=0.5, margin=0.02), empty.evaluate(block.model()))
    assert result.verdict == "undecided"
    assert "a class occurs on 0 days" in result.sentence
    assert against_champion(empty.compare(block.model(), block.model()))["non-inferiority:auc"].verdict == "undecided"


def test_rank_agreement_fires_and_stays_silent() -> None:
    random = np.random.default_rng(0)
    ranks = random.random(2_000)
    near, far = ranks + random.normal(0, 0.02, 2_000), ranks + random.normal(0, 0.5, 2_000)
    assert rank_agreement(ranks, near, 0.95).verdict == "pass"
    assert rank_agreement(ranks, far, 0.95).verdict == "fail"
    assert rank_agreement(ranks, np.full(2_000, 0.5), 0.95).verdict == "fail"
    assert rank_agreement(ranks, np.where(ranks > 0.9, np.nan, ranks), 0.95).verdict == "fail"
    assert rank_agreement(ranks[:0], ranks[:0], 0.95).verdict == "fail"


@pytest.mark.parametrize("data", ["pass", "fail"])
def test_all_gates_speak_in_a_fixed_order_and_data_is_passed_through(block: Block, data: str) -> None:
    champion, challenger = block.model(noise=1.0), block.model()
    spec = SimpleNamespace(
        objective=objective(),
        evaluation=EVALUATION,
        gates=Gates(criteria=("ranks-well", "labels"), non_inferiority=MARGINS, segments=SEGMENTS),
    )
    judged = SimpleNamespace(
        evaluation=block.evaluate(challenger),
        comparison=block.compare(challenger, champion),
        no_comparison="",
        champion="c0ffee",
        analysis=analysed(block, challenger, champion),
        recipe_changed=True,
    )
    said = GateResult.model_validate({"name": "data", "verdict": data, "sentence": "All there.", "numbers": {"rows": 9.0}})
    results = judge(cast("Specification", spec), cast("Judged", judged), said)
    assert results[0] == said
    assert [result.name for result in results] == [
        "data",
        "criterion:ranks-well",
        "criterion:labels",
        "calibration",
        "segments",
        *NAMES,
    ]
    assert passed(results) is (data == "pass")
    for result in results[1:]:
        assert GateResult.model_validate_json(result.to_json()) == result
