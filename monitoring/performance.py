"""How the served model did on a matured window: metrics with intervals over days, beside the frozen baseline.

The first version is scored on the features as they were logged, so that nothing has to be looked up again: the same requests, the
same values, the same labels. What follows from it is asked in `policy`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monitoring.labels import labelled
from monitoring.reference.blocks import MIN_ROWS, PROBABILITY
from monitoring.reference.limits import MIN_BLOCKS, prediction_limit
from monitoring.windows import LoggedWindow, as_values, column_of, matures
from perennial.data.matrix import to_matrix
from perennial.evaluation.estimate import Estimate
from perennial.evaluation.metrics import (
    Baseline,
    BlockEvaluation,
    EvaluationBlock,
    compare,
    evaluate,
    log_losses,
    worst_where_invalid,
)
from perennial.evaluation.predictions import Predictions
from perennial.lifecycle.judgement import Champion, unlabelled_by_day
from perennial.loop.window import CriterionResult, Labels, Loss, Performance, WindowRecord
from perennial.spec.model import Model
from perennial.training.fitting import predict
from perennial.versions.thresholds import Thresholds

Floats = NDArray[np.float64]

EVALUATED: Final = "since the champion's evaluation began"
OUT_OF_FOLD: Final = "out-of-fold weeks of its training"


@dataclass(frozen=True)
class Served:
    """The version that a window is judged by."""

    digest: str
    threshold: float
    """Decide *positive* from this probability on."""
    baseline: Baseline
    """The rule to beat, from its training."""
    thresholds: Thresholds | None
    """None in a version that was registered without them."""


@dataclass(frozen=True)
class FrozenBaseline:
    """The first version there ever was, which is never trained again: what the loop is compared with."""

    digest: str
    champion: Champion


def perform(
    logged: LoggedWindow,
    labels: pd.DataFrame,
    model: Model,
    served: Served,
    frozen: FrozenBaseline | None,
    earlier: Mapping[datetime, float],
) -> Performance:
    """How the served model did on a matured window.

    Args:
        logged: the window.
        labels: those that were known when it matured, as `labels.labels_by` gives them.
        model: the spec.
        served: the version that answered most of it.
        frozen: the first version; None when there is none to be scored.
        earlier: mean log loss of the same version in earlier windows, by their begin.
    """
    frame = labelled(logged, labels, model.spec.requests.id)
    rows = frame[frame["label"].notna()].reset_index(drop=True)
    counts = Labels(matured_at=matures(logged.window, model), arrived=len(rows), missing=len(frame) - len(rows))
    if not len(rows):
        return Performance(labels=counts, label_rate=None, criteria=_criteria(model, {}))
    probability = rows[PROBABILITY].to_numpy(dtype=np.float64)
    predictions = Predictions(probability, rows["label"].to_numpy(dtype=bool), times(rows))
    block = EvaluationBlock(logged.window.start, logged.window.end, unlabelled_by_day(frame["label"], frame["time"]))
    evaluation = _evaluated(predictions, block, model, served.baseline, served.threshold)
    beside, reason, gain = _frozen(predictions, block, rows, logged, model, served, frozen)
    return Performance(
        labels=counts,
        label_rate=evaluation.label_rate,
        metrics=evaluation.metrics,
        missing=evaluation.missing,
        frozen=beside,
        frozen_reason=reason,
        gain=gain,
        loss=loss_of(predictions, rows, logged, served, earlier),
        criteria=_criteria(model, evaluation.metrics),
    )


def _evaluated(
    predictions: Predictions, block: EvaluationBlock, model: Model, baseline: Baseline, threshold: float
) -> BlockEvaluation:
    return evaluate(
        predictions,
        block,
        utility=model.spec.objective.utility,
        evaluation=model.spec.evaluation,
        baseline=baseline,
        threshold=threshold,
        seed=model.spec.training.seed,
    )


def times(frame: pd.DataFrame) -> NDArray[np.datetime64]:
    """UTC times of logged rows, microseconds."""
    return np.asarray(frame["time"].dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(), dtype="datetime64[us]")


def _frozen(
    predictions: Predictions,
    block: EvaluationBlock,
    known: pd.DataFrame,
    logged: LoggedWindow,
    model: Model,
    served: Served,
    frozen: FrozenBaseline | None,
) -> tuple[dict[str, Estimate], str, Estimate | None]:
    """Metrics of the first version, why there are none, and what the served versions gained over it."""
    if frozen is None:
        return {}, "there is no first version to be scored", None
    if set(logged.versions) <= {frozen.digest}:
        return {}, "the first version is what served", None
    scored = score(frozen.champion, known)
    if isinstance(scored, str):
        return {}, scored, None
    threshold = frozen.champion.contract.threshold
    evaluation = _evaluated(predictions.scored(scored), block, model, served.baseline, threshold)
    if evaluation.days < 2:
        return evaluation.metrics, "", None
    paired = compare(
        predictions,
        scored,
        thresholds=(served.threshold, threshold),
        utility=model.spec.objective.utility,
        evaluation=model.spec.evaluation,
        basis="what was served and the first version, on the same requests",
        seed=model.spec.training.seed,
    )
    return evaluation.metrics, "", paired.utility_difference


def score(champion: Champion, rows: pd.DataFrame) -> Floats | str:
    """Calibrated probabilities of a version on logged rows, or why it cannot be scored."""
    columns = champion.contract.columns
    logged_names = {column.name: column_of(rows, column.name) for column in columns}
    missing = [name for name, logged_name in logged_names.items() if logged_name is None]
    if missing:
        return f"the first version cannot be scored: {', '.join(missing)} is not in the log"
    values = {column.name: as_values(rows[logged_names[column.name]], column.dtype == "string") for column in columns}
    matrix = to_matrix(pd.DataFrame(values), columns)
    raw = predict(champion.model, matrix, columns, champion.contract.recipe)
    return champion.contract.calibrator.apply(raw)


def loss_of(
    predictions: Predictions,
    known: pd.DataFrame,
    logged: LoggedWindow,
    served: Served,
    earlier: Mapping[datetime, float],
) -> Loss | None:
    """Whether the model is degraded; None when the version answered none of the labelled rows."""
    probability, label = predictions.probability, predictions.label
    is_served = known["version"].to_numpy(dtype=object) == served.digest
    if not is_served.any():
        return None
    answered, _ = worst_where_invalid(probability[is_served], label[is_served])
    value = float(log_losses(answered, label[is_served]).mean())
    baseline = float(log_losses(np.full(len(answered), served.baseline.probability), label[is_served]).mean())
    before = [loss for start, loss in sorted(earlier.items()) if start < logged.window.start]
    return judged_loss(value, served.thresholds, before, baseline if len(answered) >= MIN_ROWS else None)


def judged_loss(value: float, thresholds: Thresholds | None, windows: Sequence[float], baseline: float | None = None) -> Loss:
    """A window's mean log loss against the weeks that the version was judged by, and against the baseline on the same rows.

    Args:
        value: mean log loss.
        thresholds: of the version.
        windows: mean log loss of its earlier windows, without those that were broken or in which it was degraded.
        baseline: that of the constant rate of the training; None with too few rows.
    """
    evaluated = [] if thresholds is None else [week.log_loss for week in thresholds.evaluated]
    weeks, is_recent = [*evaluated, *windows], True
    if len(weeks) < MIN_BLOCKS:
        weeks, is_recent = [] if thresholds is None else [week.log_loss for week in thresholds.out_of_fold], False
    basis = f"{len(weeks)} {'weeks ' + EVALUATED if is_recent else OUT_OF_FOLD}"
    limit = None
    if thresholds is not None and len(weeks) >= 2:
        limit = float(prediction_limit(np.array(weeks), thresholds.rate_per_test))
    is_above = limit is not None and value > limit
    is_worse = baseline is not None and value > baseline
    if limit is None:
        sentence = f"The mean log loss is {value:.4f}; with {basis} there is no limit for it."
    elif is_worse and not is_above:
        sentence = f"The mean log loss is {value:.4f}; the limit of {basis} is {limit:.4f}."
    else:
        sentence = f"The mean log loss is {value:.4f}, {'above' if is_above else 'within'} the limit {limit:.4f} of {basis}."
    if limit is not None and len(weeks) < MIN_BLOCKS:
        sentence += f" With fewer than {MIN_BLOCKS} weeks no false alarm rate is claimed."
    if is_worse:
        sentence += f" The baseline, the constant rate of the training, is better on the same predictions: {baseline:.4f}."
    if baseline is None:
        sentence += f" It is not compared with the baseline: fewer than {MIN_ROWS} predictions have a label."
    return Loss(
        value=value,
        limit=limit,
        blocks=len(weeks),
        basis=EVALUATED if is_recent else OUT_OF_FOLD,
        degraded=is_above or is_worse,
        baseline=baseline,
        sentence=sentence,
    )


def earlier_losses(records: Sequence[WindowRecord], digest: str) -> dict[datetime, float]:
    """Mean log loss of a version in the windows that were judged by it, by their begin.

    A window that was broken or in which it was degraded is left out: it would raise the limit, and hide what comes after it.
    """
    return {
        record.start: record.performance.loss.value
        for record in records
        if record.measurement.champion == digest
        and not record.measurement.broken
        and record.performance is not None
        and record.performance.loss is not None
        and not record.performance.loss.degraded
    }


def _criteria(model: Model, metrics: Mapping[str, Estimate]) -> tuple[CriterionResult, ...]:
    """The watched criteria, by their point estimates."""
    by_name = {criterion.name: criterion for criterion in model.spec.objective.criteria}
    results = []
    for name in model.spec.monitoring.criteria:
        criterion = by_name[name]
        value = metrics[criterion.metric].value if criterion.metric in metrics else None
        met = None
        if value is not None:
            met = (criterion.at_least is None or value >= criterion.at_least) and (
                criterion.at_most is None or value <= criterion.at_most
            )
        results.append(CriterionResult(name=name, metric=criterion.metric, value=value, met=met))
    return tuple(results)
