"""The second project's loop closes, with real runs: windows, a decision, a training, traffic. Its controller is killed once."""

import os
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from perennial.ledger import Ledger
from pipelines.lock import is_executing
from serving.deployers.local import deployed
from tests.pipelines.conftest import Project
from tests.pipelines.test_monitoring import answer_the_past
from tests.second_project import NAME, NOW

pytestmark = [pytest.mark.local, pytest.mark.xdist_group("second project")]

POLICY = "retraining: {reasons: [scheduled, manual], max_age_days: 1}"
TICK = ("tick", "--now", NOW.isoformat(), "--wait")


def kill_the_controller_while_its_run_executes(project: Project) -> str:
    """A controller starts a run and dies; returns the run's id."""
    process = subprocess.Popen(
        [sys.executable, "-m", "console.cli", *TICK],
        stdout=subprocess.DEVNULL,
        cwd=project.folder,
        env={**os.environ, "PYTHONSAFEPATH": "1"},
    )
    until = time.monotonic() + 120
    with Ledger.open(project.settings.ledger) as ledger:
        while True:
            assert process.poll() is None
            assert time.monotonic() < until
            owners = [claim.owner for claim in ledger.open_claims(NAME)]
            if owners and is_executing(project.settings.runs, owners[0]):
                break
            time.sleep(0.05)
        process.kill()
        process.wait()
        lease = ledger.lease("controller")
        assert lease is not None
        ledger.release_lease(lease, datetime.now(UTC))  # a minute of waiting for the dead one is spared
    return owners[0]


def test_the_loop_closes_with_one_run_of_each_kind_though_its_controller_was_killed(copied: Project) -> None:
    answer_the_past(copied)
    spec = copied.settings.models / f"{NAME}.yaml"
    text = spec.read_text()
    spec.write_text(text.replace("retraining: {reasons: [manual], mode: advisory}", POLICY))
    assert POLICY in spec.read_text()
    before = deployed(copied.settings.current(NAME))
    first = kill_the_controller_while_its_run_executes(copied)

    ended = copied.perennial(*TICK)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    with Ledger.open(copied.settings.ledger) as ledger:
        runs = {run.run_id: run for run in ledger.runs(NAME) if run.claim is not None and "/manual/" not in run.claim}
        assert sorted(run.mode for run in runs.values()) == ["monitor", "refit"]
        assert runs[first].outcome == "retrain", "the run outlived its controller, and its decision was carried out"
        training = next(run for run in runs.values() if run.mode == "refit")
        decision = ledger.decision(NAME, training.decision or 0)
        assert (decision.reason, decision.state) == ("scheduled", "done")
        assert ledger.open_claims(NAME) == ()
        champion = ledger.champion(NAME)
    assert champion is not None
    current = deployed(copied.settings.current(NAME))
    if training.outcome == "registered":
        assert champion.run_id == training.run_id
        assert current is not None
        assert current.digest == champion.digest
    else:
        assert current == before, "a challenger that was stopped changes nothing in serving"
