"""A person follows what a controller on another host does for them: they are told where it is, and how it ended."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from console.display.results import show_logs
from console.monitoring import monitor_and_show
from console.training import train_and_show
from controller.tick import tick
from perennial import registry
from perennial.errors import NotFoundError
from perennial.evaluation.gates import GateResult
from perennial.ledger import Ledger
from perennial.loop.request import Train
from perennial.settings import Settings
from pipelines.runs import RunStanding
from tests.controller.world import NAME, NOW, REAL, QuickRunner, write_world

FOLLOWED = 30
"""Looks of the other controller at a run before it ends."""


class Elsewhere(QuickRunner):
    """Runs that execute for a while on another host, whose gates are in the ledger."""

    looks = 0

    def start(self, ledger: Ledger, run_id: str, pipeline_run: str = "") -> None:  # noqa: ARG002
        self.looks = 0
        with Ledger.open(self.settings.ledger) as unfenced:
            unfenced.note_heartbeat(run_id, host="controller-7/1", now=REAL)
            unfenced.write_gates(run_id, [GateResult(name="data", verdict="fail", sentence="Half is gone.", numbers={})])

    def state(self, ledger: Ledger, run_id: str) -> RunStanding:
        standing = super().state(ledger, run_id)
        if standing.state != "dead":
            return standing
        self.looks += 1
        if self.looks > FOLLOWED:
            super().start(ledger, run_id)
        return RunStanding("executing", "")


@contextmanager
def controller(settings: Settings) -> Iterator[None]:
    """A controller that ticks on another host, and holds the lease all the time."""
    ended, runner, begun = threading.Event(), Elsewhere(settings, passes=False), threading.Event()

    def run() -> None:
        while not ended.wait(0.05):
            tick(settings, NOW, lambda: REAL, runner=runner, name="controller-7/1", release=False, unasked=False)
            begun.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert begun.wait(30)
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(registry, "set_champion", lambda *_, **__: True)
    return write_world(tmp_path)


@pytest.fixture
def here(settings: Settings, tmp_path: Path) -> Settings:
    """The same installation from a disk that has nothing of its runs."""
    return settings.model_copy(update={"state": tmp_path / "workbench"})


def test_a_training_on_another_host_is_followed_by_the_ledger_to_its_result(
    settings: Settings, here: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with controller(settings):
        assert not train_and_show(here, NAME, NOW, lambda: REAL, Train(), json=False)
    said = capsys.readouterr().out
    assert said.count("executes on controller-7/1: its log is there, and this command waits for its end") == 1
    assert "stopped: so it went" in said and "Half is gone." in said
    assert "on controller-7/1, as its log is: nothing of them is on this machine" in said.replace("\n", " ")


def test_the_log_of_a_run_elsewhere_is_said_to_be_there(settings: Settings, here: Settings) -> None:
    with Ledger.open(settings.ledger) as ledger:
        ledger.start_run(run_id="r", model=NAME, mode="refit", started=NOW, now=NOW, spec="s", folder="f")
        with pytest.raises(NotFoundError, match="run r has no log on this machine"):
            show_logs(here, "r", None, json=False)
        ledger.note_heartbeat("r", host="controller-7/1", now=REAL)
    with pytest.raises(
        NotFoundError, match=r"its log is on controller-7/1 and not .*: kubectl exec controller-7 -- perennial logs r"
    ):
        show_logs(here, "r", None, json=False)
    (settings.runs / "r").mkdir(parents=True)
    (settings.runs / "r" / "log.txt").write_text("hello\n")
    show_logs(settings, "r", None, json=False)


def test_a_program_is_given_json_alone_wherever_the_run_executed(
    settings: Settings, here: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with controller(settings):
        assert not train_and_show(here, NAME, NOW, lambda: REAL, Train(), json=True)
    said = capsys.readouterr().out
    assert said.startswith("{") and '"host": "controller-7/1"' in said and '"verdict": "fail"' in said


def test_a_monitoring_run_on_another_host_is_followed_too(
    settings: Settings, here: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    # Both collect the prediction log from where it is; on a cluster that is the bucket.
    here.prediction_log(NAME).parent.mkdir(parents=True)
    here.prediction_log(NAME).symlink_to(settings.prediction_log(NAME))
    with controller(settings):
        monitor_and_show(here, NAME, NOW, lambda: REAL, json=False)
    said = capsys.readouterr().out
    assert "executes on controller-7/1" in said and ": retrain" in said
