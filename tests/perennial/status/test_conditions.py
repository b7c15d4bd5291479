"""Each condition appears where its cause is stored, and stays away where it is not; of each type there is at most one."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from perennial.errors import PlatformError, SpecError
from perennial.ledger import Lease, Run, Version
from perennial.loop.decision import Decision, Incident
from perennial.loop.failure import Failure
from perennial.loop.request import Request, Train
from perennial.loop.rollout import Rollout
from perennial.loop.standing import Standing
from perennial.loop.window import WindowRecord
from perennial.spec.read import read_text
from perennial.status.coming import coming
from perennial.status.condition import MEANS, ORDINARY, STATES, Condition, Reason, Type, condition
from perennial.status.conditions import conditions
from perennial.status.installation import controller_condition, stores_condition
from perennial.status.model_status import ModelStatus, status_of
from perennial.status.stored import Stored
from tests.made_up import DIGESTS, FIRST, NAME, RECIPE, WEEK, broken, draft, measurement, performance, quiet_column
from tests.second_project import SPEC

NOW = FIRST + WEEK + timedelta(days=4)
"""The first window has closed and matured."""
LATER = FIRST + 2 * WEEK + timedelta(hours=1)
"""The second window has closed."""
TRAINED_UNTIL = FIRST - timedelta(days=4)
MODEL = read_text(SPEC.replace("chargeback", NAME), "churn.yaml")


def run(state: str = "succeeded", **changed: Any) -> Run:
    stated = {"run_id": "r1", "model": NAME, "mode": "search", "started": FIRST, "state": state, "spec": "s", "now": FIRST}
    stated |= {"finished": None if state == "running" else FIRST, "outcome": "registered" if state == "succeeded" else None}
    empty = {"run_key": None, "dataset": None, "mlflow_run_id": None, "reason": "", "folder": "f"}
    return Run.model_validate(stated | empty | changed)


def failed_run() -> Run:
    failure = Failure.of(PlatformError("the disk is full"))
    return run("failed", failure_kind=failure.kind, failure_retry=failure.retry, failure_step="", reason=failure.sentence)


def rollout(state: str = "champion") -> Rollout:
    stated = {"model": NAME, "number": 1, "digest": DIGESTS[0], "state": state, "previous": None}
    return Rollout.model_validate(stated | {"requested": FIRST, "moved": FIRST, "reason": f"it is {state}"})


def decision(kind: str = "leave", state: str = "done") -> Decision:
    made = draft(kind, "scheduled" if kind == "retrain" else None).model_dump()
    return Decision.model_validate(
        made | {"model": NAME, "number": 1, "cause": "c", "made": FIRST, "windows": (), "state": state, "outcome": "it ended"}
    )


def incident() -> Incident:
    stated = {"model": NAME, "number": 1, "decision": 1, "opened": FIRST, "owner": "payments team", "seen": "40 % are missing."}
    excluded = {"subjects": ["amount"], "excluded_from": FIRST, "excluded_until": FIRST + WEEK, "needed": 2, "clean": 0}
    return Incident.model_validate(stated | excluded | {"closed": None, "closing": ""})


def window(arrived: int = 1330, *, judged: bool = True) -> WindowRecord:
    end = FIRST + WEEK
    measured = measurement(columns=[quiet_column("weight")], checks=[broken("amount")])
    found = performance(end, arrived=arrived, missing=70) if judged else None
    return WindowRecord(model=NAME, start=FIRST, end=end, measured_at=end, measurement=measured, performance=found)


VERSION = Version(
    model=NAME,
    number=1,
    run_key="k",
    digest=DIGESTS[0],
    created=FIRST,
    run_id="r1",
    recipe=RECIPE,
    searched_at=FIRST,
    trained_until=TRAINED_UNTIL,
)
REQUEST = Request(model=NAME, number=3, wish=Train(), made=FIRST, now=FIRST, state="acting", subject=2)
SERVING = Standing(state="serving", sentence="version 1: 2 of 2 pods answer")
WELL = Stored(
    name=NAME,
    spec=MODEL,
    champion=VERSION,
    run=run(),
    rollout=rollout(),
    deployed=DIGESTS[0],
    traffic=SERVING,
    windows=(window(),),
    decisions=(decision(), decision("retrain")),
    logged=True,
)
"""A model on a cluster of which nothing is to be said."""
CASES: dict[Reason, Stored] = {
    Reason.SPEC_WRONG: replace(WELL, spec=SpecError("churn.yaml: spec.owner: missing")),
    Reason.SPEC_MISSING: replace(WELL, spec=None),
    Reason.TRAINING: replace(WELL, run=run("running"), executing=True),
    Reason.MONITORING: replace(WELL, run=run("running", mode="monitor"), executing=True),
    Reason.RUN_LOST: replace(WELL, run=run("running")),
    Reason.RUN_FAILED: replace(WELL, run=failed_run()),
    Reason.TRAFFIC_FOREIGN: replace(WELL, traffic=SERVING.model_copy(update={"state": "foreign"})),
    Reason.TRAFFIC_STUCK: replace(WELL, traffic=SERVING.model_copy(update={"state": "stuck"})),
    Reason.TRAFFIC_UNKNOWN: replace(WELL, traffic="the API server does not answer"),
    Reason.ROLLING_OUT: replace(WELL, rollout=rollout("requested")),
    Reason.PODS_ROLLING: replace(WELL, traffic=SERVING.model_copy(update={"state": "rolling"})),
    Reason.NOT_TRAINED: Stored(name=NAME, spec=MODEL),
    Reason.DATA_BROKEN: replace(WELL, incidents=(incident(),)),
    Reason.WAITS_FOR_PERSON: replace(WELL, decisions=(decision("retrain", "waits for a person"),)),
    Reason.REQUEST_WAITS: replace(WELL, requests=(REQUEST,)),
    Reason.RETRAIN_DECIDED: replace(WELL, decisions=(decision("retrain", "open"),)),
    Reason.RETRAIN_FAILED: replace(WELL, decisions=(decision("retrain", "failed"),)),
    Reason.ROLLOUT_REFUSED: replace(WELL, rollout=rollout("refused")),
    Reason.DEPLOYMENT_DIFFERS: replace(WELL, deployed=DIGESTS[1]),
    Reason.LABELS_MISSING: replace(WELL, windows=(window(0),)),
    Reason.WINDOW_DUE: replace(WELL, windows=(window(judged=False),)),
    Reason.RETIRED: replace(WELL, spec=None, deployed=None, traffic=SERVING.model_copy(update={"state": "absent"})),
    Reason.TRAINED: replace(WELL, windows=()),
}
"""One made-up model for each state but the one in which all is well."""
QUIET = [
    reason
    for reason, (kind, _) in MEANS.items()
    if reason not in STATES and kind not in (Type.CONTROLLER_WATCHING, Type.STORES_ANSWER)
]


def reasons(stored: Stored) -> list[Reason]:
    """Of every condition, in their order."""
    found = conditions(stored, watching=False, now=NOW)
    assert len({one.type for one in found}) == len(found)
    return [one.reason for one in found]


def test_of_a_model_that_is_well_every_condition_says_so() -> None:
    found = reasons(WELL)
    assert found[0] == Reason.WATCHED
    assert sorted(found[1:]) == sorted(QUIET)


def test_there_is_a_case_for_every_state() -> None:
    assert {*CASES, Reason.WATCHED} == set(STATES)


@pytest.mark.parametrize("reason", CASES)
def test_a_state_appears_where_its_cause_is_and_only_there(reason: Reason) -> None:
    assert reasons(CASES[reason])[0] == reason
    assert reason not in reasons(WELL)


@pytest.mark.parametrize("reason", [Reason.WATCHED, *QUIET])
def test_what_says_that_all_is_well_stays_away_where_nothing_is_known(reason: Reason) -> None:
    assert reason not in reasons(Stored(name=NAME)) or reason == Reason.SPEC_READ
    assert any(reason not in reasons(case) for case in CASES.values())


def test_a_model_without_a_spec_is_retired_only_where_it_is_known_that_nothing_is_deployed() -> None:
    gone = replace(WELL, spec=None, deployed=None)
    assert reasons(replace(gone, traffic=None)) == [Reason.RETIRED, Reason.NO_REQUEST]
    assert reasons(replace(gone, traffic="the API server does not answer"))[0] == Reason.SPEC_MISSING
    assert reasons(replace(CASES[Reason.RETIRED], requests=(REQUEST,))) == [Reason.REQUEST_WAITS, Reason.RETIRED]


def test_all_that_asks_for_something_says_what_comes_next_and_the_rest_says_nothing() -> None:
    for reason, stored in CASES.items():
        for found in conditions(stored, watching=True, now=NOW):
            assert bool(found.next) == (found.reason in STATES), reason
            assert found.message


def test_what_waits_says_since_when() -> None:
    since = {reason: status_of(CASES[reason], watching=False, now=NOW).headline.since for reason in CASES}
    for reason in (Reason.TRAINING, Reason.ROLLING_OUT, Reason.DATA_BROKEN, Reason.WAITS_FOR_PERSON):
        assert since[reason] == FIRST, reason
    for reason in (Reason.REQUEST_WAITS, Reason.RETRAIN_DECIDED):
        assert since[reason] == FIRST, reason
    assert since[Reason.LABELS_MISSING] == since[Reason.WINDOW_DUE] == FIRST + WEEK + timedelta(hours=72)
    assert since[Reason.SPEC_WRONG] is None
    closed = status_of(WELL, watching=False, now=LATER).headline
    assert (closed.reason, closed.since) == (Reason.WINDOW_DUE, FIRST + 2 * WEEK)


@pytest.mark.parametrize(("claimed", "watching", "by_itself"), [(True, True, True), (False, True, False), (True, False, False)])
def test_a_run_that_broke_is_tried_again_by_itself_only_while_its_claim_is_open(
    claimed: bool, watching: bool, by_itself: bool
) -> None:
    first = conditions(replace(WELL, run=failed_run(), claimed=claimed), watching=watching, now=NOW)[0]
    assert first.reason == Reason.RUN_FAILED
    assert ("the controller tries it again" in first.next) == by_itself
    assert ("once mended, again by hand: `perennial train churn`" in first.next) != by_itself


def test_several_incidents_are_one_condition() -> None:
    second = incident().model_copy(update={"number": 2, "opened": FIRST + WEEK})
    first = conditions(replace(WELL, incidents=(second, incident())), watching=False, now=NOW)[0]
    assert first.message.startswith("incident 2 since 2024-04-08 00:00: 40 % are missing. incident 1 since")
    assert first.since == FIRST


def test_a_replay_is_counted_by_its_own_time() -> None:
    """By the clock of another century windows are due by the thousand; by that of the replay nothing is."""
    far = status_of(WELL, watching=False, now=FIRST.replace(year=2054))
    assert far.headline.message == "windows closed without a record: 1564"
    assert status_of(WELL, watching=False, now=NOW).state == Reason.WATCHED
    assert [date.when > NOW for date in coming(WELL, NOW)] == [True]


def test_a_reason_belongs_to_one_type_and_one_status() -> None:
    stated = condition(Reason.WATCHED, "m").model_dump()
    assert Condition.model_validate(stated).reason in ORDINARY
    with pytest.raises(ValidationError, match="is a reason of"):
        Condition.model_validate(stated | {"status": "False"})
    with pytest.raises(ValidationError, match="with conditions Watched, Watched"):
        ModelStatus(model=NAME, state=Reason.WATCHED, conditions=(condition(Reason.WATCHED, "m"),) * 2)


def lease(**changed: Any) -> Lease:
    stated = {"name": "controller", "holder": "host:1", "token": 1, "expires": NOW + timedelta(minutes=1), "ticked": NOW}
    return Lease.model_validate(stated | changed)


def test_the_controller_is_watching_or_a_reason_says_why_not() -> None:
    assert controller_condition(lease(), NOW).reason == Reason.CONTROLLER_WATCHES
    assert controller_condition(None, NOW).reason == Reason.NO_CONTROLLER
    assert controller_condition(lease(expires=NOW), NOW).reason == Reason.NO_CONTROLLER
    command = controller_condition(lease(expires=NOW, ticked=None), NOW)
    assert (command.reason, command.message) == (Reason.NO_CONTROLLER, "no controller has ticked yet"), "it answered a request"
    assert controller_condition(lease(ticked=NOW + timedelta(days=1)), NOW).reason == Reason.CLOCK_WENT_BACK


def test_a_store_that_fails_is_a_condition_and_none_is_another() -> None:
    fails = stores_condition(["the online store fails: locked"])
    assert (fails.reason, fails.message) == (Reason.STORE_FAILS, "the online store fails: locked")
    assert stores_condition([]).reason == Reason.ALL_STORES_ANSWER
