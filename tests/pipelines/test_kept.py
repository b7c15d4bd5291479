"""What a run leaves: on the disk of whoever executed it, and in the bucket for all others."""

from pathlib import Path

import pytest

from perennial.errors import NotFoundError, PlatformError
from perennial.settings import Settings
from perennial.stores.bucket import Bucket
from pipelines import kept
from tests.servers.s3 import S3

RUN = "churn-1"


def settings_of(folder: Path, uri: str | None = None) -> Settings:
    given = {"PERENNIAL_PROJECT": str(folder)} | ({} if uri is None else {"PERENNIAL_BUCKET": uri})
    return Settings.from_environment(given)


def executed(settings: Settings) -> None:
    """A training was executed here."""
    (settings.runs / RUN).mkdir(parents=True)
    (settings.runs / RUN / kept.LOG).write_text("one\ntwo\n")
    (settings.results / RUN / "plots").mkdir(parents=True)
    (settings.results / RUN / "report.html").write_text("<html>")
    (settings.results / RUN / "plots" / "roc.png").write_bytes(b"png")


def test_another_disk_has_all_of_it_from_the_bucket(tmp_path: Path, s3: S3) -> None:
    uri = s3.bucket()
    here, there = settings_of(tmp_path / "here", uri), settings_of(tmp_path / "there", uri)
    executed(here)
    assert kept.log_of(there, RUN) is None
    assert not kept.results_of(there, RUN).exists()
    kept.keep(here, RUN)
    assert kept.log_lines(there, RUN) == ["one", "two"]
    fetched = kept.results_of(there, RUN)
    files = {path.relative_to(fetched).as_posix(): path.read_bytes() for path in fetched.rglob("*") if path.is_file()}
    assert files == {"report.html": b"<html>", "plots/roc.png": b"png"}
    s3.stop()
    assert kept.results_of(there, RUN) == fetched, "it is on this disk now"
    with pytest.raises(PlatformError):
        kept.keep(here, RUN)


def test_a_log_in_the_bucket_is_followed_as_it_grows_and_from_its_begin_where_the_run_began_again(
    tmp_path: Path, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "LOOKS_SECONDS", 0.0)
    monkeypatch.setattr(kept, "PATIENCE_SECONDS", 0.0)
    uri = s3.bucket()
    bucket, there = Bucket(uri), settings_of(tmp_path, uri)
    texts = ["one\ntwo\nthr", "one\ntwo\nthree\n", "uno\n", "uno\ndue\n"]

    def is_over() -> bool:
        bucket.replace(f"runs/{RUN}/{kept.LOG}", texts.pop(0).encode())
        return not texts

    assert list(kept.lines_of(there, RUN, is_over)) == ["one", "two", "three", "uno", "due"]


def test_what_the_bucket_has_in_part_is_not_fetched(tmp_path: Path, s3: S3) -> None:
    uri = s3.bucket()
    there = settings_of(tmp_path, uri)
    Bucket(uri).put(f"runs/{RUN}/results/candidate.json", b"{}")
    assert not kept.results_of(there, RUN).exists()
    Bucket(uri).put(f"runs/{RUN}/{kept.WHOLE}", b"x")
    assert (kept.results_of(there, RUN) / "candidate.json").exists()


def test_without_a_bucket_this_disk_alone_has_it(tmp_path: Path) -> None:
    here, there = settings_of(tmp_path / "here"), settings_of(tmp_path / "there")
    executed(here)
    kept.keep(here, RUN)
    assert kept.log_lines(here, RUN) == ["one", "two"]
    with pytest.raises(NotFoundError, match="has no log on this machine"):
        kept.log_lines(there, RUN)
