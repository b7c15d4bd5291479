"""The prediction log of serving processes elsewhere: which segments in the bucket are new, and who vanished with rows.

A row that a process announced and that is in no segment is missing: at once when the process announced its end, else when it has
been silent for a minute, in which a restarted container would have shipped what it found. A segment that comes later fills the
gap, as long as the process was heard of within a day; after that it is asked for again when its announcement changes.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from monitoring.log.inventory import Known, by_process, ends_in, segments_in
from perennial.errors import DataError
from perennial.prediction_log import Segment
from perennial.prediction_log.segment import SEALED, parse_segment
from perennial.prediction_log.shipped import (
    NAME,
    Announcement,
    boots_of,
    folder_of,
    read_announcement,
    segment_key,
)
from perennial.stores.bucket import Bucket, Listed

SILENT_SECONDS = 60.0
"""Silence after which a process counts as gone, with what it announced: three times what a living one keeps."""
GONE_SECONDS = 86_400.0
"""Silence after which it is no longer looked for: whoever ships what such a process left makes it heard of again."""
CONNECTIONS = 8
"""Objects that are fetched at once."""


@dataclass(frozen=True)
class Announced:
    """An announcement as it was found."""

    said: Announcement
    tag: str | None
    """Entity tag of its object."""
    damage: str | None = None
    """Why it cannot be read; what it said is then what was collected of the process."""


@dataclass(frozen=True)
class Shipped:
    """The part of a bucket in which a model's log lies."""

    bucket: Bucket
    model: str

    @property
    def exists(self) -> bool:
        """Whether a process ever logged there.

        Raises:
            PlatformError: the bucket does not answer.
        """
        return next(self.bucket.objects_after(boots_of(self.model), ""), None) is not None

    def announced(self, known: Sequence[Known], now: datetime) -> tuple[Announced, ...]:
        """What each process said of itself last, except those that are settled.

        Args:
            known: everything that was collected.
            now: UTC.

        Raises:
            PlatformError: the bucket does not answer.
        """
        processes = by_process(known)

        def read(found: Listed) -> Announced:
            try:
                return Announced(read_announcement(self.bucket.get(found.key), found.key), found.tag)
            except DataError as error:
                boot_id = Path(found.key).stem
                segments = segments_in(processes.get(boot_id, ()))
                collected = max((segment.next_sequence for segment in segments), default=0)
                return Announced(Announcement(boot_id, collected, now.timestamp(), ended=False), found.tag, str(error))

        listed = self.bucket.objects_after(boots_of(self.model), "")
        entries = [entry for entry in listed if not is_settled(processes.get(Path(entry.key).stem, ()), entry.tag, now)]
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            return tuple(pool.map(read, entries))

    def new(self, announcements: Iterable[Announcement], known: Sequence[Known]) -> Iterator[tuple[str, int]]:
        """Names and sizes of the segments that were not collected, by process in the order of their rows.

        A process's segments are listed from its first gap on: one that was shipped late lies there.

        Raises:
            PlatformError: the bucket does not answer.
        """
        names, processes = {info.name for info in known}, by_process(known)
        folder = folder_of(self.model)
        for announcement in announcements:
            last = reached(processes.get(announcement.boot_id, []))[0]
            after = f"{folder}/{announcement.boot_id}-" if last is None else segment_key(self.model, last)
            for entry in self.bucket.objects_after(folder, after):
                name = Path(entry.key).stem
                if not name.startswith(f"{announcement.boot_id}-"):
                    break
                if entry.key.endswith(SEALED) and NAME.fullmatch(name) and name not in names:
                    yield name, entry.size

    def fetch(self, name: str) -> Segment:
        """A segment, as far as it can be read.

        Raises:
            NotFoundError: it is not there.
            PlatformError: the bucket does not answer.
        """
        return parse_segment(Path(f"{name}{SEALED}"), self.bucket.get(segment_key(self.model, name)))


def reached(process: Iterable[Known]) -> tuple[str | None, int]:
    """A process's last segment before its first gap, and the number of the row after it.

    Args:
        process: everything that was collected of it, sorted by sequence.
    """
    name, end = None, 0
    for segment in segments_in(process):
        if segment.first_sequence > end:
            break
        name, end = segment.name, segment.next_sequence
    return name, end


def is_over(said: Announcement, now: datetime) -> bool:
    """Whether no segment of a process is to be expected any more.

    >>> from datetime import UTC
    >>> said = Announcement("5f0e7c3a91d2b486", 7, 100.0, ended=False)
    >>> [is_over(said, datetime.fromtimestamp(time, UTC)) for time in (159.0, 160.0)]
    [False, True]
    """
    return said.ended or now.timestamp() - said.time >= SILENT_SECONDS


def is_gone(said: Announcement, now: datetime) -> bool:
    """Whether a process has been silent for so long that it is no longer looked for."""
    return now.timestamp() - said.time >= GONE_SECONDS


def is_settled(process: Sequence[Known], tag: str | None, now: datetime) -> bool:
    """Whether nothing more is to be expected of a process: its end is kept, and all its rows too or a day passed since.

    Args:
        process: everything that was collected of it, sorted by sequence.
        tag: of its announcement now; another than that of the end says that it was heard of again.
        now: UTC.
    """
    return any(
        end.tag in (tag, None)  # None: kept by a release that did not note it, which kept ends that were said only
        and (reached(process)[1] >= end.next_sequence or now.timestamp() - (end.time or 0.0) >= GONE_SECONDS)
        for end in ends_in(process)
    )
