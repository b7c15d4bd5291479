"""What is begun, and what is not yet: cool-down, budget, incidents, what a person is about to begin, what broke lately."""

from datetime import timedelta
from pathlib import Path

import pytest

from controller.tick import tick
from perennial.ledger import Ledger
from perennial.loop.decision import DecisionDraft, Reason
from perennial.settings import Settings
from tests.controller.world import FIRST, NAME, NOW, REAL, QuickRunner, settings_of, tick_until_idle, write_world

DAY = timedelta(days=1)
COOL_DOWN = "retraining: {reasons: [scheduled, manual], max_age_days: 7, cool_down_days: 28, per_quarter: 9}"
BUDGET = "retraining: {reasons: [scheduled, manual], max_age_days: 7, cool_down_days: 0, per_quarter: 2}"


pytestmark = pytest.mark.usefixtures("quick_rollouts")


def retrain(ledger: Ledger, cause: str, reason: Reason = "degraded") -> int:
    draft = DecisionDraft(kind="retrain", reason=reason, sentence="It is degraded.", otherwise="A smaller loss.", facts=())
    return ledger.add_decision(NAME, cause=cause, now=NOW, draft=draft)[0].number


def trained_at(folder: Path, policy: str, days: list[int]) -> list[int]:
    """Those of the days after `NOW` on which a tick trained."""
    settings, found = write_world(folder, policy), []
    for day in days:
        acts = [act for ticked in tick_until_idle(settings, now=NOW + day * DAY) for act in ticked.acts]
        found += [day] * sum("carry out decision" in act.sentence for act in acts)
    return found


def test_after_a_training_the_next_waits_for_the_cool_down(tmp_path: Path) -> None:
    assert trained_at(tmp_path, COOL_DOWN, [0, 7, 14, 21, 28]) == [0, 28]
    with Ledger.open(settings_of(tmp_path).ledger) as ledger:
        held = [decision.sentence for decision in ledger.decisions(NAME) if "Held back" in decision.sentence]
    assert len(held) == 3, "and each time the decision says what holds it"


def test_the_budget_of_a_quarter_is_not_exceeded(tmp_path: Path) -> None:
    assert trained_at(tmp_path, BUDGET, [0, 7, 14, 84, 91]) == [0, 7, 91]


def test_a_training_decided_before_broken_data_was_found_does_not_begin(settings: Settings, ledger: Ledger) -> None:
    number, later = retrain(ledger, "a"), retrain(ledger, "b")
    ledger.move_decision(NAME, later, before="open", after="done")
    ledger.open_incident(
        NAME,
        decision=later,
        now=NOW,
        owner="o",
        seen="s",
        subjects=[""],
        excluded_from=FIRST,
        excluded_until=NOW,
        needed=2,
    )
    runner = QuickRunner(settings)
    ticked = tick(settings, FIRST, lambda: REAL, runner=runner)
    assert [act.what for act in ticked.acts if act.what == "held"] == ["held"]
    assert runner.started == []
    assert ledger.decision(NAME, number).outcome.startswith("held: incident 1")
    by_hand = retrain(ledger, f"{NAME}/manual/x", "manual")
    assert by_hand > later
    tick(settings, FIRST, lambda: REAL, runner=runner)
    assert len(runner.started) == 1, "a person is not held"


def test_broken_windows_open_an_incident_and_nothing_trains_until_clean_windows_close_it(
    settings: Settings, ledger: Ledger
) -> None:
    runner = QuickRunner(settings, broken=frozenset([FIRST + 7 * DAY]))
    tick_until_idle(settings, runner=runner)
    assert ledger.decisions(NAME)[0].kind == "fix data"
    assert [run.mode for run in ledger.runs(NAME)].count("refit") == 0, "due by its age, and held"
    tick_until_idle(settings, runner=runner, now=NOW + 7 * DAY)
    assert "incident 1 is open" in ledger.decisions(NAME)[0].sentence
    tick_until_idle(settings, runner=runner, now=NOW + 14 * DAY)
    assert ledger.incidents(NAME)[0].closing == "2 clean windows"
    assert [run.mode for run in ledger.runs(NAME)].count("refit") == 1
    assert runner.excluded == [(FIRST + 7 * DAY, FIRST + 14 * DAY)], "what was broken still does not train"


def test_what_a_person_asked_for_is_claimed_under_the_persons_key(settings: Settings, ledger: Ledger) -> None:
    cause = f"{NAME}/manual/x"
    retrain(ledger, cause, "manual")
    tick(settings, FIRST, lambda: REAL, runner=QuickRunner(settings))
    assert ledger.claim(cause).owner != "x"
    assert ledger.take(cause, "x", NOW) is None, "the person's own run, should it begin now, stands aside"


def test_a_monitoring_run_that_broke_for_good_is_tried_again_after_an_hour(settings: Settings, ledger: Ledger) -> None:
    runner = QuickRunner(settings, breaks="DataError: outcomes.parquet: no column charged_back")
    for minute in range(0, 60, 10):
        ticked = tick(settings, NOW + timedelta(minutes=minute), lambda: REAL, runner=runner)
    assert len(runner.started) == 1
    assert "no column charged_back" in ticked.problems[0].sentence
    runner.breaks = ""
    tick_until_idle(settings, runner=runner, now=NOW + timedelta(minutes=60))
    assert len(ledger.windows(NAME)) == 2
