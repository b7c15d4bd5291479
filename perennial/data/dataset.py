"""A dataset: one immutable training set, named by the hash of its values.

What a dataset is, its digest, and the folder that holds it. How it is built from sources belongs to `feature_repo.dataset`.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perennial.data.read_plan import ReadPlan
from perennial.errors import DataError, NotFoundError, PlatformError
from perennial.outages import is_outage, translated
from perennial.record import Record, old_keys
from perennial.settings import Settings
from perennial.spec.columns import Column
from perennial.stores.bucket import Bucket

if TYPE_CHECKING:
    import pandas as pd

DATA, INFO = "data.parquet", "dataset.json"
FORMAT = 1
"""Version of the digest's encoding."""


class ViewCounts(Record):
    """What the point-in-time join found in one feature view."""

    view: str
    """Name of the view."""
    lost: int
    """Requests without any row of the view before them: unknown keys, or nothing published yet."""
    stale: int
    """Requests whose observation was older than the freshness limit."""
    median_age_hours: float | None
    """Median age of the observation at the time of the request; null where none was found."""


class DatasetInfo(Record):
    """What a dataset is."""

    digest: str
    """SHA-256 of its values, schema included, rows sorted by id."""
    model: str
    """Name of the model that it was built for."""
    id_column: str
    """Column that identifies a request."""
    join_keys: tuple[str, ...]
    """Join keys of the service's views, sorted: what a request brings besides its fields."""
    columns: tuple[Column, ...]
    """Every column that a model may see: features in the service's order, then request-time fields."""
    service: str
    """Name of the feature service."""
    service_digest: str
    """SHA-256 of the service's views, fields and types."""
    definitions_digest: str
    """SHA-256 of the definitions' text."""
    now: str
    """Time at which it was built, ISO 8601 UTC: nothing known later is in it."""
    start: str
    """Begin of the first day, ISO 8601 UTC."""
    evaluation_start: str
    """Begin of the evaluation block; training rows lie before it."""
    end: str
    """End of the newest matured day, exclusive."""
    rows: int
    """Requests in it."""
    labelled: int
    """Of these, with a label."""
    rejected: int
    """Requests left out because a view with `on_stale: reject` was stale."""
    excluded: int = 0
    """Requests left out because an incident excludes their time from training."""
    notes: tuple[str, ...] = ()
    """What people should know of the sources: rows that were set aside, columns that some files lack."""
    views: tuple[ViewCounts, ...]
    """What the join found, by view."""
    plan: ReadPlan | None = None
    """How the service is looked up online, resolved from the same definitions; null in a dataset that was built without one."""
    _old = old_keys(barred="excluded")


class Dataset(NamedTuple):
    """A training set: its rows, and what they are."""

    frame: "pd.DataFrame"
    """One row for each request, sorted by id; the columns of `feature_repo.dataset.build`."""
    info: DatasetInfo
    """What it is."""


def exclusion_note(model: str, requests: int) -> str:
    """How many requests incidents exclude, and how they are taken in; empty where none are. For messages about too few rows."""
    if not requests:
        return ""
    return (
        f"; {requests:,} requests are excluded by incidents: if their data are no fault, "
        f"`perennial decisions accept-change {model} --reason '…'`, or `perennial train {model} --include-excluded`"
    )


def values_digest(frame: "pd.DataFrame") -> str:
    """SHA-256 of a frame's values: names, types, null masks and values of its columns, in their order; rows as they are.

    The bytes of a file play no part: two writers of Parquet make different files of one table. NaN is null, times count in
    microseconds, -0.0 is 0.0.

    Raises:
        DataError: a column of a type that a dataset does not have.

    >>> import pandas as pd
    >>> values_digest(pd.DataFrame({"a": [1.0, None]})) == values_digest(pd.DataFrame({"a": [1.0, float("nan")]}))
    True
    >>> values_digest(pd.DataFrame({"a": [1.0, 2.0]})) == values_digest(pd.DataFrame({"a": [2.0, 1.0]}))
    False
    """
    total = hashlib.sha256(json.dumps([FORMAT, len(frame)]).encode())
    for name in frame.columns:
        kind, nulls, parts = _canonical(str(name), frame[name])
        total.update(json.dumps([str(name), kind]).encode())
        for part in (np.packbits(nulls), *parts):
            total.update(len(part).to_bytes(8, "little"))
            total.update(part.tobytes())
    return total.hexdigest()


def store(dataset: Dataset, folder: Path) -> Path:
    """The snapshot is in `<folder>/<digest>/`; returns that folder.

    The values of a digest are written once and never again. What is said about them is written anew when it differs: the same
    values may come from reworded definitions.

    Raises:
        DataError: the frame's values are not those of `info.digest`.
        PlatformError: the folder cannot be written.
    """
    frame, info = dataset
    digest = values_digest(frame)
    if digest != info.digest:
        raise DataError(f"dataset: its values have digest {digest}, its description says {info.digest}; build it again")
    target = folder / info.digest
    try:
        if not (target / DATA).is_file():
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".dataset-", dir=folder) as temporary:
                draft = Path(temporary) / info.digest
                draft.mkdir()
                frame.to_parquet(draft / DATA, index=False, compression="zstd", coerce_timestamps="us")
                info.write(draft / INFO)
                # Another process may have been first: its values are the same, or the digest would be another.
                with contextlib.suppress(OSError):
                    draft.rename(target)
        if (target / INFO).read_text(encoding="utf-8") != info.to_json():
            replacement = target / f".{INFO}.{os.getpid()}"
            info.write(replacement)
            replacement.replace(target / INFO)
    except OSError as error:
        raise PlatformError(f"{target}: {error}; the folder of datasets must be writable") from error
    return target


def keep(settings: Settings, dataset: Dataset) -> Path:
    """The snapshot is in the state, and then in the bucket of an installation that has one; returns its folder in the state.

    Raises:
        DataError: the frame's values are not those of `info.digest`.
        PlatformError: the folder cannot be written, or the bucket does not answer.
    """
    folder = store(dataset, settings.datasets)
    if settings.bucket is not None:
        bucket, key = Bucket(settings.bucket), f"datasets/{dataset.info.digest}"
        bucket.put(f"{key}/{DATA}", folder / DATA)
        bucket.replace(f"{key}/{INFO}", (folder / INFO).read_bytes())
    return folder


def load(path: Path) -> Dataset:
    """The snapshot in the folder `path`, its values checked against its digest.

    Raises:
        NotFoundError: there is no snapshot.
        DataError: a file is broken, or the values are not those of the digest.
        PlatformError: the disk cannot be read.
    """
    import pandas as pd

    info = DatasetInfo.read(path / INFO)
    try:
        frame = pd.read_parquet(path / DATA)
    except FileNotFoundError as error:
        raise NotFoundError(f"{path / DATA}: no such file; build the dataset again") from error
    except (OSError, ValueError) as error:
        if is_outage(error):
            raise translated(error, str(path / DATA)) from error
        raise DataError(f"{path / DATA}: not a Parquet file: {error}; build the dataset again") from error
    digest = values_digest(frame)
    if digest != info.digest:
        raise DataError(
            f"{path / DATA}: its values have digest {digest}, expected {info.digest}: it was changed; build the dataset again"
        )
    return Dataset(frame, info)


def copy(source: Path, target: Path) -> None:
    """The snapshot in `source` is also in the folder `target`.

    Raises:
        PlatformError: it cannot be written.
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name in (DATA, INFO):
            shutil.copyfile(source / name, target / name)
    except OSError as error:
        raise PlatformError(f"{target}: {error}; the dataset could not be copied") from error


def _canonical(name: str, column: "pd.Series[Any]") -> tuple[str, NDArray[np.bool_], list[NDArray[Any]]]:
    """Type, null mask and values of a column; nulls have the value zero, or no bytes."""
    import pandas as pd

    nulls = column.isna().to_numpy(dtype=bool)
    dtype = column.dtype
    if isinstance(dtype, pd.DatetimeTZDtype):
        values = column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy().astype("datetime64[us]").view("<i8")
        return "timestamp", nulls, [np.where(nulls, 0, values)]
    if pd.api.types.is_bool_dtype(dtype):
        return "bool", nulls, [column.fillna(False).to_numpy(dtype="u1")]
    if pd.api.types.is_integer_dtype(dtype):
        return "int", nulls, [column.fillna(0).to_numpy(dtype="<i8")]
    if pd.api.types.is_float_dtype(dtype):
        # Adding zero turns -0.0 into 0.0.
        return "float", nulls, [np.where(nulls, 0.0, column.to_numpy(dtype="<f8")) + 0.0]
    if pd.api.types.is_object_dtype(dtype):
        texts = [b"" if null else _text(name, value) for value, null in zip(column, nulls, strict=True)]
        lengths = np.fromiter(map(len, texts), dtype="<i8", count=len(texts))
        return "string", nulls, [lengths, np.frombuffer(b"".join(texts), dtype="u1")]
    raise DataError(
        f"dataset: column {name!r} is {dtype}; allowed: float64, int64, boolean, string (object), timestamp with zone"
    )


def _text(name: str, value: object) -> bytes:
    if not isinstance(value, str):
        raise DataError(f"dataset: column {name!r} holds {value!r} ({type(value).__name__}) among its strings")
    return value.encode()
