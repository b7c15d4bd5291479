"""The prediction log as tables: sealed segments become Parquet files, with what is damaged or missing counted.

How segments are written and framed stands in `perennial.prediction_log`. What the rows say about the model is not asked here.
"""

import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from perennial.errors import DataError, NotFoundError, PlatformError
from perennial.prediction_log import Segment, read_segment, seal_left
from perennial.prediction_log.rows import OBSERVED_AT, Value, flat
from perennial.prediction_log.segment import OPEN, SEALED
from perennial.record import Record

INFO = b"perennial.segment"
"""Key of a file's metadata that holds its `SegmentInfo`."""
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


class Span(Record):
    """Consecutive sequences of one process."""

    boot_id: str
    """The process."""
    first: int
    """First sequence."""
    end: int
    """The sequence after the last."""

    @property
    def rows(self) -> int:
        """How many they are."""
        return self.end - self.first


class SegmentInfo(Record):
    """What is known of one segment; kept in the metadata of its Parquet file, so that it outlives the segment."""

    name: str
    """Name of the segment's file, without its ending."""
    boot_id: str
    """The process that wrote it; empty when nothing says which."""
    first_sequence: int
    """Sequence of its first row."""
    next_sequence: int
    """Number of the next row of the process, as far as the segment says it."""
    rows: int
    """Rows that could be read."""
    missing: tuple[Span, ...]
    """Sequences that are missing between its rows: lost when they were to be written."""
    start: float | None
    """Earliest time of a request in it, Unix seconds UTC."""
    end: float | None
    """Latest time of a request in it."""
    sealed_by: str | None
    """`writer`, `restart`, or null without a seal."""
    digest: str | None
    """Digest in its seal."""
    damage: str | None
    """What ended the reading early, with its place in the file; null when nothing did."""


class Collected(Record):
    """What a log holds, after its sealed segments were made into Parquet."""

    segments: tuple[SegmentInfo, ...]
    """Every segment that ever was, sorted by process and sequence."""
    new: int
    """How many of them are new."""
    rows: int
    """Rows in all of them."""
    damaged: tuple[SegmentInfo, ...]
    """Segments that could be read in part only."""
    gaps: tuple[Span, ...]
    """Rows that were numbered but are in no segment."""

    @property
    def lost(self) -> int:
        """How many rows are known to be missing."""
        return sum(gap.rows for gap in self.gaps)


def collect(log: Path, into: Path, now: datetime) -> Collected:
    """Every sealed segment of `log` is a Parquet file in `into`, and what is missing is known.

    Idempotent, and safe beside serving processes and beside itself: a file is put in place whole. Segments that dead processes
    left open are sealed first; those of living ones are left alone.

    Args:
        log: folder of the segments.
        into: folder of the Parquet files, made when absent.
        now: UTC, for seals.

    Raises:
        PlatformError: a folder cannot be read or written.
    """
    seal_left(log, now.timestamp())
    new = 0
    try:
        into.mkdir(parents=True, exist_ok=True)
        for path in sorted(log.glob(f"*{SEALED}")):
            place = into / f"{path.stem}.parquet"
            if not place.exists():
                _put(table_of(read_segment(path)), place)
                new += 1
    except OSError as error:
        raise PlatformError(f"{error.filename or into}: {error.strerror}; the same call may work later") from error
    segments = infos(into)
    return Collected(
        segments=segments,
        new=new,
        rows=sum(segment.rows for segment in segments),
        damaged=tuple(segment for segment in segments if segment.damage is not None),
        gaps=gaps(segments),
    )


def infos(into: Path) -> tuple[SegmentInfo, ...]:
    """What is known of every collected segment, sorted by process and sequence.

    Raises:
        DataError: a file in the folder was not made here.
    """
    found = []
    for path in into.glob("*.parquet"):
        metadata = pyarrow.parquet.read_schema(path).metadata or {}
        if INFO not in metadata:
            raise DataError(f"{path}: not a segment of a prediction log; only `collect` writes into this folder")
        found.append(SegmentInfo.model_validate_json(metadata[INFO]))
    return tuple(sorted(found, key=lambda segment: (segment.boot_id, segment.first_sequence)))


def gaps(segments: Iterable[SegmentInfo]) -> tuple[Span, ...]:
    """Sequences that no segment has, between 0 and the last number that is known of each process.

    What a process lost after its last sealed segment is not known to anybody, and not in it.

    >>> made = dict(name="n", missing=(), start=None, end=None, sealed_by=None, digest=None, damage=None)
    >>> one = SegmentInfo(boot_id="a", first_sequence=0, next_sequence=5, rows=5, **made)
    >>> gaps([one, one.model_copy(update={"first_sequence": 5})])
    ()
    >>> gaps([one, one.model_copy(update={"first_sequence": 8})])
    (Span(boot_id='a', first=5, end=8),)
    """
    by_process: dict[str, list[SegmentInfo]] = {}
    for segment in segments:
        by_process.setdefault(segment.boot_id, []).append(segment)
    found: list[Span] = []
    for boot_id, own in by_process.items():
        own.sort(key=lambda segment: segment.first_sequence)
        if own[0].first_sequence > 0:
            found.append(Span(boot_id=boot_id, first=0, end=own[0].first_sequence))
        ends = [*(segment.first_sequence for segment in own[1:]), own[-1].next_sequence]
        for segment, end in zip(own, ends, strict=True):
            found += segment.missing
            known = segment.first_sequence + segment.rows + sum(span.rows for span in segment.missing)
            if known < end:
                found.append(Span(boot_id=boot_id, first=known, end=end))
    return tuple(found)


def unfinished(log: Path) -> list[Segment]:
    """The segments that living processes are writing, as far as they are written; one that is finished meanwhile is left out."""
    found = []
    for path in sorted(log.glob(f"*{OPEN}")):
        with suppress(NotFoundError):
            found.append(read_segment(path))
    return found


def load(into: Path, start: datetime | None = None, end: datetime | None = None, growing: Iterable[Segment] = ()) -> pd.DataFrame:
    """The collected rows of requests in [start, end), in the order of their times.

    Args:
        into: folder of the tables.
        start: earliest time; any when None.
        end: the time after the latest; any when None.
        growing: segments that are not collected yet and are read besides.

    Columns: `prediction_id`, `boot_id`, `sequence`, `time` (UTC), `version`, `probability`, `decision`, then `keys.<name>`,
    `fields.<name>`, `features.<name>`, `observed_at.<view>` (UTC) and `stale.<view>`; null where a row has none.

    Raises:
        DataError: a column has texts in one segment and numbers in another.
    """
    low = None if start is None else start.timestamp()
    high = None if end is None else end.timestamp()
    tables = []
    for segment in infos(into):
        if segment.start is None or segment.end is None:
            continue
        if (low is None or segment.end >= low) and (high is None or segment.start < high):
            tables.append(pyarrow.parquet.read_table(into / f"{segment.name}.parquet"))
    tables += [table_of(segment) for segment in growing]
    if not tables:
        tables.append(pa.schema(PLAIN.items()).empty_table())
    try:
        table = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(f"{into}: segments of one log disagree on a type: {error}; read a shorter time") from error
    frame: pd.DataFrame = (
        table.replace_schema_metadata(None).sort_by([("time", "ascending"), ("sequence", "ascending")]).to_pandas()
    )
    if start is not None:
        frame = frame[frame["time"] >= start]
    if end is not None:
        frame = frame[frame["time"] < end]
    return frame.reset_index(drop=True)


def table_of(segment: Segment) -> pa.Table:
    """A segment as a table, with its `SegmentInfo` in the metadata."""
    columns: dict[str, list[Value]] = {name: [] for name in PLAIN}
    for place, (sequence, row) in enumerate(zip(segment.sequences, segment.rows, strict=True)):
        values = flat(row) | {"boot_id": segment.boot_id, "sequence": sequence}
        for name, value in values.items():
            column = columns.setdefault(name, [])
            column += [None] * (place - len(column))
            column.append(value)
    arrays = {}
    for name, column in columns.items():
        column += [None] * (len(segment.rows) - len(column))
        arrays[name] = _array(name, column)
    return pa.table(arrays).replace_schema_metadata({INFO: info_of(segment).model_dump_json().encode()})


def info_of(segment: Segment) -> SegmentInfo:
    """What is known of a segment."""
    times = [row.time for row in segment.rows]
    return SegmentInfo(
        name=segment.path.stem,
        boot_id=segment.boot_id,
        first_sequence=segment.first_sequence,
        next_sequence=segment.next_sequence,
        rows=len(segment.rows),
        missing=_missing(segment),
        start=min(times, default=None),
        end=max(times, default=None),
        sealed_by=None if segment.seal is None else segment.seal.by,
        digest=None if segment.seal is None else segment.seal.digest,
        damage=segment.damage,
    )


def _array(name: str, values: Sequence[Value]) -> pa.Array:
    """A column; times are microseconds, values of mixed types become texts rather than stop everything."""
    if name == "time" or name.startswith(OBSERVED_AT):
        return pa.array([None if value is None else round(float(value) * MICROSECONDS) for value in values], TIME)
    try:
        return pa.array(values, PLAIN.get(name))
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def _missing(segment: Segment) -> tuple[Span, ...]:
    around = pairwise([segment.first_sequence - 1, *segment.sequences])
    return tuple(Span(boot_id=segment.boot_id, first=one + 1, end=other) for one, other in around if other > one + 1)


def _put(table: pa.Table, place: Path) -> None:
    """The table is at `place`, whole."""
    beside = place.with_name(f".{place.stem}-{secrets.token_hex(4)}")
    pyarrow.parquet.write_table(table, beside, compression="zstd")
    beside.rename(place)
