"""`perennial watch` as a process: its probes, its metrics, and what it prints for people and for a collector of logs."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from console.control import Event, _events
from controller.ticked import Act, Obstacle, Ticked
from tests.controller.world import NOW
from tests.servers.port import free_port

ROOT = Path(__file__).parents[2]
STANDS_BY = Ticked(now=NOW, problems=(Obstacle(model="", sentence="b is the controller until 10:00"),), holds_lease=False)


@contextmanager
def watched(project: Path, *options: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A `perennial watch` that is told to end, and ends well, when the block is left."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", "PERENNIAL_PROJECT": str(project), **variables}
    command = [sys.executable, "-m", "console.cli", "watch", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    try:
        yield process
        process.send_signal(signal.SIGTERM)  # once more does no harm
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.communicate()


def answer(port: int, path: str) -> tuple[int, str]:
    """Status and body, as soon as somebody listens."""
    until = time.monotonic() + 60
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except ConnectionRefusedError:
            assert time.monotonic() < until
            time.sleep(0.05)
        finally:
            connection.close()


def test_two_replicas_are_both_ready_one_leads_and_the_other_takes_over_at_its_end(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    first_port, second_port = free_port(), free_port()

    def until_ready(port: int, leads: bool) -> None:
        until = time.monotonic() + 60
        while True:
            status, body = answer(port, "/readyz")
            if status == 200 and json.loads(body)["leads"] is leads:
                return
            assert time.monotonic() < until, body
            time.sleep(0.05)

    with watched(tmp_path, "--http", str(first_port)) as first:
        until_ready(first_port, leads=True)
        with watched(tmp_path, "--http", str(second_port)):
            until_ready(second_port, leads=False)
            assert answer(first_port, "/healthz")[0] == answer(second_port, "/healthz")[0] == 200
            assert "perennial_controller_leads 1.0" in answer(first_port, "/metrics")[1]
            assert "perennial_controller_leads 0.0" in answer(second_port, "/metrics")[1]
            begin = time.monotonic()
            first.send_signal(signal.SIGTERM)
            until_ready(second_port, leads=True)
            assert time.monotonic() - begin < 30, "after the lease was given back, not after a minute"


def test_each_line_for_a_collector_is_an_object_and_people_read_sentences(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "churn.yaml").write_text("kind: Model\n")
    for log in ("json", "text"):
        with watched(tmp_path, PERENNIAL_LOG=log) as process:
            assert process.stdout is not None
            first, second = process.stdout.readline(), process.stdout.readline()
        if log == "json":
            began, problem = json.loads(first), json.loads(second)
            assert [*began] == [*problem] == ["time", "level", "model", "what", "sentence"]
            assert (began["level"], began["model"], began["what"]) == ("info", "", "began")
            assert (problem["level"], problem["model"], problem["what"]) == ("warning", "churn", "problem")
            assert datetime.fromisoformat(problem["time"]).tzinfo is not None
        else:
            assert first.startswith("Watching ") and " churn: problem: " in second


@pytest.mark.parametrize(
    ("ticked", "expected"),
    [
        (Ticked(now=NOW), []),
        (STANDS_BY, [Event("info", "", "problem", "b is the controller until 10:00")]),
        (
            Ticked(now=NOW, acts=(Act(model="m", what="ended", sentence="run r ended"),), waits=("run s is executing",)),
            [Event("info", "m", "ended", "run r ended"), Event("info", "", "waits", "run s is executing")],
        ),
        (
            Ticked(now=NOW, problems=(Obstacle(model="", sentence="locked"),), holds_lease=False, broke=True),
            [Event("error", "", "problem", "locked")],
        ),
    ],
)
def test_the_level_of_an_event_says_whom_it_concerns(ticked: Ticked, expected: list[Event]) -> None:
    assert list(_events(ticked, Ticked(now=NOW), [])) == expected


def test_who_stands_by_says_so_once(tmp_path: Path) -> None:
    later = STANDS_BY.model_copy(update={"problems": (Obstacle(model="", sentence="b is the controller until 10:01"),)})
    assert list(_events(later, STANDS_BY, [])) == []
