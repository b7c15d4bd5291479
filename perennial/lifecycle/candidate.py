"""A trained candidate: a recipe fitted on what was known before the evaluation block, and how it was found."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from perennial.data.dataset import Dataset, DatasetInfo, exclusion_note
from perennial.data.rows import Rows, from_dataset, moment
from perennial.data.splits import time_folds
from perennial.errors import DataError
from perennial.evaluation.calibration import fit_calibrator
from perennial.evaluation.metrics import baseline_of
from perennial.evaluation.utility import threshold
from perennial.spec.model import Model
from perennial.training import model_file
from perennial.training.fitting import fit_and_test, predict, refit_result, search
from perennial.training.recipe import Recipe
from perennial.training.side_by_side import Power
from perennial.versions.findings import CandidateSummary


@dataclass(frozen=True)
class TrainedCandidate:
    """A candidate that can answer."""

    model: Pipeline
    summary: CandidateSummary
    scores: pd.DataFrame
    """Out-of-fold predictions: `id`, `probability` (not calibrated), `label`."""

    @property
    def recipe(self) -> Recipe:
        """The recipe it was fitted by."""
        return self.summary.search.recipe

    def probability(self, rows: Rows, info: DatasetInfo) -> NDArray[np.float64]:
        """Calibrated probabilities of the rows."""
        return self.summary.calibrator.apply(predict(self.model, rows.matrix, info.columns, self.recipe))

    def write(self, folder: Path) -> None:
        """Write the candidate into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        model_file.dump(self.model, folder / "model.skops")
        self.summary.write(folder / "candidate.json")
        self.scores.to_parquet(folder / "out_of_fold.parquet", index=False)

    @classmethod
    def read(cls, folder: Path) -> "TrainedCandidate":
        """The candidate stored in a folder."""
        summary = CandidateSummary.read(folder / "candidate.json")
        return cls(model_file.load(folder / "model.skops"), summary, pd.read_parquet(folder / "out_of_fold.parquet"))


def matured_before(rows: Rows, start: str, maturity_hours: float) -> tuple[Rows, datetime]:
    """The rows of the whole days that had matured when a block began, and the end of those days.

    Labels of the days just before the block are partly in, and not at random: some classes arrive earlier. So those days are left
    out, as they would be of a training at that moment.

    Args:
        rows: labelled rows.
        start: begin of the block, ISO 8601 UTC.
        maturity_hours: of the label.
    """
    end = (datetime.fromisoformat(start) - timedelta(hours=maturity_hours)).replace(hour=0, minute=0, second=0, microsecond=0)
    return rows.take((rows.time < moment(end.isoformat())) & (rows.known_at < moment(start))), end


def train_candidate(
    dataset: Dataset, model: Model, recipe: str, power: Power, progress: Callable[[str], None]
) -> TrainedCandidate:
    """Find and fit a recipe on the rows that had matured when the evaluation block began.

    Args:
        dataset: the rows, and what they are.
        model: the spec.
        recipe: recipe to refit as JSON; empty to search.
        power: how many fits run side by side, and threads of each.
        progress: called with a sentence at each step of the search.

    Raises:
        DataError: too few days or rows for the folds, or one label only; says how many requests incidents exclude.
    """
    info = dataset.info
    try:
        return _trained(dataset, model, recipe, power, progress)
    except DataError as error:
        if not info.excluded:
            raise
        raise DataError(f"{error}{exclusion_note(info.model, info.excluded)}") from error


def _trained(dataset: Dataset, model: Model, recipe: str, power: Power, progress: Callable[[str], None]) -> TrainedCandidate:
    info = dataset.info
    training = model.spec.training
    rows, until = matured_before(from_dataset(dataset), info.evaluation_start, model.spec.label.maturity_hours)
    champion_recipe = Recipe.model_validate_json(recipe) if recipe else None
    missing_columns = (
        []
        if champion_recipe is None
        else [name for name in champion_recipe.columns if name not in {column.name for column in info.columns}]
    )
    if champion_recipe is not None and not missing_columns:
        result = refit_result(champion_recipe)
    else:
        note = (
            f"The champion's recipe names {', '.join(missing_columns)}, which the dataset no longer has: searched again."
            if missing_columns
            else ""
        )
        if note:
            progress(note)
        result = search(rows, info.columns, training, until, power, progress).model_copy(update={"note": note})
    folds = time_folds(rows, training.folds, until)
    pipeline, predictions = fit_and_test(rows, folds, result.recipe, info.columns, training.seed, power)
    label = rows.label[predictions.index]
    utility = model.spec.objective.utility
    summary = CandidateSummary(
        search=result,
        calibrator=fit_calibrator(training.calibration, predictions.probability, label),
        baseline=baseline_of(rows.label, utility),
        threshold=threshold(utility),
        rows=len(rows),
    )
    scores = pd.DataFrame({"id": rows.ids[predictions.index], "probability": predictions.probability, "label": label})
    return TrainedCandidate(pipeline, summary, scores)
