"""The policy: each reason fires on its own evidence, each hold holds it back, and without either nothing happens."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from monitoring.policy import Conclusion, ServingVersion, Situation, Trained, decide
from perennial.loop.decision import Incident
from perennial.loop.window import Check, ColumnDrift, Labels, Loss, Measurement, Performance, WindowRecord, lasting_findings
from tests.monitoring.world import model

START = datetime(2024, 4, 1, tzinfo=UTC)
WEEK = timedelta(weeks=1)
NOW = START + 4 * WEEK + timedelta(days=2)
CHAMPION = ServingVersion("d1", 1, START)


def drift(verdict: str = "quiet", column: str = "weight") -> ColumnDrift:
    return ColumnDrift.model_validate(
        {
            "column": column,
            "method": "wasserstein",
            "window_over_window": 0.3 if verdict == "alarm" else 0.05,
            "threshold": 0.1,
            "size_sd": 0.3,
            "distance": 0.2,
            "verdict": verdict,
            "sentence": f"{column} is {verdict}.",
        }
    )


def failed(subject: str = "weight") -> Check:
    return Check(name="nulls", subject=subject, value=0.4, limit=0.1, failed=True, sentence=f"40.0% of {subject} are missing.")


def loss(value: float, limit: float = 0.5) -> Loss:
    return Loss(
        value=value,
        limit=limit,
        blocks=8,
        basis="since the champion's evaluation began",
        degraded=value > limit,
        sentence=f"The mean log loss is {value}, the limit {limit} of 8 weeks since the champion's evaluation began.",
    )


def window(
    number: int,
    *,
    verdict: str = "quiet",
    checks: Sequence[Check] = (),
    lost: float | None = 0.4,
    champion: str = "d1",
    rows: int = 9,
) -> WindowRecord:
    """A week after the training, from 0; `lost` is its mean log loss, None where it is not judged."""
    start = START + number * WEEK
    performance = None
    if lost is not None:
        labels = Labels(matured_at=start + WEEK, arrived=9, missing=0)
        performance = Performance(labels=labels, label_rate=0.2, loss=loss(lost))
    measurement = Measurement(
        rows=rows,
        versions={champion: rows},
        lost=0,
        damaged=(),
        repeated=0,
        champion=champion,
        blocks=13,
        columns=(drift(verdict),),
        checks=tuple(checks),
    )
    return WindowRecord(
        model="parcel-late", start=start, end=start + WEEK, measured_at=NOW, measurement=measurement, performance=performance
    )


def incident(number: int = 1) -> Incident:
    return Incident(
        model="parcel-late",
        number=number,
        decision=1,
        opened=START,
        owner="depot team",
        seen="nulls",
        subjects=("weight",),
        excluded_from=START,
        excluded_until=START + WEEK,
        needed=2,
        clean=0,
        closed=None,
        closing="",
    )


def situation(*windows: WindowRecord, retraining: dict[str, Any] | None = None, **more: Any) -> Situation:
    """All windows are new unless said otherwise; nothing holds anything back."""
    given: dict[str, Any] = {
        "model": model(**(retraining or {})),
        "windows": tuple(sorted(windows, key=lambda record: record.start, reverse=True)),
        "measured": frozenset(record.start for record in windows),
        "judged": frozenset(record.start for record in windows if record.performance is not None),
        "champion": CHAMPION,
        "trainings": (),
        "incidents": (),
        "in_flight": "",
        "now": NOW,
    }
    return Situation(**{**given, **more})


QUIET = tuple(window(number) for number in range(4))
ALARMING = (*QUIET[:2], window(2, verdict="alarm"), window(3, verdict="alarm"))
DEGRADED = (*QUIET[:3], window(3, lost=0.6))
OLD: dict[str, Any] = {"now": START + timedelta(days=61)}


def kind(conclusion: Conclusion) -> tuple[str, str | None, str]:
    return conclusion.draft.kind, conclusion.draft.reason, conclusion.state


def test_quiet_windows_are_left_alone_and_say_what_would_have_changed_it() -> None:
    conclusion = decide(situation(*QUIET))
    assert kind(conclusion) == ("leave", None, "done")
    assert conclusion.draft.sentence.startswith(
        "Leave it: 4 new windows, 4 newly judged; no reason (degraded, drift, scheduled) holds"
    )
    assert "mean log loss above 0.5000; the nearest is 0.4000" in conclusion.draft.otherwise
    assert "alarms in 2 of the newest 3 windows; there are alarms in 0 of 3" in conclusion.draft.otherwise
    assert "an age of 61 days: on 2024-06-01" in conclusion.draft.otherwise
    assert (conclusion.broken, conclusion.closes) == (None, False)


@pytest.mark.parametrize(
    ("reason", "windows", "more"), [("degraded", DEGRADED, {}), ("drift", ALARMING, {}), ("scheduled", QUIET, OLD)]
)
def test_each_reason_trains(reason: str, windows: tuple[WindowRecord, ...], more: dict[str, Any]) -> None:
    conclusion = decide(situation(*windows, **more))
    assert kind(conclusion) == ("retrain", reason, "open")
    assert conclusion.draft.sentence.startswith(f"Train again ({reason}): ")
    assert conclusion.draft.otherwise.startswith("It would have been left with ")


@pytest.mark.parametrize(
    ("reason", "windows", "more"), [("degraded", DEGRADED, {}), ("drift", ALARMING, {}), ("scheduled", QUIET, OLD)]
)
def test_a_reason_that_is_not_listed_trains_nothing_and_is_said(
    reason: str, windows: tuple[WindowRecord, ...], more: dict[str, Any]
) -> None:
    listed = tuple(other for other in ("degraded", "drift", "scheduled", "manual") if other != reason)
    conclusion = decide(situation(*windows, retraining={"reasons": listed}, **more))
    assert kind(conclusion) == ("leave", None, "done")
    assert "Seen, but no reason to train by the policy" in conclusion.draft.sentence


def test_the_first_reason_is_given() -> None:
    both = (*ALARMING[:3], window(3, verdict="alarm", lost=0.6))
    assert decide(situation(*both, **OLD)).draft.reason == "degraded"
    assert decide(situation(*ALARMING, **OLD)).draft.reason == "drift"


def test_degradation_says_its_basis() -> None:
    assert "since the champion's evaluation began" in decide(situation(*DEGRADED)).draft.sentence


def test_what_was_degraded_before_or_by_another_version_trains_nothing_now() -> None:
    assert decide(situation(*DEGRADED, judged=frozenset())).draft.kind == "leave"
    other = (*QUIET[:3], window(3, lost=0.6, champion="d0"))
    assert decide(situation(*other)).draft.kind == "leave"


def test_one_alarming_window_is_not_enough_and_old_ones_do_not_count() -> None:
    assert decide(situation(*QUIET[:3], window(3, verdict="alarm"))).draft.kind == "leave"
    early = (window(0, verdict="alarm"), window(1, verdict="alarm"), *QUIET[2:])
    assert decide(situation(*early)).draft.kind == "leave", "two of the newest three"
    assert decide(situation(*ALARMING, measured=frozenset())).draft.kind == "leave", "no alarm is new"
    newer = ServingVersion("d2", 2, START + 4 * WEEK)
    assert decide(situation(*ALARMING, champion=newer)).draft.kind == "leave", "the champion was trained on them"


def test_an_advisory_policy_waits_for_a_person() -> None:
    assert kind(decide(situation(*DEGRADED, retraining={"mode": "advisory"}))) == ("retrain", "degraded", "waits for a person")


def test_without_a_champion_nothing_is_trained() -> None:
    conclusion = decide(situation(*DEGRADED, champion=None))
    assert kind(conclusion) == ("leave", None, "done")
    assert "no version has the traffic" in conclusion.draft.sentence


TRAINED_LATELY = (Trained(NOW - timedelta(days=10), False),)
HOLDS: list[tuple[dict[str, Any], str, str]] = [
    ({"incidents": (incident(),), "windows": ()}, "incident 1 is open", "`perennial decisions close`"),
    ({"in_flight": "run parcel-late-1 is in flight"}, "run parcel-late-1 is in flight", "one training at a time"),
    ({"trainings": TRAINED_LATELY}, "28 days must pass: until 2024-05-19", "waiting until 2024-05-19"),
    (
        {"trainings": tuple(Trained(NOW - timedelta(days=days), False) for days in (80, 60, 40))},
        "3 trainings in the last 91 days, at most 3 are allowed: until 2024-05-12",
        "more than 3 a quarter",
    ),
]


@pytest.mark.parametrize(("hold", "said", "changes"), HOLDS, ids=["incident", "in flight", "cool-down", "budget"])
def test_each_hold_holds_back_what_would_have_been_trained(hold: dict[str, Any], said: str, changes: str) -> None:
    found = situation(*DEGRADED, **{name: value for name, value in hold.items() if name != "windows"})
    if "incidents" in hold:  # the windows since are too few to close it
        found = situation(DEGRADED[3], incidents=hold["incidents"])
    conclusion = decide(found)
    assert kind(conclusion) == ("leave", None, "done")
    assert "it would be trained again (degraded)" in conclusion.draft.sentence
    assert said in conclusion.draft.sentence
    assert changes in conclusion.draft.otherwise


def test_what_is_past_or_manual_holds_nothing_back() -> None:
    past = (Trained(NOW - timedelta(days=28), False), Trained(NOW - timedelta(days=92), False), Trained(NOW, True))
    assert kind(decide(situation(*DEGRADED, trainings=past))) == ("retrain", "degraded", "open")
    manual = tuple(Trained(NOW - timedelta(days=days), True) for days in (1, 2, 3, 4))
    assert kind(decide(situation(*DEGRADED, trainings=manual))) == ("retrain", "degraded", "open")


def test_a_training_of_the_future_holds_nothing_back() -> None:
    assert decide(situation(*DEGRADED, trainings=(Trained(NOW + WEEK, False),))).draft.kind == "retrain"


def test_broken_data_comes_before_every_reason_and_bars_its_rows() -> None:
    windows = (window(0), window(1, checks=[failed()], lost=0.6), window(2, checks=[failed("speed")]), window(3))
    conclusion = decide(situation(*windows, **OLD))
    assert kind(conclusion) == ("fix data", None, "done")
    assert conclusion.broken is not None
    assert conclusion.broken.subjects == ("speed", "weight")
    assert (conclusion.broken.excluded_from, conclusion.broken.excluded_until) == (START + WEEK, START + 3 * WEEK)
    assert "In the window of 2024-04-08: 40.0% of weight are missing" in conclusion.draft.sentence
    assert (conclusion.clean, conclusion.closes) == (1, False)


def test_broken_data_of_before_is_not_decided_again() -> None:
    windows = (window(0, checks=[failed()]), *QUIET[1:])
    measured = frozenset(record.start for record in QUIET[1:])
    assert decide(situation(*windows, measured=measured)).draft.kind == "leave"


def test_clean_windows_close_an_incident_and_then_it_holds_nothing_back() -> None:
    broken = window(0, checks=[failed()])
    new = (window(1), window(2, lost=0.6))
    measured = frozenset(record.start for record in new)
    conclusion = decide(situation(broken, *new, measured=measured, incidents=(incident(),)))
    assert (conclusion.clean, conclusion.closes) == (2, True)
    assert conclusion.draft.kind == "retrain"
    one = decide(situation(broken, new[1], measured=frozenset([new[1].start]), incidents=(incident(),)))
    assert (one.clean, one.closes, one.draft.kind) == (1, False, "leave")


def test_a_window_without_predictions_is_not_clean() -> None:
    conclusion = decide(situation(window(0, checks=[failed()]), window(1, rows=0), window(2, rows=0), incidents=(incident(),)))
    assert (conclusion.clean, conclusion.closes) == (0, False)


def test_every_decision_says_what_it_rests_on() -> None:
    for found in (situation(*QUIET), situation(*DEGRADED), situation(*ALARMING), situation(window(0, checks=[failed()]))):
        draft = decide(found).draft
        assert draft.facts and draft.sentence and draft.otherwise
        assert all(fact.sentence for fact in draft.facts)


def test_four_windows_of_one_finding_look_like_a_change_three_and_different_ones_do_not() -> None:
    broken = [window(number, checks=[failed()]) for number in range(4)]
    assert lasting_findings(broken[::-1]) == ("nulls weight",)
    assert lasting_findings(broken[:3]) == ()
    assert lasting_findings([*broken[:3], window(3, checks=[failed("speed")])]) == ()
    assert lasting_findings([*broken[:3], window(3, checks=[failed(), failed("speed")])]) == ("nulls weight",)
    assert lasting_findings([*broken[:3], window(3)]) == ()
    assert lasting_findings([window(4, checks=[failed()], rows=0), *broken[:3]]) == ()


def test_a_lasting_finding_names_the_command_that_accepts_it() -> None:
    broken = [window(number, checks=[failed()], lost=None) for number in range(4)]
    sentence = decide(situation(*broken, incidents=(incident(7),))).draft.sentence
    assert "The newest 4 windows show the same (nulls weight), which looks like a change rather than a fault" in sentence
    assert "`perennial decisions accept-change parcel-late 7 --reason" in sentence
    fault = decide(situation(*broken[:3], incidents=(incident(7),))).draft.sentence
    assert "rather than a fault" not in fault and "Closing the incident lets trainings begin" in fault
    assert "Incident 7 is open since 2024-04-01: 30 days." in fault


def test_fix_data_names_what_else_holds() -> None:
    degraded = [window(number, lost=0.9) for number in range(3)]
    found = decide(situation(*degraded, window(3, checks=[failed()], lost=None))).draft
    assert found.kind == "fix data"
    assert (
        "What else holds: degraded: " in found.sentence
        and "the champion was degraded in 3 of its 3 judged windows." in found.sentence
    )
    assert "What else holds" not in decide(situation(window(0), window(3, checks=[failed()], lost=None))).draft.sentence


def test_what_was_not_judged_is_said_in_every_decision_and_never_quiet() -> None:
    blind = decide(situation(*[window(number, verdict="not judged") for number in range(5)])).draft
    assert "Not judged: 1 of 1 columns of the window of 2024-04-15: weight is not judged." in blind.sentence
    assert "So it is in 2 more cases." in blind.sentence
    assert [fact.name for fact in blind.facts if fact.name.startswith("not judged")] == [
        f"not judged {START + number * WEEK:%Y-%m-%d}" for number in range(5)
    ]
    assert "Not judged" not in decide(situation(window(0, verdict="quiet"))).draft.sentence
    empty = decide(situation(window(0, verdict="not judged", rows=0))).draft.sentence
    assert empty.endswith("Not judged: the window of 2024-04-01 has no prediction.")


@pytest.mark.parametrize(
    ("arrived", "missing", "said"),
    [
        (0, 336, "none of 336 predictions of the window of 2024-04-01 had a label when it matured"),
        (100, 236, "only 100 of 336 predictions of the window of 2024-04-01 had a label when it matured"),
        (168, 168, ""),
        (336, 0, ""),
        (0, 0, ""),
    ],
)
def test_labels_that_come_late_leave_a_sentence(arrived: int, missing: int, said: str) -> None:
    record = window(0)
    labels = Labels(matured_at=START + WEEK, arrived=arrived, missing=missing)
    performance = Performance(labels=labels, label_rate=None, loss=loss(0.4) if arrived else None)
    sentence = decide(situation(record.model_copy(update={"performance": performance}))).draft.sentence
    assert said in sentence and ("had a label" in sentence) == bool(said)


def test_rows_that_were_set_aside_are_a_fact() -> None:
    found = decide(situation(window(0), set_aside="2 rows of the log are set aside")).draft
    assert found.facts[-1].name == "set aside" and "2 rows of the log are set aside." in found.sentence


def unlimited(value: float, baseline: float | None) -> Loss:
    """A loss for which the version has no limit."""
    return loss(value).model_copy(
        update={"limit": None, "baseline": baseline, "degraded": baseline is not None and value > baseline}
    )


def with_loss(record: WindowRecord, found: Loss) -> WindowRecord:
    assert record.performance is not None
    return record.model_copy(update={"performance": record.performance.model_copy(update={"loss": found})})


@pytest.mark.parametrize(
    ("found", "kind", "said"),
    [
        (unlimited(0.9, 0.6), "retrain", "a mean log loss of at most 0.6000"),
        (unlimited(0.5, 0.6), "leave", "a mean log loss above 0.6000; the nearest is 0.5000"),
        (unlimited(0.5, None), "leave", "whose log loss is above its limit; none is new"),
        (loss(0.7, 0.9).model_copy(update={"baseline": 0.65, "degraded": True}), "retrain", "a mean log loss of at most 0.6500"),
        (loss(0.7, 0.9).model_copy(update={"baseline": 0.95}), "leave", "a mean log loss above 0.9000; the nearest is 0.7000"),
    ],
)
def test_harm_is_worded_by_whichever_bound_there_is(found: Loss, kind: str, said: str) -> None:
    draft = decide(situation(with_loss(QUIET[-1], found))).draft
    assert draft.kind == kind and said in draft.otherwise
    beside = with_loss(window(3, checks=[failed()]), found)
    assert ("What else holds: degraded" in decide(situation(*QUIET[:-1], beside)).draft.sentence) == found.degraded


def test_a_decision_says_that_no_column_is_watched_and_that_harm_has_no_limit() -> None:
    assert "Not judged" not in decide(situation(*QUIET)).draft.sentence
    last = QUIET[-1]
    unwatched = last.model_copy(update={"measurement": last.measurement.model_copy(update={"columns": ()})})
    assert "Not judged: the spec watches no column for drift" in decide(situation(*QUIET[:-1], unwatched)).draft.sentence
    blind = decide(situation(*QUIET[:-1], with_loss(last, unlimited(0.5, None)))).draft.sentence
    assert "Not judged: degradation. The mean log loss is 0.5" in blind
