"""Writing the prediction log: what a serving process does before each answer leaves.

One `write` call to the operating system for a batch, none of ours is buffered: a process that is killed loses nothing that it
answered. What cannot be written is counted, never raised: whether an answer may leave without its row is the caller's choice.
"""

import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson

from perennial.prediction_log.rows import LogRow
from perennial.prediction_log.segment import OPEN, ROW, SEALED, head, header, name_of, seal_left, seal_record

MAX_BYTES = 16 * 1024 * 1024
"""Size from which a segment is sealed. 16 MiB: some 15,000 rows, read in well under a second."""
MAX_SECONDS = 60.0
"""Age from which a segment is sealed. A minute: what is not sealed is not shipped, and goes with the node."""


class _OpenSegment:
    """The segment that is written: its descriptor, and what the seal must say."""

    def __init__(self, path: Path, descriptor: int, opened: float) -> None:
        self.path = path
        self.descriptor = descriptor
        self.opened = opened
        self.size = 0
        self.rows = 0
        self.heads = hashlib.sha256()


class LogWriter:
    """Appends rows to the segments of one folder. Safe between threads; not for a process that forks after the first row."""

    def __init__(
        self,
        folder: Path,
        clock: Callable[[], float],
        *,
        max_bytes: int = MAX_BYTES,
        max_seconds: float = MAX_SECONDS,
    ) -> None:
        """What dead processes left in `folder` is sealed; an unusable folder is no error, its rows are counted as lost.

        Args:
            folder: folder of the log; made when absent. Several processes may write into it.
            clock: Unix seconds UTC.
            max_bytes: size from which a segment is sealed.
            max_seconds: age from which a segment is sealed.
        """
        self._folder = folder
        self._clock = clock
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._lock = threading.Lock()
        self._boot_id = os.urandom(8).hex()
        self._sequence = 0
        self._lost = 0
        self._failure: str | None = None
        self._segment: _OpenSegment | None = None
        self._left_open = False
        seal_left(folder, clock())

    @property
    def boot_id(self) -> str:
        """Identifies this writer, 16 hexadecimal digits; drawn when it was made."""
        return self._boot_id

    @property
    def sequence(self) -> int:
        """Number of the next row. Lost rows have numbers too: a reader sees the gap."""
        return self._sequence

    @property
    def lost(self) -> int:
        """Rows that could not be written so far."""
        return self._lost

    @property
    def failure(self) -> str | None:
        """Why the last append lost rows; null when it lost none."""
        return self._failure

    def append(self, rows: Sequence[LogRow]) -> int:
        """The rows are with the operating system, except those that are counted as lost; returns how many those are.

        A failed or partial write loses the whole batch and nothing else: it is cut back, and the next append tries a new segment.

        Args:
            rows: in the order of their answers; one call for a batch costs one system call.
        """
        if not rows:
            return 0
        with self._lock:
            first = self._sequence
            self._sequence += len(rows)
            self._failure = None
            heads, parts = self._frame(rows, first)
            is_written = bool(heads) and self._write(b"".join(heads), b"".join(parts), len(heads), first)
            lost_rows = len(rows) - (len(heads) if is_written else 0)
            self._lost += lost_rows
            return lost_rows

    def seal_if_due(self) -> bool:
        """The segment is sealed when its time has come; returns whether it was. For a timer, when no rows come."""
        with self._lock:
            if self._segment is None or self._clock() - self._segment.opened < self._max_seconds:
                return False
            return self._seal(self._segment, self._sequence)

    def seal(self) -> bool:
        """What has been written is sealed, if there is anything; returns whether. The next row begins a new segment."""
        with self._lock:
            return self._segment is not None and self._seal(self._segment, self._sequence)

    def close(self) -> None:
        """What has been written is sealed; nothing is held any more."""
        self.seal()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _frame(self, rows: Sequence[LogRow], first: int) -> tuple[list[bytes], list[bytes]]:
        """Heads, and heads with payloads, of the rows that can be encoded."""
        heads: list[bytes] = []
        parts: list[bytes] = []
        for sequence, row in enumerate(rows, first):
            try:
                payload = _payload(row)
            except TypeError as error:  # orjson's only error
                self._failure = f"row {row.prediction_id}: cannot be encoded: {error}"
                continue
            record_head = head(ROW, sequence, payload)
            heads.append(record_head)
            parts += (record_head, payload)
        return heads, parts

    def _write(self, heads: bytes, data: bytes, rows: int, first: int) -> bool:
        """Whether the batch was written to its end."""
        now = self._clock()
        try:
            segment = self._usable(first, now) or self._open(first, now)
        except OSError as error:
            self._failure = f"{error.filename or self._folder}: {error.strerror}"
            return False
        if segment.size == 0:
            data = header(self._boot_id, first, segment.opened) + data
        try:
            byte_count = os.write(segment.descriptor, data)
        except OSError as error:
            self._failed(segment, f"{segment.path}: {error.strerror}")
            return False
        if byte_count != len(data):
            self._failed(segment, f"{segment.path}: {byte_count} of {len(data)} bytes were written: no space")
            return False
        segment.size += byte_count
        segment.rows += rows
        segment.heads.update(heads)
        if self._left_open:  # there is space again
            self._left_open = False
            seal_left(self._folder, now)
        return True

    def _usable(self, first: int, now: float) -> _OpenSegment | None:
        """The open segment, unless it was due to be sealed or its file was deleted."""
        segment = self._segment
        if segment is None:
            return None
        if segment.size >= self._max_bytes or now - segment.opened >= self._max_seconds:
            self._seal(segment, first)
            return None
        if os.fstat(segment.descriptor).st_nlink == 0:
            self._drop(segment)
            return None
        return segment

    def _open(self, first: int, now: float) -> _OpenSegment:
        path = self._folder / f"{name_of(self._boot_id, first)}{OPEN}"
        self._folder.mkdir(parents=True, exist_ok=True)
        while True:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o640)
            self._segment = _OpenSegment(path, descriptor, now)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if os.fstat(descriptor).st_nlink:
                    return self._segment
            except OSError:
                self._drop(self._segment)
                raise
            self._drop(self._segment)  # taken for the empty file of a dead process, between its making and its lock

    def _failed(self, segment: _OpenSegment, why: str) -> None:
        """What the failed write left is cut back, and the segment finished as far as possible."""
        self._failure = why
        try:
            os.ftruncate(segment.descriptor, segment.size)
            if segment.size == 0:
                segment.path.unlink()
        except OSError:
            self._left_open = True
            self._drop(segment)
            return
        if segment.size:
            self._seal(segment, self._sequence)
        else:
            self._drop(segment)

    def _seal(self, segment: _OpenSegment, next_sequence: int) -> bool:
        """Whether the segment got its seal and its final name; its descriptor is closed in any case."""
        seal = seal_record(
            rows=segment.rows,
            digest=segment.heads.hexdigest(),
            next_sequence=next_sequence,
            time=self._clock(),
            by="writer",
        )
        try:
            byte_count = os.write(segment.descriptor, seal)
            if byte_count != len(seal):
                os.ftruncate(segment.descriptor, segment.size)
                raise OSError("the seal was written in part")
            segment.path.rename(segment.path.with_suffix(SEALED))
        except OSError:
            self._left_open = True  # finished by `seal_left`, here or after a restart
            return False
        finally:
            self._drop(segment)
        return True

    def _drop(self, segment: _OpenSegment) -> None:
        with suppress(OSError):
            os.close(segment.descriptor)
        self._segment = None


def _payload(row: LogRow) -> bytes:
    return orjson.dumps(
        (
            row.prediction_id,
            row.time,
            row.version,
            row.keys,
            row.fields,
            row.features,
            row.observed_at,
            row.stale,
            row.probability,
            row.decision,
        ),
        option=orjson.OPT_SERIALIZE_NUMPY,
    )
