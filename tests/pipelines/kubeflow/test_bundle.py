"""Bundles: a project's files under the hash of their content."""

import os
from pathlib import Path

import pytest

from perennial.errors import DataError, SpecError
from perennial.settings import Settings
from perennial.stores.bucket import Bucket
from pipelines.kubeflow import bundle
from tests.servers.s3 import S3


def project(folder: Path, *, text: str = "a") -> Path:
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "churn.yaml").write_text("spec")
    dated = folder / "feature_repo" / "definitions" / "..2026_11_28"
    dated.mkdir(parents=True)
    (dated / "views.py").write_text("a mounted ConfigMap has it here as well")
    (folder / "feature_repo" / "definitions" / "views.py").write_text(text)
    (folder / "feature_repo" / "definitions" / "__pycache__").mkdir()
    (folder / "feature_repo" / "definitions" / "__pycache__" / "views.pyc").write_bytes(b"x")
    (folder / "secrets.txt").write_text("not for others")
    return folder


def test_the_same_files_give_the_same_bytes_whenever_they_were_written(tmp_path: Path) -> None:
    one, same, other = project(tmp_path / "1"), project(tmp_path / "2"), project(tmp_path / "3", text="b")
    os.utime(same / "models" / "churn.yaml", (1, 1))
    (same / "models" / "churn.yaml").chmod(0o600)
    assert bundle.pack(one) == bundle.pack(same) != bundle.pack(other)
    assert b"not for others" not in bundle.pack(one)
    assert b"a mounted ConfigMap" not in bundle.pack(one)


def test_a_bundle_comes_out_as_it_went_in_and_a_changed_one_not_at_all(tmp_path: Path, s3: S3) -> None:
    uri = s3.bucket()
    stored = {"PERENNIAL_BUCKET": uri}
    here = Settings.from_environment({**stored, "PERENNIAL_PROJECT": str(project(tmp_path / "here"))})
    there = Settings.from_environment({**stored, "PERENNIAL_PROJECT": str(tmp_path / "there")})
    digest = bundle.store(here)
    assert bundle.store(here) == digest
    bundle.unpack(there, digest)
    files = {path.relative_to(there.project).as_posix(): path.read_text() for path in there.project.rglob("*") if path.is_file()}
    assert files == {"models/churn.yaml": "spec", "feature_repo/definitions/views.py": "a"}
    Bucket(uri).replace(bundle.key_of(digest), b"else")
    with pytest.raises(DataError, match="has another digest"):
        bundle.unpack(there, digest)


def test_an_empty_folder_and_an_installation_without_a_bucket_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="must name the folder of a project"):
        bundle.pack(tmp_path)
    settings = Settings.from_environment({"PERENNIAL_PROJECT": str(project(tmp_path / "here"))})
    with pytest.raises(SpecError, match="PERENNIAL_BUCKET is not set"):
        bundle.store(settings)
