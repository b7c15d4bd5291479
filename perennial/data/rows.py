"""Labelled rows: what models are fitted on and judged by, as arrays of equal length.

Here: the rows and how they come out of a dataset's frame. Not here: which rows a fold trains on (splits).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from perennial.data.dataset import Dataset, DatasetInfo
from perennial.data.matrix import to_matrix
from perennial.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Rows:
    """Labelled requests; every array has one entry a request, in the same order."""

    ids: NDArray[Any]
    """Ids of the requests, in the type of the dataset: integers or strings."""
    matrix: NDArray[np.object_]
    """What a model may see [rows, columns]: all columns of the dataset, in its order."""
    label: NDArray[np.bool_]
    """What came true."""
    time: NDArray[np.datetime64]
    """Time of the request, UTC, microseconds."""
    known_at: NDArray[np.datetime64]
    """Time at which the label became known, UTC, microseconds."""

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in ("ids", "matrix", "label", "time", "known_at")}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"arrays of different length: {lengths}")

    def __len__(self) -> int:
        return len(self.label)

    @property
    def day(self) -> NDArray[np.datetime64]:
        """UTC calendar day of each request, `datetime64[D]`."""
        return self.time.astype("datetime64[D]")

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Rows:
        """The chosen rows.

        Args:
            chosen: a mask with one entry a row, or positions.
        """
        return Rows(self.ids[chosen], self.matrix[chosen], self.label[chosen], self.time[chosen], self.known_at[chosen])


def from_dataset(dataset: Dataset) -> Rows:
    """The rows of a dataset that have a label, with all its columns.

    Args:
        dataset: the rows, and what they are.

    Raises:
        DataError: a column is not there or of another type, a label has no time at which it became known, a time no zone.
    """
    frame, info = dataset
    needed_columns = [info.id_column, "event_timestamp", "label", "label_known_at"]
    missing_columns = [name for name in needed_columns if name not in frame]
    if missing_columns:
        raise DataError(
            f"dataset {info.digest[:12]}: no column {', '.join(missing_columns)}; it needs {', '.join(needed_columns)}"
        )
    labelled_rows = frame[frame["label"].notna()]
    return Rows(
        ids=labelled_rows[info.id_column].to_numpy(),
        matrix=to_matrix(labelled_rows, info.columns),
        label=labelled_rows["label"].to_numpy(dtype=bool),
        time=_times(labelled_rows, "event_timestamp", info),
        known_at=_times(labelled_rows, "label_known_at", info),
    )


def _times(frame: pd.DataFrame, name: str, info: DatasetInfo) -> NDArray[np.datetime64]:
    times = frame[name]
    if getattr(times.dtype, "tz", None) is None:
        raise DataError(f"dataset {info.digest[:12]}: {name} is {times.dtype}; expected timestamps in UTC")
    if times.isna().any():
        raise DataError(f"dataset {info.digest[:12]}: {int(times.isna().sum())} labelled rows have no {name}")
    return np.asarray(times.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(), dtype="datetime64[us]")


def moment(text: str) -> np.datetime64:
    """An ISO 8601 UTC time in microseconds, to be compared with the times of rows.

    >>> moment("2024-01-02T00:00:00+00:00")
    np.datetime64('2024-01-02T00:00:00.000000')
    """
    return np.datetime64(datetime.fromisoformat(text).replace(tzinfo=None), "us")


def evaluation_rows(rows: Rows, info: DatasetInfo) -> Rows:
    """The labelled rows of the evaluation block, which the judged candidate has not seen."""
    return rows.take(rows.time >= moment(info.evaluation_start))
