"""`perennial replay` on the second project: requests in the log, a decision for each interval, repeats, and what is refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from console.replay import Interval, ReplaySpan, replay_and_show
from controller.ticked import LEASE
from feature_repo import store
from monitoring.log.collect import collect_model, load, unfinished
from perennial.errors import DataError, NotFoundError, PlatformError, SpecError
from perennial.ledger import Ledger
from perennial.settings import Settings
from tests.pipelines.conftest import Project
from tests.second_project import NAME, TRAINED, write_project

pytestmark = [
    pytest.mark.local,
    pytest.mark.xdist_group("replay"),
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),  # Feast's own, at its import
    pytest.mark.filterwarnings("ignore:.*:FutureWarning"),
]
WEEK = timedelta(days=7)
REAL = datetime(2030, 1, 1, tzinfo=UTC)
PER_DAY = 40


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The second project with one version; its features are applied."""
    project = Project(write_project(tmp_path_factory.mktemp("replay") / "project", per_day=PER_DAY))
    for arguments in (("features", "apply"), ("train", NAME, "--now", TRAINED.isoformat())):
        run = project.perennial(*arguments)
        assert run.returncode == 0, run.stdout + run.stderr
    return project


@pytest.fixture
def project(champion: Project, tmp_path: Path) -> Project:
    """A copy of it, to be played in."""
    shutil.copytree(champion.folder, tmp_path / "project")
    return Project(tmp_path / "project")


def arguments(start: datetime = TRAINED, weeks: int = 2) -> tuple[str, ...]:
    until = start + weeks * WEEK
    return ("replay", NAME, "--from", start.isoformat(), "--until", until.isoformat(), "--every", "7", "--json")


def played(project: Project, *given: str) -> dict[str, Any]:
    """What the command says."""
    run = project.perennial(*given)
    assert run.returncode == 0, run.stdout + run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def logged(settings: Settings) -> pd.DataFrame:
    """Every row of the log, those that are not sealed too."""
    collect_model(settings, NAME, REAL)
    return load(settings.prediction_tables(NAME), growing=unfinished(settings.prediction_log(NAME)))


def payments(settings: Settings, start: datetime, end: datetime) -> pd.DataFrame:
    frame = pd.read_parquet(settings.source("payments"))
    return frame[frame["event_timestamp"].between(start, end, inclusive="left")]


def test_a_span_is_played_with_a_decision_for_each_interval_and_repeated_it_sends_nothing(project: Project) -> None:
    settings, found = project.settings, played(project, *arguments())
    source = payments(settings, TRAINED, TRAINED + 2 * WEEK)
    log = logged(settings)
    assert Counter(log["fields.payment_id"]) == Counter(source["payment_id"])
    assert log.set_index("fields.payment_id")["time"].to_dict() == source.set_index("payment_id")["event_timestamp"].to_dict()
    assert log["probability"].notna().all()

    assert [one["end"] for one in found["intervals"]] == [(TRAINED + count * WEEK).isoformat() for count in (1, 2)]
    assert sum(one["requests"] for one in found["intervals"]) == len(source)
    assert all(one["answered"] == one["requests"] and one["answered_before"] == 0 for one in found["intervals"])
    assert [len(one["decisions"]) for one in found["intervals"]] == [1, 1]
    assert all(len(one["runs"]) >= 1 for one in found["intervals"])
    with Ledger.open(settings.ledger) as ledger:
        decisions = [made for made in ledger.decisions(NAME) if made.reason != "manual"]
        assert [made.made for made in reversed(decisions)] == [TRAINED + count * WEEK for count in (1, 2)]
        lease = ledger.lease(LEASE)
        assert lease is not None
        assert lease.ticked == TRAINED + 2 * WEEK

    again = played(project, *arguments())
    assert (again["passed_by"], [one["requests"] for one in again["intervals"]]) == (1, [0])
    assert again["intervals"][0]["decisions"] == []
    assert len(logged(settings)) == len(log)

    longer = played(project, *arguments(weeks=3))
    assert (longer["passed_by"], [one["requests"] for one in longer["intervals"]]) == (
        1,
        [0, len(payments(settings, TRAINED + 2 * WEEK, TRAINED + 3 * WEEK))],
    )


def test_a_killed_replay_goes_on_with_what_was_not_answered(project: Project) -> None:
    settings = project.settings
    command = [sys.executable, "-m", "console.cli", *arguments(weeks=1)]
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    process = subprocess.Popen(command, cwd=project.folder, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    until = time.monotonic() + 120
    while not settings.prediction_log(NAME).exists() or len(logged(settings)) < 20:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = len(logged(settings))
    source = payments(settings, TRAINED, TRAINED + WEEK)
    assert 20 <= before < len(source)

    found = played(project, *arguments(weeks=1))
    assert [(one["requests"], one["answered_before"]) for one in found["intervals"]] == [(len(source) - before, before)]
    assert Counter(logged(settings)["fields.payment_id"]) == Counter(source["payment_id"])
    run = project.perennial("features", "parity", NAME)
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_terminated_replay_stops_its_server(project: Project) -> None:
    command = [sys.executable, "-m", "console.cli", *arguments(weeks=1)]
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    process = subprocess.Popen(command, cwd=project.folder, env=environment, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while not project.settings.prediction_log(NAME).exists() or not logged(project.settings).size:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    process.terminate()
    assert process.communicate(timeout=60)[1] == "perennial: interrupted\n"
    assert process.returncode == 130
    assert unfinished(project.settings.prediction_log(NAME)) == []  # the server sealed what it had, and has ended


@dataclass(frozen=True)
class Refusal:
    """A replay that is refused before anything is sent."""

    start: datetime
    end: datetime
    kind: type[Exception]
    said: str


REFUSALS = {
    "an empty span": Refusal(TRAINED, TRAINED, SpecError, "is not after --from"),
    "a span without requests": Refusal(
        TRAINED + 10 * WEEK, TRAINED + 11 * WEEK, DataError, "no request of 2024-05-23 .* it has 2024-01-01 01:.* to 2024-04-09"
    ),
    "a span before the champion": Refusal(
        TRAINED - WEEK, TRAINED, SpecError, "was trained for 2024-03-14.*allowed: that time or later"
    ),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_what_cannot_be_played_is_refused(champion: Project, refusal: Refusal) -> None:
    with pytest.raises(refusal.kind, match=refusal.said):
        replay_and_show(champion.settings, NAME, ReplaySpan(refusal.start, refusal.end, WEEK), None, lambda: REAL, json=True)


WEEKS = ReplaySpan(TRAINED, TRAINED + WEEK, WEEK)


def test_a_controller_that_watches_is_in_the_way(project: Project) -> None:
    with Ledger.open(project.settings.ledger) as ledger:
        ledger.take_lease(LEASE, "host/1", now=REAL, seconds=60)
    with pytest.raises(
        PlatformError, match=r"host/1 is the controller until .*; a replay ticks by itself: stop `perennial watch`"
    ):
        replay_and_show(project.settings, NAME, WEEKS, None, lambda: REAL, json=True)


def test_a_controller_that_has_ticked_for_later_is_in_the_way(project: Project) -> None:
    with Ledger.open(project.settings.ledger) as ledger:
        ledger.take_lease(LEASE, "host/1", now=REAL - timedelta(hours=1), seconds=1)
        ledger.note_tick(LEASE, TRAINED + 4 * WEEK)
    with pytest.raises(SpecError, match=r"the controller ticked for 2024-04-11.* already"):
        replay_and_show(project.settings, NAME, WEEKS, None, lambda: REAL, json=True)


def test_values_of_later_are_in_the_way(project: Project) -> None:
    store.materialize(project.settings, TRAINED, TRAINED + WEEK, lambda _: None)
    with pytest.raises(DataError, match=r"holds values that were published after 2024-03-14.*a PERENNIAL_STATE of its own"):
        replay_and_show(project.settings, NAME, WEEKS, None, lambda: REAL, json=True)


def test_a_model_without_a_champion_is_not_played(tmp_path: Path) -> None:
    settings = Project(write_project(tmp_path / "project")).settings
    with pytest.raises(
        NotFoundError, match=f"{NAME} has no champion; `perennial train {NAME} --now 2024-03-14T00:00:00Z` makes one"
    ):
        replay_and_show(settings, NAME, WEEKS, None, lambda: REAL, json=True)


def test_an_interval_is_one_line() -> None:
    quiet = Interval(TRAINED, TRAINED + WEEK, sent=280, answered=279, runs=("a",))
    assert quiet.line == "2024-03-14 00:00 to 2024-03-21 00:00  280 requests, 279 answered; decided: nothing; 1 runs started"
    assert "; 7 answered before; " in Interval(TRAINED, TRAINED + WEEK, before=7).line
