"""A row of the log whose time cannot be costs nothing: it is set aside, counted and named."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from monitoring.log.belief import AHEAD, Belief
from monitoring.windows import WindowLog, due
from perennial.prediction_log import LogWriter
from tests.monitoring.world import END, NAME, WEEK, World, log_rows, requests_of, write_log

ODD = ("0001-01-01", "1600-01-01", "1969-12-31", "1970-01-01", "2023-12-30", "2199-01-01", "2262-04-12", "9999-12-31")
NOW = END + 4 * WEEK


def seconds(day: str) -> float:
    return datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp()


@pytest.mark.parametrize("is_growing", [False, True])
@pytest.mark.parametrize("day", ODD)
def test_a_row_of_an_impossible_time_makes_no_window(world: World, tmp_path: Path, day: str, is_growing: bool) -> None:
    quiet = due(world.settings, world.model, [], NOW)
    changed = world.at(tmp_path)
    good = log_rows(world, requests_of(END + timedelta(days=1), 1, 9).iloc[:5], world.digest)
    rows = [*good[:2], replace(good[2], prediction_id="odd", time=seconds(day)), *good[3:]]
    writer = LogWriter(changed.settings.prediction_log(NAME), lambda: END.timestamp())
    writer.append(rows)
    if not is_growing:
        writer.close()
    found = due(changed.settings, changed.model, [], NOW)
    assert (found.closed, found.matured) == (quiet.closed, quiet.matured)
    assert found.set_aside.startswith(
        "1 row of the log is set aside for a time before its version existed, or in the future, as "
    )
    assert "prediction odd of " in found.set_aside and quiet.set_aside == ""
    windows = [changed.window(number) for number in range(4)]
    assert sum(len(WindowLog.read(changed.settings, changed.model, windows, NOW).window(window).frame) for window in windows) > 0
    assert WindowLog.first_time(changed.settings, NAME, NOW) == WindowLog.first_time(world.settings, NAME, NOW)
    if is_growing:
        writer.close()


def test_a_log_of_impossible_times_alone_is_no_log(world: World, tmp_path: Path) -> None:
    settings = world.settings.model_copy(update={"state": tmp_path})
    rows = log_rows(world, requests_of(END, 1, 9).iloc[:3], world.digest)
    write_log(settings.prediction_log(NAME), [replace(row, time=float(place)) for place, row in enumerate(rows)])
    found = due(settings, world.model, [], NOW)
    assert (found.closed, found.matured) == ((), ())
    assert found.set_aside.startswith("3 rows of the log are set aside")


def test_a_version_is_believed_from_the_end_of_its_data_on(world: World) -> None:
    with world.ledger as ledger:
        version = ledger.version(NAME, 1)
    newer = version.model_copy(update={"digest": "b" * 64, "trained_until": END + 2 * WEEK})
    belief = Belief.of([version, newer], NOW)
    rows = requests_of(END, 21, 3)

    def held(digest: str) -> list[bool]:
        table = pa.table({"version": [digest] * len(rows), "time": pa.array(rows["event_timestamp"], pa.timestamp("us", "UTC"))})
        return [bool(one) for one in belief.holds(table)]

    assert all(held(version.digest)) and all(held("unknown"))
    assert held(newer.digest) == (rows["event_timestamp"] >= END + 2 * WEEK).tolist()


def test_the_rest_of_a_replayed_year_is_believed(world: World) -> None:
    belief = Belief(NOW)
    assert belief.end == (NOW + AHEAD).timestamp() and timedelta(days=366) == AHEAD
    assert belief.begin == float("-inf") and Belief.of([], datetime(2024, 1, 1, tzinfo=UTC)).since == {}
