"""A version becomes champion after it was loaded and checked, and in no other way, whatever is observed in whatever order."""

import itertools
import random
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest

from perennial.errors import DataError
from perennial.loop.rollout import TRANSITIONS, Observation, Observed, Rollout, State, request, step

NOW = datetime(2013, 4, 1, tzinfo=UTC)
EXPECTED: dict[tuple[str, str], str] = {
    ("requested", "checked"): "checked",
    ("requested", "failed"): "refused",
    ("requested", "withdrawn"): "refused",
    ("checked", "promoted"): "champion",
    ("checked", "failed"): "refused",
    ("checked", "withdrawn"): "refused",
    ("champion", "rolled back"): "rolled back",
}


def requested() -> Rollout:
    return request(model="delay", number=3, digest="d3", previous=2, now=NOW, reason="Passed its gates.")


def seen(what: Observed, *, loaded: bool = True, passed: bool = True, digest: str = "d3", hours: int = 1) -> Observation:
    time = NOW + timedelta(hours=hours)
    return Observation(seen=what, loaded=loaded, passed=passed, digest=digest, time=time, reason=f"Saw {what}.")


@pytest.mark.parametrize(("state", "observed"), list(itertools.product(get_args(State), get_args(Observed))))
def test_every_pair_of_state_and_observation_does_what_the_table_says_and_else_nothing(state: State, observed: Observed) -> None:
    before = requested().model_copy(update={"state": state})
    after = step(before, seen(observed))
    if (state, observed) not in EXPECTED:
        assert after == before
        return
    moved = NOW + timedelta(hours=1)
    assert (after.state, after.reason, after.moved) == (EXPECTED[state, observed], f"Saw {observed}.", moved)
    assert (after.requested, after.previous, after.digest) == (before.requested, before.previous, before.digest)


def test_checked_without_both_proofs_or_of_another_version_moves_nothing() -> None:
    for loaded, passed, digest in ((True, False, "d3"), (False, True, "d3"), (False, False, "d3"), (True, True, "d2")):
        assert step(requested(), seen("checked", loaded=loaded, passed=passed, digest=digest)) == requested()


def test_states_without_a_way_out_are_over() -> None:
    over = {state for state in get_args(State) if requested().model_copy(update={"state": state}).is_over}
    assert over == {"refused", "rolled back"}
    assert {state for pair in TRANSITIONS for state in (pair[0], TRANSITIONS[pair])} == set(get_args(State))


def test_no_sequence_of_observations_breaks_the_rules() -> None:
    chance = random.Random(7)
    champions = 0
    for _ in range(3000):
        rollout, proved = requested(), False
        for hours in range(10):
            observation = seen(
                chance.choice(get_args(Observed)),
                loaded=chance.random() < 0.7,
                passed=chance.random() < 0.7,
                digest=chance.choice(["d3", "d3", "d3", "d2"]),
                hours=hours,
            )
            after = step(rollout, observation)
            assert step(after, observation) == after  # told twice, it moves once
            proved |= observation.seen == "checked" and observation.loaded and observation.passed and observation.digest == "d3"
            if after != rollout:
                assert not rollout.is_over
                assert observation.digest == "d3"
                assert after.moved == observation.time
            if after.state == "champion" and rollout.state != "champion":
                assert proved
                assert rollout.state == "checked"
                champions += 1
            rollout = after
    assert 150 < champions < 2850


def test_the_champion_cannot_be_requested_again() -> None:
    with pytest.raises(DataError, match="delay: version 2 is champion already"):
        request(model="delay", number=2, digest="d2", previous=2, now=NOW, reason="Again.")
    assert request(model="delay", number=1, digest="d1", previous=None, now=NOW, reason="First.").previous is None
