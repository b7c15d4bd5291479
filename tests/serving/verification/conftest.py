"""Files of a refit, made once and copied for each test; no server outlives its check."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.verification.refit import answered, reference
from tests.serving.world import make_version, plan


@pytest.fixture(scope="module")
def refitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a refit."""
    folder = tmp_path_factory.mktemp("refitted")
    made = make_version(folder / "made", 1, plan())
    files = folder / "files"
    files.mkdir()
    shutil.copy(folder / "made" / "1.skops", files / "model.skops")
    made.contract.write(files / "contract.json")
    answered(reference(), made.model, made.contract).to_parquet(files / "reference.parquet", index=False)
    return files


@pytest.fixture
def files(refitted: Path, tmp_path: Path) -> Path:
    """A copy, to be broken."""
    shutil.copytree(refitted, tmp_path / "files")
    return tmp_path / "files"


def own_servers() -> list[str]:
    """Server processes that this process started and has not ended."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            command = (folder / "cmdline").read_text()
        except OSError:
            continue
        if parent == str(os.getpid()) and "serving.runtime" in command:
            found.append(folder.name)
    return found


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    """Whatever the verdict, the server has ended."""
    yield
    assert own_servers() == []
