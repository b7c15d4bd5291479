"""Parquet files that hold the rows of collected segments, and what is known of these segments in their metadata.

A file holds consecutive segments of one process. While it is small, it is replaced by one with the next segments too, so that a
process that ships every few seconds does not leave thousands of files.
"""

import fcntl
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
from pydantic import TypeAdapter

from monitoring.log.inventory import ProcessEnd, SegmentInfo, info_of
from perennial.errors import DataError
from perennial.outages import is_outage, translated
from perennial.prediction_log import Segment
from perennial.prediction_log.rows import OBSERVED_AT, Value, flat

INFOS = b"perennial.segments"
"""Key of a file's metadata that holds the `SegmentInfo` of each segment in it."""
END = b"perennial.end"
"""Key of a file's metadata that holds the `ProcessEnd` that it keeps; such a file has no segment."""
ANNOUNCED = "announcement"
"""`sealed_by` of a segment without rows, as which a release before 0.2 kept the end of a process."""
SMALL = 50_000
"""Rows below which a file takes more: writing it anew costs well under a second."""
MICROSECONDS = 1_000_000
TIME = pa.timestamp("us", "UTC")
PLAIN: dict[str, pa.DataType] = {
    "prediction_id": pa.string(),
    "boot_id": pa.string(),
    "sequence": pa.int64(),
    "time": TIME,
    "version": pa.string(),
    "probability": pa.float64(),
    "decision": pa.bool_(),
}
"""Columns that every row has. The others are named by part: `keys.`, `fields.`, `features.`, `observed_at.`, `stale.`."""
EMPTY = pa.schema(PLAIN.items()).empty_table()
_STORED = TypeAdapter(tuple[SegmentInfo, ...])


@dataclass(frozen=True)
class Kept:
    """One file."""

    path: Path
    infos: tuple[SegmentInfo, ...]
    """What is known of each segment in it; empty where it keeps an end."""
    end: ProcessEnd | None = None
    """The end of a process that it keeps."""

    @property
    def rows(self) -> int:
        """Rows in it."""
        return sum(info.rows for info in self.infos)

    def touches(self, low: float | None, high: float | None) -> bool:
        """Whether a segment with rows has a moment in [low, high), Unix seconds; None is no bound."""
        return any(
            info.rows and (low is None or info.end is None or info.end >= low) and (high is None or (info.start or 0.0) < high)
            for info in self.infos
        )

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows, of all columns or of some. Raises as `kept`."""
        with _readable(self.path):
            return pyarrow.parquet.read_table(self.path, columns=None if columns is None else list(columns), partitioning=None)


@contextmanager
def locked(into: Path) -> Iterator[None]:
    """Nobody else writes into the folder, which is made when absent."""
    into.mkdir(parents=True, exist_ok=True)
    with (into / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def kept(into: Path) -> list[Kept]:
    """Every file in the folder.

    Raises:
        DataError: one of them was not made here, or is broken.
        PlatformError: the disk cannot be read.
    """
    files = []
    for path in sorted(into.glob("*.parquet")):
        with _readable(path):
            metadata = pyarrow.parquet.read_schema(path).metadata or {}
        if END in metadata:
            files.append(Kept(path, (), ProcessEnd.model_validate_json(metadata[END])))
        elif INFOS in metadata:
            files.append(_kept(path, _STORED.validate_json(metadata[INFOS])))
        else:
            raise DataError(f"{path}: not a segment of a prediction log; only `collect` writes into this folder")
    return files


def _kept(path: Path, infos: tuple[SegmentInfo, ...]) -> Kept:
    """A file with its segments; one of an earlier release may keep an end as a segment without rows."""
    last = infos[-1]
    if last.sealed_by != ANNOUNCED:
        return Kept(path, infos)
    return Kept(path, (), ProcessEnd(boot_id=last.boot_id, next_sequence=last.next_sequence, time=last.start, tag=last.digest))


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if is_outage(error):
            raise translated(error, str(path)) from error
        raise DataError(
            f"{path}: not a Parquet file that can be read: {str(error).strip()}; move it away: its segments are collected again "
            "as far as they are still there, and count as lost where not"
        ) from error


def keep(into: Path, segments: Sequence[Segment]) -> None:
    """The rows of new segments are in files of the folder, which the caller has locked.

    A segment that has texts where those before have numbers gets a file of its own.
    """
    growing = {table.infos[-1].boot_id: table for table in kept(into) if table.rows < SMALL and table.infos}
    for boot_id, group in groupby(segments, key=lambda segment: segment.boot_id):
        segments_of_process = list(group)
        last = growing.get(boot_id)
        infos = [*(last.infos if last else ()), *map(info_of, segments_of_process)]
        try:
            table = pa.concat_tables(
                [*([last.read()] if last else []), *map(table_of, segments_of_process)], promote_options="permissive"
            )
        except pa.ArrowException:
            for segment in segments_of_process:
                _put_segments(into, table_of(segment), [info_of(segment)])
        else:
            _put_segments(into, table, infos)


def alike(found: Sequence[pa.Table]) -> pa.Table:
    """The tables as one. A column with texts in one of them and numbers in another is text: its type changed between versions.

    >>> alike([pa.table({"a": [7]}), pa.table({"a": ["007"]}), pa.table({"b": [0.5]})]).to_pydict()
    {'a': ['7', '007', None], 'b': [None, None, 0.5]}
    """
    types: dict[str, set[pa.DataType]] = {}
    for table in found:
        for field in table.schema:
            if not pa.types.is_null(field.type):
                types.setdefault(field.name, set()).add(field.type)
    common = {name: _common(kinds) for name, kinds in types.items()}
    cast = [
        table.cast(pa.schema([pa.field(field.name, common.get(field.name, field.type)) for field in table.schema]), safe=False)
        for table in (table.replace_schema_metadata(None) for table in found)
    ]
    return pa.concat_tables(cast, promote_options="permissive")


def _common(kinds: set[pa.DataType]) -> pa.DataType:
    if len(kinds) == 1:
        return next(iter(kinds))
    if all(pa.types.is_integer(kind) or pa.types.is_boolean(kind) for kind in kinds):
        return pa.int64()
    if all(pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_floating(kind) for kind in kinds):
        return pa.float64()
    return pa.string()


def keep_end(into: Path, end: ProcessEnd) -> None:
    """The end of a process is known for good."""
    _put(into / f"{end.name}.parquet", EMPTY, {END: end.model_dump_json().encode()})


def table_of(segment: Segment) -> pa.Table:
    """The rows of a segment."""
    columns: dict[str, list[Value]] = {name: [] for name in PLAIN}
    for index, (sequence, row) in enumerate(zip(segment.sequences, segment.rows, strict=True)):
        values = flat(row) | {"boot_id": segment.boot_id, "sequence": sequence}
        for name, value in values.items():
            column = columns.setdefault(name, [])
            column += [None] * (index - len(column))
            column.append(value)
    arrays = {}
    for name, column in columns.items():
        column += [None] * (len(segment.rows) - len(column))
        arrays[name] = _array(name, column)
    return pa.table(arrays)


def _array(name: str, values: Sequence[Value]) -> pa.Array:
    """A column; times are microseconds, values of mixed types become texts rather than stop everything."""
    if name == "time" or name.startswith(OBSERVED_AT):
        return pa.array([None if value is None else round(float(value) * MICROSECONDS) for value in values], TIME)
    try:
        return pa.array(values, PLAIN.get(name))
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def _put_segments(into: Path, table: pa.Table, infos: Sequence[SegmentInfo]) -> None:
    """The rows and what is known of them are in the file that is named by the first segment."""
    _put(into / f"{infos[0].name}.parquet", table, {INFOS: _STORED.dump_json(tuple(infos))})


def _put(path: Path, table: pa.Table, metadata: Mapping[bytes, bytes]) -> None:
    """The table and its metadata are in the file, whole."""
    beside = path.with_name(f".{path.stem}-{secrets.token_hex(4)}")
    pyarrow.parquet.write_table(table.replace_schema_metadata(dict(metadata)), beside, compression="zstd")
    beside.rename(path)
