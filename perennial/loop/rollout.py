"""The rollout of a version: what a request for traffic becomes, as a pure state machine. Nothing here acts or stores.

```text
requested ── checked ──► checked ── promoted ──► champion ── rolled back ──► rolled back
    └─── failed or withdrawn ─┴──► refused
```

Steps to come (shadow, canary) are states between *checked* and *champion* and lines in `TRANSITIONS`. Of several champions of a
model the newest has the traffic and the others had it (`champions`), so that a rollback is a move of the newest. The ledger's row
is what is wanted, the deployer's state what is; who carries a rollout out tells `step` what was observed, and stores what it
returns by comparing with the state that it read.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from pydantic import Field

from perennial.errors import DataError
from perennial.record import Record

State = Literal["requested", "checked", "champion", "refused", "rolled back"]
Observed = Literal["checked", "promoted", "failed", "withdrawn", "rolled back"]


class Observation(Record):
    """What was seen of a rollout, or asked of it."""

    seen: Observed
    """`checked`: the real runtime loaded the version and the serving check passed on it. `promoted`: every step before traffic is
    done. `failed`: the version cannot be loaded, or a step was not passed. `withdrawn`: a person, or a newer request, takes it
    back before it has traffic. `rolled back`: traffic goes back to the champion before."""
    digest: str
    """Digest of the version that was observed: an observation of another one moves nothing."""
    loaded: bool = False
    """Whether the real runtime loaded it; `checked` counts only with it."""
    passed: bool = False
    """Whether the serving check passed on it; `checked` counts only with it."""
    time: datetime
    """When, UTC."""
    reason: str = Field(min_length=1)
    """One sentence."""


class Rollout(Record):
    """One version's way to traffic."""

    model: str
    """Name of the model."""
    number: int
    """Number of the version."""
    attempt: int = Field(1, ge=1)
    """Which request for this version it is: a version that has not the traffic can be asked for again, by a person."""
    digest: str
    """Digest of the version folder."""
    state: State
    """Where it is."""
    previous: int | None
    """Number of the champion when this was requested; null for the first."""
    requested: datetime
    """When traffic was asked for, UTC."""
    moved: datetime
    """When it came into its state, UTC."""
    reason: str
    """One sentence: why it is in its state."""

    @property
    def is_over(self) -> bool:
        """Whether nothing can move it any more."""
        return not any(state == self.state for state, _ in TRANSITIONS)


TRANSITIONS: dict[tuple[State, Observed], State] = {
    ("requested", "checked"): "checked",
    ("requested", "failed"): "refused",
    ("requested", "withdrawn"): "refused",
    ("checked", "promoted"): "champion",
    ("checked", "failed"): "refused",
    ("checked", "withdrawn"): "refused",
    ("champion", "rolled back"): "rolled back",
}
"""From a state and what was observed to the next state. A pair that is not here moves nothing."""


def champions(rollouts: Iterable[Rollout]) -> tuple[Rollout, ...]:
    """The champions among a model's rollouts, newest first: the first has the traffic, and the second had it before.

    Args:
        rollouts: in any order.
    """
    with_traffic = (rollout for rollout in rollouts if rollout.state == "champion")
    return tuple(sorted(with_traffic, key=lambda rollout: (rollout.moved, rollout.number, rollout.attempt), reverse=True))


def request(
    *, model: str, number: int, digest: str, previous: int | None, now: datetime, reason: str, attempt: int = 1
) -> Rollout:
    """The rollout of a version for which traffic is asked.

    Args:
        model: name of the model.
        number: number of the version.
        digest: digest of its folder.
        previous: number of the champion now.
        now: UTC.
        reason: one sentence.
        attempt: which request for this version it is.

    Raises:
        DataError: the version is champion already.
    """
    if previous == number:
        raise DataError(f"{model}: version {number} is champion already; nothing to roll out")
    return Rollout(
        model=model,
        number=number,
        attempt=attempt,
        digest=digest,
        state="requested",
        previous=previous,
        requested=now,
        moved=now,
        reason=reason,
    )


def step(rollout: Rollout, observation: Observation) -> Rollout:
    """The rollout after what was observed; the same one when that moves nothing.

    `checked` counts only with both proofs, and every observation only for the digest that the rollout is about: a version becomes
    champion after the real runtime has loaded it and the serving check has passed, and in no other way. It moves no earlier than
    it was requested, by whatever clock it is observed: rollouts stay in their order.

    >>> from datetime import UTC
    >>> now = datetime(2013, 4, 1, tzinfo=UTC)
    >>> asked = request(model="churn", number=2, digest="d2", previous=1, now=now, reason="Passed its gates.")
    >>> seen = Observation(seen="checked", loaded=True, passed=True, digest="d2", time=now, reason="Serving check passed.")
    >>> step(asked, seen).state, step(asked, seen.model_copy(update={"seen": "promoted"})).state
    ('checked', 'requested')
    """
    state = TRANSITIONS.get((rollout.state, observation.seen))
    is_unproved = observation.seen == "checked" and not (observation.loaded and observation.passed)
    if state is None or is_unproved or observation.digest != rollout.digest:
        return rollout
    moved = max(observation.time, rollout.requested)
    return rollout.model_copy(update={"state": state, "moved": moved, "reason": observation.reason})
