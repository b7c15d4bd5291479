"""Findings of a made-up run in a domain of its own: every part filled, numbers that belong together."""

import json

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve, roc_auc_score, roc_curve

from perennial.data.dataset import DatasetInfo, ViewCounts
from perennial.data.validation import Validation
from perennial.evaluation.calibration import Calibrator
from perennial.evaluation.gates import GateResult
from perennial.evaluation.metrics import Baseline, BlockEvaluation, Comparison, Curve, ErrorAnalysis, Estimate, SegmentResult
from perennial.spec.columns import Column
from perennial.spec.features import Freshness
from perennial.spec.model import Model
from perennial.training.recipe import ColumnImportance, Recipe, SearchResult, Trial
from perennial.versions.contract import Contract
from perennial.versions.findings import CandidateSummary, Findings, GateResults, Judgement

SPEC = {
    "apiVersion": "perennial.dev/v1alpha1",
    "kind": "Model",
    "metadata": {"name": "parcel-late"},
    "spec": {
        "owner": "Depot team (depot@parcels.example)",
        "description": "Says how likely a parcel is to reach its customer after the promised hour.",
        "objective": {
            "question": "Will this parcel arrive after its promised hour?",
            "action": "The customer is told at once and may choose another day",
            "utility": {"unit": "points of customer satisfaction", "true_positive": 3.0, "false_positive": -1.0},
            "success_criteria": [
                {
                    "name": "ranks-well",
                    "metric": "auc",
                    "at_least": 0.65,
                    "margin": 0.02,
                    "why": "Below this, depots ignored it.",
                },
                {"name": "earns", "metric": "utility", "at_least": 0.0, "margin": 40.0, "why": "Else a fixed rule is cheaper."},
            ],
            "guard_rails": [
                {"name": "labels", "metric": "unlabelled_share", "at_most": 0.1, "margin": 0.02, "why": "Lost parcels count."}
            ],
            "segments": ["depot"],
        },
        "requests": {"source": "parcels", "id": "parcel_id", "fields": [{"name": "weight", "dtype": "float"}]},
        "features": {"service": "parcel_late", "freshness": [{"view": "road", "max_age_hours": 3.0}]},
        "label": {
            "source": "arrivals",
            "column": "late",
            "maturity_hours": 24.0,
            "never": "A parcel that was lost gets no label; its customer is paid, so it is worth nothing to this model.",
        },
        "training": {
            "window": {"kind": "expanding"},
            "candidates": [{"kind": "logistic"}, {"kind": "gradient_boosting"}],
            "calibration": {"kind": "sigmoid"},
            "seed": 7,
        },
        "gates": {"criteria": ["ranks-well", "earns"]},
        "monitoring": {"criteria": ["labels"]},
        "retraining": {"reasons": ["degraded", "scheduled", "manual"], "max_age_days": 61},
    },
}

COLUMNS = (
    Column(name="road_speed", dtype="float", view="road"),
    Column(name="road_closed", dtype="bool", view="road"),
    Column(name="depot_late_rate", dtype="float", view="depot"),
    Column(name="weight", dtype="float", view=None),
)
RECIPE = Recipe(
    kind="gradient_boosting",
    parameters={"learning_rate": 0.05, "iterations": 120, "max_leaf_nodes": 15},
    columns=("road_speed", "depot_late_rate", "weight"),
)


def estimate(value: float, width: float) -> Estimate:
    return Estimate(value=value, low=value - width, high=value + width, standard_error=width / 1.7)


def curve(x: np.ndarray, y: np.ndarray) -> Curve:
    step = max(1, len(x) // 100)
    keep = np.unique([*range(0, len(x), step), len(x) - 1])
    return Curve(x=tuple(float(v) for v in x[keep]), y=tuple(float(v) for v in y[keep]))


def block() -> BlockEvaluation:
    rng = np.random.default_rng(3)
    probability = rng.beta(2, 6, 20_000)
    label = rng.random(20_000) < probability
    bins = np.array_split(np.argsort(probability), 10)
    precision, recall, _ = precision_recall_curve(label, probability)
    false, true, _ = roc_curve(label, probability)
    auc = float(roc_auc_score(label, probability))
    metrics = {
        "auc": estimate(auc, 0.0193),
        "average_precision": estimate(0.4312, 0.0301),
        "log_loss": estimate(0.5213, 0.0188),
        "brier": estimate(0.1702, 0.0071),
        "calibration_gap": estimate(0.0123, 0.0174),
        "utility": estimate(213.4, 71.9),
        "unlabelled_share": estimate(0.0241, 0.0042),
        "baseline_log_loss": estimate(0.5633, 0.0211),
        "baseline_brier": estimate(0.1874, 0.0082),
        "baseline_utility": estimate(0.0, 0.0),
    }
    return BlockEvaluation(
        start="2031-03-04T00:00:00+00:00",
        end="2031-04-01T00:00:00+00:00",
        days=28,
        rows=20_000,
        unlabelled=493,
        label_rate=float(label.mean()),
        threshold=0.25,
        confidence=0.95,
        metrics=metrics,
        roc=curve(false, true),
        precision_recall=curve(recall[::-1], precision[::-1]),
        reliability=Curve(
            x=tuple(float(probability[part].mean()) for part in bins), y=tuple(float(label[part].mean()) for part in bins)
        ),
    )


def group(name: str, rows: int, value: float, width: float, comparator: str = "champion", judged: bool = True) -> SegmentResult:
    return SegmentResult(
        name=name,
        column=name.split(" ")[0],
        rows=rows,
        days=28 if judged else 9,
        label_rate=0.2731,
        log_loss=0.5477,
        excess=estimate(value, width),
        comparator=comparator,
        judged=judged,
    )


def search() -> SearchResult:
    everything = tuple(column.name for column in COLUMNS)
    trials = [
        (Recipe(kind="logistic", parameters={"c": c}, columns=everything), 0.5412 + c / 100, 0.6812, 1.42) for c in (0.01, 0.1)
    ]
    trials += [(RECIPE.model_copy(update={"columns": everything}), 0.5231, 0.7122, 6.31)]
    return SearchResult(
        mode="search",
        trials=tuple(Trial(recipe=r, log_loss=loss, auc=auc, fit_seconds=seconds) for r, loss, auc, seconds in trials),
        budget_spent=True,
        importances=(
            ColumnImportance(column="road_speed", mean=0.0214, standard_error=0.0011, selected=True),
            ColumnImportance(column="depot_late_rate", mean=0.0088, standard_error=0.0009, selected=True),
            ColumnImportance(column="weight", mean=0.0012, standard_error=0.0004, selected=True),
            ColumnImportance(column="road_closed", mean=-0.0001, standard_error=0.0002, selected=False),
        ),
        selection_note="1 of 4 columns was left out: without it the log loss does not rise.",
        recipe=RECIPE,
    )


def judgement() -> Judgement:
    return Judgement(
        evaluation=block(),
        comparison=Comparison(
            basis="Both versions on the same 20,000 rows, from 2031-03-04 on.",
            days=28,
            rows=20_000,
            log_loss_ratio=estimate(-0.0112, 0.0097),
            auc_difference=estimate(0.0061, 0.0052),
            utility_difference=estimate(11.3, 9.4),
        ),
        no_comparison="",
        analysis=ErrorAnalysis(
            declared=(
                group("depot = North", 9_120, -0.0213, 0.0181),
                group("depot = South", 6_204, 0.0042, 0.0262),
                group("depot = Isle | Pier", 312, 0.0811, 0.1123, judged=False),
            ),
            found=(
                group("road_speed ≥ 81.4", 1_204, 0.0712, 0.0513, "its own label rate"),
                group("weight is missing", 804, 0.0233, 0.0412, "its own label rate"),
            ),
            note="The worst groups were searched for among 31 groups of 4 columns on 14 days.",
        ),
        champion="c" * 64,
        recipe_changed=True,
    )


GATES = (
    GateResult(
        name="data", verdict="pass", sentence="61,204 labelled rows; at least 1,000 are needed.", numbers={"rows": 61_204}
    ),
    GateResult(
        name="criterion:ranks-well",
        verdict="pass",
        sentence="The AUC is at least 0.69; 0.65 was asked for.",
        numbers={"value": 0.7113, "low": 0.69, "high": 0.73, "limit": 0.65, "margin": 0.02, "power": 0.98, "needed_days": None},
    ),
    GateResult(name="segments", verdict="pass", sentence="No group with enough rows is shown to suffer.", numbers={}),
    GateResult(
        name="rank-agreement", verdict="pass", sentence="Ranks agree to 0.991; 0.95 was asked for.", numbers={"value": 0.991}
    ),
)


def info() -> DatasetInfo:
    return DatasetInfo(
        digest="d" * 64,
        model="parcel-late",
        id_column="parcel_id",
        join_keys=("depot",),
        columns=COLUMNS,
        service="parcel_late",
        service_digest="e" * 64,
        definitions_digest="f" * 64,
        now="2031-04-02T06:00:00+00:00",
        start="2031-01-01T00:00:00+00:00",
        evaluation_start="2031-03-04T00:00:00+00:00",
        end="2031-04-01T00:00:00+00:00",
        rows=82_911,
        labelled=81_204,
        rejected=17,
        views=(
            ViewCounts(view="road", lost=41, stale=1_933, median_age_hours=1.25),
            ViewCounts(view="depot", lost=3, stale=0, median_age_hours=None),
        ),
    )


def contract() -> Contract:
    return Contract(
        model="parcel-late",
        run_key="a1" * 32,
        service="parcel_late",
        service_digest="e" * 64,
        join_keys=("depot",),
        columns=tuple(column for column in COLUMNS if column.name in RECIPE.columns),
        freshness=(Freshness(view="road", max_age_hours=3.0, on_stale="default"),),
        recipe=RECIPE,
        calibrator=Calibrator(kind="sigmoid", slope=0.973, intercept=-0.0212),
        threshold=0.25,
        dataset="d" * 64,
        trained_from="2031-01-01T00:00:00+00:00",
        trained_until="2031-04-01T00:00:00+00:00",
        seed=7,
    )


def made_up() -> Findings:
    candidate = CandidateSummary(
        search=search(),
        calibrator=Calibrator(kind="sigmoid", slope=0.981, intercept=-0.0193),
        baseline=Baseline(probability=0.2502, acts=False),
        threshold=0.25,
        rows=61_204,
    )
    return Findings(
        model=Model.model_validate_json(json.dumps(SPEC)),
        info=info(),
        validation=Validation(gate=GATES[0], findings=()),
        candidate=candidate,
        judgement=judgement(),
        gates=GateResults(results=GATES),
        contract=contract(),
    )


@pytest.fixture(scope="session")
def findings() -> Findings:
    """A run that registered a version."""
    return made_up()


@pytest.fixture(scope="session")
def invalid(findings: Findings) -> Findings:
    """A run that the data stopped."""
    sentence = "Column weight is missing in 100 % of the rows; at most 90 % is allowed."
    gate = GateResult(name="data", verdict="fail", sentence=sentence, numbers={"value": 1.0, "limit": 0.9})
    return Findings(findings.model, findings.info, Validation(gate=gate, findings=("weight: every value is missing",)))
