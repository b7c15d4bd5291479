"""A real step whose library breaks: what the run says of it, what the command ends with, and whether it is tried again."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from perennial.ledger import Ledger
from perennial.loop.decision import DecisionDraft
from tests.pipelines.conftest import Project
from tests.second_project import NAME, NOW, write_project

pytestmark = [pytest.mark.local, pytest.mark.xdist_group("second project")]

BROKEN_DRIVER = """
import os, sys

def connect(*arguments, **options):
    raise eval(os.environ["RAISED"])

def lose():
    from sqlite3 import dbapi2

    dbapi2.connect = connect

if "pipelines.run" in sys.orig_argv and "RAISED" in os.environ:
    os.register_at_fork(after_in_child=lose)
"""
"""Written as `sitecustomize`: in the process of a step the driver of the ledger's database raises what `RAISED` says."""

BUG, OUTAGE = "ValueError('the driver lost its way')", "TimeoutError('the disk was away')"
TIME = NOW.isoformat()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    found = Project(write_project(tmp_path / "project", per_day=1))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "sitecustomize.py").write_text(BROKEN_DRIVER)
    return found


def broken(project: Project, raised: str) -> dict[str, str]:
    """The environment in which every step raises this."""
    return {"PYTHONPATH": str(project.folder.parent / "broken"), "RAISED": raised}


def test_a_bug_ends_the_command_with_70_its_step_type_and_place_and_no_trace(project: Project) -> None:
    ended = project.perennial("train", NAME, "--now", TIME, **broken(project, BUG))
    with Ledger.open(project.settings.ledger) as ledger:
        (run,) = ledger.runs(NAME)
    assert ended.returncode == 70, ended.stdout + ended.stderr
    assert "perennial: claim: ValueError: the driver lost its way (perennial/ledger/" in ended.stderr
    assert f"send what `perennial logs {run.run_id} claim` shows" in ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
    assert (run.state, run.failure_kind, run.failure_step) == ("failed", "UnexpectedError", "claim")
    shown = project.perennial("logs", run.run_id, "claim")
    assert "Traceback" in shown.stdout, "the log is what is sent along"


def test_an_outage_ends_the_command_with_75(project: Project) -> None:
    ended = project.perennial("train", NAME, "--now", TIME, **broken(project, OUTAGE))
    assert ended.returncode == 75, ended.stdout + ended.stderr
    assert "perennial: claim: TimeoutError: the disk was away; the same call may work later" in ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr


@pytest.mark.parametrize(("raised", "starts"), [(BUG, 1), (OUTAGE, 3)], ids=["bug", "outage"])
def test_the_controller_tries_an_outage_three_times_and_a_bug_never_again(project: Project, raised: str, starts: int) -> None:
    draft = DecisionDraft(kind="retrain", reason="degraded", sentence="It is degraded.", otherwise="A smaller loss.", facts=())
    with Ledger.open(project.settings.ledger) as ledger:
        ledger.add_decision(NAME, cause="a", now=datetime(2024, 4, 1, tzinfo=UTC), draft=draft)
    ended = project.perennial("tick", "--now", TIME, "--wait", **broken(project, raised))
    with Ledger.open(project.settings.ledger) as ledger:
        runs, decision = ledger.runs(NAME), ledger.decision(NAME, 1)
        assert ledger.claim(f"{NAME}/train/1").state == "failed"
    assert len(runs) == starts, ended.stdout + ended.stderr
    assert decision.state == "failed"
    assert raised.partition("(")[0] in decision.outcome
    assert "Traceback" not in ended.stdout + ended.stderr
