"""Controllers among faults, as processes: two at once, a ledger that is locked or newer, an end in good order."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller.ticked import LEASE
from controller.watch import watch
from perennial.errors import PlatformError
from perennial.ledger import Ledger
from perennial.ledger.tables import VERSION_TABLE
from perennial.settings import Settings
from tests.controller.world import NAME, REAL, tick_until_idle, write_world

TWO = """
import json, sys, time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from perennial import registry
from perennial.errors import PlatformError
from perennial.evaluation.gates import GateResult
from serving import rollouts
from controller.tick import tick
from tests.controller.world import NOW, QuickRunner, settings_of

registry.set_champion = lambda *_, **__: True
rollouts.checked = lambda *_: GateResult(name="serving", verdict="pass", sentence="It answers.", numbers={})
settings = settings_of(Path(sys.argv[1]))
runner, turns = QuickRunner(settings), 0
print("ready", flush=True)
sys.stdin.readline()
while turns < 5:
    ticked = tick(settings, NOW, lambda: datetime.now(UTC), runner=runner)
    turns += ticked.holds_lease
    time.sleep(0.02)
print(json.dumps(runner.started))
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return write_world(tmp_path)


def test_two_controllers_on_one_state_train_once(settings: Settings) -> None:
    command = [sys.executable, "-c", TWO, str(settings.project)]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONSAFEPATH": "1"}
    both = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)
    ]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], f"each had its five turns: {said}"
    with Ledger.open(settings.ledger) as ledger:
        modes = [run.mode for run in ledger.runs(NAME) if run.claim is not None]
        champion = ledger.champion(NAME)
    assert sorted(modes) == ["monitor", "refit"]
    assert champion is not None
    assert champion.number == 2


@pytest.fixture
def locked(settings: Settings) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(settings.state / "ledger.db", isolation_level=None)
    connection.execute("begin immediate")
    yield connection
    connection.close()


def test_a_locked_ledger_ends_a_tick_with_its_error_and_a_watch_goes_on(
    settings: Settings, locked: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Ledger.open
    monkeypatch.setattr(Ledger, "open", lambda url: opened(url, 0.2))
    with pytest.raises(PlatformError, match="locked"):
        tick_until_idle(settings)
    watching = watch(settings, lambda: REAL, 0.01)
    assert "locked" in next(watching).problems[0].sentence
    locked.execute("rollback")
    os.kill(os.getpid(), signal.SIGTERM)
    assert list(watching) == [], "told to end, it ends after the tick that it was in"
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_ledger_of_a_newer_release_is_said_and_not_touched(settings: Settings) -> None:
    connection = sqlite3.connect(settings.state / "ledger.db")
    connection.execute(f"update {VERSION_TABLE} set version_num = '9999'")
    connection.commit()
    before = connection.execute("select count(*) from claims").fetchone()
    with pytest.raises(PlatformError, match="written by a newer release"):
        tick_until_idle(settings)
    assert connection.execute("select count(*) from claims").fetchone() == before
    connection.close()


def test_a_watch_that_is_told_to_end_gives_the_lease_back(settings: Settings) -> None:
    (settings.models / f"{NAME}.yaml").unlink()
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONSAFEPATH": "1", "PERENNIAL_PROJECT": str(settings.project)}
    command = [sys.executable, "-m", "console.cli", "watch", "--every", "0.1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    with Ledger.open(settings.ledger) as ledger:
        until = time.monotonic() + 60
        while (lease := ledger.lease(LEASE)) is None or lease.ticked is None:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert lease.expires > datetime.now(UTC), "while it lives, it has the lease"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
        lease = ledger.lease(LEASE)
        assert lease is not None
        assert lease.expires <= datetime.now(UTC), "another controller need not wait"
    assert process.stdout is not None
    process.stdout.close()
