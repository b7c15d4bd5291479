"""What is known of the segments of a prediction log, without their rows: by it, rows that are missing are counted."""

from collections.abc import Iterable
from itertools import pairwise

from perennial.prediction_log import Segment
from perennial.record import Record

ANNOUNCED = "announcement"
"""`sealed_by` of the end of a process."""


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
    """`writer`, `restart`, or null without a seal; `announcement` for the end of a process."""
    digest: str | None
    """Digest in its seal; for the end of a process the entity tag of its announcement."""
    damage: str | None
    """What ended the reading early, with its place in the file; null when nothing did."""

    @property
    def is_end(self) -> bool:
        """Whether it is no segment, but the end of a process as that announced it."""
        return self.sealed_by == ANNOUNCED


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


def end_of(boot_id: str, next_sequence: int, time: float, tag: str | None = None) -> SegmentInfo:
    """The end of a process as a segment without rows, which begins where the process's rows end.

    Args:
        boot_id: the process.
        next_sequence: number of the row that it would have had next.
        time: when it said so, Unix seconds UTC.
        tag: entity tag of the object in which it said so; tells whether it said something since.
    """
    return SegmentInfo(
        name=f"{boot_id}-end",
        boot_id=boot_id,
        first_sequence=next_sequence,
        next_sequence=next_sequence,
        rows=0,
        missing=(),
        start=time,
        end=time,
        sealed_by=ANNOUNCED,
        digest=tag,
        damage=None,
    )


def gaps(segments: Iterable[SegmentInfo]) -> tuple[SegmentSpan, ...]:
    """Sequences that no segment has, between 0 and the last number that is known of each process.

    What a process lost after its last sealed segment is in it only when its end is among the segments.

    >>> made = dict(name="n", missing=(), start=None, end=None, sealed_by=None, digest=None, damage=None)
    >>> one = SegmentInfo(boot_id="a", first_sequence=0, next_sequence=5, rows=5, **made)
    >>> gaps([one, one.model_copy(update={"first_sequence": 5})])
    ()
    >>> gaps([one, one.model_copy(update={"first_sequence": 8})])
    (SegmentSpan(boot_id='a', first=5, end=8),)
    """
    by_process: dict[str, list[SegmentInfo]] = {}
    for segment in segments:
        by_process.setdefault(segment.boot_id, []).append(segment)
    found: list[SegmentSpan] = []
    for boot_id, own in by_process.items():
        own.sort(key=lambda segment: segment.first_sequence)
        if own[0].first_sequence > 0:
            found.append(SegmentSpan(boot_id=boot_id, first=0, end=own[0].first_sequence))
        ends = [*(segment.first_sequence for segment in own[1:]), own[-1].next_sequence]
        for segment, end in zip(own, ends, strict=True):
            found += segment.missing
            known = segment.first_sequence + segment.rows + sum(span.rows for span in segment.missing)
            if known < end:
                found.append(SegmentSpan(boot_id=boot_id, first=known, end=end))
    return tuple(found)


def _missing(segment: Segment) -> tuple[SegmentSpan, ...]:
    around = pairwise([segment.first_sequence - 1, *segment.sequences])
    return tuple(SegmentSpan(boot_id=segment.boot_id, first=one + 1, end=other) for one, other in around if other > one + 1)
