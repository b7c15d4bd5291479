"""The moment at which something is done: the time that it is for, and the real one. They differ in a replay."""

from datetime import UTC, datetime
from typing import NamedTuple

from perennial.errors import SpecError


class Moment(NamedTuple):
    """The time that something is done for, and the time at which it is done."""

    now: datetime
    """The time that it is for, UTC: a tick's, a request's own, or that of a replay."""
    wall_clock: datetime
    """The real time, UTC."""

    @classmethod
    def parse(cls, now: str, wall_clock: str) -> "Moment":
        """The moment of two times in ISO 8601, each with a zone."""
        return cls(datetime.fromisoformat(now), datetime.fromisoformat(wall_clock))


def parse_time(text: str) -> datetime:
    """A time that a person gave, with its zone.

    Raises:
        SpecError: it is no ISO 8601 time, or has no zone.

    >>> parse_time("2013-04-02T00:00:00Z").isoformat()
    '2013-04-02T00:00:00+00:00'
    >>> parse_time("2013-04-02")
    Traceback (most recent call last):
        ...
    perennial.errors.SpecError: '2013-04-02' is not a time with a zone; allowed: ISO 8601 such as 2013-04-02T00:00:00Z
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise SpecError(f"{text!r} is not a time with a zone; allowed: ISO 8601 such as 2013-04-02T00:00:00Z")
    return time.astimezone(UTC)
