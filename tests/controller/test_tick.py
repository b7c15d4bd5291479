"""What a tick does, and what it does not: one run in flight, at most one training, and nothing changed by a failed challenger."""

from datetime import timedelta

import pytest

from controller.tick import tick
from controller.ticked import LEASE
from perennial import registry
from perennial.errors import FencedError, PlatformError
from perennial.ledger import Fence, Ledger
from perennial.loop.decision import DecisionDraft
from perennial.settings import Settings
from pipelines.runs import RunStanding
from serving.deployers.local import deployed
from tests.controller.world import FIRST, NAME, NOW, REAL, QuickRunner, digest_of, tick_until_idle

MINUTE = timedelta(minutes=1)


def retrain(ledger: Ledger, cause: str) -> int:
    draft = DecisionDraft(kind="retrain", reason="degraded", sentence="It is degraded.", otherwise="A smaller loss.", facts=())
    return ledger.add_decision(NAME, cause=cause, now=NOW, draft=draft)[0].number


def test_windows_lead_to_a_decision_a_training_and_a_new_champion(settings: Settings, ledger: Ledger) -> None:
    ticks = tick_until_idle(settings)
    acts = [act.what for ticked in ticks for act in ticked.acts]
    assert acts.count("started") == 2, "one monitoring run, one training"
    champion = ledger.champion(NAME)
    assert champion is not None
    assert champion.number == 2
    current = deployed(settings.current(NAME))
    assert current is not None
    assert current.digest == digest_of(2)
    assert tick(settings, NOW, lambda: REAL, runner=QuickRunner(settings)).is_idle, "the same tick again finds nothing to do"


def test_a_challenger_that_fails_its_gates_changes_nothing_in_serving(settings: Settings, ledger: Ledger) -> None:
    tick(settings, FIRST, lambda: REAL, runner=QuickRunner(settings))
    before = settings.current(NAME).read_bytes()
    tick_until_idle(settings, runner=QuickRunner(settings, passes=False))
    assert [run.outcome for run in ledger.runs(NAME) if run.mode == "refit"] == ["stopped"]
    assert settings.current(NAME).read_bytes() == before
    champion = ledger.champion(NAME)
    assert champion is not None
    assert champion.number == 1
    assert ledger.decisions(NAME)[0].state == "done"


def test_off_for_thirty_windows_it_catches_up_in_one_run_and_trains_once(settings: Settings, ledger: Ledger) -> None:
    runner = QuickRunner(settings)
    tick_until_idle(settings, runner=runner, now=FIRST + timedelta(weeks=30, days=4))
    assert len(ledger.windows(NAME)) == 30
    modes = sorted(run.mode for run in ledger.runs(NAME) if run.claim is not None)
    assert modes == ["monitor", "search"], "one run for thirty windows, then one training; after so long it searches"


def test_of_several_open_decisions_the_newest_is_carried_out(settings: Settings, ledger: Ledger) -> None:
    numbers = [retrain(ledger, cause) for cause in "abc"]
    tick_until_idle(settings)
    said = {number: ledger.decision(NAME, number).outcome for number in numbers}
    assert said[1].startswith("overtaken")
    assert said[2].startswith("overtaken")
    assert said[3].startswith("registered")
    assert [run.mode for run in ledger.runs(NAME)].count("refit") == 1


def test_a_decision_that_waits_for_a_person_is_not_carried_out(settings: Settings, ledger: Ledger) -> None:
    draft = DecisionDraft(kind="retrain", reason="degraded", sentence="It is degraded.", otherwise="A smaller loss.", facts=())
    ledger.add_decision(NAME, cause="a", now=NOW, draft=draft, state="waits for a person")
    runner = QuickRunner(settings)
    tick(settings, FIRST, lambda: REAL, runner=runner)
    assert runner.started == []
    ledger.move_decision(NAME, 1, before="waits for a person", after="open")
    tick(settings, FIRST, lambda: REAL, runner=runner)
    assert len(runner.started) == 1


def test_rows_that_incidents_bar_are_handed_to_the_training(settings: Settings, ledger: Ledger) -> None:
    number = retrain(ledger, "a")
    span = FIRST, FIRST + timedelta(days=7)
    ledger.open_incident(
        NAME,
        decision=number,
        now=NOW,
        owner="o",
        seen="s",
        subjects=["amount"],
        excluded_from=span[0],
        excluded_until=span[1],
        needed=2,
    )
    runner = QuickRunner(settings)
    tick(settings, FIRST, lambda: REAL, runner=runner)
    assert runner.excluded == [span]


def test_one_run_is_in_flight(settings: Settings, ledger: Ledger) -> None:
    ledger.intend(f"{NAME}/manual/x", model=NAME, owner="x", decision=None, now=NOW)
    ledger.start_run(run_id="x", model=NAME, mode="refit", started=NOW, now=NOW, spec="s", folder="f", claim=f"{NAME}/manual/x")

    class Busy(QuickRunner):
        def state(self, ledger: Ledger, run_id: str):  # type: ignore[no-untyped-def]
            return RunStanding("executing", f"run {run_id} is executing") if run_id == "x" else super().state(ledger, run_id)

    runner = Busy(settings)
    ticked = tick(settings, NOW, lambda: REAL, runner=runner)
    assert ticked.waits == ("run x is executing",)
    assert runner.started == []


def test_a_run_that_breaks_is_followed_by_a_fresh_one_three_times(settings: Settings, ledger: Ledger) -> None:
    number = retrain(ledger, "a")
    runner = QuickRunner(settings, breaks="PlatformError: the disk is full")
    for _ in range(5):
        tick(settings, FIRST, lambda: REAL, runner=runner)
    assert len(set(runner.started)) == 3, "each submission has an id of its own"
    decision = ledger.decision(NAME, number)
    assert (decision.state, "the disk is full" in decision.outcome) == ("failed", True)
    assert ledger.open_claims(NAME) == ()


def test_a_run_that_broken_data_ended_is_not_tried_again(settings: Settings, ledger: Ledger) -> None:
    number = retrain(ledger, "a")
    runner = QuickRunner(settings, breaks="DataError: outcomes.parquet: empty")
    for _ in range(3):
        tick(settings, FIRST, lambda: REAL, runner=runner)
    assert len(runner.started) == 1
    assert ledger.decision(NAME, number).state == "failed"


def test_a_clock_that_jumps_back_does_nothing_until_it_is_later_again(settings: Settings) -> None:
    tick(settings, NOW, lambda: REAL, runner=QuickRunner(settings))
    runner = QuickRunner(settings)
    ticked = tick(settings, NOW - MINUTE, lambda: REAL, runner=runner)
    assert "the clock went back" in ticked.problems[0].sentence
    assert runner.started == []
    assert tick(settings, NOW, lambda: REAL, runner=runner).problems == ()


def test_a_second_controller_stands_by_until_the_lease_has_run_out(settings: Settings) -> None:
    first = tick(settings, NOW, lambda: REAL, runner=QuickRunner(settings), name="a", release=False)
    assert first.holds_lease
    runner = QuickRunner(settings)
    second = tick(settings, NOW, lambda: REAL + timedelta(seconds=59), runner=runner, name="b")
    assert not second.holds_lease
    assert "a is the controller" in second.problems[0].sentence
    assert runner.started == []
    assert tick(settings, NOW, lambda: REAL + timedelta(seconds=120), runner=runner, name="b").holds_lease


def test_a_controller_whose_lease_was_stolen_in_the_middle_of_a_tick_stops(settings: Settings, ledger: Ledger) -> None:
    class Paused(QuickRunner):
        def prepare(self, run_id: str, parameters: dict[str, str]) -> str:
            """It sleeps for so long that another controller takes over, and wakes."""
            place = super().prepare(run_id, parameters)
            assert ledger.take_lease(LEASE, "thief", now=REAL + timedelta(minutes=5), seconds=60) is not None
            return place

    runner = Paused(settings)
    with pytest.raises(FencedError, match="was taken by another process"):
        tick(settings, NOW, lambda: REAL, runner=runner, name="a")
    assert runner.started == [], "what it was about to start is not started"
    lease = ledger.lease(LEASE)
    assert lease is not None
    assert lease.holder == "thief", "and it does not release what is not its own"
    with pytest.raises(FencedError):
        ledger.with_fence(Fence(kind="lease", key=LEASE, token=lease.token - 1)).note_tick(LEASE, NOW)
    tick_until_idle(settings, REAL + timedelta(minutes=10))
    assert [run.mode for run in ledger.runs(NAME)].count("monitor") == 1, "the successor goes on with the same run"


def test_mlflow_down_in_the_middle_of_a_rollout_is_a_problem_and_mended_later(
    settings: Settings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object, **__: object) -> bool:
        raise PlatformError("MLflow: its database is locked; the same call may work later")

    seen: list[int] = []
    monkeypatch.setattr(registry, "set_champion", down)
    ticks = tick_until_idle(settings)
    assert "MLflow" in ticks[-1].problems[0].sentence
    monkeypatch.setattr(registry, "set_champion", lambda *_, number, **__: seen.append(number))
    tick_until_idle(settings)
    champion = ledger.champion(NAME)
    assert champion is not None
    assert champion.number == seen[-1] == 2


def test_a_wrong_spec_of_one_model_does_not_stop_the_others(settings: Settings) -> None:
    (settings.models / "another.yaml").write_text("kind: Model\n")
    ticks = tick_until_idle(settings)
    assert ticks[-1].problems[0].model == "another"
    with Ledger.open(settings.ledger) as ledger:
        champion = ledger.champion(NAME)
    assert champion is not None
    assert champion.number == 2
