"""An installation with a bucket: nothing that one machine keeps for itself is needed by the next."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from perennial.bucket import Bucket
from perennial.ledger import Ledger
from perennial.settings import Settings
from perennial.version import open_version
from tests.pipelines.conftest import Project
from tests.second_project import NAME, NOW
from tests.servers.s3 import S3

pytestmark = [pytest.mark.local, pytest.mark.xdist_group("second project")]


def test_a_training_on_a_bucket_is_that_on_a_folder_and_another_machine_has_its_version(
    trained: Project, tmp_path: Path, s3: S3
) -> None:
    uri, here = s3.bucket(), Project(tmp_path / "here")
    shutil.copytree(trained.folder, here.folder, ignore=shutil.ignore_patterns(".perennial", "modules"))
    for source in Path(trained.settings.sources).glob("*.parquet"):
        Bucket(f"{uri}/sources").put(source.name, source)

    run = here.perennial("train", NAME, "--now", NOW.isoformat(), PERENNIAL_BUCKET=uri)
    assert run.returncode == 0, run.stdout + run.stderr
    with Ledger.open(here.settings.ledger) as ledger, Ledger.open(trained.settings.ledger) as other:
        version, expected = ledger.version(NAME), other.version(NAME)
    assert version.run_key == expected.run_key
    assert not Path(here.settings.sources).exists()
    keys = Bucket(uri).keys("")
    stored = here.settings.versions / NAME / version.digest
    assert {key for key in keys if key.startswith("versions/")} == {
        f"versions/{NAME}/{version.digest}/{path.name}" for path in stored.iterdir()
    }
    assert len([key for key in keys if key.startswith("datasets/")]) == 2
    with sqlite3.connect(here.settings.tracking.removeprefix("sqlite:///")) as database:
        linked = database.execute("select source from model_versions").fetchall()
    database.close()
    assert linked == [(f"{uri}/versions/{NAME}/{version.digest}",)]

    there = {"PERENNIAL_BUCKET": uri, "PERENNIAL_STATE": str(tmp_path / "there"), "PERENNIAL_LEDGER": here.settings.ledger}
    shown = here.perennial("card", NAME, **there)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout == open_version(stored).file("card").read_text(encoding="utf-8")
    fetched = Settings.from_environment({"PERENNIAL_PROJECT": str(here.folder), **there}).versions / NAME / version.digest
    assert open_version(fetched).manifest == open_version(stored).manifest
