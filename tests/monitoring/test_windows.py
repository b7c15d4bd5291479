"""Windows of the log: what is due, first answers, labels as they were known at maturity, and what is missing of which time."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from monitoring.labels import labelled, labels_by
from monitoring.log.inventory import SegmentInfo, SegmentSpan
from monitoring.windows import Due, WindowLog, due, due_of, matures, missing_in
from perennial.loop.window import Measurement, Performance, Window, WindowRecord
from perennial.prediction_log import LogWriter
from tests.monitoring.world import END, NAME, WEEK, World, log_rows, requests_of

pytestmark = pytest.mark.xdist_group("watched model")


def record(window: Window, is_judged: bool) -> WindowRecord:
    measurement = Measurement(rows=1, versions={}, lost=0, damaged=(), repeated=0, champion="d", blocks=0, columns=(), checks=())
    performance = Performance.model_validate(
        {"labels": {"matured_at": window.end.isoformat(), "arrived": 0, "missing": 1}, "label_rate": None}
    )
    return WindowRecord(
        model=NAME,
        start=window.start,
        end=window.end,
        measured_at=window.end,
        measurement=measurement,
        performance=performance if is_judged else None,
    )


def starts(found: Due) -> tuple[list[int], list[int]]:
    """Numbers of the due weeks."""
    return [(w.start - END) // WEEK for w in found.closed], [(w.start - END) // WEEK for w in found.matured]


def test_a_window_is_due_when_it_has_closed_and_again_when_it_has_matured(world: World) -> None:
    first = END + timedelta(hours=5)
    assert starts(due_of(first, world.model, [], END + WEEK - timedelta(seconds=1))) == ([], [])
    assert starts(due_of(first, world.model, [], END + WEEK)) == ([0], [])
    assert starts(due_of(first, world.model, [], END + WEEK + timedelta(hours=48))) == ([0], [0])
    measured = [record(world.window(0), False)]
    assert starts(due_of(first, world.model, measured, END + WEEK + timedelta(hours=47))) == ([], [])
    assert starts(due_of(first, world.model, measured, END + WEEK + timedelta(hours=48))) == ([], [0])
    judged = [record(world.window(0), True)]
    found = due_of(first, world.model, judged, END + WEEK + timedelta(hours=48))
    assert starts(found) == ([], []) and not found.any


def test_after_a_pause_every_window_is_due_once(world: World) -> None:
    assert starts(due(world.settings, world.model, [], END + 3 * WEEK)) == ([0, 1, 2], [0, 1])


def test_without_a_log_nothing_is_due(world: World, tmp_path: Path) -> None:
    empty = world.settings.model_copy(update={"state": tmp_path})
    assert not due(empty, world.model, [], END + 3 * WEEK).any


def test_the_first_answer_counts_and_the_others_are_counted(world: World, tmp_path: Path) -> None:
    changed = world.at(tmp_path)
    again = requests_of(END, 42, 2).iloc[:30]
    changed.answer(again.assign(event_timestamp=again["event_timestamp"] + pd.Timedelta(hours=1)))
    logged, _ = changed.logged(0)
    quiet, _ = world.logged(0)
    assert (quiet.repeated, logged.repeated) == (0, 30)
    assert logged.frame["prediction_id"].tolist() == quiet.frame["prediction_id"].tolist()


def test_an_answer_in_a_later_week_is_repeated_there(world: World, tmp_path: Path) -> None:
    changed = world.at(tmp_path)
    again = requests_of(END, 42, 2).iloc[:30]
    changed.answer(again.assign(event_timestamp=again["event_timestamp"] + pd.Timedelta(days=7)))
    assert changed.logged(0)[0].repeated == 0
    assert changed.logged(1)[0].repeated == 30


def test_what_a_server_is_still_writing_is_read_too(world: World, tmp_path: Path) -> None:
    changed = world.at(tmp_path)
    window = changed.window(6)
    rows = log_rows(world, requests_of(window.start, 7, 9), world.digest)
    writer = LogWriter(changed.settings.prediction_log(NAME), lambda: END.timestamp())
    writer.append(rows)
    assert len(changed.logged(6)[0].frame) == len(rows)
    writer.close()
    assert len(changed.logged(6)[0].frame) == len(rows), "once finished it is not read twice"


def test_labels_count_as_they_were_known_at_maturity(world: World, tmp_path: Path) -> None:
    changed = world.at(tmp_path)
    window = changed.window(6)
    requests = requests_of(window.start, 7, 9)
    changed.answer(requests)
    changed.publish_labels(requests.iloc[:200])
    changed.publish_labels(requests.iloc[200:300], hours=24 * 10)
    before = known(changed, window)
    assert int(before.notna().sum()) == 200
    assert before[before.notna()].tolist() == requests["late"].iloc[:200].tolist()
    flipped = requests.iloc[:50].assign(late=~requests["late"].iloc[:50])
    changed.publish_labels(flipped, hours=24 * 11)
    changed.publish_labels(flipped, hours=20)
    assert known(changed, window).equals(before), "a label that changes, or comes late, is not counted again"


def known(world: World, window: Window) -> "pd.Series[bool]":
    labels = labels_by(world.settings, world.model, window.start, matures(window, world.model))
    log = WindowLog.read(world.settings, world.model, [window], window.end)
    return labelled(log.window(window), labels, "parcel_id")["label"]


def test_rows_without_an_id_are_without_a_label(world: World) -> None:
    window = world.window(0)
    logged, _ = world.logged(0)
    labels = labels_by(world.settings, world.model, window.start, matures(window, world.model))
    assert labelled(logged, labels, "parcel_id")["label"].notna().all()
    without = type(logged)(window, logged.frame.drop(columns="fields.parcel_id"), 0, 0, ())
    assert labelled(without, labels, "parcel_id")["label"].isna().all()
    assert labelled(logged, labels.iloc[:0], "parcel_id")["label"].isna().all()


def segment(first: int, rows: int, begin: float | None, end: float | None, **more: object) -> SegmentInfo:
    """A segment of the boot `a`; times in days after the training."""
    return SegmentInfo.model_validate(
        {
            "name": f"a-{first}",
            "boot_id": "a",
            "first_sequence": first,
            "next_sequence": first + rows,
            "rows": rows,
            "missing": (),
            "start": None if begin is None else END.timestamp() + begin * 86400,
            "end": None if end is None else END.timestamp() + end * 86400,
            "sealed_by": "writer",
            "digest": None,
            "damage": None,
            **more,
        }
    )


FIRST, SECOND, THIRD = (Window(start=END + number * WEEK, end=END + (number + 1) * WEEK) for number in range(3))


def test_without_gaps_nothing_is_missing() -> None:
    whole = [segment(0, 10, 0, 3), segment(10, 10, 3, 9)]
    assert missing_in(whole, FIRST) == missing_in(whole, SECOND) == (0, ())


def test_a_gap_counts_in_the_windows_that_its_rows_can_be_of() -> None:
    gap = [segment(0, 10, 0, 3), segment(15, 10, 9, 10)]
    assert [missing_in(gap, window)[0] for window in (FIRST, SECOND, THIRD)] == [5, 5, 0]
    inside = [segment(0, 10, 8, 9, missing=(SegmentSpan(boot_id="a", first=3, end=6),), next_sequence=13)]
    assert [missing_in(inside, window)[0] for window in (FIRST, SECOND, THIRD)] == [0, 3, 0]
    at_begin = [segment(4, 10, 8, 9)]
    assert [missing_in(at_begin, window)[0] for window in (FIRST, SECOND, THIRD)] == [0, 4, 0]
    at_end = [segment(0, 10, 0, 9, next_sequence=12)]
    assert [missing_in(at_end, window)[0] for window in (FIRST, SECOND, THIRD)] == [0, 2, 0]


def test_a_damaged_segment_is_of_the_time_up_to_the_next() -> None:
    found = [segment(0, 10, 0, 1, damage="byte 7"), segment(30, 10, 8, 9)]
    assert missing_in(found, FIRST) == (20, ("a-0",))
    assert missing_in(found, SECOND) == (20, ("a-0",))
    assert missing_in(found, THIRD) == (0, ())


def test_a_process_of_which_nothing_was_read_has_no_time() -> None:
    assert missing_in([segment(0, 0, None, None, damage="byte 0")], FIRST) == (0, ())


def test_the_first_window_holds_the_first_prediction(world: World) -> None:
    late = datetime(2024, 4, 10, 3, tzinfo=UTC)
    assert due_of(late, world.model, [], late + WEEK).closed[0].start == datetime(2024, 4, 8, tzinfo=UTC)
