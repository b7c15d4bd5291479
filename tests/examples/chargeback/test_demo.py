"""The quick demo, as a user would run it: its events, how much it prints, its last commands, and those of the protocol."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from perennial.ledger import Ledger
from tests.servers.port import free_port

ROOT = Path(__file__).parents[3]
DEFAULT_PORT = "18090"
"""Of the demo, when nobody names another."""
PROTOCOL = ROOT / "docs" / "protocol.md"
CALLS = re.compile(r"^```sh\n(.*?)^```\n```json\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NAME = "chargeback"
MAX_LINES = 60
READY_SECONDS = 60


def answers(serve: str, curls: list[str]) -> list[str]:
    """What curl lines say against the printed serve command, once it listens."""
    server = subprocess.Popen(serve, shell=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        until = time.monotonic() + READY_SECONDS
        while subprocess.run(shlex.split(curls[0]), stdout=subprocess.DEVNULL, check=False).returncode != 0:
            if server.poll() is not None or time.monotonic() > until:
                break
            time.sleep(0.5)
        return [subprocess.run(shlex.split(curl), capture_output=True, text=True, check=False).stdout for curl in curls]
    finally:
        os.killpg(server.pid, 15)
        server.wait(timeout=60)


def calls_of_the_protocol() -> list[tuple[str, Any]]:
    """The commands of docs/protocol.md, each with the JSON that stands below it."""
    blocks = CALLS.findall(PROTOCOL.read_text(encoding="utf-8"))
    return [(command.strip().replace("\\\n", " "), json.loads(said)) for command, said in blocks]


def told(value: Any) -> Any:
    """A JSON value without what differs each time: numbers and ids."""
    if isinstance(value, dict):
        return {name: told(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [told(inner) for inner in value]
    if isinstance(value, float):
        return "number"
    return re.sub(r"\b[0-9a-f]{12,64}…?(-\d+)?", "ID", value) if isinstance(value, str) else value


def test_the_protocol_s_page_has_a_command_for_each_answer_and_nothing_differs_unseen() -> None:
    text = PROTOCOL.read_text(encoding="utf-8")
    calls = calls_of_the_protocol()
    assert len(calls) == text.count("```sh\n") == text.count("```json\n") == 3
    assert all(f"http://127.0.0.1:{DEFAULT_PORT}/" in command for command, _ in calls)
    assert told({"probability": 0.5, "model_version": "dc4ee8a835e2…"}) == told({"probability": 0.7, "model_version": 64 * "a"})
    assert told({"decision": True, "not_fresh": {"pair": "stale"}}) != told({"decision": True, "not_fresh": {}})


@pytest.mark.local
@pytest.mark.xdist_group("quick demo")
def test_the_quick_demo_shows_the_main_job_and_its_last_lines_work(tmp_path: Path) -> None:
    folder, port = tmp_path / "demo", str(free_port())
    command = [sys.executable, "-m", "examples.chargeback.demo", "--folder", str(folder), "--port", port]
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
    calls = calls_of_the_protocol()
    first, *others = answers(serve, [curl, *(command.replace(f":{DEFAULT_PORT}/", f":{port}/") for command, _ in calls)])
    said = json.loads(first)
    assert said["model_version"] == champion.digest
    assert 0 <= said["predictions"][0]["probability"] <= 1
    assert [told(json.loads(other)) for other in others] == [told(expected) for _, expected in calls]
