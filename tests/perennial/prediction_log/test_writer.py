"""What was answered is in the log: after SIGKILL, on a full and on a read-only disk, or it is counted as lost."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from perennial.prediction_log import LogRow, LogWriter, Segment, read_segment

ROOT = Path(__file__).parents[3]


def row_of(name: str, padding: int = 0) -> LogRow:
    return LogRow(
        name, 1364774400.0, "f" * 64, {"shop": "S1"}, {}, {"orders": 3, "note": "x" * padding}, {"shop": None}, {}, 0.5, True
    )


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def segments(folder: Path) -> list[Segment]:
    return [read_segment(path) for path in sorted(folder.glob("*-*"))]


def names(folder: Path) -> list[str]:
    return [row.prediction_id for segment in segments(folder) for row in segment.rows]


def test_a_row_is_in_the_file_when_append_returns(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, Clock())
    for number in range(5):
        assert writer.append([row_of(f"a{number}"), row_of(f"b{number}")]) == 0
        assert len(names(tmp_path)) == 2 * (number + 1)
    assert (writer.sequence, writer.lost, writer.failure) == (10, 0, None)
    assert writer.append([]) == 0
    writer.close()


def test_segments_are_sealed_by_size_by_age_and_by_a_timer(tmp_path: Path) -> None:
    clock = Clock()
    writer = LogWriter(tmp_path, clock, max_bytes=2000, max_seconds=60)
    for number in range(12):
        writer.append([row_of(f"r{number}", 100)])
    by_size = len(list(tmp_path.glob("*.log")))
    assert by_size == 1
    clock.now += 60
    writer.append([row_of("r12")])
    assert len(list(tmp_path.glob("*.log"))) == by_size + 1
    assert not writer.seal_if_due()
    clock.now += 60
    assert writer.seal_if_due()
    assert not writer.seal_if_due()
    assert not writer.seal()
    found = segments(tmp_path)
    assert names(tmp_path) == [f"r{number}" for number in range(13)]
    assert all(segment.damage is None and segment.seal is not None for segment in found)
    assert [segment.first_sequence for segment in found[1:]] == [segment.next_sequence for segment in found[:-1]]


def test_several_threads_and_writers_share_a_folder(tmp_path: Path) -> None:
    writers = [LogWriter(tmp_path, Clock(), max_bytes=5000) for _ in range(2)]

    def write(thread: int) -> None:
        for number in range(100):
            assert writers[thread % 2].append([row_of(f"{thread}-{number}")]) == 0

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    for writer in writers:
        writer.close()
    assert sorted(names(tmp_path)) == sorted(f"{thread}-{number}" for thread in range(4) for number in range(100))
    assert all(segment.damage is None for segment in segments(tmp_path))
    for writer in writers:
        own = [segment for segment in segments(tmp_path) if segment.boot_id == writer.boot_id]
        assert [sequence for segment in own for sequence in segment.sequences] == list(range(200))


CHILD = """
import os, sys, time
from pathlib import Path
from perennial.prediction_log import LogRow, LogWriter

writer = LogWriter(Path(sys.argv[1]), time.time, max_bytes=200_000)
for number in range(10_000_000):
    batch = [f"{os.getpid()}-{number}-{place}" for place in range(1 + number % 8)]
    features = {f"f{place}": 0.5 * place for place in range(20)}
    rows = [LogRow(name, time.time(), "f" * 64, {"k": 1}, {}, features, {}, {}, 0.5, True) for name in batch]
    if writer.append(rows) == 0:
        os.write(1, ("".join(f"{name}\\n" for name in batch)).encode())
"""


def test_twenty_kills_lose_no_row_whose_append_had_returned(tmp_path: Path) -> None:
    seed = time.time_ns()
    sys.stdout.write(f"seed {seed}\n")
    chance = random.Random(seed)
    answered: list[str] = []
    for _ in range(20):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT)
        assert child.stdout is not None
        first = child.stdout.readline()  # it has started
        time_left = time.monotonic() + chance.uniform(0, 0.15)
        received = [first]
        os.set_blocking(child.stdout.fileno(), False)
        while time.monotonic() < time_left:
            received.append(child.stdout.read() or b"")
            time.sleep(0.001)
        child.send_signal(signal.SIGKILL)
        child.wait()
        os.set_blocking(child.stdout.fileno(), True)
        received.append(child.stdout.read())
        child.stdout.close()
        answered += b"".join(received).decode().splitlines()
    assert len(answered) > 1000
    LogWriter(tmp_path, time.time).close()
    assert list(tmp_path.glob("*.open")) == []
    found = segments(tmp_path)
    assert set(answered) - {row.prediction_id for segment in found for row in segment.rows} == set()
    assert len({segment.boot_id for segment in found}) == 20
    torn = [segment.damage for segment in found if segment.damage is not None]
    assert len(torn) <= 20  # at most the write that was going on
    assert all("cut off" in str(damage) or "ends" in str(damage) for damage in torn)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Inside, the kernel writes files up to `size` bytes only: a write is cut short, the next one fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_write_that_is_cut_short_is_cut_back_counted_and_the_next_segment_goes_on(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, Clock())
    with largest_file(1000):
        lost = [writer.append([row_of(f"r{number}", 100)]) for number in range(12)]
        assert sum(lost) == writer.lost > 0
        assert lost[0] == 0
        assert writer.append([row_of("large", 2000)]) == 1  # fits into no file
        assert "bytes were written: no space" in str(writer.failure)
    assert writer.append([row_of("after")]) == 0
    assert writer.failure is None
    writer.close()
    kept = [f"r{number}" for number in range(12) if not lost[number]]
    assert names(tmp_path) == [*kept, "after"]
    found = segments(tmp_path)
    assert all(segment.damage is None and segment.seal is not None for segment in found)
    assert writer.lost == writer.sequence - len(names(tmp_path))


def test_a_folder_that_cannot_be_made_loses_rows_until_it_can(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a folder should be")
    writer = LogWriter(tmp_path / "taken" / "log", Clock())
    assert writer.append([row_of("a"), row_of("b")]) == 2
    assert "Not a directory" in str(writer.failure)
    (tmp_path / "taken").unlink()
    assert writer.append([row_of("c")]) == 0
    writer.close()
    (segment,) = segments(tmp_path / "taken" / "log")
    assert (segment.first_sequence, segment.sequences, writer.lost) == (2, (2,), 2)


def test_rows_go_on_in_a_new_file_when_the_folder_was_deleted(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "log", Clock())
    writer.append([row_of("gone")])
    (tmp_path / "log" / next(os.walk(tmp_path / "log"))[2][0]).unlink()
    (tmp_path / "log").rmdir()
    assert writer.append([row_of("kept")]) == 0
    writer.close()
    assert names(tmp_path / "log") == ["kept"]


def test_a_row_that_cannot_be_encoded_is_lost_alone(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, Clock())
    bad = LogRow("bad", 0.0, "v", {"k": 2**70}, {}, {}, {}, {}, None, None)
    assert writer.append([row_of("a"), bad, row_of("b")]) == 1
    assert "row bad: cannot be encoded" in str(writer.failure)
    assert writer.append([bad]) == 1
    writer.close()
    (segment,) = segments(tmp_path)
    assert (segment.sequences, segment.next_sequence) == ((0, 2), 4)


DISK = """
import json, os, subprocess, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from perennial.prediction_log import LogRow, LogWriter, read_segment

disk = Path(sys.argv[1])
row = lambda name: LogRow(name, 0.0, "f" * 64, {"k": 1}, {}, {"note": "x" * 500}, {}, {}, 0.5, True)
said = {}
with LogWriter(disk / "log", lambda: 0.0) as writer:
    lost = [writer.append([row(f"r{number}")]) for number in range(200)]
    said["full"] = str(writer.failure)
    kept = [f"r{number}" for number in range(200) if not lost[number]]
    said["lost"] = writer.lost
    (disk / "ballast").unlink()
    said["after"] = writer.append([row("space")])
    writer.seal()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    said["read_only"] = writer.append([row("ro")])
    said["why"] = str(writer.failure)
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    said["again"] = writer.append([row("rw")])
found = [read_segment(path) for path in sorted((disk / "log").iterdir())]
said["damages"] = [segment.damage for segment in found if segment.damage or segment.seal is None]
said["right"] = [r.prediction_id for segment in found for r in segment.rows] == [*kept, "space", "rw"]
print(json.dumps(said))
"""


def test_a_full_and_a_read_only_disk_lose_rows_by_number_and_nothing_after(tmp_path: Path) -> None:
    """On a real file system of 96 KiB, mounted in a namespace of its own."""
    mount = f"mount -t tmpfs -o size=96k tmpfs {tmp_path} && head -c 40000 /dev/zero > {tmp_path}/ballast"
    own = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if subprocess.run([*own, mount], capture_output=True, check=False).returncode:
        pytest.skip("this machine allows no mounts in a user namespace")
    command = [*own, f'{mount} && exec "$@"', "sh", sys.executable, "-c", DISK, str(tmp_path), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["lost"] > 50
    assert "No space left" in said["full"] or "no space" in said["full"]
    assert (said["after"], said["read_only"], said["again"]) == (0, 1, 0)
    assert "Read-only file system" in said["why"]
    assert said["damages"] == []
    assert said["right"]
