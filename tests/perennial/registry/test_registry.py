"""MLflow shows each run and version once, as tags and a link, and its failures say what to do."""

import dataclasses
import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from perennial import registry
from perennial.errors import PlatformError, UnexpectedError
from perennial.settings import Settings
from tests.servers.postgresql import PostgreSQL

if TYPE_CHECKING:
    from mlflow import MlflowClient

# MLflow 3.17 still uses what SQLAlchemy 2.1 calls old.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")

NOW = datetime(2013, 4, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def on_a_file(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings.from_environment({"PERENNIAL_PROJECT": str(tmp_path_factory.mktemp("project"))})


@pytest.fixture(scope="module")
def on_postgresql(postgresql: PostgreSQL, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    project = tmp_path_factory.mktemp("project")
    return Settings.from_environment({"PERENNIAL_PROJECT": str(project), "PERENNIAL_TRACKING": postgresql.database()})


@pytest.fixture(scope="module", params=["on_a_file", "on_postgresql"])
def settings(request: pytest.FixtureRequest) -> Settings:
    found: Settings = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts")
    (folder / "plots").mkdir()
    (folder / "plots" / "roc.png").write_bytes(b"a picture")
    return folder


def log(settings: Settings, artifacts: Path, run_id: str, **options: float) -> str:
    entry = registry.RunEntry(
        run_id=run_id,
        model="delay",
        parameters={f"p{number:03}": number for number in range(150)},
        metrics={"auc": 0.71},
        tags={"outcome": "registered"},
        artifacts=artifacts,
    )
    return registry.log_run(settings, entry, now=NOW, **options)


def client(settings: Settings) -> "MlflowClient":
    from mlflow import MlflowClient  # after our own import, which keeps its telemetry from starting

    return MlflowClient(tracking_uri=settings.tracking, registry_uri=settings.tracking)


def test_a_run_is_logged_once_with_everything(settings: Settings, artifacts: Path) -> None:
    logged = log(settings, artifacts, "r1")
    assert log(settings, artifacts, "r1") == logged
    assert log(settings, artifacts, "r2") != logged
    found = client(settings).get_run(logged)
    assert (len(found.data.params), found.data.metrics, found.info.status) == (150, {"auc": 0.71}, "FINISHED")
    assert found.data.tags["perennial.run_id"] == "r1"
    assert (settings.tracking_artifacts / logged / "artifacts" / "plots" / "roc.png").read_bytes() == b"a picture"


def test_a_run_whose_logging_broke_off_is_completed(settings: Settings, artifacts: Path, tmp_path: Path) -> None:
    broken = settings.tracking_artifacts
    log(settings, artifacts, "r0")
    away = broken.rename(broken.with_name("away"))
    broken.write_text("in the way")
    with pytest.raises(PlatformError, match=r"MLflow .*artifacts.*; make it writable"):
        log(settings, artifacts, "r3")
    broken.unlink()
    away.rename(broken)
    logged = log(settings, artifacts, "r3")
    assert (broken / logged / "artifacts" / "plots" / "roc.png").exists()
    runs = client(settings).search_runs(["1"])
    assert [run.data.tags["perennial.run_id"] for run in runs].count("r3") == 1


def test_a_version_is_a_link_and_is_added_once(settings: Settings, artifacts: Path) -> None:
    logged = log(settings, artifacts, "r1")
    for _ in range(2):
        number = registry.add_version(
            settings, model="delay", number=1, source="s3://team/versions/delay/abc", mlflow_run_id=logged, tags={"digest": "abc"}
        )
        assert number == "1"
    second = registry.add_version(settings, model="delay", number=2, source="file:///versions/d", mlflow_run_id=logged, tags={})
    assert second == "2"
    found = min(client(settings).search_model_versions("name = 'delay'"), key=lambda version: int(version.version))
    assert found.source == "s3://team/versions/delay/abc"
    assert found.tags == {"digest": "abc", "perennial.version": "1"}


def test_model_files_are_refused(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "model.skops").write_bytes(b"")
    with pytest.raises(ValueError, match=r"model\.skops is a model file"):
        log(settings, tmp_path, "r4")


def test_mlflows_global_state_and_telemetry_stay_untouched(settings: Settings, artifacts: Path) -> None:
    log(settings, artifacts, "r1")
    import mlflow
    from mlflow.telemetry.client import get_telemetry_client

    assert mlflow.get_tracking_uri() != settings.tracking
    assert get_telemetry_client() is None
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_a_locked_database_is_named_with_a_remedy(on_a_file: Settings, artifacts: Path) -> None:
    settings = on_a_file
    log(settings, artifacts, "r1")
    other = sqlite3.connect(settings.tracking.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(
            PlatformError, match=r"mlflow\.db: database is locked; another process has held it for more than 0\.1 s"
        ):
            log(settings, artifacts, "r5", wait_seconds=0.1)
    finally:
        other.close()
    log(settings, artifacts, "r5", wait_seconds=0.1)


def test_a_folder_that_cannot_be_written_is_named_with_a_remedy(artifacts: Path, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    settings = Settings.from_environment({"PERENNIAL_PROJECT": str(tmp_path), "PERENNIAL_STATE": str(tmp_path / "state")})
    with pytest.raises(PlatformError, match=r"mlflow\.db: .*; make it writable, or set PERENNIAL_STATE"):
        log(settings, artifacts, "r1")


def test_a_file_that_is_no_database_is_left_alone(artifacts: Path, tmp_path: Path) -> None:
    settings = Settings.from_environment({"PERENNIAL_PROJECT": str(tmp_path)})
    file = Path(settings.tracking.removeprefix("sqlite:///"))
    file.parent.mkdir(parents=True)
    file.write_text("a letter, not a database" * 100)
    with pytest.raises(PlatformError, match="file is not a database; put a backup in its place"):
        log(settings, artifacts, "r1")
    assert file.read_text().startswith("a letter")


def test_a_database_that_is_away_or_refuses_is_said_at_once_with_a_remedy_and_without_the_password(
    on_postgresql: Settings, postgresql: PostgreSQL, artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(on_postgresql, artifacts, "r1")
    away = dataclasses.replace(postgresql, port=1).url("mlflow")
    with pytest.raises(PlatformError, match=r"MLflow .*Connection refused; see that the server runs and that the URL names it"):
        log(on_postgresql.model_copy(update={"tracking": away}), artifacts, "r6", wait_seconds=0.1)
    monkeypatch.setenv("PGPASSWORD", "wrong " + postgresql.password)
    with pytest.raises(PlatformError, match="the password is read from PGPASSWORD") as refused:
        log(on_postgresql, artifacts, "r6")
    assert postgresql.password not in str(refused.value)


def test_what_mlflow_refuses_is_no_outage(on_a_file: Settings, artifacts: Path) -> None:
    entry = registry.RunEntry("r6", "delay", {"a name with ? and !": 1}, {}, {}, artifacts)
    with pytest.raises(UnexpectedError, match=r"MLflow sqlite:.*: mlflow\.exceptions\.MlflowException: .*perennial/registry/"):
        registry.log_run(on_a_file, entry, now=NOW)
