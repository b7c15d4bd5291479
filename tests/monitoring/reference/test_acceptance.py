"""A lasting change of an input ends by a person's word: the incident closes, its requests train, and the checks know it."""

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from console.decisions import accept_change
from monitoring.reference.acceptance import by_check, widened
from monitoring.reference.traffic import blindness
from perennial.errors import NotFoundError
from perennial.loop.decision import AcceptedCheck, Incident
from perennial.loop.outcome import incident_state
from perennial.loop.request import AcceptChange
from perennial.versions.thresholds import ColumnLimits
from tests.monitoring.test_conclusion import DAYS, run
from tests.monitoring.world import END, NAME, WEEK, World, log_rows, requests_of, write_log

pytestmark = pytest.mark.xdist_group("watched model")


def changed_world(world: World, folder: Path, weeks: int) -> World:
    """A copy of the world in which the weight of weeks 6 and on is in another unit, and roads have a kind that was never seen."""
    changed = world.at(folder)
    requests = requests_of(END + 6 * WEEK, 7 * weeks, 11)
    seen = requests.assign(weight=requests["weight"] * 1000, road_kind="tunnel")
    rows = log_rows(changed, requests, changed.digest)
    moved = [
        replace(row, fields={**row.fields, "weight": float(weight)}, features={**row.features, "road_kind": "tunnel"})
        for row, weight in zip(rows, seen["weight"], strict=True)
    ]
    write_log(changed.settings.prediction_log(NAME), moved)
    changed.publish_labels(requests)
    spec = changed.settings.models / f"{NAME}.yaml"
    spec.parent.mkdir(parents=True, exist_ok=True)
    from tests.monitoring.world import SPEC

    spec.write_text(SPEC)
    return changed


def say(world: World, who: str, reason: str, now: datetime, incident: int | None = None, json: bool = False) -> Incident:
    """A person says that the data are like this now."""
    wish = AcceptChange(incident=incident, who=who, reason=reason)
    return accept_change(world.settings, NAME, wish, now, lambda: now, json)


def test_a_change_that_was_accepted_breaks_no_window_any_more_and_trains(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = changed_world(world, tmp_path, weeks=6)
    decisions = [run(changed, END + (7 + week) * WEEK + DAYS, week + 1) for week in range(5)]
    assert [decision.kind for decision in decisions] == ["fix data"] * 5
    assert "looks like a change rather than a fault" in decisions[4].sentence
    assert "looks like a change" not in decisions[2].sentence
    with changed.ledger as ledger:
        incident = ledger.incidents(NAME)[0]
        assert incident.closed is None and set(incident.subjects) >= {"weight", "road_kind"}
        assert ledger.excluded(NAME) == ((incident.excluded_from, incident.excluded_until),)
    now = END + 11 * WEEK + 2 * DAYS
    accepted = say(changed, "kim", "the scale shows grams now", now)
    said = capsys.readouterr().out
    assert "incident 1 is closed as a change of the data" in said and "train from now on" in said and "`perennial tick`" in said
    assert accepted.accepted is not None and (accepted.accepted.who, accepted.closed) == ("kim", now)
    assert accepted.closing == "kim accepted the change: the scale shows grams now"
    checks = by_check([accepted])
    assert checks["range", "weight"][0].high is not None and checks["range", "weight"][0].high > 1000
    assert checks["new categories", "road_kind"][0].categories == ("tunnel",)
    with changed.ledger as ledger:
        assert ledger.excluded(NAME) == () and ledger.incidents(NAME, only_open=True) == ()
        due = ledger.open_decisions(NAME)[-1]
        assert (due.kind, due.reason, due.state, due.cause) == ("retrain", "manual", "open", f"{NAME}/manual/accept-1")
        assert "kim accepted the change of incident 1 (the scale shows grams now)" in due.sentence
        ledger.end_decision(NAME, due.number, state="done", outcome="trained")
    after = run(changed, END + 12 * WEEK + DAYS, 6)
    with changed.ledger as ledger:
        newest = ledger.windows(NAME)[0]
        assert newest.measurement.broken == () and ledger.incidents(NAME, only_open=True) == ()
    weight = next(column for column in newest.measurement.columns if column.column == "weight")
    assert after.kind != "fix data" and weight.verdict == "quiet", "the weeks of the change are what a week is compared with"
    say(changed, "lee", "again", now + WEEK, 1, json=True)
    again = json.loads(capsys.readouterr().out)
    assert again["incident"]["accepted"]["who"] == "kim" and again["decision"]["number"] == due.number


def test_without_the_word_the_change_stays_an_incident(world: World, tmp_path: Path) -> None:
    changed = changed_world(world, tmp_path, weeks=3)
    for week in range(3):
        run(changed, END + (7 + week) * WEEK + DAYS, week + 1)
    with changed.ledger as ledger:
        incident = ledger.incidents(NAME, only_open=True)[0]
        assert ledger.windows(NAME)[0].measurement.broken
    assert f"`perennial decisions accept-change {NAME} 1 --reason" in incident_state(incident)


def test_an_incident_that_is_not_there_is_named(world: World, tmp_path: Path) -> None:
    changed = changed_world(world, tmp_path, weeks=1)
    with pytest.raises(NotFoundError, match="there is no incident 4; open incidents: none, all: none"):
        say(changed, "kim", "why", END, 4)
    with pytest.raises(NotFoundError, match="no number was given; open incidents: none"):
        say(changed, "kim", "why", END)


def test_limits_take_in_what_was_accepted_of_their_own_column_only() -> None:
    limits = ColumnLimits(column="a", max_null_share=0.1, low=0.0, high=1.0, categories=("x",), max_new_share=0.05)
    accepted = {
        ("nulls", "a"): [AcceptedCheck(name="nulls", subject="a", value=0.6)],
        ("new categories", "a"): [AcceptedCheck(name="new categories", subject="a", value=1.0, categories=("y", "z"))],
        ("range", "b"): [AcceptedCheck(name="range", subject="b", value=1.0, low=-9.0, high=9.0)],
    }
    found = widened(limits, accepted)
    assert (found.max_null_share, found.low, found.high, found.categories) == (0.7, 0.0, 1.0, ("x", "y", "z"))


def traffic(world: World, folder: Path, per_week: int, weeks: int) -> World:
    """A copy of the world whose requests are so many a week."""
    changed = world.at(folder)
    path = Path(changed.settings.source("parcels"))
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = per_week * weeks
    time = pd.Timestamp(END) - pd.to_timedelta(np.arange(rows) * (7 * 86_400 / per_week) + 1, unit="s")
    frame = pd.DataFrame({"parcel_id": np.arange(rows), "event_timestamp": time.as_unit("us")})
    frame.to_parquet(path, index=False, coerce_timestamps="us", allow_truncated_timestamps=True)
    return changed


@pytest.mark.parametrize(
    ("per_week", "weeks", "block_rows", "said"),
    [
        (
            336,
            20,
            1000,
            "has at most 336 requests, and 1,000 are needed to judge its columns; write monitoring.window_days: 27, or",
        ),
        (336, 20, None, ""),
        (40, 20, None, "has at most 40 requests, and 50 are needed to judge its columns; write monitoring.window_days: 11"),
        (5000, 20, 1000, ""),
        (5000, 5, None, "the requests cover 4 whole windows of 7 days; with fewer than 8 in the training no false alarm rate"),
    ],
)
def test_a_model_whose_windows_could_not_be_judged_is_told_before_it_is_trained(
    world: World, tmp_path: Path, per_week: int, weeks: int, block_rows: int | None, said: str
) -> None:
    from tests.monitoring.reference.test_thresholds import with_monitoring

    changed = traffic(world, tmp_path, per_week, weeks)
    found = blindness(changed.settings, with_monitoring(block_rows=block_rows), END)
    assert len(found) == bool(said) and said in "".join(found)


def test_without_requests_or_columns_nothing_is_guessed(world: World, tmp_path: Path) -> None:
    from tests.monitoring.reference.test_thresholds import with_monitoring

    empty = world.settings.model_copy(update={"sources": str(tmp_path)})
    assert blindness(empty, world.model, END) == ()
    assert blindness(empty, with_monitoring(columns=()), END) == ("monitoring.columns names no column: no drift can be seen",)
