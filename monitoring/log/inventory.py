"""What is known of the segments of a prediction log, without their rows: by it, rows that are missing are counted."""

from collections.abc import Iterable
from itertools import pairwise
from typing import TypeAlias

from perennial.prediction_log import Segment
from perennial.record import Record


class SegmentSpan(Record):
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
    missing: tuple[SegmentSpan, ...]
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


class ProcessEnd(Record):
    """The end of a process as it announced it; among the segments of its process it stands where its rows end, and has none."""

    boot_id: str
    """The process."""
    next_sequence: int
    """Number of the row that it would have had next."""
    time: float | None
    """When it said so, Unix seconds UTC; null when its announcement cannot be read."""
    tag: str | None
    """Entity tag of the object in which it said so, which tells whether it said something since; null where a release before 0.2
    did not note it."""
    damage: str | None = None
    """Why its announcement cannot be read; null when it can. The end is then what was collected of the process."""

    @property
    def name(self) -> str:
        """Its name among the names of segments."""
        return f"{self.boot_id}-end"

    @property
    def first_sequence(self) -> int:
        """Where it stands: the sequence after the last row."""
        return self.next_sequence

    @property
    def rows(self) -> int:
        """None of its own."""
        return 0

    @property
    def missing(self) -> tuple[SegmentSpan, ...]:
        """None of its own: what is missing before it is a gap."""
        return ()

    @property
    def start(self) -> float | None:
        """Its time."""
        return self.time

    @property
    def end(self) -> float | None:
        """Its time."""
        return self.time


Known: TypeAlias = SegmentInfo | ProcessEnd
"""What is known of a stretch of a process's rows."""


def in_order(known: Iterable[Known]) -> tuple[Known, ...]:
    """Segments and ends by process and sequence, an end after the segments that reach it."""
    return tuple(sorted(known, key=lambda part: (part.boot_id, part.first_sequence, isinstance(part, ProcessEnd))))


def segments_in(known: Iterable[Known]) -> list[SegmentInfo]:
    """The segments, without the ends of processes."""
    return [part for part in known if isinstance(part, SegmentInfo)]


def ends_in(known: Iterable[Known]) -> list[ProcessEnd]:
    """The ends of processes, without the segments."""
    return [part for part in known if isinstance(part, ProcessEnd)]


def by_process(known: Iterable[Known]) -> dict[str, list[Known]]:
    """What is known of each process, in the order in which it is given."""
    processes: dict[str, list[Known]] = {}
    for part in known:
        processes.setdefault(part.boot_id, []).append(part)
    return processes


def accounted(part: Known) -> int:
    """The sequence after the last that a part accounts for: its rows, and those that are missing between them."""
    return part.first_sequence + part.rows + sum(span.rows for span in part.missing)


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


def gaps(known: Iterable[Known]) -> tuple[SegmentSpan, ...]:
    """Sequences that no segment has, between 0 and the last number that is known of each process.

    What a process lost after its last sealed segment is in it only when its end is among what is known.

    >>> made = dict(name="n", missing=(), start=None, end=None, sealed_by=None, digest=None, damage=None)
    >>> first = SegmentInfo(boot_id="a", first_sequence=0, next_sequence=5, rows=5, **made)
    >>> gaps([first, first.model_copy(update={"first_sequence": 5})])
    ()
    >>> gaps([first, first.model_copy(update={"first_sequence": 8})])
    (SegmentSpan(boot_id='a', first=5, end=8),)
    >>> gaps([first, ProcessEnd(boot_id="a", next_sequence=7, time=1.0, tag=None)])
    (SegmentSpan(boot_id='a', first=5, end=7),)
    """
    spans: list[SegmentSpan] = []
    for boot_id, parts in by_process(in_order(known)).items():
        if parts[0].first_sequence > 0:
            spans.append(SegmentSpan(boot_id=boot_id, first=0, end=parts[0].first_sequence))
        ends = [*(part.first_sequence for part in parts[1:]), parts[-1].next_sequence]
        for part, end in zip(parts, ends, strict=True):
            spans += part.missing
            if accounted(part) < end:
                spans.append(SegmentSpan(boot_id=boot_id, first=accounted(part), end=end))
    return tuple(spans)


def _missing(segment: Segment) -> tuple[SegmentSpan, ...]:
    around = pairwise([segment.first_sequence - 1, *segment.sequences])
    return tuple(
        SegmentSpan(boot_id=segment.boot_id, first=sequence + 1, end=next_sequence)
        for sequence, next_sequence in around
        if next_sequence > sequence + 1
    )
