"""An installation whose bucket and databases are servers: nothing that one machine keeps for itself is needed by the next."""

import json
import time
from pathlib import Path

import pytest

from controller.ticked import LEASE
from perennial.ledger import Ledger
from perennial.settings import Settings
from perennial.stores.bucket import Bucket
from perennial.versions.folder import open_version
from tests.console.test_control import watched
from tests.pipelines.conftest import Project, on_servers
from tests.second_project import NAME, NOW
from tests.servers.postgresql import PostgreSQL
from tests.servers.s3 import S3

pytestmark = [pytest.mark.local, pytest.mark.xdist_group("second project")]


def test_a_training_on_servers_is_that_on_files_and_another_machine_has_its_version_and_nothing_shows_a_password(
    trained: Project, tmp_path: Path, s3: S3, postgresql: PostgreSQL
) -> None:
    here, stores = on_servers(trained.folder, tmp_path / "here", s3, postgresql)
    uri, ledger_url = stores["PERENNIAL_BUCKET"], stores["PERENNIAL_LEDGER"]
    registry_url, tracking_url = stores["PERENNIAL_FEATURE_REGISTRY"], stores["PERENNIAL_TRACKING"]

    applied = here.perennial("features", "apply", **stores)
    run = here.perennial("train", NAME, "--now", NOW.isoformat(), **stores)
    said = applied.stdout + applied.stderr + run.stdout + run.stderr
    assert (applied.returncode, run.returncode) == (0, 0), said
    with Ledger.open(ledger_url) as ledger, Ledger.open(trained.settings.ledger) as other:
        version, expected = ledger.version(NAME), other.version(NAME)
        assert [(found.state, found.outcome) for found in ledger.runs(NAME)] == [("succeeded", "registered")]
    assert version.run_key == expected.run_key
    assert not Path(here.settings.sources).exists() and not list(here.settings.state.glob("**/*.db"))[1:], "online store only"
    keys = Bucket(uri).keys("")
    stored = here.settings.versions / NAME / version.digest
    assert {key for key in keys if key.startswith("versions/")} == {
        f"versions/{NAME}/{version.digest}/{path.name}" for path in stored.iterdir()
    }
    assert len([key for key in keys if key.startswith("datasets/")]) == 2
    with postgresql.connection(tracking_url) as mlflow:
        linked = mlflow.execute("select source from model_versions").fetchall()
    assert linked == [(f"{uri}/versions/{NAME}/{version.digest}",)]
    with postgresql.connection(registry_url) as feast:
        views = feast.execute("select feature_view_name from feature_views order by 1").fetchall()
    assert views == [("account",), ("pair",)]

    there = {"PERENNIAL_BUCKET": uri, "PERENNIAL_STATE": str(tmp_path / "there"), "PERENNIAL_LEDGER": ledger_url}
    shown = here.perennial("card", NAME, **there)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout == open_version(stored).file("card").read_text(encoding="utf-8")
    fetched = Settings.from_environment({"PERENNIAL_PROJECT": str(here.folder), **there}).versions / NAME / version.digest
    assert open_version(fetched).manifest == open_version(stored).manifest

    dumps = [postgresql.dump(url) for url in (ledger_url, registry_url, tracking_url)]
    files = [path.read_bytes() for path in here.folder.rglob("*") if path.is_file()]
    assert all(NAME in text for text in dumps) and any(NAME.encode() in content for content in files), "they were looked into"
    assert postgresql.password not in said + shown.stdout + shown.stderr + "".join(dumps)
    assert not [content for content in files if postgresql.password.encode() in content]


def test_a_training_that_is_typed_here_and_carried_out_by_a_controller_on_another_disk_ends_with_its_result_here(
    trained: Project, tmp_path: Path, s3: S3, postgresql: PostgreSQL
) -> None:
    here, stores = on_servers(trained.folder, tmp_path / "here", s3, postgresql)
    ledger_url = stores["PERENNIAL_LEDGER"]
    assert here.perennial("features", "apply", **stores).returncode == 0

    with watched(here.folder, PERENNIAL_STATE=str(tmp_path / "pod"), PERENNIAL_LOG="json", **stores) as controller:
        assert controller.stdout is not None
        assert json.loads(controller.stdout.readline())["what"] == "began"
        with Ledger.open(ledger_url) as ledger:
            until = time.monotonic() + 60
            while (lease := ledger.lease(LEASE)) is None or lease.ticked is None:
                assert time.monotonic() < until
                time.sleep(0.05)
        run = here.perennial("train", NAME, "--now", NOW.isoformat(), **stores)
        status = here.perennial("status", **stores)
    with Ledger.open(ledger_url) as ledger:
        (found,) = ledger.runs(NAME)
        assert lease is not None and found.host is not None and found.host.split("/")[0] == lease.holder.split("/")[0]
        assert found.heartbeat is not None and found.outcome == "registered"
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"run {found.run_id} executes on {found.host}: its log is there" in run.stdout
    assert "Gates" in run.stdout and "registered: version 1" in run.stdout
    assert "rollout: version 1 is champion" in run.stdout
    assert "is watching" in status.stdout
    assert (tmp_path / "pod" / "runs" / found.run_id / "log.txt").exists()
    assert not (here.settings.runs / found.run_id).exists()
