"""A tracking server is told the same as a database, keeps the artifacts itself, and its failures say what to do."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from perennial import registry
from perennial.errors import PlatformError
from perennial.settings import Settings
from tests.servers.port import free_port

NOW = datetime(2013, 4, 1, tzinfo=UTC)
START_SECONDS = 120.0


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """An installation whose tracking is a real server."""
    url = f"http://127.0.0.1:{free_port()}"
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        url.rpartition(":")[2],
        "--workers",
        "1",
    ]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}", "--artifacts-destination", str(tmp_path / "kept")]
    with (tmp_path / "log").open("wb") as said:
        environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        server = subprocess.Popen(command, stdout=said, stderr=said, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not answers(url):
            assert server.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.2)
        yield Settings.from_environment({"PERENNIAL_PROJECT": str(tmp_path / "project"), "PERENNIAL_TRACKING": url})
    finally:
        os.killpg(server.pid, 9)
        server.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def log(settings: Settings, artifacts: Path) -> str:
    entry = registry.RunEntry("r1", "delay", {"c": 0.1}, {"auc": 0.7}, {"outcome": "registered"}, artifacts)
    return registry.log_run(settings, entry, now=NOW)


def test_a_server_is_told_of_runs_versions_and_the_champion(settings: Settings, tmp_path: Path) -> None:
    artifacts = tmp_path / "results"
    artifacts.mkdir()
    (artifacts / "report.html").write_text("a report")
    logged = log(settings, artifacts)
    assert log(settings, artifacts) == logged
    (kept,) = (tmp_path / "kept").rglob("report.html")
    assert kept.read_text() == "a report" and not settings.state.exists()

    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=settings.tracking, registry_uri=settings.tracking)
    for number, source in ((1, "file:///state/versions/delay/abc"), (2, "s3://team/versions/delay/def")):
        told = {"number": number, "source": source, "mlflow_run_id": logged, "tags": {"digest": "abc"}}
        assert registry.add_version(settings, model="delay", **told) == str(number)  # type: ignore[arg-type]
    sources = {version.version: version.source for version in client.search_model_versions("name = 'delay'")}
    assert sources == {"1": "perennial://delay/1/abc", "2": "s3://team/versions/delay/def"}
    assert registry.set_champion(settings, model="delay", number=1)
    assert str(client.get_model_version_by_alias("delay", "champion").version) == "1"


def test_a_server_that_is_away_is_said_at_once(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    settings = Settings.from_environment({"PERENNIAL_PROJECT": str(tmp_path), "PERENNIAL_TRACKING": url})
    with pytest.raises(PlatformError, match=f"MLflow {url}: does not answer: .*refused"):
        log(settings, tmp_path)
