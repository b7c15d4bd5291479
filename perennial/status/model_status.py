"""The status of a model: its state, its conditions and what comes when. What `perennial status --json` prints of it."""

from datetime import datetime
from typing import Self

from pydantic import model_validator

from perennial.loop.standing import Standing
from perennial.record import Record
from perennial.status.coming import Coming, coming
from perennial.status.condition import Condition, Reason
from perennial.status.conditions import conditions
from perennial.status.stored import Stored


class ServerStatus(Record):
    """How the local server of a model is."""

    address: str
    """Host and port."""
    is_ready: bool
    """Whether model and online store answer."""
    lost_rows: int
    """Answers that could not be written to the prediction log since it started."""


class ModelStatus(Record):
    """How one model stands."""

    model: str
    """Its name."""
    state: Reason
    """Reason of the condition that matters most; docs/runbook.md has a section for each."""
    conditions: tuple[Condition, ...]
    """What is known of it, what matters most first; at most one of each type."""
    coming: tuple[Coming, ...] = ()
    """What comes when, soonest first."""
    server: ServerStatus | None = None
    """How its local server is; null when none answers."""
    traffic: Standing | str | None = None
    """How far its traffic on a cluster is, or why nobody can say; null where a process of this machine serves."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        """The state is that of the first condition, and no type occurs twice.

        Raises:
            ValueError: it is not so.
        """
        types = [condition.type for condition in self.conditions]
        if not self.conditions or self.state != self.conditions[0].reason or len(types) != len(set(types)):
            raise ValueError(f"state {self.state} with conditions {', '.join(types) or 'none'}")
        return self

    @property
    def headline(self) -> Condition:
        """The condition that matters most."""
        return self.conditions[0]

    @property
    def also(self) -> tuple[Condition, ...]:
        """What else asks for something, or says that all is well with its windows; what matters most first."""
        return tuple(condition for condition in self.conditions[1:] if condition.is_state)


def status_of(stored: Stored, watching: bool, now: datetime) -> ModelStatus:
    """How a model stands, from what is stored about it.

    Args:
        stored: what is stored.
        watching: whether a controller is at work.
        now: UTC.
    """
    all_conditions = conditions(stored, watching, now)
    return ModelStatus(
        model=stored.name,
        state=all_conditions[0].reason,
        conditions=all_conditions,
        coming=coming(stored, now),
        traffic=stored.traffic,
    )
