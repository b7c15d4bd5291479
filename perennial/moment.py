"""The moment at which something is done: the time that it is for, and the real one. They differ in a replay."""

from datetime import datetime
from typing import NamedTuple


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
