"""A version in a bucket is the same version: whole, checked, and fetched once into the state."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from perennial import digests
from perennial.errors import DataError, NotFoundError, PlatformError
from perennial.settings import Settings
from perennial.stores.bucket import Bucket
from perennial.versions.folder import MANIFEST, open_version, remove_drafts
from perennial.versions.store import folder, keep, uri
from tests.servers.s3 import S3


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "m.skops").write_bytes(b"model" * 100)
    (tmp_path / "c.json").write_text("{}")
    return {"model": tmp_path / "m.skops", "contract": tmp_path / "c.json"}


def machine(tmp_path: Path, name: str, bucket: str | None) -> Settings:
    """Settings of one of several machines."""
    places = {"PERENNIAL_PROJECT": str(tmp_path / name)}
    return Settings.from_environment(places if bucket is None else {**places, "PERENNIAL_BUCKET": bucket})


@pytest.fixture
def here(tmp_path: Path, s3: S3) -> Settings:
    return machine(tmp_path, "here", s3.bucket())


@pytest.fixture
def there(tmp_path: Path, here: Settings) -> Settings:
    return machine(tmp_path, "there", here.bucket)


def bucket_of(settings: Settings) -> Bucket:
    assert settings.bucket is not None
    return Bucket(settings.bucket, retry_seconds=1)


def test_without_a_bucket_a_version_is_in_the_state(files: dict[str, Path], tmp_path: Path) -> None:
    alone = machine(tmp_path, "alone", None)
    published = keep(alone, files, "delay", "k")
    assert folder(alone, "delay", published.digest) == published.path == alone.versions / "delay" / published.digest
    assert uri(alone, "delay", published.digest) == published.path.as_uri()
    with pytest.raises(NotFoundError, match="no such version folder"):
        open_version(folder(alone, "delay", "0" * 64))


def test_a_version_that_was_kept_here_is_the_same_there(files: dict[str, Path], here: Settings, there: Settings) -> None:
    published = keep(here, files, "delay", "k")
    assert keep(here, files, "delay", "k") == published
    assert keep(there, files, "delay", "k").digest == published.digest
    key = f"versions/delay/{published.digest}"
    assert bucket_of(here).keys("") == sorted(f"{key}/{path.name}" for path in published.path.iterdir())
    assert uri(here, "delay", published.digest) == f"{here.bucket}/{key}"


def test_a_version_is_fetched_once(files: dict[str, Path], here: Settings, there: Settings, s3: S3) -> None:
    digest = keep(here, files, "delay", "k").digest
    found = open_version(folder(there, "delay", digest))
    assert found.path == there.versions / "delay" / digest
    assert found.file("model").read_bytes() == files["model"].read_bytes()
    s3.stop()
    assert folder(there, "delay", digest) == found.path


def test_a_version_that_nobody_kept_is_not_found(there: Settings) -> None:
    with pytest.raises(NotFoundError, match=f"^{there.bucket}/versions/delay/{'0' * 64}: no such objects"):
        folder(there, "delay", "0" * 64)


def test_a_publication_that_broke_off_is_completed_by_the_next(
    files: dict[str, Path], here: Settings, there: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Bucket.put

    def breaks(self: Bucket, key: str, content: bytes | Path) -> bool:
        if "model-" in key:
            raise PlatformError("away")
        return put(self, key, content)

    with monkeypatch.context() as patch, pytest.raises(PlatformError, match="away"):
        patch.setattr(Bucket, "put", breaks)
        keep(here, files, "delay", "k")
    (begun,) = bucket_of(here).keys("")
    assert "contract-" in begun
    digest = begun.split("/")[2]
    with pytest.raises(DataError, match=f"^{here.bucket}/versions/delay/{digest}/{MANIFEST}: not a file"):
        folder(there, "delay", digest)
    assert keep(here, files, "delay", "k").digest == digest
    assert open_version(folder(there, "delay", digest)).digest == digest


@pytest.mark.parametrize("role", ["model", "manifest"])
def test_an_object_that_was_changed_is_named_and_not_kept(
    files: dict[str, Path], here: Settings, there: Settings, role: str
) -> None:
    published = keep(here, files, "delay", "k")
    changed = next(path for path in published.path.iterdir() if path.name.startswith(role))
    key, content = f"versions/delay/{published.digest}/{changed.name}", changed.read_bytes()
    bucket_of(here).replace(key, content.replace(b"model", b"MODEL") if role == "model" else content.replace(b'"k"', b'"K"'))
    for _ in range(2):
        with pytest.raises(DataError, match=f"^{here.bucket}/{key}: its digest is [0-9a-f]{{64}}, the"):
            folder(there, "delay", published.digest)
        assert list((there.versions / "delay").iterdir()) == []
    bucket_of(here).replace(key, content)
    assert open_version(folder(there, "delay", published.digest)).digest == published.digest


def test_a_foreign_object_beside_a_version_is_named(files: dict[str, Path], here: Settings, there: Settings) -> None:
    digest = keep(here, files, "delay", "k").digest
    bucket_of(here).put(f"versions/delay/{digest}/extra.py", b"")
    with pytest.raises(DataError, match=f"^{here.bucket}/versions/delay/{digest}/extra.py: not in the manifest"):
        folder(there, "delay", digest)


def test_while_the_store_is_away_nothing_is_registered(
    files: dict[str, Path], here: Settings, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perennial.versions.store.Bucket", lambda uri: Bucket(uri, retry_seconds=1))
    s3.stop()
    with pytest.raises(PlatformError, match="does not answer"):
        keep(here, files, "delay", "k")
    s3.start()
    assert len(bucket_of(here).keys(f"versions/delay/{keep(here, files, 'delay', 'k').digest}/")) == 3


def test_a_draft_of_a_killed_fetch_is_removed_like_those_of_publications(
    files: dict[str, Path], here: Settings, there: Settings
) -> None:
    digest = keep(here, files, "delay", "k").digest
    seen: list[Path] = []
    bucket_of(here).fetch_folder(f"versions/delay/{digest}", there.versions / "delay" / digest, lambda path: seen.append(path))
    left = seen[0].parent
    left.mkdir()
    os.utime(left, (0, 0))
    assert remove_drafts("delay", there.versions, datetime(2024, 1, 1, tzinfo=UTC)) == (left,)


def test_the_manifest_that_is_fetched_is_the_one_that_the_digest_names(files: dict[str, Path], here: Settings) -> None:
    published = keep(here, files, "delay", "k")
    content = bucket_of(here).get(f"versions/delay/{published.digest}/{MANIFEST}")
    assert digests.of_text(content.decode()) == published.digest
    assert json.loads(content)["model"] == "delay"
