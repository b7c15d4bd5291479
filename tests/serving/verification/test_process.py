"""A server that does not come up: a fault of the version, or of a platform."""

from pathlib import Path

import pytest

from perennial.errors import PlatformError
from tests.serving.verification.refit import check, failed, put_server


def test_fires_when_the_server_cannot_start(files: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))
    assert "the server ended with exit code 1 before it listened" in failed(check(files))


@pytest.mark.parametrize("code", [1, 70, 75])
def test_a_server_that_ends_because_a_platform_failed_says_nothing_of_the_version(
    files: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int
) -> None:
    put_server(tmp_path, monkeypatch, f"#!/bin/sh\necho the disk is full\nexit {code}\n")
    said = f"the server ended with exit code {code} before it listened; it said: the disk is full"
    if code == 75:
        with pytest.raises(PlatformError, match=said):
            check(files)
    else:
        assert said in failed(check(files))
