"""Local runs: when a training searches, what a run's folder holds, and who may execute it."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from feature_repo.dataset import spans
from perennial.errors import DataError, NotFoundError, PlatformError
from perennial.ledger import Ledger, Version
from perennial.loop.decision import DecisionDraft
from perennial.loop.failure import Failure
from perennial.settings import Settings
from perennial.spec.read import read
from perennial.training.recipe import Recipe
from pipelines import lock, runs
from pipelines.steps import FAILURE
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
    assert runs.wants_search(model, None, None, MOMENT)
    assert not runs.wants_search(model, version(MOMENT - timedelta(days=days - 1)), None, MOMENT)
    assert runs.wants_search(model, version(MOMENT - timedelta(days=days)), None, MOMENT)
    stopped = MOMENT - timedelta(days=30)
    assert not runs.wants_search(model, version(MOMENT - timedelta(days=days)), stopped, MOMENT), "searched, though in vain"


@pytest.mark.parametrize(("outcome", "counts"), [("stopped", True), ("registered", True), ("invalid data", False)])
def test_a_search_counts_when_it_came_to_its_gates(settings: Settings, outcome: str, counts: bool) -> None:
    with Ledger.open(settings.ledger) as ledger:
        ledger.start_run(run_id="r", model=NAME, mode="search", started=MOMENT, now=MOMENT, spec="s", folder="f")
        assert runs.last_search(ledger, NAME, MOMENT) is None
        ledger.finish_run("r", finished=MOMENT, outcome=outcome, reason="as it came")
        assert runs.last_search(ledger, NAME, MOMENT) == (MOMENT if counts else None)
        assert runs.last_search(ledger, NAME, MOMENT - timedelta(days=1)) is None, "later than it is asked for"


def test_a_prepared_run_is_in_the_ledger_before_it_executes(settings: Settings) -> None:
    run_id = runs.prepare(settings, read(settings.models / f"{NAME}.yaml"), MOMENT, MOMENT)
    with Ledger.open(settings.ledger) as ledger:
        run = ledger.run(run_id)
    assert (run.state, run.mode, run.now) == ("running", "search", MOMENT)
    assert not lock.is_executing(settings, run_id)


def test_a_run_that_breaks_is_failed_with_the_step_s_own_error(settings: Settings) -> None:
    run_id = runs.prepare(settings, read(settings.models / f"{NAME}.yaml"), MOMENT, MOMENT)
    folder = settings.runs / run_id

    def execute(_: Path, parameters: dict[str, str]) -> None:
        assert lock.is_executing(settings, run_id)
        assert not (folder / FAILURE).exists(), "what an earlier start broke with is gone"
        Failure.of(DataError("pair.parquet: empty"), "build-dataset").write(folder / FAILURE)
        raise RuntimeError("a task failed")

    (folder / "log.txt").touch()
    Failure.of(PlatformError("of an earlier start"), "claim").write(folder / FAILURE)
    assert runs.execute_locked(settings, run_id, execute, lock.open_lock(settings, run_id)) == 2
    with Ledger.open(settings.ledger) as ledger:
        run = ledger.run(run_id)
    assert (run.state, run.reason, run.why) == ("failed", "pair.parquet: empty", "DataError: pair.parquet: empty")
    assert run.failure == Failure(kind="DataError", retry=False, step="build-dataset", sentence="pair.parquet: empty")


@pytest.mark.parametrize(
    ("printed", "raised", "code", "reason"),
    [
        # A step whose process was killed says nothing; what KFP raises then says no more than that it failed.
        (
            "00:00:01.000 - INFO - Executing task 'train-2'\n    fitting\n",
            RuntimeError("Pipeline failed"),
            75,
            "PlatformError: train: its process ended without an error of its own: it was killed, or memory ran out",
        ),
        # What breaks outside every step is a bug, unless it says otherwise.
        ("", KeyError("spec"), 70, "UnexpectedError: run: KeyError: 'spec' (pipelines/test_runs.py, line "),
        ("", OSError(28, "No space left on device"), 75, "PlatformError: run: OSError: [Errno 28] No space left on device; the"),
    ],
    ids=["killed step", "bug", "full disk"],
)
def test_a_run_that_breaks_without_a_trace_says_what_it_means(
    settings: Settings, printed: str, raised: Exception, code: int, reason: str
) -> None:
    run_id = runs.prepare(settings, read(settings.models / f"{NAME}.yaml"), MOMENT, MOMENT)
    log = settings.runs / run_id / "log.txt"
    log.touch()

    def execute(folder: Path, parameters: dict[str, str]) -> None:
        log.write_text(printed)
        raise raised

    assert runs.execute_locked(settings, run_id, execute, lock.open_lock(settings, run_id)) == code
    with Ledger.open(settings.ledger) as ledger:
        assert ledger.run(run_id).why.startswith(reason)


def test_a_run_is_executed_by_one_process(settings: Settings) -> None:
    run_id = runs.prepare(settings, read(settings.models / f"{NAME}.yaml"), MOMENT, MOMENT)
    with lock.held(lock.open_lock(settings, run_id), run_id), pytest.raises(PlatformError, match="another process"):
        runs.start(settings, run_id)


def test_a_run_that_nobody_prepared_is_not_found(settings: Settings) -> None:
    with pytest.raises(NotFoundError, match="perennial runs"):
        runs.start(settings, "nothing")


def test_one_run_of_a_model_is_in_flight(settings: Settings) -> None:
    model = read(settings.models / f"{NAME}.yaml")
    first = runs.prepare(settings, model, MOMENT, MOMENT)
    with lock.held(lock.open_lock(settings, first), first), pytest.raises(PlatformError, match=f"run {first} is in flight"):
        runs.prepare(settings, model, MOMENT, MOMENT)
    with pytest.raises(PlatformError, match=f"run {first} is being started"):
        runs.prepare(settings, model, MOMENT, MOMENT + timedelta(seconds=9))
    second = runs.prepare(settings, model, MOMENT, MOMENT + timedelta(seconds=10))
    with Ledger.open(settings.ledger) as ledger:
        assert [claim.owner for claim in ledger.open_claims(NAME)] == [second], "the first, which nobody executes, is given up"
        newest, older = ledger.decisions(NAME)
        assert ledger.run(first).state == "failed", "else it would count as in flight for ever"
    assert (older.state, newest.state, newest.reason) == ("failed", "acting", "manual")


def test_a_run_is_unknown_then_dead_then_ended(settings: Settings) -> None:
    with Ledger.open(settings.ledger) as ledger:
        assert runs.state(settings, ledger, "churn-1") == "unknown"
        run_id = runs.prepare(settings, read(settings.models / f"{NAME}.yaml"), MOMENT, MOMENT)
        assert runs.state(settings, ledger, run_id) == "dead"
        with lock.held(lock.open_lock(settings, run_id), run_id):
            assert runs.state(settings, ledger, run_id) == "executing"
        ledger.fail_run(run_id, finished=MOMENT, failure=Failure.of(DataError("empty")))
        assert runs.state(settings, ledger, run_id) == "ended"


def test_a_person_s_request_is_a_decision_with_a_claim_of_its_own(settings: Settings) -> None:
    run_id = runs.prepare(settings, read(settings.models / f"{NAME}.yaml"), MOMENT, MOMENT)
    with Ledger.open(settings.ledger) as ledger:
        run, (decision,) = ledger.run(run_id), ledger.decisions(NAME)
        claim = ledger.claim(f"{NAME}/manual/{run_id}")
    assert (decision.kind, decision.reason, decision.state, decision.made) == ("retrain", "manual", "acting", MOMENT)
    assert [fact.sentence for fact in decision.facts] == ["A person asked for a training."]
    assert (claim.owner, claim.decision, claim.state, claim.token) == (run_id, decision.number, "intended", 0)
    assert (run.claim, run.decision) == (claim.key, decision.number)


def test_nothing_is_asked_while_a_monitoring_run_is_in_flight(settings: Settings) -> None:
    model, key = read(settings.models / f"{NAME}.yaml"), f"{NAME}/monitor/x"
    with Ledger.open(settings.ledger) as ledger:
        ledger.intend(key, model=NAME, owner="m1", decision=None, now=MOMENT)
        with pytest.raises(PlatformError, match=rf"run m1 is being started for {key}; try again in 10 seconds"):
            runs.prepare(settings, model, MOMENT, MOMENT)
        assert (ledger.decisions(NAME), ledger.runs(NAME)) == ((), ())
        runs.prepare_monitoring(settings, model, MOMENT, MOMENT, key=key, run_id="m1")
        with (
            lock.held(lock.open_lock(settings, "m1"), "m1"),
            pytest.raises(PlatformError, match=rf"run m1 is in flight for {key}; wait for its end"),
        ):
            runs.prepare(settings, model, MOMENT, MOMENT + timedelta(days=1))
        assert ([run.run_id for run in ledger.runs(NAME)], ledger.decisions(NAME)) == (["m1"], ())


def test_a_run_that_was_half_prepared_is_prepared_again(settings: Settings) -> None:
    model, folder = read(settings.models / f"{NAME}.yaml"), settings.runs / "m1"
    folder.mkdir(parents=True)
    (folder / "parameters.json").write_text('{"spec": "cut o')
    for _ in range(2):
        assert runs.prepare_monitoring(settings, model, MOMENT, MOMENT, key="k", run_id="m1") == "m1"
    assert json.loads((folder / "parameters.json").read_text())["key"] == "k"
    with Ledger.open(settings.ledger) as ledger:
        assert [(run.run_id, run.mode, run.claim, run.decision) for run in ledger.runs(NAME)] == [("m1", "monitor", "k", None)]


def bar(ledger: Ledger, cause: str, start: datetime) -> int:
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
        barred_from=start,
        barred_until=start + timedelta(days=7),
        needed=2,
    ).number


@pytest.mark.parametrize("by_hand", [False, True])
def test_barred_times_reach_the_run(settings: Settings, by_hand: bool) -> None:
    model, week = read(settings.models / f"{NAME}.yaml"), timedelta(days=7)
    with Ledger.open(settings.ledger) as ledger:
        ledger.close_incident(NAME, bar(ledger, "later", MOMENT - week), now=MOMENT, closing="mended")
        bar(ledger, "earlier", MOMENT - 3 * week)
    asked: dict[str, Any] = {} if by_hand else {"key": "k", "decision": 3}
    run_id = runs.prepare(settings, model, MOMENT, MOMENT, **asked)
    parameters = json.loads((settings.runs / run_id / "parameters.json").read_text())
    assert spans(parameters["barred"]) == [(MOMENT - 3 * week, MOMENT - 2 * week), (MOMENT - week, MOMENT)]
    with Ledger.open(settings.ledger) as ledger:
        if not by_hand:
            assert (ledger.run(run_id).decision, len(ledger.decisions(NAME))) == (3, 2), "the decision was made elsewhere"


def test_a_person_may_train_on_what_incidents_exclude_and_it_is_kept(settings: Settings) -> None:
    model, week = read(settings.models / f"{NAME}.yaml"), timedelta(days=7)
    with Ledger.open(settings.ledger) as ledger:
        bar(ledger, "broken", MOMENT - 3 * week)
    asked = runs.Asked(include_excluded=True, reason="the data were right")
    run_id = runs.prepare(settings, model, MOMENT, MOMENT, asked=asked)
    parameters = json.loads((settings.runs / run_id / "parameters.json").read_text())
    assert spans(parameters["barred"]) == []
    with Ledger.open(settings.ledger) as ledger:
        newest = ledger.decisions(NAME)[0]
        assert "It takes in the requests that incidents exclude. Why: the data were right" in newest.sentence
        assert len(ledger.barred(NAME)) == 1, "for this training alone"
