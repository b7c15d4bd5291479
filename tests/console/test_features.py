"""`perennial features upload`: a folder's sources are in the bucket, or nothing is."""

import json
from pathlib import Path

import pandas as pd
import pytest

from console.features import upload
from feature_repo.sources import opened
from perennial.errors import DataError, NotFoundError, SpecError
from perennial.settings import Settings
from perennial.stores.bucket import Bucket
from tests.servers.s3 import S3


@pytest.fixture
def settings(tmp_path: Path, s3: S3) -> Settings:
    """A project on a bucket, with two sources in its state."""
    made = Settings.from_environment({"PERENNIAL_PROJECT": str(tmp_path), "PERENNIAL_BUCKET": s3.bucket()})
    folder = made.state / "sources"
    folder.mkdir(parents=True)
    pd.DataFrame({"a": [1, 2]}).to_parquet(folder / "orders.parquet")
    pd.DataFrame({"a": [1], "b": ["x"]}).to_parquet(folder / "shops.parquet")
    return made


def test_sources_of_the_state_are_read_from_the_bucket(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    upload(settings, None, json=True)
    assert json.loads(capsys.readouterr().out) == {"orders": {"rows": 2, "columns": 1}, "shops": {"rows": 1, "columns": 2}}
    with opened(settings.source("orders")) as source:
        assert source.to_table().to_pydict() == {"a": [1, 2]}


def test_a_newer_source_takes_the_place_of_the_older(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    upload(settings, None, json=False)
    (tmp_path / "newer").mkdir()
    pd.DataFrame({"a": [3]}).to_parquet(tmp_path / "newer" / "orders.parquet")
    upload(settings, tmp_path / "newer", json=False)
    assert f"Uploaded to {settings.sources}" in capsys.readouterr().out
    with opened(settings.source("orders")) as source:
        assert source.to_table().to_pydict() == {"a": [3]}
    assert Bucket(settings.sources).keys("") == ["orders.parquet", "shops.parquet"]


def test_a_file_that_is_no_parquet_is_named_before_anything_is_uploaded(settings: Settings) -> None:
    (settings.state / "sources" / "z.parquet").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"z\.parquet: not a Parquet file"):
        upload(settings, None, json=False)
    assert Bucket(settings.sources).keys("") == []


def test_a_folder_without_sources_is_told(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no \*\.parquet file is there"):
        upload(settings, tmp_path / "nowhere", json=False)


def test_without_a_bucket_there_is_nothing_to_upload(tmp_path: Path) -> None:
    local = Settings.from_environment({"PERENNIAL_PROJECT": str(tmp_path)})
    with pytest.raises(SpecError, match="set PERENNIAL_BUCKET"):
        upload(local, None, json=False)
