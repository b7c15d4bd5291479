"""What a tick did, found in its way, and waits for. The records only."""

from datetime import datetime
from typing import Literal

from perennial.record import Record

LEASE = "controller"
"""Name of the lease of whoever ticks."""


class Act(Record):
    """One thing that a tick did."""

    model: str
    """Name of the model."""
    what: Literal["started", "started again", "ended", "gave up", "rolled out", "repaired", "overtaken", "held", "answered"]
    """What it did."""
    sentence: str
    """The same in words."""


class Obstacle(Record):
    """Something that kept a tick from its work. The next tick tries again."""

    model: str
    """Name of the model; empty when it concerns all."""
    sentence: str
    """What was found, and who must act."""


class Note(Record):
    """Something that a person should know, and that kept a tick from nothing."""

    model: str
    """Name of the model."""
    sentence: str
    """What was found, and who may act."""


Found = Act | Obstacle | str
"""What a part of a tick finds: something that it did, something in its way, or in a sentence what it waits for."""


class Ticked(Record):
    """One tick."""

    now: datetime
    """The time for which it ticked."""
    acts: tuple[Act, ...] = ()
    """What it did, in order."""
    problems: tuple[Obstacle, ...] = ()
    """What was in its way."""
    notes: tuple[Note, ...] = ()
    """What a person should know."""
    waits: tuple[str, ...] = ()
    """Runs that are in flight, one sentence each."""
    holds_lease: bool = True
    """Whether it was this controller's turn; if not, it did nothing."""
    broke: bool = False
    """Whether it came to no end: the ledger did not answer, or the lease was lost on the way."""

    @property
    def stands_by(self) -> bool:
        """Whether another controller holds the lease."""
        return not self.holds_lease and not self.broke

    @property
    def is_idle(self) -> bool:
        """Whether nothing was done and nothing is in flight: the same tick again would find the same."""
        return not self.acts and not self.waits
