"""A version's files before the runtime starts: from a real S3 server into a folder, checked."""

import subprocess
import sys
from pathlib import Path

import pytest

from perennial.errors import DataError, NotFoundError
from perennial.stores.bucket import Bucket
from perennial.versions.folder import MANIFEST
from perennial.versions.store import key, name_of
from serving.runtime.current import Current
from serving.runtime.fetch import fetch
from tests.servers.s3 import S3
from tests.serving.world import Made, make_version, plan

NUMBER = 3


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make_version(tmp_path / "made", 1, plan())


@pytest.fixture
def bucket(s3: S3, made: Made) -> Bucket:
    filled = Bucket(s3.bucket())
    filled.put_folder(made.published.path, key("chargeback", made.digest), last=MANIFEST)
    return filled


def name(made: Made, model: str = "chargeback") -> str:
    return name_of(model, NUMBER, made.digest)


def test_the_version_and_the_file_that_names_it_are_there(bucket: Bucket, made: Made, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    current = fetch(name(made), folder, bucket)
    assert Current.read(folder / "current") == current
    assert (current.digest, current.number) == (made.digest, NUMBER)
    assert sorted(path.name for path in current.folder.iterdir()) == sorted(path.name for path in made.published.path.iterdir())


def test_a_second_start_keeps_what_is_right_and_mends_what_is_wrong(bucket: Bucket, made: Made, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    file = fetch(name(made), folder, bucket).folder / MANIFEST
    before = file.stat().st_mtime_ns
    fetch(name(made), folder, bucket)
    assert file.stat().st_mtime_ns == before
    file.write_bytes(b"{}")
    assert (
        fetch(name(made), folder, bucket).folder.joinpath(MANIFEST).read_bytes() == (made.published.path / MANIFEST).read_bytes()
    )


def test_what_was_changed_in_the_bucket_never_comes_into_the_folder(bucket: Bucket, made: Made, tmp_path: Path) -> None:
    changed = next(each for each in bucket.keys("versions/") if "contract" in each)
    bucket.replace(changed, bucket.get(changed) + b" ")
    with pytest.raises(DataError, match=r"contract.*the manifest says"):
        fetch(name(made), tmp_path / "models", bucket)
    assert not list((tmp_path / "models").iterdir())


def test_another_models_version_and_one_that_is_not_there_are_refused(bucket: Bucket, made: Made, tmp_path: Path) -> None:
    bucket.put_folder(made.published.path, key("churn", made.digest), last=MANIFEST)
    with pytest.raises(DataError, match="is a version of 'chargeback'"):
        fetch(name(made, "churn"), tmp_path / "models", bucket)
    with pytest.raises(NotFoundError, match="no such objects"):
        fetch(name_of("chargeback", NUMBER, "0" * 64), tmp_path / "models", bucket)


@pytest.mark.parametrize(
    ("arguments", "where", "said"),
    [("s3://a/b", "s3://a", "storageUri: found 's3://a/b'"), ("x", "", "PERENNIAL_BUCKET: found ''")],
)
def test_the_command_says_on_one_line_what_is_wrong(arguments: str, where: str, said: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "serving.runtime.fetch", arguments, str(tmp_path)]
    ended = subprocess.run(command, env={"PERENNIAL_BUCKET": where}, cwd=Path.cwd(), capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith(("storageUri", "environment")) and said in ended.stderr
    assert ended.stderr.count("\n") == 1
