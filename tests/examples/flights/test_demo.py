"""The short demo, as a user would run it, with every socket but loopback refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.local
@pytest.mark.xdist_group("demo")
def test_the_short_demo_trains_and_stops_the_worse_challenger_without_a_network(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(REFUSE)
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path),
        "PYTHONSAFEPATH": "1",
        "REFUSED": str(tmp_path / "refused.txt"),
        "HOME": str(tmp_path / "home"),
        "PERENNIAL_STATE": str(tmp_path / "state"),
    }
    probe = "import socket; socket.socket().connect(('192.0.2.1', 80))"
    fires = subprocess.run([sys.executable, "-c", probe], env=environment, capture_output=True, text=True, check=False)
    assert "no network here" in fires.stderr
    (tmp_path / "refused.txt").unlink()

    command = [sys.executable, "-m", "examples.flights.demo", "--short"]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    assert "registered: version 1" in run.stdout
    assert "stopped: nothing registered" in run.stdout
    assert "Time of each part" in run.stdout
    assert not (tmp_path / "refused.txt").exists(), (tmp_path / "refused.txt").read_text()
