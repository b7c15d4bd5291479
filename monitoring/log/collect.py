"""The prediction log as tables: the rows of sealed segments in Parquet files, with what is damaged or missing counted.

How segments are written and framed stands in `perennial.prediction_log`. What the rows say about the model is not asked here.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute

from feature_repo.sources import frame_of
from monitoring.log import tables
from monitoring.log.inventory import Known, ProcessEnd, SegmentInfo, SegmentSpan, ends_in, gaps, in_order, segments_in
from monitoring.log.shipped import CONNECTIONS, Shipped, is_gone, is_over
from perennial.errors import NotFoundError, PlatformError
from perennial.outages import is_outage, translated
from perennial.prediction_log import Segment, read_segment, seal_left
from perennial.prediction_log.segment import OPEN, SEALED
from perennial.record import Record
from perennial.settings import Settings
from perennial.stores.bucket import Bucket

AT_ONCE_BYTES = 16 * 1024 * 1024
"""Segments that are held in memory together, by the sizes of their files; as rows they take some eight times that."""


class Collected(Record):
    """What a log holds, after its sealed segments were made into Parquet."""

    segments: tuple[SegmentInfo, ...]
    """Every segment that ever was, sorted by process and sequence."""
    vanished: tuple[ProcessEnd, ...]
    """Ends of the processes whose last rows are in no segment: each begins after the last row that its process numbered. What
    such a process answered in the second after it said so is not counted."""
    new: int
    """How many of them are new."""
    rows: int
    """Rows in all of them."""
    damaged: tuple[SegmentInfo, ...]
    """Segments that could be read in part only."""
    unreadable: tuple[ProcessEnd, ...]
    """Ends of the processes whose announcement cannot be read: as far as was collected of them."""
    unended: tuple[ProcessEnd, ...]
    """What each process elsewhere that has not ended said last, as its end: it may live and ship more. Without those that were
    silent for a day."""
    gaps: tuple[SegmentSpan, ...]
    """Rows that were numbered but are in no segment."""

    @property
    def lost(self) -> int:
        """How many rows are known to be missing."""
        return sum(gap.rows for gap in self.gaps)


def shipped_of(bucket: str | None, model: str) -> Shipped | None:
    """Where the log of a model's serving processes elsewhere lies; None without a bucket."""
    return None if bucket is None else Shipped(Bucket(bucket), model)


def has_log(settings: Settings, model: str) -> bool:
    """Whether anything was ever logged for a model, here or elsewhere.

    Raises:
        PlatformError: the bucket does not answer.
    """
    shipped = shipped_of(settings.bucket, model)
    return settings.prediction_log(model).exists() or (shipped is not None and shipped.exists)


def require_log(settings: Settings, model: str) -> None:
    """Something was logged for a model, here or elsewhere.

    Raises:
        NotFoundError: nothing was.
        PlatformError: the bucket does not answer.
    """
    if has_log(settings, model):
        return
    if settings.namespace is not None:
        raise NotFoundError(f"{settings.bucket}: no prediction log of {model}; its pods ship one seconds after an answer")
    raise NotFoundError(f"{settings.prediction_log(model)}: no prediction log; `perennial serve {model}` writes one")


def collect_model(settings: Settings, model: str, now: datetime) -> Collected:
    """Every finished segment of a model, here and in the bucket, is a table of its `prediction_tables`; as `collect`."""
    return collect(settings.prediction_log(model), settings.prediction_tables(model), now, shipped_of(settings.bucket, model))


def collect(log: Path, into: Path, now: datetime, shipped: Shipped | None = None) -> Collected:
    """The rows of every sealed segment of `log` and of the bucket are in a Parquet file in `into`, and what is missing is known.

    Idempotent, and safe beside serving processes and beside itself: a file is put in place whole, and one call waits for another.
    Segments that dead processes left open are sealed first; those of living ones are left alone.

    Args:
        log: folder of the segments.
        into: folder of the Parquet files, made when absent.
        now: UTC, for seals, and to tell who is silent.
        shipped: where serving processes elsewhere ship to; None when there is no such place.

    Raises:
        DataError: a file in `into` was not made here.
        PlatformError: a folder cannot be read or written, or the bucket does not answer.
    """
    seal_left(log, now.timestamp())
    new, elsewhere = 0, Elsewhere()
    try:
        with tables.locked(into):
            parts = inventory(into)
            collected = {part.name for part in parts}
            paths = [path for path in sorted(log.glob(f"*{SEALED}")) if path.stem not in collected]
            new += _keep(into, _sized(paths), lambda name: read_segment(log / f"{name}{SEALED}"))
            if shipped is not None:
                elsewhere = _collect_shipped(shipped, into, inventory(into) if new else parts, now)
    except OSError as error:
        if not is_outage(error):
            raise translated(error, str(error.filename or into)) from error
        raise PlatformError(f"{error.filename or into}: {error.strerror}; the same call may work later") from error
    parts = inventory(into)
    segments = tuple(segments_in(parts))
    vanished = cut_off([*ends_in(parts), *elsewhere.silent], segments)
    return Collected(
        segments=segments,
        vanished=vanished,
        new=new + elsewhere.new,
        rows=sum(segment.rows for segment in segments),
        damaged=tuple(segment for segment in segments if segment.damage is not None),
        unreadable=elsewhere.unreadable,
        unended=elsewhere.unended,
        gaps=gaps((*segments, *vanished)),
    )


@dataclass(frozen=True)
class Elsewhere:
    """What was collected from a bucket."""

    new: int = 0
    """Segments that are new."""
    unended: tuple[ProcessEnd, ...] = ()
    """As in `Collected`."""
    silent: tuple[ProcessEnd, ...] = ()
    """Those of them that fell silent."""
    unreadable: tuple[ProcessEnd, ...] = ()
    """As in `Collected`."""


def _collect_shipped(shipped: Shipped, into: Path, known: Sequence[Known], now: datetime) -> Elsewhere:
    """The new segments of the bucket are kept, and then the ends that are certain."""
    announced = shipped.announced(known, now)  # before the segments: what was announced is shipped or missing
    new = _keep(into, list(shipped.new((announcement.said for announcement in announced), known)), shipped.fetch)
    stored_ends = {(end.boot_id, end.tag) for end in ends_in(known)}
    unended, silent, unreadable = (list[ProcessEnd]() for _ in range(3))
    for announcement in announced:
        message = announcement.said
        end = ProcessEnd(boot_id=message.boot_id, next_sequence=message.next_sequence, time=message.time, tag=announcement.tag)
        if announcement.damage is not None:
            unreadable.append(end.model_copy(update={"time": None, "damage": announcement.damage}))
        elif message.ended or is_gone(message, now):
            if (end.boot_id, end.tag) not in stored_ends:
                tables.keep_end(into, end)
        else:
            unended.append(end)
            if is_over(message, now):
                silent.append(end)
    return Elsewhere(new, tuple(unended), tuple(silent), tuple(unreadable))


def _sized(paths: Iterable[Path]) -> Iterator[tuple[str, int]]:
    """Names of segments and the sizes of their files; one that is not there any more was shipped meanwhile."""
    for path in paths:
        with suppress(FileNotFoundError):
            yield path.stem, path.stat().st_size


def chunks(sized: Iterable[tuple[str, int]], most: int = AT_ONCE_BYTES) -> Iterator[list[str]]:
    """The names in their order, in lists whose sizes are together `most` or less; one that is larger stands alone.

    >>> list(chunks([("a", 4), ("b", 6), ("c", 1), ("d", 20), ("e", 1)], most=10))
    [['a', 'b'], ['c'], ['d'], ['e']]

    Args:
        sized: names and sizes, bytes.
        most: bytes.
    """
    names, total = list[str](), 0
    for name, size in sized:
        if names and total + size > most:
            yield names
            names, total = [], 0
        names.append(name)
        total += size
    if names:
        yield names


def _keep(into: Path, sized: Iterable[tuple[str, int]], read: Callable[[str], Segment]) -> int:
    """How many of the named segments are kept as tables; one that is not there any more was shipped meanwhile."""

    def found(name: str) -> Segment | None:
        with suppress(NotFoundError):
            return read(name)
        return None

    new = 0
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for names in chunks(sized):
            segments = [segment for segment in pool.map(found, names) if segment is not None]
            tables.keep(into, segments)
            new += len(segments)
            del segments  # not held while the next are read
    return new


def cut_off(ends: Iterable[ProcessEnd], segments: Iterable[SegmentInfo]) -> tuple[ProcessEnd, ...]:
    """Those ends of processes before which rows are missing."""
    reached: dict[str, int] = {}
    for segment in segments:
        reached[segment.boot_id] = max(reached.get(segment.boot_id, 0), segment.next_sequence)
    return tuple(end for end in ends if end.next_sequence > reached.get(end.boot_id, 0))


def inventory(into: Path) -> tuple[Known, ...]:
    """What is known of every collected segment and of the ends that are certain, sorted by process and sequence.

    Raises:
        DataError: a file in the folder was not made here.
    """
    files = tables.kept(into)
    return in_order([*(info for file in files for info in file.infos), *(file.end for file in files if file.end is not None)])


def unfinished(log: Path) -> list[Segment]:
    """The segments that living processes are writing, as far as they are written; one that is finished meanwhile is left out."""
    segments = []
    for path in sorted(log.glob(f"*{OPEN}")):
        with suppress(NotFoundError):
            segments.append(read_segment(path))
    return segments


def load(into: Path, start: datetime | None = None, end: datetime | None = None, growing: Iterable[Segment] = ()) -> pd.DataFrame:
    """The collected rows of requests in [start, end), in the order of their times.

    Args:
        into: folder of the tables.
        start: earliest time; any when None.
        end: the time after the latest; any when None.
        growing: segments that are not collected yet and are read besides.

    Columns: `prediction_id`, `boot_id`, `sequence`, `time` (UTC), `version`, `probability`, `decision`, then `keys.<name>`,
    `fields.<name>`, `features.<name>`, `observed_at.<view>` (UTC) and `stale.<view>`; null where a row has none. Whole numbers
    stay whole, beside nulls too (Int64). A column with texts in one segment and numbers in another is text.
    """
    low = None if start is None else start.timestamp()
    high = None if end is None else end.timestamp()
    pieces = [table.read() for table in tables.kept(into) if table.touches(low, high)]
    pieces += [tables.table_of(segment) for segment in growing]
    table = tables.alike(pieces or [tables.EMPTY])
    time, inside = pyarrow.compute.field("time"), pyarrow.compute.scalar(True)
    if start is not None:
        inside &= time >= pa.scalar(start, tables.TIME)
    if end is not None:
        inside &= time < pa.scalar(end, tables.TIME)
    # Before pandas sees them: a time of another millennium is none of its times.
    return frame_of(table.filter(inside).sort_by([("time", "ascending"), ("sequence", "ascending")]))


def identifiers(series: "pd.Series[Any]") -> list[int | str | None]:
    """Ids as they are: whole numbers of any size, texts to the letter; None where there is none.

    >>> identifiers(pd.Series([2**63 - 1, None], dtype="Int64")), identifiers(pd.Series(["007", None]))
    ([9223372036854775807, None], ['007', None])
    """
    return [None if gone else value for value, gone in zip(series.tolist(), series.isna().tolist(), strict=True)]
