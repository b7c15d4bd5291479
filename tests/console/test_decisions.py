"""Decisions in words equal what is stored, fit on a screen, and say what a person can do."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from console.decisions import accept, close, explain, show_decisions
from console.display.explanation import MAX_LINES, explanation
from console.display.streaks import streaks
from perennial.errors import NotFoundError
from perennial.ledger import Ledger
from perennial.loop.decision import Decision, DecisionState, Incident
from perennial.loop.outcome import STATES
from perennial.loop.request import Close
from perennial.settings import Settings
from tests.made_up import FIRST, NAME, WEEK, draft, fact, settings_in

NOW = FIRST + WEEK


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path)


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    with Ledger.open(settings.ledger) as opened:
        yield opened


def add(ledger: Ledger, kind: str = "leave", reason: str | None = None, facts: int = 3, windows: int = 1) -> Decision:
    cause = f"{NAME}/monitor/{len(ledger.decisions(NAME))}"
    begins = [FIRST + week * WEEK for week in range(windows)]
    state: DecisionState = "done" if kind == "leave" else "open"
    return ledger.add_decision(
        NAME, cause=cause, now=NOW, draft=draft(kind, reason, facts), windows=begins, judged=begins[:1], state=state
    )[0]


def open_incident(ledger: Ledger, decision: Decision) -> Incident:
    return ledger.open_incident(
        NAME,
        decision=decision.number,
        now=NOW,
        owner="payments team",
        seen="40 % of amount are missing.",
        subjects=["amount"],
        excluded_from=FIRST,
        excluded_until=FIRST + WEEK,
        needed=2,
    )


def test_the_explanation_holds_every_stored_sentence(ledger: Ledger) -> None:
    decision = add(ledger, "retrain", "scheduled")
    text = "\n".join(explanation(decision, None))
    for stored in (decision.sentence, decision.otherwise, "2024-04-08 00:00", "retrain: scheduled", "0.5 against 0.6"):
        assert stored in text
    for found in decision.facts:
        assert found.name in text and found.sentence in text
    assert STATES["open"] in text
    ended = ledger.move_decision(NAME, 1, before="open", after="done", outcome="version 2 was registered")
    assert "What came of it: version 2 was registered" in explanation(ended, None)


@pytest.mark.parametrize("facts", [0, 5, 8, 60])
def test_the_explanation_has_at_most_15_lines_and_shows_what_is_beyond_its_limit(ledger: Ledger, facts: int) -> None:
    decision = add(ledger, "fix data", None, facts, windows=30)
    over = fact(99, value=0.7, limit=0.6)
    changed = decision.model_copy(update={"facts": (*decision.facts, over)})
    lines = explanation(changed, open_incident(ledger, decision))
    assert len(lines) <= MAX_LINES
    assert any(over.sentence in line for line in lines)
    shown = sum("was seen." in line for line in lines)
    assert shown == facts + 1 or f"  … and {facts + 1 - shown} more: perennial explain {NAME} 1 --json" in lines
    assert any("New windows: from 2024-04-01 to 2024-10-21 (30)" in line for line in lines)


def test_an_incident_is_said_with_its_owner_and_afterwards_with_how_it_closed(ledger: Ledger) -> None:
    decision = add(ledger, "fix data")
    incident = open_incident(ledger, decision)
    assert "payments team acts" in explanation(decision, incident)[-1]
    closed = ledger.close_incident(NAME, 1, now=NOW + WEEK, closing="two clean windows")
    assert explanation(decision, closed)[-1] == "Incident 1: closed on 2024-04-15 00:00: two clean windows"


def test_the_last_decision_is_explained_and_its_json_is_what_is_stored(
    settings: Settings, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    first, last = add(ledger, "fix data"), add(ledger)
    incident = open_incident(ledger, first)
    explain(settings, NAME, None, json=True)
    stated = json.loads(capsys.readouterr().out)
    assert Decision.model_validate(stated["decision"]) == last
    assert stated["incident"] is None
    explain(settings, NAME, 1, json=True)
    stated = json.loads(capsys.readouterr().out)
    assert Incident.model_validate(stated["incident"]) == incident
    explain(settings, NAME, None, json=False)
    printed = capsys.readouterr().out.splitlines()
    assert printed == [line.rstrip() for line in explanation(last, None)]
    with pytest.raises(NotFoundError, match="no decision 7"):
        explain(settings, NAME, 7, json=False)


def test_before_the_first_decision_the_command_that_makes_one_is_named(settings: Settings) -> None:
    with pytest.raises(NotFoundError, match="perennial monitor churn"):
        explain(settings, NAME, None, json=False)


def test_the_list_is_newest_first_and_ends_with_open_incidents(
    settings: Settings, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        add(ledger)
    open_incident(ledger, add(ledger, "fix data"))
    show_decisions(settings, None, None, 2, json=True)
    stated = json.loads(capsys.readouterr().out)
    assert [one["number"] for one in stated["decisions"]] == [4, 3]
    assert [one["number"] for one in stated["open_incidents"]] == [1]
    show_decisions(settings, NAME, None, 20, json=False)
    printed = capsys.readouterr().out
    assert "fix data" in printed and "payments team acts" in printed


def test_consecutive_equal_decisions_are_one_row_and_others_are_not(
    settings: Settings, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(40):
        add(ledger)
    add(ledger, "retrain", "scheduled")
    for _ in range(2):
        add(ledger)
    folded = streaks(ledger.decisions(NAME))
    assert [(streak.numbers, streak.title) for streak in folded] == [
        ("42–43", "leave (2 times)"),
        ("41", "retrain: scheduled"),
        ("1–40", "leave (40 times)"),
    ]
    show_decisions(settings, NAME, None, 2, json=False)
    printed = capsys.readouterr().out
    assert "leave (2" in printed and "leave (40" not in printed
    assert "… and 1 older rows: --limit 3" in printed
    show_decisions(settings, NAME, None, 3, json=False)
    assert "older rows" not in capsys.readouterr().out


def test_decisions_with_another_outcome_are_not_folded(ledger: Ledger) -> None:
    for number in (1, 2):
        add(ledger, "retrain", "scheduled")
        ledger.move_decision(NAME, number, before="open", after="done", outcome=f"version {number} was registered")
    assert [streak.count for streak in streaks(ledger.decisions(NAME))] == [1, 1]


def test_a_list_of_one_kind_leaves_the_others_out_and_folds_as_before(
    settings: Settings, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind, reason in (("leave", None), ("retrain", "scheduled"), ("leave", None)):
        add(ledger, kind, reason)
    show_decisions(settings, NAME, "leave", 20, json=False)
    printed = capsys.readouterr().out
    assert "retrain" not in printed and "times" not in printed
    show_decisions(settings, NAME, "retrain", 20, json=True)
    assert [one["number"] for one in json.loads(capsys.readouterr().out)["decisions"]] == [2]


def test_a_person_closes_the_only_open_incident_with_a_reason_that_is_kept(
    settings: Settings, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    open_incident(ledger, add(ledger, "fix data"))
    wish = Close(incident=None, reason="the sensor was changed")
    close(settings, NAME, wish, NOW + timedelta(days=1), lambda: NOW + timedelta(days=9), json=False)
    assert "still do not train" in capsys.readouterr().out
    (incident,) = ledger.incidents(NAME)
    assert (incident.closed, incident.closing) == (NOW + timedelta(days=1), "a person closed it: the sensor was changed")
    with pytest.raises(NotFoundError, match=r"incident 1 is not open; it was closed on .* open incidents: none"):
        close(settings, NAME, Close(incident=1, reason="again"), NOW, lambda: NOW, json=False)
    with pytest.raises(NotFoundError, match="no number was given; open incidents: none"):
        close(settings, NAME, Close(incident=None, reason="again"), NOW, lambda: NOW, json=False)


def test_of_several_open_incidents_the_number_says_which(settings: Settings, ledger: Ledger) -> None:
    for _ in range(2):
        open_incident(ledger, add(ledger, "fix data"))
    with pytest.raises(NotFoundError, match="open incidents: 1, 2"):
        close(settings, NAME, Close(incident=None, reason="mended"), NOW, lambda: NOW, json=True)
    close(settings, NAME, Close(incident=2, reason="mended"), NOW, lambda: NOW, json=True)
    assert [incident.number for incident in ledger.incidents(NAME, only_open=True)] == [1]


def test_a_person_accepts_what_waits_and_nothing_else(settings: Settings, ledger: Ledger) -> None:
    made = draft("retrain", "scheduled")
    ledger.add_decision(NAME, cause="advice", now=NOW, draft=made, state="waits for a person")
    add(ledger)
    assert accept(settings, NAME, 1, NOW, lambda: NOW, json=True).state == "open"
    assert [decision.number for decision in ledger.open_decisions(NAME)] == [1]
    for number in (1, 2):
        with pytest.raises(NotFoundError, match="wait for a person: none"):
            accept(settings, NAME, number, NOW, lambda: NOW, json=True)
