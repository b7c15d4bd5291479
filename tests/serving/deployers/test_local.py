"""The local deployer replaces a file as a whole, or says why it cannot."""

from pathlib import Path

import pytest

from perennial.errors import DataError, PlatformError
from serving.deployers.local import deploy, deployed


def test_what_was_deployed_is_read_back(tmp_path: Path) -> None:
    file, folder = tmp_path / "state" / "current", tmp_path / ("a1" * 32)
    assert deployed(file) is None
    for number in (3, 4, None):
        written = deploy(file, folder, number)
        assert deployed(file) == written
        assert (written.folder, written.digest, written.number) == (folder, folder.name, number)
    assert [path.name for path in file.parent.iterdir()] == ["current"]


def test_a_file_that_cannot_be_written_leaves_the_server_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("")
    with pytest.raises(PlatformError, match="goes on with what it has"):
        deploy(tmp_path / "blocked" / "current", tmp_path / ("a1" * 32), 3)


def test_a_foreign_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "current").write_text("version 3")
    with pytest.raises(DataError, match="not a stored Current"):
        deployed(tmp_path / "current")
