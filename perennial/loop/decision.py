"""Decisions and incidents: what monitoring concluded, with its evidence, stored before anything acts on it. The records only."""

from datetime import datetime
from typing import Literal

from perennial.record import Record

Kind = Literal["leave", "retrain", "fix data"]
Reason = Literal["drift", "degraded", "scheduled", "manual"]
DecisionState = Literal["open", "waits for a person", "acting", "done", "failed"]


class Fact(Record):
    """One thing that a decision rests on."""

    name: str
    """What was looked at: a column, `log loss`, `age`, `cool-down`, …"""
    value: float | None
    """What was found; null where it is no number."""
    limit: float | None
    """What it was held against; null where there is none."""
    sentence: str
    """The same in words."""


class Decision(Record):
    """What is to be done about a model, and why."""

    model: str
    """Name of the model."""
    number: int
    """Counts from 1 within the model."""
    cause: str
    """What it came from, unique: the key of the monitoring run, or of a person's request."""
    made: datetime
    """When, UTC."""
    kind: Kind
    """What is to be done."""
    reason: Reason | None
    """Why it is trained; null unless it is a retrain."""
    sentence: str
    """The decision in one sentence."""
    otherwise: str
    """What would have changed it, in one sentence."""
    facts: tuple[Fact, ...]
    """What it rests on."""
    windows: tuple[datetime, ...]
    """Begins of the windows that it looked at for the first time."""
    judged: tuple[datetime, ...] = ()
    """Begins of those whose performance it looked at for the first time."""
    state: DecisionState
    """`open`: the controller acts next. `waits for a person`: the policy is advisory. A decision to leave is done at once."""
    outcome: str
    """What came of it; empty until it is done or failed."""

    @property
    def title(self) -> str:
        """Kind and reason in a word or two."""
        return f"{self.kind}: {self.reason}" if self.reason else self.kind


class DecisionDraft(Record):
    """A decision that is not in the ledger yet: what the policy concludes."""

    kind: Kind
    reason: Reason | None
    sentence: str
    otherwise: str
    facts: tuple[Fact, ...]


class AcceptedCheck(Record):
    """What a failed check showed, in data that a person says are as they are now."""

    name: str
    """What was checked, as in `perennial.loop.window.Check`."""
    subject: str
    """The column or view; empty for the whole window."""
    value: float
    """The largest value that was found."""
    low: float | None = None
    """Smallest value of the column; null where its range was not checked."""
    high: float | None = None
    """Largest value of the column."""
    categories: tuple[str, ...] | None = None
    """Its texts, sorted; null where they were not checked, and where there are too many to list."""


class Acceptance(Record):
    """That data which broke a window are as the data are now: no fault, and part of what a window is checked against."""

    who: str
    """Who said so."""
    why: str
    """Why, in their words."""
    when: datetime
    """When, UTC."""
    checks: tuple[AcceptedCheck, ...]
    """What was accepted."""


class Incident(Record):
    """Broken data: who owns it, what was seen, which requests do not train, how it closes."""

    model: str
    """Name of the model."""
    number: int
    """Counts from 1 within the model."""
    decision: int
    """The decision that opened it."""
    opened: datetime
    """When, UTC."""
    owner: str
    """Who must act: the owner in the spec."""
    seen: str
    """What was seen, in one sentence."""
    subjects: tuple[str, ...]
    """Columns or views that were broken; an empty name stands for the whole window."""
    excluded_from: datetime
    """Requests from here …"""
    excluded_until: datetime
    """… to here, exclusive, never train; moved on while windows are broken."""
    needed: int
    """Clean windows after which it closes by itself."""
    clean: int
    """Clean windows since the last broken one."""
    closed: datetime | None
    """When it was closed; null while it is open."""
    closing: str
    """How it was closed: by clean windows, or by whom and why; empty while it is open."""
    accepted: Acceptance | None = None
    """That its data are no fault; null unless a person said so. Then they train."""

    def covers(self, start: datetime) -> bool:
        """Whether a window that begins then is one of its own."""
        return self.excluded_from <= start < self.excluded_until


OVER = ("done", "failed")
"""States of a claim in which nobody can take it any more."""


class Claim(Record):
    """Who may have the effect of a decision or a monitoring run: one owner at a time, each take with a higher token."""

    key: str
    """What is claimed: one of the keys that `docs/architecture.md` lists."""
    model: str
    """Name of the model."""
    owner: str
    """Id of the run that may act."""
    token: int
    """Fencing token: counts up at every take; an effect with an older one is refused."""
    state: Literal["intended", "submitted", "seen", "done", "failed"]
    """`intended`: committed before any call. `submitted`: the run was started. `seen`: the run has taken it."""
    starts: int
    """How often a run was started for it."""
    decision: int | None
    """Number of the decision that it carries out; null for a monitoring run."""
    moved: datetime
    """When it came into its state, UTC."""

    @property
    def is_over(self) -> bool:
        """Whether nobody can take it any more."""
        return self.state in OVER
