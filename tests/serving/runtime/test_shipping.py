"""The log in the bucket: whatever ends a process, no answered row is missing, or it is counted. Real processes and S3 server."""

import http.client
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from monitoring.log.collect import Collected, collect, load
from monitoring.log.shipped import Shipped
from perennial.prediction_log import LogRow, LogWriter
from perennial.prediction_log.shipped import Announcement, boot_key, folder_of, read_announcement, segment_key
from perennial.stores.bucket import Bucket
from serving.runtime import command
from serving.runtime.metrics import Metrics
from serving.runtime.shipping import Shipper
from tests.servers.s3 import S3
from tests.serving.world import NAME, Connection, Served, World, deploy_made, fill, instance, make_version, plan, served

Parts = tuple[Shipper, LogWriter, Bucket, Metrics]
CLIENTS = 4
LATER = timedelta(minutes=2)
"""After the end of a process: who announced nothing since is gone."""


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("shipping"))
    fill(world)
    deploy_made(world, make_version(world.folder / "versions", 1, plan()))
    return world


@dataclass
class Place:
    """A deployed model, an empty log folder and an empty bucket."""

    world: World
    log: Path
    uri: str
    tables: Path

    def arguments(self, *more: str) -> tuple[str, ...]:
        return ("--log", str(self.log), "--bucket", self.uri, "--drain-seconds", "0.3", *more)

    def collect(self, after: timedelta = timedelta()) -> Collected:
        shipped = Shipped(Bucket(self.uri), NAME)
        return collect(self.tables.with_name("nothing-local"), self.tables, datetime.now(UTC) + after, shipped)

    def announced(self) -> int:
        """What all processes together say that they numbered."""
        bucket = Bucket(self.uri)
        keys = bucket.keys(f"{folder_of(NAME)}/boots/")
        return sum(read_announcement(bucket.get(key), key).next_sequence for key in keys)

    def ids(self) -> set[str]:
        return set(load(self.tables)["prediction_id"])


@pytest.fixture
def place(deployed: World, s3: S3, tmp_path: Path) -> Place:
    return Place(deployed, tmp_path / "log", s3.bucket(), tmp_path / "tables")


@dataclass
class Load:
    """Clients that ask until the server is gone, or they are told to stop."""

    answered: list[tuple[float, str]] = field(default_factory=list)
    """Time and prediction id of each answer that arrived whole."""
    statuses: set[int] = field(default_factory=set)
    stop: threading.Event = field(default_factory=threading.Event)

    def ask(self, connection: Connection) -> None:
        connection.time = None
        try:
            while not self.stop.is_set():
                answer = connection.v1(instance(), instance(customer=2))
                self.statuses.add(answer.status)
                self.answered += [(time.time(), one["prediction_id"]) for one in answer.json["predictions"]]
        except (OSError, http.client.HTTPException):
            return

    @property
    def ids(self) -> set[str]:
        return {name for _, name in self.answered}


@contextmanager
def under_load(server: Served) -> Iterator[Load]:
    load_ = Load()
    threads = [threading.Thread(target=load_.ask, args=(server.connect(),)) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield load_
    finally:
        load_.stop.set()
        for thread in threads:
            thread.join()
    assert load_.statuses == {200}


def until(found: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.05)


def test_killed_and_restarted_on_the_same_folder_nothing_answered_is_lost(place: Place) -> None:
    answered: set[str] = set()
    for _ in range(2):
        with served(place.world, *place.arguments("--ship-seconds", "0.5")) as server, under_load(server) as load_:
            until(lambda: len(load_.answered) > 100)
            until(lambda: server.metrics()[f'perennial_log_ships_total{{model="{NAME}"}}'] > 1)
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
        answered |= load_.ids
    assert list(place.log.iterdir()), "the last one left something"
    with served(place.world, *place.arguments()):
        until(lambda: not list(place.log.iterdir()))
    found = place.collect(LATER)
    assert not answered - place.ids()
    assert (found.gaps, found.damaged, found.vanished) == ((), (), ())
    assert {segment.sealed_by for segment in found.segments} == {"writer", "restart"}


def test_ended_by_sigterm_under_load_nothing_answered_is_lost(place: Place) -> None:
    with served(place.world, *place.arguments("--ship-seconds", "60")) as server, under_load(server) as load_:
        until(lambda: len(load_.answered) > 200)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: place.collect().rows > 0, seconds=5)  # at once, not only when the last answer has left
        assert server.process.wait(timeout=10) == 0
    found = place.collect()
    assert not load_.ids - place.ids()
    assert found.rows == place.announced(), "every row is there, and the process said that there are no more"
    assert (found.gaps, found.damaged, found.vanished) == ((), (), ())
    assert not list(place.log.iterdir())
    assert len(found.segments) == 2


def test_vanished_with_its_folder_the_gap_is_counted(place: Place) -> None:
    with served(place.world, *place.arguments()) as server, under_load(server) as load_:
        until(lambda: place.collect().rows > 0)
        until(lambda: place.announced() > place.collect().rows + 50)
        server.process.send_signal(signal.SIGKILL)
        killed = time.time()
        server.process.wait()
        shutil.rmtree(place.log)
    assert place.collect().gaps == (), "it may be about to ship"
    missing = load_.ids - place.ids()
    found = place.collect(LATER)
    (vanished,) = found.vanished
    (gap,) = found.gaps
    assert 50 < gap.rows <= len(missing) + CLIENTS * 2
    assert (gap.first, gap.end) == (found.rows, vanished.next_sequence)
    uncounted = sorted(moment for moment, name in load_.answered if name in missing)[gap.rows :]
    assert all(moment > killed - 3 for moment in uncounted), "of the second after the last announcement"
    oldest = min(moment for moment, name in load_.answered if name in missing)
    assert killed - oldest < 6, "the last ship interval, and a second for a busy machine"


def test_while_the_bucket_is_away_answers_go_on_and_segments_wait(place: Place, s3: S3) -> None:
    with served(place.world, *place.arguments("--ship-seconds", "0.3")) as server, under_load(server) as load_:

        def metric(name: str) -> float:
            return server.metrics().get(f'perennial_log_{name}{{model="{NAME}"}}', 0.0)

        until(lambda: metric("ships_total") > 1)
        s3.stop()
        away = time.time()
        until(lambda: metric("waiting_segments") > 2)
        until(lambda: metric("ship_failures_total") > 0)
        assert metric("waiting_bytes") > 0
        assert abs(metric("oldest_unshipped_timestamp_seconds") - away) < 3
        count = len(load_.answered)
        until(lambda: len(load_.answered) > count + 100)
        s3.start()
        until(lambda: metric("waiting_segments") == 0, seconds=30)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=20) == 0
    found = place.collect()
    assert not load_.ids - place.ids()
    assert found.gaps == ()
    text = server.output.read_text(encoding="utf-8")
    assert text.count("the prediction log waits on the disk") == 1
    assert text.count("the prediction log is shipped again") == 1


def test_a_bucket_that_never_answers_delays_the_end_no_longer_than_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and says nothing
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with served(place.world, *place.arguments("--last-ship-seconds", "1")) as server:
            connection = server.connect()
            connection.time = None
            assert connection.v1(instance()).status == 200
            began = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(timeout=20) == 0
    assert time.monotonic() - began < 6
    assert "1 segments" in server.output.read_text(encoding="utf-8")
    assert len(list(place.log.iterdir())) == 1


@pytest.mark.parametrize(
    ("more", "said"), [(["--bucket", "s3://a"], "without --log"), (["--log", "x", "--bucket", "$(B)"], "found '$(B)'")]
)
def test_a_bucket_without_a_log_and_one_that_is_none_are_refused(
    more: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["serving", "--model", "m", "--current", "c", "--online", "o", *more])
    with pytest.raises(SystemExit, match="2"):
        command.main()
    assert said in capsys.readouterr().err


@pytest.fixture
def shipper(s3: S3, tmp_path: Path) -> Iterator[Parts]:
    """One whose thread does not run, at an hour of its own."""
    bucket, metrics = Bucket(s3.bucket(), retry_seconds=1), Metrics(NAME)
    with LogWriter(tmp_path / "log", lambda: 100.0) as writer:
        yield Shipper(tmp_path / "log", bucket, NAME, writer, metrics, lambda: 100.0), writer, bucket, metrics


def test_a_process_announces_before_it_ships_and_at_its_end(shipper: Parts) -> None:
    one, writer, bucket, _ = shipper
    assert one.ship(ended=True)
    assert bucket.keys(folder_of(NAME)) == [], "a process that answered nothing leaves nothing"
    writer.append([row("a"), row("b")])
    assert one.ship()
    key = boot_key(NAME, writer.boot_id)
    assert bucket.keys(folder_of(NAME)) == [key]
    assert read_announcement(bucket.get(key), key) == Announcement(writer.boot_id, 2, 100.0, ended=False)
    writer.append([row("c")])
    assert one.ship()
    assert read_announcement(bucket.get(key), key).next_sequence == 2, "once a second is enough"
    writer.seal()
    assert one.ship(ended=True)
    assert read_announcement(bucket.get(key), key) == Announcement(writer.boot_id, 3, 100.0, ended=True)


def test_a_process_to_which_no_rows_come_says_from_time_to_time_that_it_lives(shipper: Parts, tmp_path: Path) -> None:
    _, writer, bucket, metrics = shipper
    clock = [200.0]
    one = Shipper(tmp_path / "log", bucket, NAME, writer, metrics, lambda: clock[0])
    key = boot_key(NAME, writer.boot_id)
    assert one.ship()
    assert bucket.keys(folder_of(NAME)) == [], "it has answered nothing"
    writer.append([row("a")])
    assert one.ship()
    for clock[0], said in ((219.9, 200.0), (220.0, 220.0), (239.9, 220.0), (240.0, 240.0)):
        assert one.ship()
        assert read_announcement(bucket.get(key), key) == Announcement(writer.boot_id, 1, said, ended=False)


@pytest.mark.parametrize(("ended", "said"), [(False, 100.0), (True, 30.0)])
def test_who_ships_what_a_dead_process_left_makes_it_heard_of(shipper: Parts, tmp_path: Path, ended: bool, said: float) -> None:
    one, _, bucket, _ = shipper
    with LogWriter(tmp_path / "log", lambda: 50.0) as dead:
        dead.append([row("a")])
    key = boot_key(NAME, dead.boot_id)
    bucket.replace(key, Announcement(dead.boot_id, 7, 30.0, ended).to_json())
    assert one.ship()
    assert read_announcement(bucket.get(key), key) == Announcement(dead.boot_id, 7, said, ended)


def test_an_announcement_that_cannot_be_read_does_not_keep_segments_from_the_bucket(shipper: Parts, tmp_path: Path) -> None:
    one, _, bucket, _ = shipper
    with LogWriter(tmp_path / "log", lambda: 50.0) as dead:
        dead.append([row("a")])
    bucket.put(boot_key(NAME, dead.boot_id), b"[]")
    assert one.ship()
    assert segment_key(NAME, f"{dead.boot_id}-000000000000") in bucket.keys(folder_of(NAME))


def test_segments_of_a_process_that_died_unannounced_are_found_by_it(shipper: Parts, tmp_path: Path) -> None:
    one, _, bucket, metrics = shipper
    with LogWriter(tmp_path / "log", lambda: 50.0) as dead:
        dead.append([row("a")])
        assert one.ship()
        assert metrics.oldest_unshipped == 50.0
    assert one.ship()
    assert metrics.oldest_unshipped is None
    expected = [segment_key(NAME, f"{dead.boot_id}-000000000000"), boot_key(NAME, dead.boot_id)]
    assert bucket.keys(folder_of(NAME)) == sorted(expected), "a boot's id is random: which key comes first is, too"


def test_a_segment_is_removed_only_when_the_bucket_holds_the_same(shipper: Parts, tmp_path: Path) -> None:
    one, writer, bucket, metrics = shipper
    writer.append([row("a")])
    writer.seal()
    (path,) = (tmp_path / "log").iterdir()
    content = path.read_bytes()
    assert one.ship()
    assert not path.exists()
    path.write_bytes(content)  # as if the answer to the first attempt had been lost
    assert one.ship()
    assert not path.exists()
    path.write_bytes(content + b"x")
    assert not one.ship()
    assert path.with_suffix(".differs").read_bytes() == content + b"x"
    assert one.ship()
    assert (metrics.ships, metrics.ship_failures) == (2, 1)
    assert bucket.get(segment_key(NAME, path.stem)) == content


def test_an_end_is_not_announced_while_a_segment_cannot_be_finished(shipper: Parts, tmp_path: Path) -> None:
    one, writer, bucket, _ = shipper
    writer.append([row("a")])  # still open, and its lock is held
    assert not one.ship(ended=True)
    key = boot_key(NAME, writer.boot_id)
    assert not read_announcement(bucket.get(key), key).ended
    writer.close()
    assert one.ship(ended=True)
    assert read_announcement(bucket.get(key), key).ended
    assert not list((tmp_path / "log").iterdir())


def row(name: str) -> LogRow:
    return LogRow(name, 1.5, "digest", {"shop": "S1"}, {}, {"orders": 3}, {"shop": 1.0}, {}, 0.25, False)
