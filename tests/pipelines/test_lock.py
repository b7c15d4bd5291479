"""The lock of a run, with real processes: what a killed run left is killed, zombies and strangers are let be."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from perennial.errors import PlatformError
from perennial.settings import Settings
from pipelines import lock

RUN = "churn-1"
SLEEP = "import time; time.sleep(60)"
FORKED = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', '{SLEEP}']); {SLEEP}"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings.from_environment({"PERENNIAL_PROJECT": str(tmp_path)})
    (made.runs / RUN).mkdir(parents=True)
    return made


@pytest.fixture
def group() -> Iterator[subprocess.Popen[bytes]]:
    """A leader with a child, marked as processes of the run."""
    leader = subprocess.Popen([sys.executable, "-c", FORKED], start_new_session=True, env={**os.environ, lock.MARK: RUN})
    until = time.monotonic() + 20
    while len(list(lock.living(leader.pid, RUN))) < 2:
        assert time.monotonic() < until
        time.sleep(0.05)
    yield leader
    for process in lock.living(leader.pid, RUN):
        os.kill(process, signal.SIGKILL)
    leader.wait()


def test_a_step_that_outlived_its_run_is_killed_by_the_next_start(settings: Settings, group: subprocess.Popen[bytes]) -> None:
    (settings.runs / RUN / "lock").write_text(f"{group.pid}\n")
    group.kill()
    group.wait()
    assert len(list(lock.living(group.pid, RUN))) == 1, "the child lives on"
    with lock.held(lock.open_lock(settings.runs, RUN), RUN):
        assert list(lock.living(group.pid, RUN)) == []
        assert (settings.runs / RUN / "lock").read_text() == f"{os.getpgrp()}\n"


def test_a_zombie_does_not_count(group: subprocess.Popen[bytes]) -> None:
    left = set(lock.living(group.pid, RUN))
    group.kill()
    until = time.monotonic() + 20
    while Path(f"/proc/{group.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < until
        time.sleep(0.02)
    assert set(lock.living(group.pid, RUN)) == left - {group.pid}, "it was not waited for, so it is still in the table"
    assert set(lock.kill_left(group.pid, RUN)) == left - {group.pid}


def test_a_group_whose_number_became_somebody_else_s_is_let_be(group: subprocess.Popen[bytes]) -> None:
    assert lock.kill_left(group.pid, "churn-2") == ()
    assert len(list(lock.living(group.pid, RUN))) == 2
    assert group.poll() is None


def test_the_lock_has_one_holder_and_is_free_when_it_is_gone(settings: Settings) -> None:
    assert not lock.is_executing(settings.runs, RUN)
    with lock.held(lock.open_lock(settings.runs, RUN), RUN):
        assert lock.is_executing(settings.runs, RUN)
        with pytest.raises(PlatformError, match="executed by another process"):
            lock.open_lock(settings.runs, RUN)
    assert not lock.is_executing(settings.runs, RUN)


def test_a_glance_at_the_lock_does_not_keep_a_run_from_starting(settings: Settings) -> None:
    looked = 0
    ended = threading.Event()

    def look() -> None:
        nonlocal looked
        while not ended.is_set():
            lock.is_executing(settings.runs, RUN)
            looked += 1

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        for _ in range(500):
            lock.open_lock(settings.runs, RUN).close()
        ended.set()
        looking.result()
    assert looked > 10
