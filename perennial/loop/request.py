"""Requests: what a person asks the controller for. A command writes one and follows it; only the controller acts on it."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from perennial.loop.failure import Failure
from perennial.record import Record


class Train(Record):
    """Train a challenger."""

    kind: Literal["train"] = "train"
    search: bool | None = None
    """Whether to search among the candidates; null: as the spec's schedule says."""
    include_excluded: bool = False
    """Whether requests train too that incidents exclude."""
    replace: bool = False
    """Whether the champion is not compared with: one that cannot be compared is replaced by a search of its own."""
    reason: str = ""
    """Why, in one sentence."""
    pipeline_run: str = ""
    """Id of the run on a pipeline server from which it was asked, and which executes it; empty where a command asked."""

    @property
    def sentence(self) -> str:
        """What was asked for.

        >>> Train(include_excluded=True, reason="the data were right").sentence
        'A person asked for a training. It takes in the requests that incidents exclude. Why: the data were right'
        """
        parts = ["A person asked for a training" + (f" from pipeline run {self.pipeline_run}." if self.pipeline_run else ".")]
        parts += ["It takes in the requests that incidents exclude."] * self.include_excluded
        parts += ["It is not compared with the champion, which it replaces."] * self.replace
        return " ".join(parts) + (f" Why: {self.reason}" if self.reason else "")


class Monitor(Record):
    """Look at the windows that are due, and decide."""

    kind: Literal["monitor"] = "monitor"
    pipeline_run: str = ""
    """As of a training."""


class RollBack(Record):
    """Give the traffic back to the champion before."""

    kind: Literal["rollback"] = "rollback"
    reason: str
    """Why, in one sentence."""


class RollOut(Record):
    """Give the traffic to a version, by its number."""

    kind: Literal["rollout"] = "rollout"
    version: int = Field(ge=1)
    """Its number."""
    reason: str
    """Why, in one sentence."""


class Retire(Record):
    """End the service of a model that was removed from the project."""

    kind: Literal["retire"] = "retire"
    reason: str
    """Why, in one sentence."""


class Accept(Record):
    """Let the controller carry out a decision that waits for a person."""

    kind: Literal["accept"] = "accept"
    decision: int
    """Its number."""


class Close(Record):
    """Close an incident."""

    kind: Literal["close"] = "close"
    incident: int | None
    """Its number; null: the only one that is open."""
    reason: str
    """Why it is over, in one sentence."""


class AcceptChange(Record):
    """Say that the data of an incident are as the data are now."""

    kind: Literal["accept change"] = "accept change"
    incident: int | None
    """Its number; null: the only one that is open."""
    who: str
    """Who says so."""
    reason: str
    """Why, in one sentence."""


Wish = Annotated[Train | Monitor | RollBack | RollOut | Retire | Accept | Close | AcceptChange, Field(discriminator="kind")]
"""What can be asked for."""


class Request(Record):
    """One thing that a person asked for, and how far it is."""

    model: str
    """Name of the model."""
    number: int
    """Counts from 1 within the model."""
    wish: Wish
    """What is asked for."""
    made: datetime
    """When, UTC, real time."""
    now: datetime
    """The time for which it is to be done, UTC; may be a simulated one."""
    state: Literal["open", "acting", "done"]
    """`acting`: what it means is settled, and stands in `subject`; `done`: it has an outcome or a failure."""
    subject: int | None = None
    """Number of its decision, of its incident, of the version that a rollback leaves, or of the attempt that a rollout is; null
    while it is open, and for a version that has the traffic already."""
    run: str | None = None
    """Id of the run that ended it; null where none did."""
    outcome: str = ""
    """What came of it, a sentence or a word; empty until it is done."""
    failure: Failure | None = None
    """Why nothing came of it; null where something did."""

    @property
    def key(self) -> str:
        """Key of the claim of its run.

        >>> now = datetime(2024, 4, 1)
        >>> Request(model="churn", number=3, wish=Train(), made=now, now=now, state="open").key
        'churn/manual/3'
        """
        if self.wish.kind == "monitor":
            return f"{self.model}/monitor/request-{self.number}"
        return f"{self.model}/manual/{self.number}"
