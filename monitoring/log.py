"""The prediction log as tables: sealed segments become Parquet files, with what is damaged or missing counted.

How segments are written and framed stands in `perennial.prediction_log`. What the rows say about the model is not asked here.
"""

import secrets
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from monitoring.segments import SegmentInfo, Span, end_of, gaps, info_of
from monitoring.shipped import CONNECTIONS, Shipped, is_over
from perennial.bucket import Bucket
from perennial.errors import DataError, NotFoundError, PlatformError
from perennial.prediction_log import Segment, read_segment, seal_left
from perennial.prediction_log.rows import OBSERVED_AT, Value, flat
from perennial.prediction_log.segment import OPEN, SEALED
from perennial.record import Record
from perennial.settings import Settings

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


class Collected(Record):
    """What a log holds, after its sealed segments were made into Parquet."""

    segments: tuple[SegmentInfo, ...]
    """Every segment that ever was, sorted by process and sequence."""
    vanished: tuple[SegmentInfo, ...]
    """Ends of the processes whose last rows are in no segment: each begins after the last row that its process numbered. What
    such a process answered in the second after it said so is not counted."""
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


def shipped_of(settings: Settings, model: str) -> Shipped | None:
    """Where the log of a model's serving processes elsewhere lies; None without a bucket."""
    return None if settings.bucket is None else Shipped(Bucket(settings.bucket), model)


def has_log(settings: Settings, model: str) -> bool:
    """Whether anything was ever logged for a model, here or elsewhere.

    Raises:
        PlatformError: the bucket does not answer.
    """
    shipped = shipped_of(settings, model)
    return settings.prediction_log(model).exists() or (shipped is not None and shipped.exists)


def collect_model(settings: Settings, model: str, now: datetime) -> Collected:
    """Every finished segment of a model, here and in the bucket, is a table of its `prediction_tables`; as `collect`."""
    return collect(settings.prediction_log(model), settings.prediction_tables(model), now, shipped_of(settings, model))


def collect(log: Path, into: Path, now: datetime, shipped: Shipped | None = None) -> Collected:
    """Every sealed segment of `log` and of the bucket is a Parquet file in `into`, and what is missing is known.

    Idempotent, and safe beside serving processes and beside itself: a file is put in place whole. Segments that dead processes
    left open are sealed first; those of living ones are left alone.

    Args:
        log: folder of the segments.
        into: folder of the Parquet files, made when absent.
        now: UTC, for seals, and to tell who is silent.
        shipped: where serving processes elsewhere ship to; None when there is no such place.

    Raises:
        DataError: an object in the bucket is not ours.
        PlatformError: a folder cannot be read or written, or the bucket does not answer.
    """
    seal_left(log, now.timestamp())
    new, silent = 0, list[SegmentInfo]()
    try:
        into.mkdir(parents=True, exist_ok=True)
        for path in sorted(log.glob(f"*{SEALED}")):
            if not place_of(into, path.stem).exists():
                with suppress(NotFoundError):  # shipped meanwhile
                    _put(table_of(read_segment(path)), place_of(into, path.stem))
                    new += 1
        if shipped is not None:
            fetched, silent = _collect_shipped(shipped, into, now)
            new += fetched
    except OSError as error:
        raise PlatformError(f"{error.filename or into}: {error.strerror}; the same call may work later") from error
    known = infos(into)
    segments = tuple(info for info in known if not info.is_end)
    vanished = cut_off([*(info for info in known if info.is_end), *silent], segments)
    return Collected(
        segments=segments,
        vanished=vanished,
        new=new,
        rows=sum(segment.rows for segment in segments),
        damaged=tuple(segment for segment in segments if segment.damage is not None),
        gaps=gaps((*segments, *vanished)),
    )


def _collect_shipped(shipped: Shipped, into: Path, now: datetime) -> tuple[int, list[SegmentInfo]]:
    """How many segments of the bucket are new, and the ends of processes that fell silent. Ends that are certain are kept."""
    known = infos(into)
    announcements = shipped.announcements(known)  # before the segments: what was announced is shipped or missing

    names = list(shipped.new(announcements, known))
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(lambda name: _put(table_of(shipped.fetch(name)), place_of(into, name)), names))
    silent = []
    for said in announcements:
        end = end_of(said.boot_id, said.next_sequence, said.time)
        if said.ended:
            _put(_described(pa.schema(PLAIN.items()).empty_table(), end), place_of(into, end.name))
        elif is_over(said, now):
            silent.append(end)
    return len(names), silent


def cut_off(ends: Iterable[SegmentInfo], segments: Iterable[SegmentInfo]) -> tuple[SegmentInfo, ...]:
    """Those ends of processes before which rows are missing.

    >>> last = end_of("a", 7, 1.0).model_copy(update={"sealed_by": "writer"})
    >>> cut_off([end_of("a", 7, 2.0)], [last]), [end.boot_id for end in cut_off([end_of("a", 9, 2.0)], [last])]
    ((), ['a'])
    """
    reached: dict[str, int] = {}
    for segment in segments:
        reached[segment.boot_id] = max(reached.get(segment.boot_id, 0), segment.next_sequence)
    return tuple(end for end in ends if end.next_sequence > reached.get(end.boot_id, 0))


def place_of(into: Path, name: str) -> Path:
    """File of a segment's table."""
    return into / f"{name}.parquet"


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
        if segment.start is None or segment.end is None or segment.is_end:
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
    return _described(pa.table(arrays), info_of(segment))


def _described(table: pa.Table, info: SegmentInfo) -> pa.Table:
    return table.replace_schema_metadata({INFO: info.model_dump_json().encode()})


def _array(name: str, values: Sequence[Value]) -> pa.Array:
    """A column; times are microseconds, values of mixed types become texts rather than stop everything."""
    if name == "time" or name.startswith(OBSERVED_AT):
        return pa.array([None if value is None else round(float(value) * MICROSECONDS) for value in values], TIME)
    try:
        return pa.array(values, PLAIN.get(name))
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def _put(table: pa.Table, place: Path) -> None:
    """The table is at `place`, whole."""
    beside = place.with_name(f".{place.stem}-{secrets.token_hex(4)}")
    pyarrow.parquet.write_table(table, beside, compression="zstd")
    beside.rename(place)
