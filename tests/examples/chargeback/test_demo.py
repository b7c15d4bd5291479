"""The quick demo, as a user would run it: its events, how long what it prints is, and the commands that it ends with."""

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from perennial.ledger import Ledger

ROOT = Path(__file__).parents[3]
PORT = "18083"
NAME = "chargeback"
MAX_LINES = 60
READY_SECONDS = 60


def answer(serve: str, curl: str) -> str:
    """What the printed curl line says against the printed serve command."""
    server = subprocess.Popen(serve, shell=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        until = time.monotonic() + READY_SECONDS
        while True:
            said = subprocess.run(shlex.split(curl), capture_output=True, text=True, check=False)
            if said.returncode == 0 or server.poll() is not None or time.monotonic() > until:
                return said.stdout
            time.sleep(0.5)
    finally:
        os.killpg(server.pid, 15)
        server.wait(timeout=60)


@pytest.mark.local
@pytest.mark.xdist_group("quick demo")
def test_the_quick_demo_shows_the_main_job_and_its_last_lines_work(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    command = [sys.executable, "-m", "examples.chargeback.demo", "--folder", str(folder), "--port", PORT]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    lines = run.stdout.splitlines()
    assert len(lines) <= MAX_LINES

    with Ledger.open(f"sqlite:///{folder / '.perennial' / 'ledger.db'}") as ledger:
        decisions = [decision.kind for decision in reversed(ledger.decisions(NAME))]
        outcomes = [run.outcome for run in reversed(ledger.runs(NAME)) if run.mode != "monitor"]
        (incident,) = ledger.incidents(NAME)
        champion = ledger.champion(NAME)
    assert outcomes == ["registered", "stopped", "registered"]
    assert [kind for kind in decisions if kind != "retrain"] == ["leave", "fix data"]
    assert incident.subjects == ("amount",)
    assert incident.closed is not None
    assert champion is not None
    assert champion.number == 2

    (page,) = [line.partition("page: ")[2] for line in lines if line.startswith("  page: ")]
    assert Path(page).is_file()
    (serve,) = [line for line in lines if line.startswith("PERENNIAL_PROJECT=")]
    (curl,) = [line for line in lines if line.startswith("curl ")]
    said = json.loads(answer(serve, curl))
    assert said["model_version"] == champion.digest
    assert 0 <= said["predictions"][0]["probability"] <= 1
