r"""A segment of the prediction log: its bytes, reading it up to a damage, sealing what a dead process left.

A file is a header, records and a seal, little-endian and without padding:

```text
header   magic[8] "PRNLOG\r\n"  version u16  boot id[8]  first sequence u64  opened f64 (Unix s)  crc32 u32 of these 34 bytes
record   crc32 u32 of all that follows in the record  length u32 of the payload  kind[1] "R" or "S"  sequence u64  payload
```

An `R` record is one row. The `S` record, the last one, seals: its sequence is the number that the next row has, so that rows
lost at the end count as a gap too. A file that is written ends in `.open`, one that is finished in `.log`.
"""

import fcntl
import hashlib
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from perennial.errors import NotFoundError, PlatformError
from perennial.prediction_log.rows import LogRow, row_of

MAGIC = b"PRNLOG\r\n"
"""A text-mode transfer would change its line end, and so be noticed."""
FORMAT_VERSION = 1
OPEN, SEALED = ".open", ".log"
ROW, SEAL = b"R", b"S"

_HEADER = struct.Struct("<8sH8sQd")
_CHECK = struct.Struct("<I")
_REST = struct.Struct("<IcQ")
HEADER_BYTES = _HEADER.size + _CHECK.size
HEAD_BYTES = _CHECK.size + _REST.size


@dataclass(frozen=True, slots=True)
class Seal:
    """How a segment was finished."""

    rows: int
    """Rows in it."""
    digest: str
    """SHA-256 of the heads of their records (checksum, length, kind, sequence), one after the other."""
    time: float
    """When it was sealed, Unix seconds UTC."""
    by: str
    """`writer`, or `restart` when the process that wrote it had died."""


@dataclass(frozen=True, slots=True)
class Segment:
    """What could be read of a segment."""

    path: Path
    boot_id: str
    """Identifies the process that wrote it; empty when neither header nor name say it."""
    first_sequence: int
    """Sequence of its first row."""
    opened: float | None
    """When it was begun, Unix seconds UTC; null when the header is damaged."""
    sequences: tuple[int, ...]
    """Sequence of each row; a number that is left out was lost."""
    rows: tuple[LogRow, ...]
    next_sequence: int
    """Number of the next row of this process, as far as the segment says it."""
    seal: Seal | None
    """How it was finished; null when it was not, or the damage hides it."""
    damage: str | None
    """What ended the reading before the seal, with its place; null when nothing did. That a segment which is still open ends
    within a record is no damage: it may be being written."""


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """One record as it lies in the file."""

    offset: int
    head: bytes
    kind: bytes
    sequence: int
    payload: bytes


class DamageError(ValueError):
    """Bytes that are not what was written. `cut` says that the file ends within a record."""

    def __init__(self, message: str, *, cut: bool = False) -> None:
        super().__init__(message)
        self.cut = cut


def name_of(boot_id: str, first_sequence: int) -> str:
    """Name of a segment's file, without its ending; the names of one process sort in the order of their rows.

    >>> name_of("5f0e7c3a91d2b486", 42)
    '5f0e7c3a91d2b486-000000000042'
    """
    return f"{boot_id}-{first_sequence:012d}"


def header(boot_id: str, first_sequence: int, opened: float) -> bytes:
    """The bytes that begin a segment."""
    data = _HEADER.pack(MAGIC, FORMAT_VERSION, bytes.fromhex(boot_id), first_sequence, opened)
    return data + _CHECK.pack(zlib.crc32(data))


def head(kind: bytes, sequence: int, payload: bytes) -> bytes:
    """The bytes before a record's payload."""
    rest = _REST.pack(len(payload), kind, sequence)
    return _CHECK.pack(zlib.crc32(payload, zlib.crc32(rest))) + rest


def seal_record(*, rows: int, digest: str, next_sequence: int, time: float, by: str) -> bytes:
    """The bytes that end a segment."""
    payload = orjson.dumps({"rows": rows, "digest": digest, "time": time, "by": by})
    return head(SEAL, next_sequence, payload) + payload


def read_segment(path: Path) -> Segment:
    """What the segment at `path` holds, up to the first damage.

    Raises:
        NotFoundError: there is no such file.
        PlatformError: it cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(f"{path}: no such segment") from error
    except OSError as error:
        raise PlatformError(f"{path}: cannot be read: {error.strerror}") from error
    return parse_segment(path, data)


def parse_segment(path: Path, data: bytes) -> Segment:
    """What the bytes of a segment hold, up to the first damage.

    Args:
        path: name of its file, which need not be there.
        data: all of its bytes.
    """
    boot_id, first, opened, damage = *_named(path), None, None
    sequences: list[int] = []
    rows: list[LogRow] = []
    seal, next_sequence = None, first
    try:
        boot_id, first, opened = parse_header(data)
        next_sequence, heads = first, hashlib.sha256()
        for record in records(data):
            if record.kind == SEAL:
                seal = _seal(record, len(rows), heads.hexdigest())
                next_sequence = record.sequence
                continue
            rows.append(_row(record))
            sequences.append(record.sequence)
            next_sequence = record.sequence + 1
            heads.update(record.head)
        if seal is None and path.suffix != OPEN:
            raise DamageError(f"byte {len(data)}: the file ends without a seal: its end was cut off", cut=True)
    except DamageError as error:
        if not (error.cut and path.suffix == OPEN):
            damage = f"{error}; {len(rows)} rows before it were read"
    return Segment(path, boot_id, first, opened, tuple(sequences), tuple(rows), next_sequence, seal, damage)


def parse_header(data: bytes) -> tuple[str, int, float]:
    """Boot id, first sequence and time of opening.

    Raises:
        DamageError: the header is not one of ours, or damaged.
    """
    if len(data) < HEADER_BYTES:
        raise DamageError(f"byte {len(data)}: the file ends within the header", cut=True)
    magic, version, boot_id, first, opened = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise DamageError(f"byte 0: found {magic!r}, a segment begins with {MAGIC!r}")
    if _CHECK.unpack_from(data, _HEADER.size) != (zlib.crc32(data[: _HEADER.size]),):
        raise DamageError("byte 0: the header's checksum does not fit")
    if version != FORMAT_VERSION:
        raise DamageError(f"byte 8: format version {version}; this release reads {FORMAT_VERSION}")
    return boot_id.hex(), int(first), float(opened)


def records(data: bytes) -> Iterator[SegmentRecord]:
    """The records after the header, the seal last; ends quietly where the data ends between two of them.

    Raises:
        DamageError: a record is cut off, its checksum does not fit, or something follows the seal.
    """
    offset, end = HEADER_BYTES, len(data)
    while offset < end:
        begin = offset + HEAD_BYTES
        if begin > end:
            raise DamageError(f"byte {offset}: the file ends within a record's head", cut=True)
        (check,) = _CHECK.unpack_from(data, offset)
        length, kind, sequence = _REST.unpack_from(data, offset + _CHECK.size)
        if begin + length > end:
            raise DamageError(
                f"byte {offset}: a record of {length} bytes, but {end - begin} follow: cut off, or damaged", cut=True
            )
        payload = data[begin : begin + length]
        if zlib.crc32(payload, zlib.crc32(data[offset + _CHECK.size : begin])) != check:
            raise DamageError(f"byte {offset}: a record's checksum does not fit")
        yield SegmentRecord(offset, data[offset:begin], kind, sequence, payload)
        offset = begin + length
        if kind == SEAL and offset < end:
            raise DamageError(f"byte {offset}: {end - offset} bytes follow the seal")


def seal_left(folder: Path, now: float) -> tuple[Path, ...]:
    """Segments that dead processes left open are finished; returns those.

    A living writer holds a lock on its segment, which is left alone. Nothing is ever cut away: a segment that is damaged, or ends
    within a record that was not written to its end, is renamed without a seal, and its reader says so. One that cannot be
    finished now, because the disk is full, stays open for the next time.

    Args:
        folder: folder of the log.
        now: Unix seconds UTC, for the seal.
    """
    try:
        paths = sorted(folder.glob(f"*{OPEN}"))
    except OSError:
        return ()
    return tuple(sealed_path for path in paths if (sealed_path := _seal_if_left(path, now)) is not None)


def _seal_if_left(path: Path, now: float) -> Path | None:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        size = os.fstat(descriptor).st_size
        if not path.exists() or os.fstat(descriptor).st_ino != path.stat().st_ino:
            return None  # another process was faster
        if size == 0:
            path.unlink()  # its writer died before the first row, or opens it right now and will see that it is gone
            return None
        _append_seal(descriptor, path.read_bytes(), now, size)
        sealed_path = path.with_suffix(SEALED)
        path.rename(sealed_path)
        return sealed_path
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _append_seal(descriptor: int, data: bytes, now: float, size: int) -> None:
    """The seal stands at the end, unless it is there or a damage precedes it."""
    rows, heads = 0, hashlib.sha256()
    try:
        _, next_sequence, _ = parse_header(data)
        for record in records(data):
            if record.kind == SEAL:
                return
            rows, next_sequence = rows + 1, record.sequence + 1
            heads.update(record.head)
    except DamageError:
        return
    seal = seal_record(rows=rows, digest=heads.hexdigest(), next_sequence=next_sequence, time=now, by="restart")
    if os.write(descriptor, seal) != len(seal):
        os.ftruncate(descriptor, size)
        raise OSError("the seal was written in part")


def _named(path: Path) -> tuple[str, int]:
    """Boot id and first sequence by the file's name, for a segment whose header is damaged."""
    boot_id, _, first = path.stem.partition("-")
    return (boot_id, int(first)) if first.isdecimal() else ("", 0)


def _row(record: SegmentRecord) -> LogRow:
    if record.kind != ROW:
        raise DamageError(f"byte {record.offset}: a record of kind {record.kind!r}; this release knows R and S")
    try:
        return row_of(orjson.loads(record.payload))
    except ValueError as error:  # orjson's own error is one too
        raise DamageError(f"byte {record.offset}: not a row: {error}") from error


def _seal(record: SegmentRecord, rows: int, digest: str) -> Seal:
    try:
        seal = Seal(**orjson.loads(record.payload))
    except (ValueError, TypeError) as error:
        raise DamageError(f"byte {record.offset}: not a seal: {error}") from error
    if (seal.rows, seal.digest) != (rows, digest):
        raise DamageError(f"byte {record.offset}: the seal is of {seal.rows} other rows; found {rows}")
    return seal
