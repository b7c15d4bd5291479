"""A monitoring run's end: windows, one decision and incidents are in the ledger, once, and only by who has the claim."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from monitoring.conclusion import conclude
from monitoring.evidence import measure_due, perform_due
from perennial.errors import FencedError
from perennial.ledger import Fence
from perennial.lifecycle.ending import Ending
from perennial.loop.decision import Decision
from tests.monitoring.world import END, NAME, WEEK, World, model, requests_of

pytestmark = pytest.mark.xdist_group("watched model")

DAYS = timedelta(days=2)
"""Until labels have arrived."""


def run(world: World, now: datetime, number: int = 1, *, again: bool = False) -> Decision:
    """A monitoring run, as its steps do it; `again` takes the claim of a run that was killed at its end."""
    key, run_id = f"{NAME}/monitor/{number}", f"monitor-{number}"
    with world.ledger as ledger:
        if not again:
            ledger.intend(key, model=NAME, owner=run_id, decision=None, now=now)
            ledger.start_run(
                run_id=run_id, model=NAME, mode="monitor", started=now, now=now, spec="s" * 64, folder="/runs", claim=key
            )
        claim = ledger.take(key, run_id, now)
        token = 1 if claim is None else claim.token
    measured, _ = measure_due(world.settings, world.model, now)
    performed = perform_due(world.settings, world.model, now, measured)
    ending = Ending(run_id, Fence(kind="claim", key=key, token=token), now + timedelta(hours=1))
    return conclude(world.settings.ledger, world.model, measured, performed, ending, now)


def test_quiet_weeks_are_recorded_once_and_left_alone(world: World, tmp_path: Path) -> None:
    changed, now = world.at(tmp_path), END + 2 * WEEK + DAYS
    decision = run(changed, now)
    assert (decision.kind, decision.state, decision.cause) == ("leave", "done", f"{NAME}/monitor/1")
    assert decision.windows == (END, END + WEEK)
    with changed.ledger as ledger:
        records = ledger.windows(NAME)
        assert [record.start for record in records] == [END + WEEK, END]
        assert all(record.performance is not None for record in records)
        assert records[0].measurement.champion == changed.digest
        finished = ledger.run("monitor-1")
        assert (finished.state, finished.outcome, finished.reason) == ("succeeded", "leave", decision.sentence)
        assert ledger.claim(f"{NAME}/monitor/1").state == "done"
        assert ledger.incidents(NAME) == ()
    later = run(changed, now + timedelta(hours=1), 2)
    assert (later.number, later.windows) == (2, ())


def test_a_window_is_judged_when_it_has_matured(world: World, tmp_path: Path) -> None:
    changed = world.at(tmp_path)
    run(changed, END + WEEK)
    with changed.ledger as ledger:
        assert ledger.windows(NAME)[0].performance is None
    assert run(changed, END + WEEK + DAYS, 2).windows == ()
    with changed.ledger as ledger:
        performance = ledger.windows(NAME)[0].performance
    assert performance is not None and performance.labels.missing == 0


def test_the_age_of_the_champion_trains_again_and_an_open_decision_is_not_repeated(world: World, tmp_path: Path) -> None:
    changed = replace(world.at(tmp_path), model=model(max_age_days=30))
    first = run(changed, END + timedelta(days=30))
    assert (first.kind, first.reason, first.state) == ("retrain", "scheduled", "open")
    second = run(changed, END + timedelta(days=31), 2)
    assert second.kind == "leave"
    assert f"decision {first.number} to train is open" in second.sentence


def test_labels_of_impossible_times_are_counted_and_named_in_the_decision(world: World, tmp_path: Path) -> None:
    changed, now = world.at(tmp_path), END + WEEK + DAYS
    path = Path(changed.settings.source("arrivals"))
    labels = pd.read_parquet(path)
    quiet = run(changed, now)
    assert quiet.facts and not any(fact.name == "set aside" for fact in quiet.facts)
    other = world.at(tmp_path / "other")
    inside = labels["event_timestamp"].between(END + timedelta(days=1), END + timedelta(days=2))
    moved = labels["event_timestamp"].mask(inside, pd.Timestamp("1970-01-01", tz="UTC"))
    changed_labels = labels.assign(event_timestamp=moved.astype(labels["event_timestamp"].dtype))
    changed_labels.to_parquet(other.settings.source("arrivals"), index=False, coerce_timestamps="us")
    (fact,) = [fact for fact in run(other, now).facts if fact.name == "set aside"]
    first = labels.loc[inside, "parcel_id"].astype(str).min()
    assert fact.sentence == (
        f"{inside.sum():,} labels are set aside for a time before the window of the request, as parcel_id {first} of "
        "1970-01-01T00:00:00+00:00; correct the clock or the zone that wrote them."
    )


def broken(world: World, folder: Path) -> World:
    """The weight of the seventh week is sent in another unit; the two weeks after it are as before."""
    changed = world.at(folder)
    for week, factor in ((6, 1000.0), (7, 1.0), (8, 1.0)):
        requests = requests_of(changed.window(week).start, 7, 20 + week)
        changed.answer(requests.assign(weight=requests["weight"] * factor))
        changed.publish_labels(requests)
    return changed


def test_broken_data_opens_an_incident_that_bars_its_rows_and_closes_after_clean_weeks(world: World, tmp_path: Path) -> None:
    changed = broken(world, tmp_path)
    decision = run(changed, END + 7 * WEEK)
    assert (decision.kind, decision.state) == ("fix data", "done")
    with changed.ledger as ledger:
        (incident,) = ledger.incidents(NAME)
    assert (incident.excluded_from, incident.excluded_until) == (END + 6 * WEEK, END + 7 * WEEK)
    assert (incident.owner, incident.subjects, incident.decision) == ("depot team", ("weight",), decision.number)
    held = run(changed, END + timedelta(days=61), 2)
    assert (held.kind, "incident 1 is open" in held.sentence) == ("leave", True)
    with changed.ledger as ledger:
        assert ledger.incidents(NAME)[0].clean == 1
    free = run(changed, END + 9 * WEEK, 3)
    assert (free.kind, free.reason) == ("retrain", "scheduled")
    with changed.ledger as ledger:
        assert ledger.incidents(NAME)[0].closing == "2 clean windows"


def test_a_run_that_is_repeated_changes_nothing(world: World, tmp_path: Path) -> None:
    changed = broken(world, tmp_path)
    first = run(changed, END + 7 * WEEK)
    with changed.ledger as ledger:
        before = ledger.windows(NAME), ledger.decisions(NAME), ledger.incidents(NAME)
    assert run(changed, END + 7 * WEEK, again=True) == first
    with changed.ledger as ledger:
        assert (ledger.windows(NAME), ledger.decisions(NAME), ledger.incidents(NAME)) == before


@pytest.mark.parametrize("where", ["situation", "settle_incidents", "end"])
def test_a_run_that_was_killed_concludes_the_same_when_it_begins_anew(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """It had written its windows, or its decision too, or its incident too."""
    quiet, killed = broken(world, tmp_path / "one"), broken(world, tmp_path / "other")
    now = END + 7 * WEEK
    run(quiet, now)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(f"monitoring.conclusion.{where}", die)
        with pytest.raises(KeyboardInterrupt):
            run(killed, now)
    run(killed, now, again=True)
    with killed.ledger as ledger:
        assert len(ledger.incidents(NAME)) == 1
    with quiet.ledger as one, killed.ledger as other:
        assert one.windows(NAME) == other.windows(NAME)
        assert one.decisions(NAME) == other.decisions(NAME)
        assert one.incidents(NAME) == other.incidents(NAME)


def test_who_lost_the_claim_writes_nothing(world: World, tmp_path: Path) -> None:
    changed, now = world.at(tmp_path), END + 2 * WEEK
    measured, _ = measure_due(changed.settings, changed.model, now)
    performed = perform_due(changed.settings, changed.model, now, measured)
    key = f"{NAME}/monitor/1"
    with changed.ledger as ledger:
        claim = ledger.intend(key, model=NAME, owner="one", decision=None, now=now)
        assert claim is not None
        ledger.take(key, "one", now)
        ledger.reown(ledger.claim(key), "two", now)
        ledger.take(key, "two", now)
    fence = Fence(kind="claim", key=key, token=1)
    with pytest.raises(FencedError):
        conclude(changed.settings.ledger, changed.model, measured, performed, Ending("one", fence, now), now)
    with changed.ledger as ledger:
        assert (ledger.windows(NAME), ledger.decisions(NAME)) == ((), ())


def test_requests_that_stop_open_an_incident(world: World, tmp_path: Path) -> None:
    changed = world.at(tmp_path)
    decision = run(changed, END + 7 * WEEK)
    assert decision.kind == "fix data"
    assert "0 predictions" in decision.sentence


def test_shuffled_labels_degrade_and_train(world: World, tmp_path: Path) -> None:
    changed = world.at(tmp_path)
    path = changed.settings.source("arrivals")
    labels = pd.read_parquet(path)
    labels["late"] = np.random.default_rng(0).permutation(labels["late"].to_numpy())
    labels.to_parquet(path, index=False, coerce_timestamps="us")
    decision = run(changed, END + 2 * WEEK + DAYS)
    assert (decision.kind, decision.reason) == ("retrain", "degraded")
