"""How good probabilities are on a block of time: estimates with intervals from a bootstrap over days.

The records that the evaluation stores, and the functions that fill them. What is good enough is decided in `gates`;
where a model is worst, in `slices`.

A probability that is not a number between 0 and 1 counts as the worst answer there is, and is counted: a metric never looks
better, and is never lost, because a model broke. A metric that the labels do not determine (an AUC without positives) is left
out, with the reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from pydantic import Field, field_validator

from perennial.errors import DataError
from perennial.evaluation import bootstrap
from perennial.evaluation.bootstrap import Estimate as Estimate
from perennial.evaluation.bootstrap import Resamples
from perennial.evaluation.curves import Curve as Curve
from perennial.evaluation.curves import curves
from perennial.evaluation.estimate import OLD_METRICS
from perennial.evaluation.predictions import Bools, Floats, Predictions
from perennial.evaluation.utility import PER_REQUESTS, threshold, value
from perennial.record import Record, old_keys
from perennial.spec.objective import Utility
from perennial.spec.training import Evaluation

RANKING = ("auc", "average_precision")
"""Metrics that need both classes."""
LABELLED = (
    *RANKING,
    "log_loss",
    "brier",
    "calibration_gap",
    "utility",
    "baseline_log_loss",
    "baseline_brier",
    "baseline_utility",
)
"""Metrics that need labels."""


class BlockEvaluation(Record):
    """Metrics of one model on one block."""

    start: str
    """Begin of the block, ISO 8601 UTC, inclusive."""
    end: str
    """End of the block, ISO 8601 UTC, exclusive."""
    days: int
    """Days with labelled rows: the units of the bootstrap."""
    rows: int
    """Labelled rows."""
    unlabelled: int
    """Requests of the block that have no label; they are in no metric."""
    label_rate: float
    """Share of positives among the labelled rows."""
    threshold: float
    """Decision threshold that was applied."""
    confidence: float
    """One-sided confidence of `low` and `high` of each estimate."""
    metrics: dict[str, Estimate]
    """auc, average_precision, log_loss, brier, calibration_gap, utility, unlabelled_share, and those of the baseline:
    baseline_log_loss, baseline_brier, baseline_utility. `utility` is per 1000 labelled requests, less what the baseline's
    constant action earned on the same rows; `baseline_utility` is what that action earned. What cannot be computed is not in
    it."""
    missing: dict[str, str] = Field(default_factory=dict)
    """Why a metric is not in `metrics`, by its name."""
    _old = old_keys("metrics", "missing", **OLD_METRICS)
    invalid: int = 0
    """Rows whose probability was not a number between 0 and 1; they count as the worst answer, and no gate passes."""
    roc: Curve
    """False positive rate against true positive rate, at most 200 points."""
    precision_recall: Curve
    """Recall against precision, at most 200 points."""
    reliability: Curve
    """Mean probability against label rate in ten equally filled bins."""


class Comparison(Record):
    """Challenger less champion, paired on the same rows."""

    basis: str
    """One sentence: which rows, and whether the versions or the recipes were compared."""
    days: int
    """Days of the block."""
    rows: int
    """Labelled rows."""
    log_loss_ratio: Estimate
    """(challenger - champion) / champion of the mean log loss; below 0 is better."""
    auc_difference: Estimate | None
    """Challenger - champion; above 0 is better. Null where a class occurs on fewer than two days."""
    utility_difference: Estimate
    """Challenger - champion per 1000 labelled requests; above 0 is better."""
    invalid: int = 0
    """Rows on which the challenger's or the champion's probability was not a number between 0 and 1; no gate passes then."""


class SegmentResult(Record):
    """One group of the block."""

    name: str
    """The group in words: `colour = red`, `size ≥ 28.4`."""
    column: str
    """Column that defines it."""
    rows: int
    """Labelled rows."""
    days: int
    """Days on which it occurs."""
    label_rate: float
    """Share of positives."""
    log_loss: float
    """Mean log loss of the model in the group."""
    excess: Estimate
    """Relative increase of the group's log loss over the comparator's in the same rows: (model - comparator) / comparator."""
    comparator: str
    """`champion` or `baseline`; for a found group `the same model, corrected for this group`."""
    judged: bool
    """Whether it has enough support for the gate."""
    _old = old_keys(rival="comparator")

    @field_validator("comparator", mode="before")
    @classmethod
    def _today(cls, name: object) -> object:
        return "baseline" if name == "naive rule" else name  # as an older release stored it


class ErrorAnalysis(Record):
    """Where the model is worst."""

    declared: tuple[SegmentResult, ...]
    """Groups of the objective's segments."""
    found: tuple[SegmentResult, ...]
    """The worst groups among all columns, worst first, found without being named."""
    note: str = ""
    """How the groups were found and what is not shown, in plain words."""


class Baseline(Record):
    """What one would do without a model: the same for every request, from the training rows."""

    probability: float
    """Label rate of the training rows."""
    acts: bool
    """Whether the better constant action on the training rows is to act always."""


def baseline_of(label: Bools, utility: Utility) -> Baseline:
    """The baseline of some training rows.

    >>> spec = Utility(unit="points", true_positive=3.0, false_positive=-1.0)
    >>> baseline_of(np.array([True, False, False, False, False]), spec)
    Baseline(probability=0.2, acts=False)
    >>> baseline_of(np.array([True, True, False]), spec).acts
    True

    Args:
        label: of the training rows, [rows].
        utility: of the objective.

    Raises:
        DataError: there are no rows.
    """
    if not len(label):
        raise DataError("the baseline needs labelled training rows; found none")
    rate = float(label.mean())
    return Baseline(probability=rate, acts=rate >= threshold(utility))


def log_losses(probability: Floats, label: Bools) -> Floats:
    """The log loss of each row. A probability is cut at 1e-15 and 1 - 1e-15, so that it stays finite.

    >>> log_losses(np.array([0.5, 0.0]), np.array([True, True])).round(3).tolist()
    [0.693, 34.539]
    """
    losses: Floats = -np.log(np.clip(np.where(label, probability, 1 - probability), 1e-15, 1 - 1e-15))
    return losses


def worst_where_invalid(probability: Floats, label: Bools) -> tuple[Floats, int]:
    """The probabilities, what is not a number between 0 and 1 replaced by certainty of the wrong answer; and how many were.

    >>> worst_where_invalid(np.array([0.3, np.nan, 1.5]), np.array([True, True, False]))
    (array([0.3, 0. , 1. ]), 2)
    """
    valid = (probability >= 0) & (probability <= 1)
    return np.where(valid, probability, (~label).astype(np.float64)), int(np.count_nonzero(~valid))


@dataclass(frozen=True)
class EvaluationBlock:
    """The stretch of time that is evaluated, with all of its requests."""

    start: datetime
    """Begin, UTC."""
    end: datetime
    """End, exclusive, UTC."""
    unlabelled_by_day: Mapping[str, tuple[int, int]]
    """Requests without a label and all requests, by ISO date."""


def evaluate(
    predictions: Predictions,
    block: EvaluationBlock,
    *,
    utility: Utility,
    evaluation: Evaluation,
    baseline: Baseline,
    threshold: float,
    seed: int,
) -> BlockEvaluation:
    """How good the probabilities are on the labelled rows of a block, each metric with an interval over days.

    Args:
        predictions: the labelled rows of the block.
        block: where they are from.
        utility: of the objective.
        evaluation: resamples and confidence.
        baseline: the rule to beat.
        threshold: decide *positive* from this probability on.
        seed: of the resamples.

    Raises:
        DataError: the block has no labelled row.
    """
    if not len(predictions):
        span = f"{block.start:%Y-%m-%d} to {block.end:%Y-%m-%d}"
        raise DataError(f"the evaluation block {span} has no labelled request: nothing can be judged")
    probability, invalid = worst_where_invalid(predictions.probability, predictions.label)
    valid, days = predictions.scored(probability), predictions.days
    metrics, missing = dict[str, Estimate](), dict[str, str]()
    if days < 2:
        missing |= dict.fromkeys(LABELLED, f"the block has labelled requests on {days} day only: one day makes no interval")
    else:
        resamples = Resamples.draw(predictions.time, evaluation.resamples, seed)
        _add_ranking(metrics, missing, valid, resamples, evaluation.confidence)
        _add_means(metrics, valid, resamples, evaluation.confidence, utility, baseline, threshold)
    _add_unlabelled(metrics, missing, block.unlabelled_by_day, evaluation, seed)
    return BlockEvaluation(
        start=block.start.isoformat(),
        end=block.end.isoformat(),
        days=days,
        rows=len(predictions),
        unlabelled=sum(count for count, _ in block.unlabelled_by_day.values()),
        label_rate=float(predictions.label.mean()),
        threshold=threshold,
        confidence=evaluation.confidence,
        metrics=metrics,
        missing=missing,
        invalid=invalid,
        **curves(probability, predictions.label),
    )


def class_days(label: Bools, resamples: Resamples) -> int:
    """On how many days the class occurs that occurs on fewer: what a ranking is estimated from."""
    return min(resamples.days_with(label), resamples.days_with(~label))


def class_days_reason(units: int) -> str:
    """Why there is no ranking metric."""
    return f"a class occurs on {units} {'day' if units == 1 else 'days'} only: a ranking needs both classes on two days at least"


def _add_ranking(
    metrics: dict[str, Estimate], missing: dict[str, str], predictions: Predictions, resamples: Resamples, confidence: float
) -> None:
    probability, label = predictions.probability, predictions.label
    units = class_days(label, resamples)
    if units < 2:
        missing |= dict.fromkeys(RANKING, class_days_reason(units))
        return
    weights = np.vstack([np.ones(resamples.count), resamples.weights])
    counts = bootstrap.pair_counts(probability, label, resamples)
    statistics = {
        "auc": bootstrap.auc(counts, resamples.sums(label), resamples.sums(~label), weights),
        "average_precision": bootstrap.average_precision(probability, label, resamples.day, weights),
    }
    for name, values in statistics.items():
        metrics[name] = bootstrap.interval(float(values[0]), values[1:], resamples.count, confidence, units, (0.0, 1.0))


def _add_means(
    metrics: dict[str, Estimate],
    predictions: Predictions,
    resamples: Resamples,
    confidence: float,
    utility: Utility,
    baseline: Baseline,
    threshold: float,
) -> None:
    probability, label = predictions.probability, predictions.label
    rows = resamples.sums(np.ones(len(label)))
    constant, baseline_decisions = np.full(len(label), baseline.probability), np.full(len(label), baseline.acts)
    baseline_earnings = value(utility, baseline_decisions, label)
    earnings = value(utility, probability >= threshold, label)
    infinite = float("inf")
    means: dict[str, tuple[Floats, tuple[float, float]]] = {
        "log_loss": (log_losses(probability, label), (0.0, infinite)),
        "brier": ((probability - label) ** 2, (0.0, 1.0)),
        "utility": (PER_REQUESTS * (earnings - baseline_earnings), (-infinite, infinite)),
        "baseline_log_loss": (log_losses(constant, label), (0.0, infinite)),
        "baseline_brier": ((constant - label) ** 2, (0.0, 1.0)),
        "baseline_utility": (PER_REQUESTS * baseline_earnings, (-infinite, infinite)),
    }
    for name, (values, bounds) in means.items():
        metrics[name] = resamples.estimate(np.divide, resamples.sums(values), rows, confidence=confidence, bounds=bounds)
    gap = resamples.estimate(np.divide, resamples.sums(probability - label), rows, confidence=confidence)
    metrics["calibration_gap"] = absolute(gap)


def absolute(signed: Estimate) -> Estimate:
    """The size of a signed number, with the interval that follows: its upper end is not exceeded on either side.

    >>> absolute(Estimate(value=-0.02, low=-0.05, high=0.01, standard_error=0.018)).high
    0.05
    >>> absolute(Estimate(value=-0.02, low=-0.03, high=-0.01, standard_error=0.006)).low
    0.01
    """
    low = 0.0 if signed.low <= 0 <= signed.high else min(abs(signed.low), abs(signed.high))
    high = max(abs(signed.low), abs(signed.high))
    return Estimate(value=abs(signed.value), low=low, high=high, standard_error=signed.standard_error)


def _add_unlabelled(
    metrics: dict[str, Estimate],
    missing: dict[str, str],
    unlabelled_by_day: Mapping[str, tuple[int, int]],
    evaluation: Evaluation,
    seed: int,
) -> None:
    by_day = {day: counts for day, counts in unlabelled_by_day.items() if counts[1] > 0}
    if len(by_day) < 2:
        missing["unlabelled_share"] = f"requests were counted on {len(by_day)} days only: an interval needs two"
        return
    resamples = Resamples.draw(np.array(sorted(by_day), dtype="datetime64[us]"), evaluation.resamples, seed)
    counts = np.array([by_day[day] for day in sorted(by_day)], dtype=np.float64)
    metrics["unlabelled_share"] = resamples.estimate(
        np.divide, counts[:, 0], counts[:, 1], confidence=evaluation.confidence, bounds=(0.0, 1.0)
    )


def compare(
    challenger: Predictions,
    champion: Floats,
    *,
    thresholds: tuple[float, float],
    utility: Utility,
    evaluation: Evaluation,
    basis: str,
    seed: int,
) -> Comparison:
    """Challenger less champion on the same rows and the same resamples: what they share cancels.

    Args:
        challenger: the rows with its probabilities.
        champion: its calibrated probabilities of the same rows, [rows].
        thresholds: of the challenger and of the champion.
        utility: of the objective.
        evaluation: resamples and confidence.
        basis: one sentence: which rows, and what was compared.
        seed: of the resamples.

    Raises:
        DataError: there are labelled rows of fewer than two days.
    """
    label = challenger.label
    probability, invalid = worst_where_invalid(challenger.probability, label)
    champion_probability, champion_invalid = worst_where_invalid(champion, label)
    resamples = Resamples.draw(challenger.time, evaluation.resamples, seed)
    total = resamples.sums
    earnings = value(utility, probability >= thresholds[0], label) - value(utility, champion_probability >= thresholds[1], label)
    units, difference = class_days(label, resamples), None
    if units >= 2:
        weights = np.vstack([np.ones(resamples.count), resamples.weights])
        counts = bootstrap.pair_counts(probability, label, resamples) - bootstrap.pair_counts(
            champion_probability, label, resamples
        )
        values = bootstrap.auc(counts, total(label), total(~label), weights)
        bounds = (-1.0, 1.0)
        difference = bootstrap.interval(float(values[0]), values[1:], resamples.count, evaluation.confidence, units, bounds)
    return Comparison(
        basis=basis,
        days=resamples.count,
        rows=len(label),
        log_loss_ratio=resamples.estimate(
            relative,
            total(log_losses(probability, label)),
            total(log_losses(champion_probability, label)),
            confidence=evaluation.confidence,
        ),
        auc_difference=difference,
        utility_difference=resamples.estimate(
            np.divide, total(PER_REQUESTS * earnings), total(np.ones(len(label))), confidence=evaluation.confidence
        ),
        invalid=max(invalid, champion_invalid),
    )


def relative(ours: Floats, theirs: Floats) -> Floats:
    """How much larger one total is than another, as a share of the other.

    >>> relative(np.array([11.0]), np.array([10.0])).round(3).tolist()
    [0.1]
    """
    share: Floats = (ours - theirs) / theirs
    return share
