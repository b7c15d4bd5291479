"""Planted faults are found, each by what it is; a quiet week is silent."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from monitoring.checks import volume
from monitoring.drift import Reference, measure, usual_rows
from monitoring.evidence import reference
from monitoring.log.collect import collect, inventory, load
from monitoring.windows import LoggedWindow, WindowLog
from perennial.loop.window import Check, ColumnDrift, Measurement, Window, WindowRecord
from tests.monitoring.world import NAME, PER_DAY, World, log_rows, requests_of, write_log

pytestmark = pytest.mark.xdist_group("watched model")

WEEK = 4
"""The week in which faults are planted: the four before it are quiet."""
Change = Callable[[pd.DataFrame], pd.DataFrame]


@pytest.fixture(scope="module")
def version(world: World) -> Reference:
    return reference(world.settings.versions / NAME / world.digest)


@pytest.fixture(scope="module")
def before(world: World) -> tuple[LoggedWindow, ...]:
    return world.logged(WEEK)[1]


def logged(world: World, folder: Path, change: Change, stale: float = 0.0) -> LoggedWindow:
    """The fifth week, as a server would have logged it after a change of what it was sent."""
    window = world.window(WEEK)
    requests = change(requests_of(window.start, 7, 77))
    write_log(folder / "log", log_rows(world, requests, world.digest, stale))
    collect(folder / "log", folder / "tables", window.end)
    return WindowLog(load(folder / "tables"), inventory(folder / "tables"), "parcel_id").window(window)


@pytest.fixture
def found(world: World, version: Reference, before: tuple[LoggedWindow, ...], tmp_path: Path) -> Callable[..., Measurement]:
    def measured(change: Change, stale: float = 0.0) -> Measurement:
        return measure(logged(world, tmp_path, change, stale), before, version, world.model, {})

    return measured


def drift(measurement: Measurement, column: str) -> ColumnDrift:
    return next(drift for drift in measurement.columns if drift.column == column)


def failed(measurement: Measurement) -> list[tuple[str, str]]:
    return [(check.name, check.subject) for check in measurement.broken]


def part(requests: pd.DataFrame, share: float) -> Any:
    return np.random.default_rng(5).uniform(size=len(requests)) < share


def test_a_quiet_week_is_silent(found: Callable[..., Measurement]) -> None:
    measurement = found(lambda requests: requests)
    assert {column.verdict for column in measurement.columns} == {"quiet"}, measurement.columns
    assert failed(measurement) == []
    assert measurement.rows == 7 * PER_DAY
    assert "4 logged weeks" in drift(measurement, "weight").sentence


def test_half_a_standard_deviation_alarms_and_is_not_broken_data(found: Callable[..., Measurement]) -> None:
    measurement = found(lambda requests: requests.assign(road_speed=requests["road_speed"] + 5))
    assert "road_speed" in [column.column for column in measurement.alarms]
    assert drift(measurement, "weight").verdict == drift(measurement, "road_kind").verdict == "quiet"
    assert drift(measurement, "road_speed").size_sd == pytest.approx(0.5, abs=0.1)
    assert failed(measurement) == []


def test_another_unit_is_out_of_range(found: Callable[..., Measurement]) -> None:
    measurement = found(lambda requests: requests.assign(weight=requests["weight"] * 100))
    assert ("range", "weight") in failed(measurement)
    assert drift(measurement, "weight").verdict == "alarm"
    assert "weight" not in {column.column for column in measurement.alarms}, "broken data is no drift"


def test_many_nulls_are_broken_data(found: Callable[..., Measurement]) -> None:
    measurement = found(lambda requests: requests.assign(weight=requests["weight"].mask(part(requests, 0.4))))
    assert failed(measurement) == [("nulls", "weight")]
    assert "of weight are missing, at most 10.0% are allowed" in measurement.broken[0].sentence


def test_a_recoded_category_is_new(found: Callable[..., Measurement]) -> None:
    measurement = found(lambda requests: requests.assign(road_kind=requests["road_kind"].replace("city", "CITY")))
    assert failed(measurement) == [("new categories", "road_kind")]
    assert "'CITY'" in next(check.sentence for check in measurement.broken)
    assert drift(measurement, "road_kind").verdict == "alarm"


def test_a_shifted_category_alarms_and_is_not_broken(found: Callable[..., Measurement]) -> None:
    def shifted(requests: pd.DataFrame) -> pd.DataFrame:
        kinds = requests["road_kind"].mask(part(requests, 0.35) & (requests["road_kind"] == "city"), "land")
        return requests.assign(road_kind=kinds)

    measurement = found(shifted)
    assert "road_kind" in {column.column for column in measurement.alarms}
    assert failed(measurement) == []


def test_a_column_without_a_value_does_not_end_the_measurement(found: Callable[..., Measurement]) -> None:
    measurement = found(lambda requests: requests.assign(weight=np.nan))
    assert failed(measurement) == [("nulls", "weight")]
    assert drift(measurement, "weight").verdict == "not judged"
    assert "no value in this window" in drift(measurement, "weight").sentence
    assert drift(measurement, "road_speed").verdict == "quiet"


def test_a_column_that_is_gone_does_not_end_the_measurement(found: Callable[..., Measurement]) -> None:
    measurement = found(lambda requests: requests.drop(columns="weight"))
    assert failed(measurement) == [("missing column", "weight")]
    assert drift(measurement, "weight").verdict == "not judged"
    assert drift(measurement, "road_kind").verdict == "quiet"


def test_a_stale_view_is_broken_and_one_stale_row_is_not(found: Callable[..., Measurement]) -> None:
    assert failed(found(lambda requests: requests, stale=0.5)) == [("stale", "road")]


def test_few_stale_rows_are_usual(found: Callable[..., Measurement]) -> None:
    assert failed(found(lambda requests: requests, stale=0.05)) == []


def test_half_of_the_requests_gone_is_broken_and_a_small_window_is_not_judged(found: Callable[..., Measurement]) -> None:
    measurement = found(lambda requests: requests.sample(frac=0.3, random_state=1).sort_values("event_timestamp"))
    assert failed(measurement) == [("volume", "")]
    assert {column.verdict for column in measurement.columns} == {"not judged"}
    assert "fewer than 300 predictions" in measurement.columns[0].sentence


def test_a_window_with_gaps_does_not_call_its_volume_low(
    world: World, version: Reference, before: tuple[LoggedWindow, ...], tmp_path: Path
) -> None:
    low = logged(world, tmp_path, lambda requests: requests.iloc[:100])
    gaps = LoggedWindow(low.window, low.frame, low.repeated, 12, ())
    measurement = measure(gaps, before, version, world.model, {})
    assert failed(measurement) == []
    volume = measurement.checks[0]
    assert "12 rows are known to be lost" in volume.sentence and volume.value < volume.limit


def test_no_request_at_all_is_broken(world: World, version: Reference, before: tuple[LoggedWindow, ...]) -> None:
    empty = LoggedWindow(world.window(WEEK), before[0].frame.iloc[:0], 0, 0, ())
    measurement = measure(empty, before, version, world.model, {})
    assert failed(measurement) == [("volume", "")]
    assert {column.verdict for column in measurement.columns} == {"not judged"}


def test_the_first_weeks_are_compared_with_the_training(world: World, version: Reference) -> None:
    first, nothing = world.logged(0)
    measurement = measure(first, nothing, version, world.model, {})
    assert {column.verdict for column in measurement.columns} == {"quiet"}
    assert "0 logged weeks and 4 of the training" in drift(measurement, "weight").sentence
    second, one = world.logged(1)
    again = measure(second, one, version, world.model, {})
    assert "1 logged weeks and 3 of the training" in drift(again, "weight").sentence


def test_probability_is_compared_with_weeks_of_the_same_version_only(
    world: World, version: Reference, before: tuple[LoggedWindow, ...], tmp_path: Path
) -> None:
    others = [LoggedWindow(week.window, week.frame.assign(version="another", probability=0.99), 0, 0, ()) for week in before]
    measurement = measure(logged(world, tmp_path, lambda requests: requests), others, version, world.model, {})
    assert drift(measurement, "probability").verdict == "quiet"
    assert "0 logged weeks and 4 of the training" in drift(measurement, "probability").sentence


def test_a_week_in_which_the_column_was_broken_is_not_compared_with(
    world: World, version: Reference, before: tuple[LoggedWindow, ...], tmp_path: Path
) -> None:
    broken = logged(world, tmp_path / "broken", lambda requests: requests.assign(weight=requests["weight"] * 100))
    record = WindowRecord(
        model=NAME,
        start=before[0].window.start,
        end=before[0].window.end,
        measured_at=before[0].window.end + timedelta(hours=1),
        measurement=measure(broken, before, version, world.model, {}),
        performance=None,
    )
    weeks = (LoggedWindow(before[0].window, broken.frame, 0, 0, ()), *before[1:])
    week = logged(world, tmp_path, lambda requests: requests.assign(weight=requests["weight"] + 1.5))
    assert drift(measure(week, weeks, version, world.model, {}), "weight").verdict == "quiet", "the broken week hides it"
    measurement = measure(week, weeks, version, world.model, {record.start: record})
    assert drift(measurement, "weight").verdict == "alarm"
    assert "3 logged weeks and 1 of the training" in drift(measurement, "weight").sentence


def test_without_thresholds_no_rate_is_claimed(world: World, version: Reference, before: tuple[LoggedWindow, ...]) -> None:
    bare = Reference(version.digest, version.contract, None, pd.DataFrame())
    measurement = measure(world.logged(WEEK)[0], before, bare, world.model, {})
    assert {column.verdict for column in measurement.columns} == {"not judged"}
    assert "registered without thresholds" in measurement.columns[0].sentence
    assert measurement.columns[0].window_over_window is not None, "the size of the difference is known all the same"


def test_the_same_window_is_measured_the_same(world: World, version: Reference) -> None:
    one, two = (measure(*world.logged(WEEK), version, world.model, {}) for _ in range(2))
    assert one == two


def volume_of(rows: int, usual: Sequence[int], accepted: Sequence[float] = ()) -> Check:
    start = datetime(2024, 4, 1, tzinfo=UTC)
    window = Window(start=start, end=start + timedelta(weeks=1))
    return volume(LoggedWindow(window, pd.DataFrame(index=range(rows)), 0, 0, ()), usual, 0.5, accepted)


def test_an_accepted_loss_of_traffic_is_no_fault_the_week_after_and_a_further_one_is() -> None:
    usual = (1000, 1000, 1000, 1000)
    assert volume_of(400, usual).failed and not volume_of(600, usual).failed
    assert not volume_of(390, usual, [400.0]).failed
    assert volume_of(190, usual, [400.0]).failed


def test_a_lasting_loss_of_traffic_stays_broken_however_long_it_lasts(
    world: World, version: Reference, before: tuple[LoggedWindow, ...], tmp_path: Path
) -> None:
    def recorded(seen: LoggedWindow, measurement: Measurement) -> WindowRecord:
        start, end = seen.window.start, seen.window.end
        return WindowRecord(
            model=world.model.name, start=start, end=end, measured_at=end, measurement=measurement, performance=None
        )

    window, frame, newest, found = before[0].window, before[0].frame, before, list[bool]()
    records = {seen.window.start: recorded(seen, measure(seen, (), version, world.model, {})) for seen in before}
    for number in range(1, 7):
        start = window.start + number * timedelta(weeks=1)
        low = LoggedWindow(Window(start=start, end=start + timedelta(weeks=1)), frame.iloc[:100], 0, 0, ())
        measurement = measure(low, newest[:4], version, world.model, records)
        found.append(("volume", "") in failed(measurement))
        records[start] = recorded(low, measurement)
        newest = (low, *newest)
    assert found == [True] * 6
    accepted = usual_rows(LoggedWindow(Window(start=start, end=low.window.end), frame, 0, 0, ()), newest[:4], {})
    assert accepted == (100, 100, 100, 100), "where a person accepted the windows, they are what is usual"
