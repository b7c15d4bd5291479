"""Controllers with disks of their own beside one ledger: a run elsewhere is left alone while it lives, and begun anew after."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from controller.runner import LocalRunner
from controller.tick import tick
from controller.ticked import Ticked
from perennial.errors import FencedError
from perennial.ledger import Fence, Ledger
from perennial.loop.request import Train
from perennial.settings import Settings
from pipelines.heartbeat import DEAD
from tests.controller.test_tick import retrain
from tests.controller.world import FIRST, NAME, REAL, add_version

SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Prepares(LocalRunner):
    """Runs are prepared in their folders on this host's disk; a test says what becomes of them."""

    started: list[str] = field(default_factory=list)

    def start(self, ledger: Ledger, run_id: str, pipeline_run: str = "") -> None:  # noqa: ARG002
        assert (self.settings.runs / run_id / "parameters.json").exists()
        self.started.append(run_id)


@dataclass
class Host:
    """A controller with a disk of its own."""

    settings: Settings
    name: str
    now: datetime = REAL

    def __post_init__(self) -> None:
        self.runner = Prepares(self.settings, lambda: self.now)

    def tick(self, real: datetime) -> Ticked:
        self.now = real
        return tick(self.settings, FIRST, lambda: real, runner=self.runner, name=self.name)


@pytest.fixture
def first(settings: Settings) -> Host:
    return Host(settings, "a/1")


@pytest.fixture
def second(settings: Settings, tmp_path: Path) -> Host:
    return Host(settings.model_copy(update={"state": tmp_path / "another disk"}), "b/1")


def test_a_run_that_executes_elsewhere_is_not_started_again(ledger: Ledger, first: Host, second: Host) -> None:
    retrain(ledger, "a")
    first.tick(REAL)
    (run_id,) = first.runner.started
    assert second.tick(REAL + SECOND).waits == (f"run {run_id} is executing",), "it may be about to begin"
    for minutes in range(1, 60):
        now = REAL + timedelta(minutes=minutes)
        ledger.note_heartbeat(run_id, host="a/7", now=now)
        assert second.tick(now + DEAD - SECOND).waits == (f"run {run_id} is executing on a/7",)
    assert second.runner.started == []


def test_a_run_whose_host_is_lost_is_followed_by_a_fresh_one_and_what_it_still_does_is_refused(
    ledger: Ledger, first: Host, second: Host
) -> None:
    number = retrain(ledger, "a")
    first.tick(REAL)
    (lost_id,) = first.runner.started
    ledger.note_heartbeat(lost_id, host="a/7", now=REAL)
    before = ledger.take(str(ledger.run(lost_id).claim), lost_id, REAL)
    assert before is not None
    ticked = second.tick(REAL + DEAD)
    (fresh_id,) = second.runner.started
    assert [act.what for act in ticked.acts if act.what.startswith("started")] == ["started again"] and fresh_id != lost_id
    lost = ledger.run(lost_id)
    assert (lost.state, lost.failure_kind) == ("failed", "lost")
    assert "a/7: nothing was heard of its process since 2030-01-01 00:00:00 UTC" in lost.reason
    late = ledger.with_fence(Fence(kind="claim", key=before.key, token=before.token))
    with pytest.raises(FencedError):
        add_version(late, lost_id, "key", FIRST)
    assert ledger.take(before.key, lost_id, REAL) is None, "started late, it stands aside"
    assert len(ledger.versions(NAME)) == 1
    assert ledger.decision(NAME, number).state == "acting"
    assert ledger.claim(before.key).owner == fresh_id


def test_what_a_person_asked_for_goes_on_where_its_host_was_lost(ledger: Ledger, first: Host, second: Host) -> None:
    request = ledger.add_request(NAME, Train(), made=REAL, now=FIRST + timedelta(hours=1))
    first.tick(REAL)
    (lost_id,) = first.runner.started
    second.tick(REAL + DEAD)
    (fresh_id,) = second.runner.started
    assert ledger.request(NAME, request.number).state == "acting"
    assert ledger.claim(request.key).owner == fresh_id
    assert ledger.run(fresh_id).now == ledger.run(lost_id).now == request.now, "at its own time"


def test_what_loses_three_hosts_is_given_up(ledger: Ledger, first: Host, second: Host) -> None:
    number = retrain(ledger, "a")
    hosts = (first, second)
    for turn in range(4):
        hosts[turn % 2].tick(REAL + turn * DEAD)
    assert len(first.runner.started) + len(second.runner.started) == 3
    assert ledger.decision(NAME, number).state == "failed"
    assert ledger.open_claims(NAME) == ()
