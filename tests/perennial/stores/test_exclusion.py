"""One process at a time, on a file and on PostgreSQL; the next one waits, and not for ever."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from perennial.errors import PlatformError
from perennial.stores.exclusion import alone
from tests.servers.postgresql import PostgreSQL


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new' / 'store.db'}"
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.url("postgres")


def test_the_next_one_waits_for_the_end(url: str) -> None:
    def enter() -> float:
        with alone("store", url):
            return time.monotonic()

    with ThreadPoolExecutor(1) as pool:
        with alone("store", url):
            waiting = pool.submit(enter)
            time.sleep(0.2)
            left = time.monotonic()
        assert waiting.result() >= left


def test_who_waits_too_long_is_told_and_an_error_or_a_kill_ends_the_wait(url: str) -> None:
    with pytest.raises(PlatformError, match=r"another process has held it for more than 0\.1 s"), alone("store", url):  # noqa: SIM117
        with alone("store", url, wait_seconds=0.1):
            pass
    imports = "import time\nfrom perennial.stores.exclusion import alone\n"
    hold = f"{imports}with alone('s', {url!r}):\n print('in', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"in\n"
    process.kill()
    process.communicate()
    with alone("store", url, wait_seconds=5):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    with (
        pytest.raises(PlatformError, match=r"store .*state.*its folder must be writable"),
        alone("store", f"sqlite:///{tmp_path}/state/x"),
    ):
        pass
