"""The refit: the judged recipe fitted on everything, with its contract; and the gates that only the refitted model can pass."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from perennial.data.dataset import Dataset, DatasetInfo
from perennial.data.rows import evaluation_rows, from_dataset
from perennial.evaluation.calibration import fit_calibrator
from perennial.evaluation.gates import GateResult, rank_agreement
from perennial.lifecycle.candidate import TrainedCandidate, matured_before
from perennial.spec.model import Model
from perennial.training import model_file
from perennial.training.fitting import fit, predict
from perennial.versions.contract import Contract
from perennial.versions.folder import REFERENCE_ROWS


@dataclass(frozen=True)
class Refitted:
    """What is shipped."""

    model: Pipeline
    contract: Contract
    reference: pd.DataFrame
    """Sample of the training requests: id, time, columns, label and `probability`, the calibrated output of this very model."""

    def write(self, folder: Path) -> None:
        """Write the version's files into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        model_file.dump(self.model, folder / "model.skops")
        self.contract.write(folder / "contract.json")
        self.reference.to_parquet(folder / "reference.parquet", index=False)


def refit_candidate(dataset: Dataset, model: Model, trained: TrainedCandidate, run_key: str, threads: int) -> Refitted:
    """Fit the candidate's recipe on every labelled row, the evaluation block included.

    The calibrator is fitted again on the out-of-fold predictions and those of the evaluation block: every one of them was made by
    a model that had not seen the row.

    Args:
        dataset: the rows, and what they are.
        model: the spec.
        trained: the judged candidate.
        run_key: key of the training.
        threads: threads of the fit.
    """
    frame, info = dataset
    spec, rows = model.spec, from_dataset(dataset)
    pipeline = fit(rows, trained.recipe, info.columns, spec.training.seed, threads)
    block = evaluation_rows(rows, info)
    raw = predict(trained.model, block.matrix, info.columns, trained.recipe)
    probability = np.concatenate([trained.scores["probability"].to_numpy(dtype=np.float64), raw])
    label = np.concatenate([trained.scores["label"].to_numpy(dtype=bool), block.label])
    calibrator = fit_calibrator(spec.training.calibration, probability, label)
    by_name = {column.name: column for column in info.columns}
    contract = Contract(
        model=model.name,
        run_key=run_key,
        service=info.service,
        service_digest=info.service_digest,
        join_keys=info.join_keys,
        columns=tuple(by_name[name] for name in trained.recipe.columns),
        freshness=spec.features.freshness,
        recipe=trained.recipe,
        calibrator=calibrator,
        threshold=trained.summary.threshold,
        dataset=info.digest,
        trained_from=info.start,
        trained_until=info.end,
        seed=spec.training.seed,
        plan=info.plan,
        log_required=spec.serving.log_required,
        id_column=info.id_column,
        id_kind="int64" if pd.api.types.is_integer_dtype(frame[info.id_column].dtype) else "string",
    )
    positions = np.random.default_rng(spec.training.seed).permutation(len(rows))[:REFERENCE_ROWS]
    sample = rows.take(np.sort(positions))
    reference = frame.set_index(info.id_column).loc[sample.ids].reset_index()
    reference["probability"] = calibrator.apply(predict(pipeline, sample.matrix, info.columns, trained.recipe))
    return Refitted(pipeline, contract, reference)


def check_refit(dataset: Dataset, model: Model, trained: TrainedCandidate, folder: Path) -> tuple[GateResult, ...]:
    """The gates of the refitted model, read back from its file: rank agreement, and equal answers.

    Agreement is asked for on the rows that both models were fitted on. On the evaluation block the refitted model knows the
    labels and the judged one does not, so that they differ by right; the figure there is kept beside.

    Args:
        dataset: the rows, and what they are.
        model: the spec.
        trained: the judged candidate.
        folder: where the refitted version was written.
    """
    info = dataset.info
    contract = Contract.read(folder / "contract.json")
    pipeline = model_file.load(folder / "model.skops")
    rows = from_dataset(dataset)
    shared, _ = matured_before(rows, info.evaluation_start, model.spec.label.maturity_hours)
    (judged_probability, refit_probability), block_probabilities = (
        (
            trained.probability(sample, info),
            contract.calibrator.apply(predict(pipeline, sample.matrix, info.columns, contract.recipe)),
        )
        for sample in (shared, evaluation_rows(rows, info))
    )
    minimum = model.spec.gates.min_rank_agreement
    agreement = rank_agreement(judged_probability, refit_probability, minimum)
    block_agreement = rank_agreement(*block_probabilities, minimum).numbers["value"]
    agreement = agreement.model_copy(update={"numbers": agreement.numbers | {"on_evaluation_block": block_agreement}})
    reference = pd.read_parquet(folder / "reference.parquet")
    return (agreement, same_answers(pipeline, contract, reference, from_dataset(Dataset(reference, info)).matrix, info))


TOLERANCE = 1e-9
"""Largest difference between the outputs of a fitted model and those of its file."""


def same_answers(
    loaded: Pipeline, contract: Contract, reference: pd.DataFrame, matrix: np.ndarray, info: DatasetInfo
) -> GateResult:
    """Whether the model file gives the outputs that the fitted model gave on the reference sample."""
    answers = contract.calibrator.apply(predict(loaded, matrix, info.columns, contract.recipe))
    difference = float(np.max(np.abs(answers - reference["probability"].to_numpy())))
    is_equal = difference <= TOLERANCE
    return GateResult(
        name="model-file",
        verdict="pass" if is_equal else "fail",
        sentence=(
            f"The model read back from its file {'gives' if is_equal else 'does not give'} the outputs of the fitted one on "
            f"{len(reference):,} rows: largest difference {difference:.1e}, allowed {TOLERANCE:.0e}."
        ),
        numbers={"value": difference, "limit": TOLERANCE, "rows": len(reference)},
    )
