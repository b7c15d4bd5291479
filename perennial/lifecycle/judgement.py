"""The judgement of a candidate on the evaluation block: metrics, comparison with the champion, error analysis."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from perennial.data.dataset import Dataset, DatasetInfo
from perennial.data.rows import Rows, evaluation_rows, from_dataset, moment
from perennial.data.splits import time_folds
from perennial.evaluation.metrics import Comparison, EvaluationBlock, compare, evaluate
from perennial.evaluation.predictions import Predictions
from perennial.evaluation.slices import Comparator, analyse
from perennial.lifecycle.candidate import TrainedCandidate
from perennial.settings import Settings
from perennial.spec.model import Model
from perennial.training import model_file
from perennial.training.fitting import out_of_fold, predict
from perennial.training.side_by_side import Power
from perennial.versions import store as version_store
from perennial.versions.contract import Contract
from perennial.versions.findings import Judgement
from perennial.versions.folder import open_version

Answers = Callable[[DatasetInfo], Mapping[int | str, float]]
"""What the champion answered before, by the ids of requests of the evaluation block."""


def no_answers(_: DatasetInfo) -> Mapping[int | str, float]:
    """Nothing was ever logged."""
    return {}


def judge_candidate(
    dataset: Dataset,
    model: Model,
    trained: TrainedCandidate,
    settings: Settings,
    champion: str,
    answers: Answers = no_answers,
) -> Judgement:
    """Judge a candidate on the labelled requests of the evaluation block.

    Args:
        dataset: the rows, and what they are.
        model: the spec.
        trained: the candidate.
        settings: where the model versions are; the power of a fit.
        champion: digest of the champion's version folder; empty when there is none.
        answers: what the champion answered before; asked only where it cannot be scored on the rows.
    """
    frame, info = dataset
    spec, rows = model.spec, from_dataset(dataset)
    block = evaluation_rows(rows, info)
    requests = frame[frame["event_timestamp"] >= pd.Timestamp(info.evaluation_start)]
    predictions = Predictions(trained.probability(block, info), block.label, block.time)
    evaluation = evaluate(
        predictions,
        EvaluationBlock(
            datetime.fromisoformat(info.evaluation_start),
            datetime.fromisoformat(info.end),
            unlabelled_by_day(requests["label"], requests["event_timestamp"]),
        ),
        utility=spec.objective.utility,
        evaluation=spec.evaluation,
        baseline=trained.summary.baseline,
        threshold=trained.summary.threshold,
        seed=spec.training.seed,
    )
    basis = ComparisonBasis(Comparator("baseline", np.full(len(block), trained.summary.baseline.probability)))
    if champion:
        version = Champion.read(version_store.folder(settings, model.name, champion))
        sides = Sides(trained, version, info, model)
        basis = against_champion(sides, rows, predictions, basis.comparator, answers, Power.of(settings))
    analysis = analyse(
        segment_columns(dataset, block, model),
        spec.objective.segments,
        predictions,
        basis.comparator,
        gate=spec.gates.segments,
        evaluation=spec.evaluation,
        seed=spec.training.seed,
    )
    return Judgement(
        evaluation=evaluation,
        comparison=basis.comparison,
        no_comparison=basis.no_comparison,
        analysis=analysis,
        champion=champion,
        recipe_changed=basis.recipe_changed,
    )


class Champion:
    """The champion's model with its contract."""

    def __init__(self, model: Pipeline, contract: Contract) -> None:
        self.model, self.contract = model, contract

    @classmethod
    def read(cls, folder: Path) -> "Champion":
        """The champion stored in a version folder.

        Raises:
            DataError: a file of the folder is missing, foreign or not what its digest says.
            NotFoundError: there is no such folder.
        """
        version = open_version(folder)
        contract = Contract.read(version.file("contract"))
        return cls(model_file.load(version.file("model")), contract)

    def missing(self, info: DatasetInfo) -> list[str]:
        """Columns of the contract that the dataset does not have, or has with another type."""
        types = {column.name: column.dtype for column in info.columns}
        return [column.name for column in self.contract.columns if types.get(column.name) != column.dtype]

    def has_not_seen(self, rows: Rows) -> NDArray[np.bool_]:
        """Which rows begin after the champion's training ended."""
        return rows.time >= moment(self.contract.trained_until)

    def probability(self, rows: Rows, info: DatasetInfo) -> NDArray[np.float64]:
        """Calibrated probabilities of the rows."""
        raw = predict(self.model, rows.matrix, info.columns, self.contract.recipe)
        return self.contract.calibrator.apply(raw)


@dataclass(frozen=True)
class Sides:
    """Who is compared, and by what."""

    trained: TrainedCandidate
    """The candidate."""
    champion: Champion
    """The version that has the traffic."""
    info: DatasetInfo
    """What the dataset is."""
    model: Model
    """The spec."""


@dataclass(frozen=True)
class ComparisonBasis:
    """What a candidate is held against."""

    comparator: Comparator
    """What its groups are compared with: the champion where it has seen no row of the block, else the baseline."""
    comparison: Comparison | None = None
    """With the champion, on the same rows."""
    no_comparison: str = "there is no champion yet"
    """Why there is none; empty where there is one."""
    recipe_changed: bool = False
    """Whether the champion has another recipe."""


def against_champion(
    sides: Sides, everything: Rows, predictions: Predictions, baseline: Comparator, answers: Answers, power: Power
) -> ComparisonBasis:
    """Hold a candidate against the champion: by its scores, or by what it answered before where it cannot be scored.

    Args:
        sides: candidate and champion.
        everything: all labelled rows.
        predictions: of the candidate, on the evaluation block.
        baseline: the rule that groups are compared with where the champion has seen some of the block.
        answers: what the champion answered before; asked only where it cannot be scored.
        power: how many fits run side by side, and threads of each.
    """
    champion, info, block = sides.champion, sides.info, evaluation_rows(everything, sides.info)
    recipe_changed = champion.contract.recipe != sides.trained.recipe
    missing_columns = champion.missing(info)
    if missing_columns:
        comparison, days = compare_with_answers(champion, block, predictions, answers(info), sides.model, sides.trained)
        return ComparisonBasis(
            baseline, comparison, "" if comparison else unscored(sides.model, missing_columns, days), recipe_changed
        )
    comparison = compare_with(sides, everything, block, predictions, power)
    comparator = Comparator("champion", champion.probability(block, info)) if champion.has_not_seen(block).all() else baseline
    return ComparisonBasis(comparator, comparison, "", recipe_changed)


def compare_with(sides: Sides, everything: Rows, block: Rows, predictions: Predictions, power: Power) -> Comparison:
    """Compare candidate and champion on the same rows: those that neither was trained on, else recipe against recipe.

    The champion may have been trained on part of the block. When too few days are left after its training ended, both recipes
    are fitted and scored on the same rolling origins instead, the evaluation block being the last of them.

    Args:
        sides: candidate and champion.
        everything: all labelled rows.
        block: those of the evaluation block.
        predictions: of the candidate, on the block.
        power: how many fits run side by side, and threads of each.
    """
    trained, champion, info, model = sides.trained, sides.champion, sides.info, sides.model
    spec, unseen_mask = model.spec, champion.has_not_seen(block)
    comparison_of = partial(
        compare,
        thresholds=(trained.summary.threshold, champion.contract.threshold),
        utility=spec.objective.utility,
        evaluation=spec.evaluation,
        seed=spec.training.seed,
    )
    unseen_rows = block.take(unseen_mask)
    days = len(np.unique(unseen_rows.day))
    if days >= spec.gates.non_inferiority.min_days:
        basis = f"both versions on the {len(unseen_rows):,} labelled requests of {days} days that neither was trained on"
        return comparison_of(predictions.take(unseen_mask), champion.probability(unseen_rows, info), basis=basis)
    folds = time_folds(everything, spec.training.folds, datetime.fromisoformat(info.end))
    candidate_scores, champion_scores = (
        out_of_fold(everything, folds, recipe, info.columns, spec.training.seed, power)
        for recipe in (trained.recipe, champion.contract.recipe)
    )
    test_rows = everything.take(candidate_scores.index)
    basis = (
        f"both recipes on {len(folds)} rolling origins, {len(test_rows):,} labelled requests: only {days} days of the evaluation "
        "block begin after the champion's training ended"
    )
    candidate_predictions = Predictions(
        trained.summary.calibrator.apply(candidate_scores.probability), test_rows.label, test_rows.time
    )
    return comparison_of(candidate_predictions, champion.contract.calibrator.apply(champion_scores.probability), basis=basis)


def compare_with_answers(
    champion: Champion,
    block: Rows,
    predictions: Predictions,
    answers: Mapping[int | str, float],
    model: Model,
    trained: TrainedCandidate,
) -> tuple[Comparison | None, int]:
    """Compare a candidate with what the champion answered to the same requests before; and the days of those requests.

    None where they cover fewer days than the gates ask for.
    """
    spec = model.spec
    champion_probability = np.array([answers.get(request_id, np.nan) for request_id in block.ids.tolist()], dtype=np.float64)
    mask = champion.has_not_seen(block) & ~np.isnan(champion_probability)
    rows = block.take(mask)
    days = len(np.unique(rows.day))
    if days < spec.gates.non_inferiority.min_days:
        return None, days
    basis = (
        f"the candidate and what the champion answered to the same {len(rows):,} labelled requests of {days} days when it served "
        "them: it cannot be scored on them again"
    )
    return (
        compare(
            predictions.take(mask),
            champion_probability[mask],
            thresholds=(trained.summary.threshold, champion.contract.threshold),
            utility=spec.objective.utility,
            evaluation=spec.evaluation,
            seed=spec.training.seed,
            basis=basis,
        ),
        days,
    )


def unscored(model: Model, missing: list[str], days: int) -> str:
    """Why a champion cannot be compared with, and the way forward."""
    return (
        f"the champion cannot be scored: the dataset has no column {', '.join(missing)} (or another type of it), and "
        f"its logged answers cover {days} of the {model.spec.gates.non_inferiority.min_days} days that are needed; wait for "
        f"more, or a person replaces it: `perennial train {model.name} --replace --reason '…'`"
    )


def unlabelled_by_day(labels: "pd.Series[bool]", times: "pd.Series[pd.Timestamp]") -> dict[str, tuple[int, int]]:
    """Requests without a label and all requests of each day, by ISO date.

    Args:
        labels: of the requests, null where none is known.
        times: of the same requests, UTC.
    """
    counts = labels.isna().groupby(times.dt.strftime("%Y-%m-%d")).agg(["sum", "size"])
    return {str(day): (int(row["sum"]), int(row["size"])) for day, row in counts.iterrows()}


def segment_columns(dataset: Dataset, block: Rows, model: Model) -> dict[str, NDArray[np.object_]]:
    """The columns in which groups are looked for: every input of the model, and the declared segments."""
    frame, info = dataset
    names = list(dict.fromkeys([*model.spec.objective.segments, *(column.name for column in info.columns)]))
    rows = frame.set_index(info.id_column).loc[block.ids]
    return {name: rows[name].to_numpy(dtype=object) for name in names}
