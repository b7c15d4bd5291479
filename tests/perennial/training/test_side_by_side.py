"""Work side by side: in the order of its pieces, in other processes, with their errors; a process that is killed is an outage."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from perennial.errors import DataError, PlatformError
from perennial.training.side_by_side import Power, side_by_side

Work = Callable[[], tuple[int, int]]


def slow(seconds: float, value: int) -> tuple[int, int]:
    time.sleep(seconds)
    return value, os.getpid()


def test_results_come_in_the_order_of_the_pieces_from_other_processes() -> None:
    works = [partial(slow, 0.3, 0), partial(slow, 0.0, 1), partial(slow, 0.1, 2)]
    for processes in (2, 3, 9):
        found = side_by_side(works, processes)
        assert [value for value, _ in found] == [0, 1, 2]
        assert len({process for _, process in found} | {os.getpid()}) == 4
    assert side_by_side(works, 1) == [(value, os.getpid()) for value in (0, 1, 2)]
    assert side_by_side(works[:1], 2) == [(0, os.getpid())]
    assert side_by_side(list[Work](), 2) == []


def test_what_is_larger_than_a_pipe_comes_back() -> None:
    found = side_by_side([partial(np.arange, 10**6), partial(np.arange, 3)], 2)
    assert [array.tolist() for array in found] == [list(range(10**6)), [0, 1, 2]]


def refuse() -> tuple[int, int]:
    raise DataError("one label only")


def test_an_error_is_that_of_the_piece_and_ends_the_others() -> None:
    begin = time.monotonic()
    works: list[Work] = [partial(slow, 30.0, 0), refuse]
    with pytest.raises(DataError) as caught:
        side_by_side(works, 2)
    assert str(caught.value) == "one label only"
    assert time.monotonic() - begin < 20
    assert "in refuse" in caught.value.__notes__[0]


def kill_itself() -> tuple[int, int]:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_a_killed_process_is_an_outage() -> None:
    works: list[Work] = [kill_itself, partial(slow, 0.0, 1)]
    with pytest.raises(PlatformError, match=r"ended with -9 before it was done; .*PERENNIAL_WORKERS=1"):
        side_by_side(works, 2)


def test_several_threads_a_fit_leave_one_process() -> None:
    assert [power.processes for power in (Power(), Power(1, 4), Power(2, 4))] == [1, 4, 1]


ORPHANED = """
import sys, time
from functools import partial
from pathlib import Path
from perennial.training.side_by_side import side_by_side

def work(number):
    Path(sys.argv[1], f"begun-{number}").touch()
    time.sleep(2)
    return bytes(10**6)

side_by_side([partial(work, number) for number in range(4)], 2)
"""


def test_the_processes_of_one_that_was_killed_end_with_their_piece(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", ORPHANED, str(tmp_path)], start_new_session=True)
    until = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2:
        assert parent.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    while _is_alive(parent.pid):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert len(list(tmp_path.iterdir())) == 2  # nothing further was begun


def _is_alive(group: int) -> bool:
    """Whether a process of the group is more than an entry of the table."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                state, _, found = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            except OSError:
                continue
            if int(found) == group and state not in "ZX":
                return True
    return False
