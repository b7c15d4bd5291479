"""The prediction log of a model in a bucket: where its segments lie, and what each process announced of itself.

A process announces its boot id and the number of its next row while it lives: that is what is known of rows whose segment was
lost with the machine. It announces before it ships, so that every process with a segment in the bucket is found there, and from
time to time while no rows come, so that a partitioned process can be told from an idle one.
"""

import re
from dataclasses import asdict, dataclass

import orjson

from perennial.errors import DataError
from perennial.prediction_log.segment import SEALED

NAME = re.compile(r"[0-9a-f]{16}-[0-9]{12,}")
"""Name of a segment, without its ending."""
IDLE_SECONDS = 20.0
"""Between two announcements of a process to which no rows come."""


def folder_of(model: str) -> str:
    """Folder of a model's segments in the bucket."""
    return f"predictions/{model}"


def segment_key(model: str, name: str) -> str:
    """Key of a segment.

    >>> segment_key("chargeback", "5f0e7c3a91d2b486-000000000042")
    'predictions/chargeback/5f0e7c3a91d2b486-000000000042.log'
    """
    return f"{folder_of(model)}/{name}{SEALED}"


def boots_of(model: str) -> str:
    """Folder of the announcements of a model's processes in the bucket."""
    return f"{folder_of(model)}/boots"


def boot_key(model: str, boot_id: str) -> str:
    """Key of a process's announcement."""
    return f"{boots_of(model)}/{boot_id}.json"


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a process said of itself last."""

    boot_id: str
    """The process."""
    next_sequence: int
    """Number of its next row when it said so: rows below it were numbered."""
    time: float
    """When it said so, Unix seconds UTC."""
    ended: bool
    """Whether it ended and shipped everything: it has no row beyond."""

    def to_json(self) -> bytes:
        """As it lies in the bucket."""
        return orjson.dumps(asdict(self))


def read_announcement(content: bytes, key: str) -> Announcement:
    """What a process announced; fields that a newer release added are left out.

    Args:
        content: of the object.
        key: of the object, for the error.

    Raises:
        DataError: it is no announcement.

    >>> read_announcement(Announcement("5f0e7c3a91d2b486", 7, 1.5, False).to_json(), "key").next_sequence
    7
    >>> read_announcement(b'{"boot_id":"5f0e7c3a91d2b486","next_sequence":7,"time":1.5,"ended":true,"host":"n"}', "key").ended
    True
    >>> read_announcement(b"{}", "boots/5f.json")
    Traceback (most recent call last):
        ...
    perennial.errors.DataError: boots/5f.json: not an announcement of a serving process: found b'{}'
    """
    try:
        fields = orjson.loads(content)
        return Announcement(str(fields["boot_id"]), int(fields["next_sequence"]), float(fields["time"]), bool(fields["ended"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{key}: not an announcement of a serving process: found {content!r:.60}") from error
