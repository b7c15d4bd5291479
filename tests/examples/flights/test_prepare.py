"""The sources of the flights: honest about time, nothing from the future, nothing lost."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from examples.flights import raw
from examples.flights.prepare import MARKER, prepare
from examples.flights.trailing import HOUR, trailing


@pytest.fixture(scope="module")
def flights() -> pd.DataFrame:
    return raw.flights()


def source(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(folder / f"{name}.parquet")


def test_every_flight_is_a_request_and_every_landing_a_label(flights_sources: Path) -> None:
    requests, labels = source(flights_sources, "requests"), source(flights_sources, "labels")
    assert len(requests) == requests["flight_id"].nunique() == 336_776
    # 8,255 were cancelled, 1,175 diverted or lost.
    assert len(labels) == labels["flight_id"].nunique() == 336_776 - 8_255 - 1_175
    assert labels["flight_id"].isin(requests["flight_id"]).all()


def test_weather_and_planes_are_all_there(flights_sources: Path) -> None:
    assert len(source(flights_sources, "weather")) == 26_115
    assert len(source(flights_sources, "plane")) == 3_322


def test_trailing_views_are_published_every_hour_for_every_entity(flights_sources: Path) -> None:
    for name, entities in (("carrier", 16), ("route", 224)):
        frame = source(flights_sources, name)
        hours = frame["event_timestamp"].drop_duplicates().sort_values()
        assert (hours.diff().dropna() == pd.Timedelta(hours=1)).all()
        assert len(frame) == len(hours) * entities


def test_times_are_microseconds_in_utc(flights_sources: Path) -> None:
    for path in flights_sources.glob("*.parquet"):
        frame = pd.read_parquet(path)
        times = [name for name in map(str, frame.columns) if name.endswith(("_timestamp", "_observed_at"))]
        assert {str(frame[name].dtype) for name in times} == {"datetime64[us, UTC]"}, path


def test_the_first_flight_is_as_its_row_in_the_file(flights_sources: Path) -> None:
    # 2013-01-01 05:15 in Newark to Houston, scheduled 08:19 there (one hour behind), landed 08:30.
    requests = source(flights_sources, "requests").set_index("flight_id").loc[1]
    assert requests["event_timestamp"] == pd.Timestamp("2013-01-01T08:15Z")
    assert requests["scheduled_minutes"] == 4 * 60 + 4
    assert (requests["hour"], requests["departure_minute"], requests["weekday"]) == (5, 315, 1)
    labels = source(flights_sources, "labels").set_index("flight_id").loc[1]
    assert labels["event_timestamp"] == pd.Timestamp("2013-01-01T14:30Z")
    assert not labels["arrived_late"]


def test_schedules_take_the_time_zone_of_the_destination(flights: pd.DataFrame) -> None:
    # The last four are not in airports.csv.
    hours = {"HNL": (10, 12), "LAX": (5, 7), **dict.fromkeys(("BQN", "SJU", "STT", "PSE"), (3.5, 4.6))}
    for dest, (least, most) in hours.items():
        scheduled = flights.loc[flights["dest"] == dest, "scheduled_minutes"] / 60
        assert len(scheduled) and scheduled.between(least, most).all(), dest


@pytest.mark.parametrize(
    ("departure", "arrival", "dest", "minutes"),
    [
        # Clocks in New York go forward at 2013-03-10 07:00 UTC, back at 2013-11-03 06:00 UTC.
        pytest.param("2013-03-09T17:00Z", 1300, "BOS", 60, id="the day before spring"),
        pytest.param("2013-03-10T16:00Z", 1300, "BOS", 60, id="the day of spring"),
        pytest.param("2013-03-10T06:30Z", 330, "BOS", 60, id="in the air while the clock goes forward"),
        pytest.param("2013-11-03T05:30Z", 230, "BOS", 120, id="in the air while the clock goes back"),
        pytest.param("2013-07-01T03:59Z", 340, "SJU", 221, id="to a zone that never changes, over midnight"),
        pytest.param("2013-03-10T17:00Z", 1200, "PHX", 120, id="to a state that never changes"),
    ],
)
def test_a_schedule_survives_the_change_of_clocks(departure: str, arrival: int, dest: str, minutes: int) -> None:
    found = raw.scheduled_minutes(pd.to_datetime(pd.Series([departure]), utc=True), pd.Series([arrival]), pd.Series([dest]))
    assert found.tolist() == [minutes]


def test_local_hours_follow_the_clock_through_the_year(flights: pd.DataFrame) -> None:
    local = flights["departure"].dt.tz_convert("America/New_York")
    assert (local.dt.hour * 60 + local.dt.minute == flights["departure_minute"]).all()
    assert (local.dt.weekday == flights["weekday"]).all()


def test_an_observation_is_read_an_hour_after_it_was_made(flights_sources: Path) -> None:
    weather = source(flights_sources, "weather")
    assert (weather["event_timestamp"] - weather["weather_observed_at"] >= pd.Timedelta(hours=1)).all()
    assert (weather["event_timestamp"].dt.floor("h") == weather["event_timestamp"]).all()


def test_planes_are_published_before_the_first_request(flights_sources: Path) -> None:
    assert (
        source(flights_sources, "plane")["event_timestamp"].max() < source(flights_sources, "requests")["event_timestamp"].min()
    )


def test_a_rate_counts_landed_flights_of_the_window_only() -> None:
    hours = np.array([0, 1, 2, 5], dtype=np.int64) * HOUR
    landed = pd.DataFrame(
        {"carrier": ["A", "A", "B", "A"], "landing": np.array([30, 60, 60, 119]) * HOUR // 60, "late": [True, False, True, True]}
    )
    found = trailing(landed, ["carrier"], pd.DataFrame({"carrier": ["A", "B", "C"]}), hours, {"2h": 2})
    counts = found.pivot(index="hour", columns="carrier", values="landed_2h").to_numpy().tolist()
    # A landed at 0:30, 1:00, 1:59; at 5:00 the window (3:00, 5:00] is empty. The landing at 1:00 is known at 1:00.
    assert counts == [[0, 0, 0], [2, 1, 0], [3, 1, 0], [0, 0, 0]]
    rates = found.set_index(["hour", "carrier"])["late_rate_2h"]
    assert rates[0, "A"] == pytest.approx(0.23)
    assert rates[HOUR, "A"] == pytest.approx((1 + 5 * 2 / 3) / 7)
    assert rates[2 * HOUR, "C"] == pytest.approx(3 / 4)
    assert rates[5 * HOUR, "A"] == pytest.approx(3 / 4)


@pytest.mark.parametrize(
    ("name", "keys", "windows"),
    [("carrier", ["carrier"], {"3h": 3, "24h": 24, "7d": 168}), ("route", ["origin", "dest"], {"24h": 24, "7d": 168})],
)
def test_trailing_values_equal_those_counted_one_by_one_from_the_past(
    flights_sources: Path, flights: pd.DataFrame, name: str, keys: list[str], windows: dict[str, int]
) -> None:
    sample = source(flights_sources, name).sample(150, random_state=3)
    landed = flights[flights["landing"].notna()]
    for row in sample.to_dict("records"):
        hour = row["event_timestamp"]
        # All that follows sees landings up to the hour alone.
        past = landed[landed["landing"] <= hour]
        prior = past["late"].mean() if len(past) else 0.23
        mine = past[np.logical_and.reduce([past[key] == row[key] for key in keys])]
        for window, length in windows.items():
            inside = mine[mine["landing"] > hour - pd.Timedelta(hours=length)]
            assert row[f"{name}_landed_{window}"] == len(inside)
            expected = (inside["late"].sum() + 5 * prior) / (len(inside) + 5)
            assert row[f"{name}_late_rate_{window}"] == pytest.approx(expected, abs=1e-12)


def test_sources_that_are_there_are_left_alone(flights_sources: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in flights_sources.glob("*.parquet")}
    rows = prepare(flights_sources)
    assert before == {path.name: path.stat().st_mtime_ns for path in flights_sources.glob("*.parquet")}
    assert rows["requests"] == 336_776


def test_sources_that_are_incomplete_are_made_again(flights_sources: Path, tmp_path: Path) -> None:
    (tmp_path / MARKER).write_bytes((flights_sources / MARKER).read_bytes())
    (tmp_path / "requests.parquet").write_bytes(b"half")
    assert prepare(tmp_path) == prepare(flights_sources)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    for path in flights_sources.glob("*.parquet"):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), "the same code makes the same bytes"
