"""What serving processes elsewhere shipped is collected once, and who vanished with rows is known. Against a real S3 server."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from monitoring.log.collect import Collected, collect, collect_model, has_log, inventory, load
from monitoring.log.inventory import in_order
from monitoring.log.shipped import Shipped
from monitoring.windows import WindowLog, due, missing_in
from perennial.errors import PlatformError
from perennial.loop.window import Window
from perennial.prediction_log import LogWriter
from perennial.prediction_log.shipped import Announcement, boot_key, segment_key
from perennial.settings import Settings
from perennial.spec.model import Model
from perennial.spec.read import read_text
from perennial.stores.bucket import Bucket
from tests.monitoring.log.test_collect import NOW, row_of
from tests.monitoring.world import NAME, SPEC
from tests.servers.s3 import S3

MODEL = "chargeback"
AT = NOW.timestamp()
DAY = 86_400


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
    known = inventory(elsewhere.folder / "tables")
    assert [one.said.boot_id for one in Shipped(elsewhere.bucket, MODEL).announced(known, NOW)] == [cut.writer.boot_id]
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
    known = in_order((*found.segments, *found.vanished))
    day = timedelta(days=1)
    assert missing_in(known, Window(start=NOW, end=NOW + day)) == (3, ())
    assert missing_in(known, Window(start=NOW + day, end=NOW + 2 * day)) == (0, ())
    assert missing_in(found.segments, Window(start=NOW, end=NOW + day)) == (0, ())


def test_an_announcement_that_cannot_be_read_is_a_damage_and_the_rest_goes_on(elsewhere: Elsewhere) -> None:
    process, other = elsewhere.process(), elsewhere.process()
    for one in (process, other):
        one.ship(one.segment(5))
        one.announce()
    assert elsewhere.collect().unreadable == ()
    elsewhere.bucket.replace(boot_key(MODEL, process.writer.boot_id), b"[]")
    process.ship(process.segment(1))
    found = elsewhere.collect(after=3 * DAY)
    assert (found.rows, found.lost, found.vanished) == (11, 0, ())
    assert found.damaged == ()
    (damaged,) = found.unreadable
    assert damaged.boot_id == process.writer.boot_id
    assert "not an announcement of a serving process: found b'[]'" in str(damaged.damage)
    known = in_order((*found.segments, damaged))
    today = Window(start=NOW, end=NOW + timedelta(days=1))
    assert missing_in(known, today) == (0, (damaged.name,)), "what it lost at its end is not known"


def asked(elsewhere: Elsewhere, after: float) -> list[str]:
    """Processes whose announcement is fetched and whose segments are listed."""
    now = NOW + timedelta(seconds=after)
    return [one.said.boot_id for one in Shipped(elsewhere.bucket, MODEL).announced(inventory(elsewhere.folder / "tables"), now)]


@pytest.mark.parametrize("ended", [False, True])
def test_who_lost_rows_is_looked_for_for_a_day_and_again_when_it_is_heard_of(elsewhere: Elsewhere, ended: bool) -> None:
    process = elsewhere.process()
    process.ship(process.segment(5))
    last = process.segment(3)
    process.announce(ended=ended)
    assert elsewhere.collect(after=DAY - 1).lost == 3
    assert asked(elsewhere, DAY - 1) == [process.writer.boot_id]
    assert elsewhere.collect(after=DAY).lost == 3
    assert asked(elsewhere, DAY) == []
    process.ship(last)  # the bucket was away for a day
    found = elsewhere.collect(after=DAY)
    assert (found.lost, len(found.vanished)) == (3, 1), "it is still known to be missing, with no request"
    process.announce(ended=ended, at=DAY)
    assert elsewhere.collect(after=DAY).lost == 0
    assert asked(elsewhere, DAY) == ([] if ended else [process.writer.boot_id])


def test_a_crashed_process_that_lost_nothing_is_settled_after_a_day_too(elsewhere: Elsewhere) -> None:
    process = elsewhere.process()
    process.ship(process.segment(5))
    process.announce()
    assert len(elsewhere.collect(after=DAY - 1).unended) == 1
    found = elsewhere.collect(after=DAY)
    assert (found.lost, found.vanished, found.unended, asked(elsewhere, DAY)) == (0, (), (), [])


@pytest.fixture
def settings(elsewhere: Elsewhere) -> Settings:
    return Settings.from_environment({"PERENNIAL_PROJECT": str(elsewhere.folder), "PERENNIAL_BUCKET": elsewhere.bucket.uri})


CLOSED = Window(start=NOW, end=NOW + timedelta(days=7))
"""2013-04-01 is a Monday."""


def watched() -> Model:
    """A model whose log this is."""
    return read_text(SPEC.replace(NAME, MODEL))


def due_after(settings: Settings, minutes: float) -> list[Window]:
    """The closed windows that are due so long after the first one closed."""
    return list(due(settings, watched(), [], CLOSED.end + timedelta(minutes=minutes)).closed)


def test_a_window_waits_while_rows_of_it_are_on_their_way(elsewhere: Elsewhere, settings: Settings) -> None:
    process = elsewhere.process()
    process.ship(process.segment(5))
    last = process.segment(3)
    process.announce(at=7 * DAY + 100)  # the bucket is back, and it has begun to ship
    assert due_after(settings, 0.9) == []
    assert due_after(settings, 2) == []
    process.ship(last)
    assert due_after(settings, 2) == [CLOSED]


def test_a_window_waits_for_who_was_last_heard_of_before_it_closed(elsewhere: Elsewhere, settings: Settings) -> None:
    process = elsewhere.process()
    process.ship(process.segment(5))
    process.announce(at=7 * DAY - 1)  # what it answered since, nobody knows
    assert due_after(settings, 2) == []
    process.announce(at=7 * DAY + 30)
    assert due_after(settings, 2) == [CLOSED]
    process.announce(at=7 * DAY - 1, ended=True)
    assert due_after(settings, 2) == [CLOSED]


def test_a_window_does_not_wait_for_rows_of_later(elsewhere: Elsewhere, settings: Settings) -> None:
    process = elsewhere.process()
    process.ship(process.segment(7 * 24 * 60 + 1))  # a row each minute, the last one after the window
    process.segment(3)
    process.announce(at=7 * DAY + 100)
    assert due_after(settings, 2) == [CLOSED]


def test_an_hour_after_it_closed_a_window_is_measured_and_what_has_not_come_is_a_gap(
    elsewhere: Elsewhere, settings: Settings
) -> None:
    process = elsewhere.process()
    process.ship(process.segment(5))
    process.segment(3)
    process.announce(at=7 * DAY + 3599)
    assert due_after(settings, 59) == []
    now = CLOSED.end + timedelta(hours=1)
    assert due_after(settings, 60) == [CLOSED]
    assert collect_model(settings, MODEL, now).lost == 0, "it lives"
    logged = WindowLog.read(settings, watched(), [CLOSED], now).window(CLOSED)
    assert (len(logged.frame), logged.lost, logged.has_gaps) == (5, 3, True)


def test_a_model_has_a_log_once_a_process_announced_itself_and_its_bucket_must_answer(
    elsewhere: Elsewhere, settings: Settings, s3: S3
) -> None:
    assert not has_log(settings, MODEL)
    assert WindowLog.first_time(settings, MODEL, NOW) is None
    process = elsewhere.process()
    process.ship(process.segment(2))
    process.announce()
    assert has_log(settings, MODEL)
    assert not has_log(settings, f"{MODEL}-2")
    assert collect_model(settings, MODEL, NOW).rows == 2
    assert WindowLog.first_time(settings, MODEL, NOW) == datetime.fromtimestamp(AT + 0.000001, UTC)
    s3.stop()
    with pytest.raises(PlatformError, match="the object store does not answer"):
        elsewhere.collect()
