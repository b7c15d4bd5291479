"""A run before it executes: when a training searches, what its run is given, and what is in its way."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controller.preparation import last_search, prepare, wants_search
from feature_repo.dataset import spans
from perennial.errors import PlatformError
from perennial.ledger import Ledger, Version
from perennial.loop.decision import DecisionDraft
from perennial.loop.request import Monitor, Train
from perennial.settings import Settings
from perennial.spec.read import read
from perennial.training.recipe import Recipe
from pipelines import lock
from tests.controller.asked import context_of, prepared
from tests.second_project import NAME, write_project

MOMENT = datetime(2024, 4, 13, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_environment({"PERENNIAL_PROJECT": str(write_project(tmp_path, per_day=1))})


def version(searched_at: datetime) -> Version:
    recipe = Recipe(kind="logistic", parameters={"c": 1.0}, columns=("amount",))
    return Version(
        model=NAME,
        number=1,
        run_key="k",
        digest="d",
        created=MOMENT,
        run_id="r",
        recipe=recipe,
        searched_at=searched_at,
        trained_until=MOMENT,
    )


def test_a_training_searches_first_and_on_schedule_and_refits_between(settings: Settings) -> None:
    model = read(settings.models / f"{NAME}.yaml")
    days = model.spec.training.search.every_days
    assert wants_search(model, None, None, MOMENT)
    assert not wants_search(model, version(MOMENT - timedelta(days=days - 1)), None, MOMENT)
    assert wants_search(model, version(MOMENT - timedelta(days=days)), None, MOMENT)
    stopped = MOMENT - timedelta(days=30)
    assert not wants_search(model, version(MOMENT - timedelta(days=days)), stopped, MOMENT), "searched, though in vain"


@pytest.mark.parametrize(("outcome", "counts"), [("stopped", True), ("registered", True), ("invalid data", False)])
def test_a_search_counts_when_it_came_to_its_gates(settings: Settings, outcome: str, counts: bool) -> None:
    with Ledger.open(settings.ledger) as ledger:
        ledger.start_run(run_id="r", model=NAME, mode="search", started=MOMENT, now=MOMENT, spec="s", folder="f")
        assert last_search(ledger, NAME, MOMENT) is None
        ledger.finish_run("r", finished=MOMENT, outcome=outcome, reason="as it came")
        assert last_search(ledger, NAME, MOMENT) == (MOMENT if counts else None)
        assert last_search(ledger, NAME, MOMENT - timedelta(days=1)) is None, "later than it is asked for"


def test_a_prepared_run_is_in_the_ledger_before_it_executes(settings: Settings) -> None:
    run_id = prepared(settings, NAME, MOMENT, MOMENT)
    with Ledger.open(settings.ledger) as ledger:
        run = ledger.run(run_id)
    assert (run.state, run.mode, run.now) == ("running", "search", MOMENT)
    assert not lock.is_executing(settings.runs, run_id)


def test_one_run_of_a_model_is_in_flight(settings: Settings) -> None:
    first = prepared(settings, NAME, MOMENT, MOMENT)
    with lock.held(lock.open_lock(settings.runs, first), first), pytest.raises(PlatformError, match=f"run {first} is in flight"):
        prepared(settings, NAME, MOMENT, MOMENT)
    second = prepared(settings, NAME, MOMENT, MOMENT + timedelta(seconds=10))
    with Ledger.open(settings.ledger) as ledger:
        assert [claim.owner for claim in ledger.open_claims(NAME)] == [second], "the first, which nobody executes, is given up"
        newest, older = ledger.decisions(NAME)
        assert ledger.run(first).state == "failed", "else it would count as in flight for ever"
    assert (older.state, newest.state, newest.reason) == ("failed", "acting", "manual")


def test_a_person_s_request_is_a_decision_with_a_claim_of_its_own(settings: Settings) -> None:
    run_id = prepared(settings, NAME, MOMENT, MOMENT)
    with Ledger.open(settings.ledger) as ledger:
        run, (decision,), (request,) = ledger.run(run_id), ledger.decisions(NAME), ledger.open_requests()
        claim = ledger.claim(f"{NAME}/manual/1")
    assert (request.key, request.subject, request.state, request.now) == (claim.key, decision.number, "acting", MOMENT)
    assert (decision.kind, decision.reason, decision.state, decision.made) == ("retrain", "manual", "acting", MOMENT)
    assert [fact.sentence for fact in decision.facts] == ["A person asked for a training."]
    assert (claim.owner, claim.decision, claim.state, claim.token) == (run_id, decision.number, "submitted", 0)
    assert (run.claim, run.decision) == (claim.key, decision.number)


def test_nothing_is_decided_while_a_monitoring_run_is_in_flight(settings: Settings) -> None:
    first = prepared(settings, NAME, MOMENT, MOMENT, Monitor())
    with Ledger.open(settings.ledger) as ledger, lock.held(lock.open_lock(settings.runs, first), first):
        with pytest.raises(PlatformError, match=rf"run {first} is in flight for {NAME}/monitor/request-1; wait for its end"):
            prepared(settings, NAME, MOMENT, MOMENT + timedelta(days=1))
        assert ([run.run_id for run in ledger.runs(NAME)], ledger.decisions(NAME)) == ([first], ())


def test_a_run_that_was_half_prepared_is_prepared_again(settings: Settings) -> None:
    model, folder = read(settings.models / f"{NAME}.yaml"), settings.runs / "m1"
    folder.mkdir(parents=True)
    (folder / "parameters.json").write_text('{"spec": "cut o')
    with Ledger.open(settings.ledger) as ledger:
        claim = ledger.intend(f"{NAME}/monitor/x", model=NAME, owner="m1", decision=None, now=MOMENT)
        assert claim is not None
        for _ in range(2):
            prepare(context_of(settings, ledger, MOMENT, MOMENT), model, claim)
        assert json.loads((folder / "parameters.json").read_text())["key"] == claim.key
        assert [(run.run_id, run.mode, run.claim, run.decision) for run in ledger.runs(NAME)] == [
            ("m1", "monitor", claim.key, None)
        ]


def exclude(ledger: Ledger, cause: str, start: datetime) -> int:
    """A week is broken; returns the number of the incident."""
    draft = DecisionDraft(kind="fix data", reason=None, sentence="Fix it.", otherwise="Sound data.", facts=())
    decision, _ = ledger.add_decision(NAME, cause=cause, now=MOMENT, draft=draft, state="done")
    return ledger.open_incident(
        NAME,
        decision=decision.number,
        now=MOMENT,
        owner="o",
        seen="s",
        subjects=["amount"],
        excluded_from=start,
        excluded_until=start + timedelta(days=7),
        needed=2,
    ).number


@pytest.mark.parametrize("by_hand", [False, True])
def test_excluded_times_reach_the_run(settings: Settings, by_hand: bool) -> None:
    model, week = read(settings.models / f"{NAME}.yaml"), timedelta(days=7)
    with Ledger.open(settings.ledger) as ledger:
        ledger.close_incident(NAME, exclude(ledger, "later", MOMENT - week), now=MOMENT, closing="mended")
        exclude(ledger, "earlier", MOMENT - 3 * week)
        if by_hand:
            run_id = prepared(settings, NAME, MOMENT, MOMENT)
        else:
            claim = ledger.intend("k", model=NAME, owner="r1", decision=2, now=MOMENT)
            assert claim is not None
            prepare(context_of(settings, ledger, MOMENT, MOMENT), model, claim)
            run_id = claim.owner
            assert (ledger.run(run_id).decision, len(ledger.decisions(NAME))) == (2, 2), "the decision was made elsewhere"
    parameters = json.loads((settings.runs / run_id / "parameters.json").read_text())
    assert spans(parameters["excluded"]) == [(MOMENT - 3 * week, MOMENT - 2 * week), (MOMENT - week, MOMENT)]


def test_a_person_may_train_on_what_incidents_exclude_and_it_is_kept(settings: Settings) -> None:
    with Ledger.open(settings.ledger) as ledger:
        exclude(ledger, "broken", MOMENT - timedelta(days=21))
    run_id = prepared(settings, NAME, MOMENT, MOMENT, Train(include_excluded=True, reason="the data were right"))
    parameters = json.loads((settings.runs / run_id / "parameters.json").read_text())
    assert spans(parameters["excluded"]) == []
    with Ledger.open(settings.ledger) as ledger:
        newest = ledger.decisions(NAME)[0]
        assert "It takes in the requests that incidents exclude. Why: the data were right" in newest.sentence
        assert len(ledger.excluded(NAME)) == 1, "for this training alone"
