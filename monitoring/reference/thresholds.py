"""The alarm thresholds of a version, made at its training from weekly blocks: what is normal for each column and for the loss.

Here: the blocks, their samples, and what is stored. How a limit follows from the blocks stands in `limits`.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monitoring.reference.acceptance import MAX_CATEGORIES
from monitoring.reference.blocks import PROBABILITY, START, block_rows, blocks_of, joined, values_of
from monitoring.reference.limits import MIN_BLOCKS, drift_limit, neighbours, rate_per_test
from monitoring.reference.statistics import Method, Values, present, standard_deviation, statistic, unsuited
from perennial.data.dataset import Dataset
from perennial.data.rows import evaluation_rows, from_dataset
from perennial.evaluation.metrics import log_losses
from perennial.lifecycle.candidate import TrainedCandidate
from perennial.spec.columns import Column
from perennial.spec.model import Model
from perennial.spec.operations import Monitoring
from perennial.training.fitting import predict
from perennial.versions.contract import Contract
from perennial.versions.thresholds import ColumnLimits, ColumnThreshold, Thresholds, WeekLoss


@dataclass(frozen=True)
class Unseen:
    """Rows of the training as models predicted them that had not seen them; calibrated as what is shipped."""

    time: NDArray[np.datetime64]
    probability: NDArray[np.float64]
    label: NDArray[np.bool_]


def make_thresholds(
    dataset: Dataset, model: Model, trained: TrainedCandidate, contract: Contract
) -> tuple[Thresholds, pd.DataFrame]:
    """The thresholds of a version, and the weekly blocks that they rest on.

    Args:
        dataset: the rows, and what they are.
        model: the spec.
        trained: the judged candidate, whose out-of-fold predictions are used.
        contract: of the version that is shipped.

    Returns:
        The thresholds; and a frame of equally large blocks: `block` (begin, UTC) and the watched columns. Values of one row of
        `probability` and of the other columns are not of one request.
    """
    frame, info = dataset
    spec, seed = model.spec.monitoring, model.spec.training.seed
    end, days = datetime.fromisoformat(info.end), spec.window_days
    time = frame["event_timestamp"].dt.tz_convert("UTC").dt.tz_localize(None).to_numpy().astype("datetime64[us]")
    is_labelled = frame["label"].notna().to_numpy()
    size = block_rows(time[is_labelled], datetime.fromisoformat(info.start), end, spec)
    folds, evaluation = unseen(dataset, trained, contract)
    both = np.concatenate([folds.time, evaluation.time]), np.concatenate([folds.probability, evaluation.probability])
    parts: dict[str, tuple[dict[datetime, NDArray[np.intp]], Values]] = {}
    whole = blocks_of(time, end, days, size, seed)
    for watched in spec.columns:
        if watched.name == PROBABILITY:
            parts[PROBABILITY] = blocks_of(both[0], end, days, size, seed), both[1]
        elif watched.name in frame:
            parts[watched.name] = whole, values_of(frame, watched.name)
    rate = rate_per_test(spec.false_alarms_per_quarter, spec.window_days, len(spec.columns) + 1)
    columns = []
    for watched in spec.columns:
        rows, values = parts.get(watched.name, ({}, np.empty(0)))
        columns.append(column_threshold(watched.name, watched.method, [values[chosen] for chosen in rows.values()], rate))
    thresholds = Thresholds(
        block_days=days,
        block_rows=size,
        blocks=len(whole),
        rate_per_test=rate,
        columns=tuple(columns),
        limits=column_limits(dataset, spec, contract),
        out_of_fold=week_losses(folds, end, days, size, seed),
        evaluated=week_losses(evaluation, end, days, size, seed),
        seed=seed,
    )
    return thresholds, stored_blocks(parts, size)


def write(thresholds: Thresholds, blocks: pd.DataFrame, folder: Path) -> None:
    """Both are in the folder, as `thresholds.json` and `blocks.parquet`."""
    folder.mkdir(parents=True, exist_ok=True)
    thresholds.write(folder / "thresholds.json")
    blocks.to_parquet(folder / "blocks.parquet", index=False)


def unseen(dataset: Dataset, trained: TrainedCandidate, contract: Contract) -> tuple[Unseen, Unseen]:
    """The out-of-fold rows and those of the evaluation block."""
    info = dataset.info
    rows = from_dataset(dataset)
    block = evaluation_rows(rows, info)
    raw = predict(trained.model, block.matrix, info.columns, trained.recipe)
    index_of = {identifier: number for number, identifier in enumerate(rows.ids.tolist())}
    tested = rows.take(np.array([index_of[identifier] for identifier in trained.scores["id"].tolist()], dtype=np.intp))
    scores = trained.scores["probability"].to_numpy(dtype=np.float64)
    return (
        Unseen(tested.time, contract.calibrator.apply(scores), tested.label),
        Unseen(block.time, contract.calibrator.apply(raw), block.label),
    )


def column_threshold(column: str, method: Method, samples: list[Values], rate: float) -> ColumnThreshold:
    """What is normal for a column.

    Args:
        column: its name.
        method: Evidently's statistic for it.
        samples: its values in each block, oldest first.
        rate: false alarms of one test in one window.
    """
    held = [values for values in samples if len(present(values)) > 0]
    spread = standard_deviation(joined(held)) if held else None
    reason = unsuited(method, bool(held) and held[0].dtype == object)
    if not reason and len(held) < MIN_BLOCKS:
        had = f"{len(held)} windows of the training had values enough"
        reason = f"{had}; with fewer than {MIN_BLOCKS} no false alarm rate can be claimed"
    if reason:
        return ColumnThreshold(column=column, method=method, limit=None, reason=reason, standard_deviation=spread)
    limit = float(drift_limit(block_statistics(held, method), method, rate))
    return ColumnThreshold(column=column, method=method, limit=limit, reason="", standard_deviation=spread)


def block_statistics(samples: list[Values], method: Method) -> NDArray[np.float64]:
    """The drift of each block against its neighbours."""
    drifts = []
    for index, values in enumerate(samples):
        drift = statistic(values, joined([samples[other] for other in neighbours(index)]), method)
        assert drift is not None  # every sample has a value
        drifts.append(drift)
    return np.array(drifts)


def column_limits(dataset: Dataset, spec: Monitoring, contract: Contract) -> tuple[ColumnLimits, ...]:
    """What each column of the contract, and each watched one, may look like."""
    frame, info = dataset
    names = [column.name for column in contract.columns]
    by_name = {column.name: column for column in info.columns}
    names += [column.name for column in spec.columns if column.name in by_name and column.name not in names]
    return tuple(_limits(by_name[name], values_of(frame, name), spec) for name in names)


def _limits(column: Column, values: Values, spec: Monitoring) -> ColumnLimits:
    held = present(values)
    nulls = 1 - len(held) / len(values) if len(values) else 0.0
    texts = sorted({str(value) for value in held}) if column.dtype == "string" else None
    # A column without spread has no range: whatever comes to life in it would be far outside of one value.
    numbers = np.empty(0) if texts is not None else np.asarray(held, dtype=np.float64)
    has_range = len(numbers) > 0 and bool(numbers.min() < numbers.max())
    has_list = texts is not None and 1 < len(texts) <= MAX_CATEGORIES
    return ColumnLimits(
        column=column.name,
        max_null_share=min(1.0, nulls + spec.max_null_increase),
        low=float(numbers.min()) if has_range else None,
        high=float(numbers.max()) if has_range else None,
        categories=tuple(texts) if texts is not None and has_list else None,
        max_new_share=spec.max_new_share,
    )


def week_losses(rows: Unseen, end: datetime, days: int, size: int, seed: int) -> tuple[WeekLoss, ...]:
    """The mean log loss of a sample of each week, as large as those of the columns: as uncertain as that of a small window."""
    return tuple(
        WeekLoss(
            start=start.isoformat(),
            rows=len(chosen),
            log_loss=float(log_losses(rows.probability[chosen], rows.label[chosen]).mean()),
        )
        for start, chosen in blocks_of(rows.time, end, days, size, seed).items()
    )


def stored_blocks(parts: dict[str, tuple[dict[datetime, NDArray[np.intp]], Values]], rows: int) -> pd.DataFrame:
    """The blocks as one frame; a column without a certain block is empty there."""
    starts = sorted({start for chosen, _ in parts.values() for start in chosen})
    columns: dict[str, object] = {START: pd.to_datetime(np.repeat(np.array(starts, dtype=object), rows), utc=True)}
    for name, (chosen, values) in parts.items():
        empty: Values = np.full(rows, None, dtype=object) if values.dtype == object else np.full(rows, np.nan)
        pieces = [values[chosen[start]] if start in chosen else empty for start in starts]
        columns[name] = np.concatenate(pieces) if pieces else empty[:0]
    return pd.DataFrame(columns)
