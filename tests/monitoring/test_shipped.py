"""What serving processes elsewhere shipped is collected once, and who vanished with rows is known. Against a real S3 server."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from monitoring.log import Collected, collect, collect_model, has_log, infos, load
from monitoring.shipped import Shipped
from monitoring.windows import Log, missing_in
from perennial.bucket import Bucket
from perennial.errors import DataError, PlatformError
from perennial.prediction_log import LogWriter
from perennial.prediction_log.shipped import Announcement, boot_key, segment_key
from perennial.settings import Settings
from perennial.window import Window
from tests.monitoring.test_log import NOW, row_of
from tests.servers.s3 import S3

MODEL = "chargeback"
AT = NOW.timestamp()


@dataclass
class Elsewhere:
    """Serving processes on other machines, and the collector on this one."""

    folder: Path
    bucket: Bucket

    def process(self) -> "Process":
        return Process(self, LogWriter(self.folder / "pod", lambda: AT))

    def collect(self, after: float = 0.0) -> Collected:
        now = NOW + timedelta(seconds=after)
        return collect(self.folder / "log", self.folder / "tables", now, Shipped(self.bucket, MODEL))


@dataclass
class Process:
    """One of them."""

    place: Elsewhere
    writer: LogWriter

    def segment(self, rows: int) -> tuple[str, bytes]:
        """Name and content of a segment of it, which is nowhere yet."""
        first = self.writer.sequence
        self.writer.append([row_of(number) for number in range(first, first + rows)])
        self.writer.seal()
        (path,) = (self.place.folder / "pod").iterdir()
        content = path.read_bytes()
        path.unlink()
        return path.stem, content

    def ship(self, segment: tuple[str, bytes]) -> None:
        self.place.bucket.put(segment_key(MODEL, segment[0]), segment[1])

    def announce(self, ended: bool = False, at: float = 0.0) -> None:
        said = Announcement(self.writer.boot_id, self.writer.sequence, AT + at, ended)
        self.place.bucket.replace(boot_key(MODEL, said.boot_id), said.to_json())


@pytest.fixture
def elsewhere(s3: S3, tmp_path: Path) -> Elsewhere:
    return Elsewhere(tmp_path, Bucket(s3.bucket(), retry_seconds=1))


def test_each_segment_is_fetched_once_and_one_that_comes_late_too(elsewhere: Elsewhere) -> None:
    one, other = elsewhere.process(), elsewhere.process()
    segments = [one.segment(5) for _ in range(4)]
    for place in (0, 1, 3):
        one.ship(segments[place])
    one.announce()
    other.ship(other.segment(7))
    other.announce()
    first = elsewhere.collect()
    assert (first.new, first.rows, [(gap.first, gap.end) for gap in first.gaps]) == (4, 22, [(10, 15)])
    assert elsewhere.collect().new == 0
    one.ship(segments[2])
    late = elsewhere.collect()
    assert (late.new, late.rows, late.gaps, late.vanished) == (1, 27, (), ())
    assert sorted(load(elsewhere.folder / "tables")["prediction_id"]) == sorted(
        f"p{number}" for number in (*range(20), *range(7))
    )


def test_more_segments_than_one_listing_gives_are_all_found(elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "10")
    process = elsewhere.process()
    for _ in range(105):
        process.ship(process.segment(1))
    process.announce()
    found = elsewhere.collect()
    assert (found.new, found.rows, found.gaps) == (105, 105, ())
    assert len(list((elsewhere.folder / "tables").glob("*.parquet"))) == 1
    process.ship(process.segment(1))
    assert elsewhere.collect().new == 1


def test_rows_that_vanished_are_missing_after_a_minute_of_silence_and_no_more_when_they_come(elsewhere: Elsewhere) -> None:
    process = elsewhere.process()
    process.ship(process.segment(5))
    last = process.segment(3)
    process.announce()
    assert elsewhere.collect(after=59).gaps == (), "it may be about to ship"
    found = elsewhere.collect(after=60)
    assert [(gap.first, gap.end) for gap in found.gaps] == [(5, 8)]
    assert [(end.boot_id, end.next_sequence) for end in found.vanished] == [(process.writer.boot_id, 8)]
    process.ship(last)  # its container was restarted after a long pause
    assert elsewhere.collect(after=120).lost == 0


def test_a_process_that_vanished_before_its_first_segment_is_known(elsewhere: Elsewhere) -> None:
    process = elsewhere.process()
    process.segment(4)
    process.announce()
    found = elsewhere.collect(after=61)
    assert (found.segments, [(gap.first, gap.end) for gap in found.gaps]) == ((), [(0, 4)])


def test_who_said_its_end_is_held_to_it_at_once_and_for_good(elsewhere: Elsewhere) -> None:
    clean, cut = elsewhere.process(), elsewhere.process()
    clean.ship(clean.segment(5))
    cut.ship(cut.segment(5))
    cut.segment(2)
    clean.announce(ended=True)
    cut.announce(ended=True)
    found = elsewhere.collect()
    assert [(gap.boot_id, gap.first, gap.end) for gap in found.gaps] == [(cut.writer.boot_id, 5, 7)]
    known = infos(elsewhere.folder / "tables")
    assert [said.boot_id for said in Shipped(elsewhere.bucket, MODEL).announcements(known)] == [cut.writer.boot_id]
    assert collect(elsewhere.folder / "log", elsewhere.folder / "tables", NOW).lost == 2, "without the bucket too"


def test_a_silent_process_without_missing_rows_is_no_loss(elsewhere: Elsewhere) -> None:
    process = elsewhere.process()
    process.announce()
    process.ship(process.segment(5))
    assert (elsewhere.collect(after=3600).lost, elsewhere.collect(after=3600).vanished) == (0, ())


def test_a_segment_that_was_damaged_on_its_way_is_read_up_to_the_damage(elsewhere: Elsewhere) -> None:
    process = elsewhere.process()
    name, content = process.segment(10)
    process.ship((name, content[: len(content) // 2]))
    process.announce(ended=True)
    found = elsewhere.collect()
    assert [segment.name for segment in found.damaged] == [name]
    assert found.rows + found.lost == 10
    assert elsewhere.collect().new == 0


def test_a_window_counts_the_rows_that_vanished_in_it(elsewhere: Elsewhere) -> None:
    process = elsewhere.process()
    process.ship(process.segment(5))  # a row each minute
    process.segment(3)
    process.announce(at=300)
    found = elsewhere.collect(after=3600)
    known = (*found.segments, *found.vanished)
    day = timedelta(days=1)
    assert missing_in(known, Window(start=NOW, end=NOW + day)) == (3, ())
    assert missing_in(known, Window(start=NOW + day, end=NOW + 2 * day)) == (0, ())
    assert missing_in(found.segments, Window(start=NOW, end=NOW + day)) == (0, ())


def test_a_foreign_object_among_the_announcements_is_refused(elsewhere: Elsewhere) -> None:
    elsewhere.bucket.put(boot_key(MODEL, "f" * 16), b"[]")
    with pytest.raises(DataError, match=r"boots/ffffffffffffffff\.json: not an announcement"):
        elsewhere.collect()


def test_a_model_has_a_log_once_a_process_announced_itself_and_its_bucket_must_answer(elsewhere: Elsewhere, s3: S3) -> None:
    environment = {"PERENNIAL_PROJECT": str(elsewhere.folder), "PERENNIAL_BUCKET": elsewhere.bucket.uri}
    settings = Settings.from_environment(environment)
    assert not has_log(settings, MODEL)
    assert Log.first_time(settings, MODEL, NOW) is None
    process = elsewhere.process()
    process.ship(process.segment(2))
    process.announce()
    assert has_log(settings, MODEL)
    assert not has_log(settings, f"{MODEL}-2")
    assert collect_model(settings, MODEL, NOW).rows == 2
    assert Log.first_time(settings, MODEL, NOW) == datetime.fromtimestamp(AT + 0.000001, UTC)
    s3.stop()
    with pytest.raises(PlatformError, match="the object store does not answer"):
        elsewhere.collect()
