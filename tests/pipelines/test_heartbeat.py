"""The heartbeat of a run: it beats while the run's process lives, in a process that holds nothing, and tells other hosts."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from perennial.errors import DataError
from perennial.ledger import Ledger, Run
from perennial.loop.failure import Failure
from pipelines import heartbeat, lock, runs
from pipelines.heartbeat import DEAD, beating, is_beating

ROOT = Path(__file__).parents[2]
BEGAN = datetime(2024, 5, 1, tzinfo=UTC)
RUN = "churn-1"

EXECUTES = """
import os, sys, time
from pathlib import Path
from pipelines import heartbeat, lock
from pipelines.run import hold

url, folder = sys.argv[1:]
heartbeat.BEATS_SECONDS = heartbeat.AGAIN_SECONDS = 0.1
locked = lock.open_lock(Path(folder), "churn-1")
held = hold(os.dup(locked.fileno()))
locked.close()
with heartbeat.beating(url, "churn-1"):
    print("executes", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A ledger with a run that began."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with Ledger.open(url) as ledger:
        ledger.start_run(run_id=RUN, model="churn", mode="refit", started=BEGAN, now=BEGAN, spec="s", folder="f")
    return url


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with Ledger.open(url) as opened:
        yield opened


def eventually(holds: Callable[[], object], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


def children() -> set[str]:
    """Processes of this one; a worker has some for its servers."""
    return {pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


def test_it_beats_until_the_block_is_left(url: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "BEATS_SECONDS", 0.1)
    before, others = datetime.now(UTC), children()
    with beating(url, RUN):
        assert len(children() - others) == 1
        eventually(lambda: ledger.run(RUN).heartbeat)
        first = ledger.run(RUN)
        assert first.heartbeat is not None and before <= first.heartbeat <= datetime.now(UTC)
        assert first.host is not None and first.host.endswith(f"/{os.getpid()}")
        eventually(lambda: ledger.run(RUN).heartbeat != first.heartbeat)
    last = ledger.run(RUN)
    time.sleep(0.5)
    assert ledger.run(RUN) == last
    assert children() == others, "its process is gone"


def test_a_run_that_has_an_end_has_no_heart_any_more(ledger: Ledger) -> None:
    ledger.note_heartbeat(RUN, host="a/1", now=BEGAN)
    ended = ledger.fail_run(RUN, finished=BEGAN, failure=Failure.of(DataError("empty")))
    ledger.note_heartbeat(RUN, host="b/2", now=BEGAN + DEAD)
    assert ledger.run(RUN) == ended and ended.host == "a/1"


def test_a_ledger_that_is_away_for_a_while_hears_of_the_run_afterwards(
    url: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(heartbeat, "AGAIN_SECONDS", 0.05)
    path = tmp_path / "ledger.db"
    ledger.close()
    path.rename(tmp_path / "away")
    path.mkdir()
    with beating(url, RUN):
        time.sleep(0.5)
        path.rmdir()
        (tmp_path / "away").rename(path)
        eventually(lambda: ledger.run(RUN).heartbeat)


def test_a_process_that_is_killed_has_no_heart_and_no_lock_any_more(url: str, ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / RUN).mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", lock.MARK: RUN}
    command = [sys.executable, "-c", EXECUTES, url, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True)
    assert process.stdout is not None
    said = process.stdout.readline()
    assert said == "executes\n"
    eventually(lambda: ledger.run(RUN).heartbeat)
    hearts = [int(child) for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    assert len(hearts) == 1
    assert [*lock.living(process.pid, RUN)] == [process.pid], "the heart is no process of the run's group"
    assert lock.is_executing(tmp_path, RUN)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not lock.is_executing(tmp_path, RUN), "the heart did not hold the lock"
    eventually(lambda: not Path(f"/proc/{hearts[0]}").exists() or " Z " in Path(f"/proc/{hearts[0]}/stat").read_text())


def beat(run: Run, heartbeat: datetime | None) -> Run:
    return run.model_copy(update={"heartbeat": heartbeat})


def test_a_run_is_taken_for_dead_when_its_last_beat_is_old(ledger: Ledger) -> None:
    run, second = ledger.run(RUN), timedelta(seconds=1)
    assert is_beating(run, BEGAN + DEAD - second), "it may be about to begin"
    assert not is_beating(run, BEGAN + DEAD)
    later = BEGAN + timedelta(hours=3)
    assert is_beating(beat(run, later), later + DEAD - second)
    assert not is_beating(beat(run, later), later + DEAD)


def test_a_disk_without_the_run_s_folder_goes_by_the_heartbeat_and_one_with_it_by_the_lock(
    ledger: Ledger, tmp_path: Path
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    (here / RUN).mkdir(parents=True)
    ledger.note_heartbeat(RUN, host="a/1", now=BEGAN)
    assert runs.state(here, ledger, RUN, BEGAN).state == "dead", "nobody holds its lock, whatever was noted"
    assert runs.state(elsewhere, ledger, RUN, BEGAN).state == "executing"
    assert runs.state(elsewhere, ledger, RUN, BEGAN + DEAD).state == "gone"
    with lock.held(lock.open_lock(here, RUN), RUN):
        assert runs.state(here, ledger, RUN, BEGAN + DEAD).state == "executing"
    ledger.fail_run(RUN, finished=BEGAN, failure=Failure.of(DataError("empty")))
    assert runs.state(here, ledger, RUN, BEGAN).state == runs.state(elsewhere, ledger, RUN, BEGAN).state == "ended"
