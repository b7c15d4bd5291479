"""The short demo, as a user would run it, with every socket but loopback refused: what it prints was measured.

Where labels are noise it finds noise and promotes nothing; where a source is broken it opens an incident and trains nothing.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from perennial.ledger import Ledger
from tests.servers.port import free_port

ROOT = Path(__file__).parents[3]

REFUSE = """
import os, socket

def refused(self, address, *rest):
    local = self.family == socket.AF_UNIX or str(address[0]).startswith("127.") or address[0] in ("::1", "localhost")
    if not local:
        with open(os.environ["REFUSED"], "a") as file:
            print(address, file=file)
        raise OSError(f"no network here: {address}")
    return original(self, address, *rest)

original = socket.socket.connect
socket.socket.connect = refused
"""


NAME = "flight-delay"


def play(folder: Path, *arguments: str) -> tuple[str, str]:
    """What the short demo printed, and the URL of its ledger."""
    (folder / "sitecustomize.py").write_text(REFUSE)
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "PYTHONSAFEPATH": "1",
        "REFUSED": str(folder / "refused.txt"),
        "HOME": str(folder / "home"),
        "PERENNIAL_STATE": str(folder / "state"),
    }
    probe = "import socket; socket.socket().connect(('192.0.2.1', 80))"
    fires = subprocess.run([sys.executable, "-c", probe], env=environment, capture_output=True, text=True, check=False)
    assert "no network here" in fires.stderr
    (folder / "refused.txt").unlink()
    command = [sys.executable, "-m", "examples.flights.demo", "--short", "--port", str(free_port()), *arguments]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    assert not (folder / "refused.txt").exists(), (folder / "refused.txt").read_text()
    return run.stdout, f"sqlite:///{folder / 'state' / 'ledger.db'}"


@pytest.mark.local
@pytest.mark.xdist_group("demo with shuffled labels")
def test_where_labels_are_noise_the_loop_measures_noise_and_promotes_nothing(tmp_path: Path) -> None:
    said, url = play(tmp_path, "--labels", "shuffled")
    assert "registered: version 1" in said
    assert "Time of each part" in said
    with Ledger.open(url) as ledger:
        windows = ledger.windows(NAME)
        outcomes = [run.outcome for run in ledger.runs(NAME) if run.mode != "monitor"]
        champion = ledger.champion(NAME)
    aucs = [record.performance.metrics["auc"].value for record in windows if record.performance is not None]
    assert len(aucs) == 8
    assert sum(aucs) / len(aucs) == pytest.approx(0.5, abs=0.03)
    assert champion is not None
    assert champion.number == 1
    assert outcomes[-1] == "registered", "the first"
    assert set(outcomes[:-1]) == {"stopped"}, "a training was due, and its challenger was stopped"


@pytest.mark.local
@pytest.mark.xdist_group("demo with a broken source")
def test_where_a_source_is_broken_the_loop_opens_an_incident_and_trains_nothing(tmp_path: Path) -> None:
    said, url = play(tmp_path, "--source", "broken")
    assert "weather_visib" in said
    with Ledger.open(url) as ledger:
        (incident,) = ledger.incidents(NAME)
        decisions = [decision.kind for decision in ledger.decisions(NAME)]
        trainings = [run.outcome for run in ledger.runs(NAME) if run.mode != "monitor"]
    assert incident.closed is None
    assert incident.subjects == ("weather_visib",)
    assert f"{incident.excluded_from:%Y-%m-%d}" == "2013-05-06"
    assert decisions == ["fix data", "leave", "retrain"], "newest first; the oldest is the request for the first training"
    assert trainings == ["registered"], "the training that was due in June is held"
