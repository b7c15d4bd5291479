"""What status says, from what is stored about a model and from its local server."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from console.status import ModelStatus, ServerStatus, server_of, status_of
from perennial.errors import SpecError
from perennial.ledger import Run
from perennial.settings import Settings

MOMENT = datetime(2024, 1, 1, tzinfo=UTC)


def run(state: str) -> Run:
    return Run.model_validate(
        {
            "run_id": "r1",
            "model": "churn",
            "mode": "search",
            "started": MOMENT,
            "finished": None,
            "state": state,
            "outcome": None,
            "run_key": None,
            "dataset": None,
            "spec": "s",
            "now": MOMENT,
            "reason": "",
            "folder": "f",
            "mlflow_run_id": None,
        }
    )


def test_a_run_whose_process_is_gone_is_lost_and_can_be_started_again() -> None:
    lost = status_of("churn", None, None, run("running"), executing=False)
    assert lost.state == "run lost"
    assert "python -m pipelines.run r1" in lost.next
    assert status_of("churn", None, None, run("running"), executing=True).state == "training"


def test_a_wrong_spec_is_the_owner_s_to_mend() -> None:
    status = status_of("churn", SpecError("models/churn.yaml:3: spec.owner: missing"), None, None, executing=False)
    assert (status.state, status.why) == ("spec wrong", "models/churn.yaml:3: spec.owner: missing")
    assert "owner" in status.next


class Answers(BaseHTTPRequestHandler):
    """A server that lost three rows."""

    def do_GET(self) -> None:
        body = b'perennial_log_lost_rows_total{model="churn"} 3.0\n' if self.path == "/metrics" else b"{}"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_rows_that_a_server_lost_are_said_with_who_must_act(address: str, tmp_path: Path) -> None:
    settings = Settings.from_environment({"PERENNIAL_PROJECT": str(tmp_path)})
    assert server_of(settings, "churn") is None
    settings.server_address("churn").parent.mkdir(parents=True)
    settings.server_address("churn").write_text(address)
    server = server_of(settings, "churn")
    assert server == ServerStatus(address=address, is_ready=True, lost_rows=3)
    said = ModelStatus(model="churn", state="trained", why="", next="", server=server).served
    assert "3 answers were not logged" in said
    assert "platform" in said


def test_a_server_that_is_gone_is_no_server(tmp_path: Path) -> None:
    settings = Settings.from_environment({"PERENNIAL_PROJECT": str(tmp_path)})
    settings.server_address("churn").parent.mkdir(parents=True)
    settings.server_address("churn").write_text("127.0.0.1:1")
    assert server_of(settings, "churn") is None
