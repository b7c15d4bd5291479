"""The history of a project: which requests and labels are believed by their time. The others are set aside and named."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import duckdb

from feature_repo.reading.sql import MICROSECOND, literal, quoted
from feature_repo.service import ViewInfo
from feature_repo.sources import TIME

EXAMPLES = 3
"""Rows that a message shows."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LONGEST_GAP = timedelta(days=366)
"""Time without a request, before which nothing belongs to the history: a clock that was not set says 1970, a season returns."""


def begin_of(database: duckdb.DuckDBPyConnection, requests: str, views: Sequence[ViewInfo], now: datetime) -> datetime:
    """Begin of the history: no request before it is believed.

    A request before the first row of every view could have read nothing: the project did not exist. And a request that lies more
    than a year before all others says the time of a clock that was not set. What comes after `now` says nothing of what came
    before: one request from after a year that is replayed would cost that year.

    Args:
        database: with the sources attached.
        requests: path or URI of the requests.
        views: the views that they read.
        now: of a dataset; the real time or before it.
    """
    query = f"select distinct date_trunc('day', {quoted(TIME)}) from {quoted(requests)} where {until(TIME, now)}"
    days = _times(database, query)
    begin = days[-1] if days else now
    for day in reversed(days):
        if begin - day > LONGEST_GAP:
            break
        begin = day
    firsts = [
        _times(database, f"select min({quoted(view.time)}) from {quoted(view.path)}")[0]
        for view in views
        if view.path != requests
    ]
    return max(begin, min(firsts)) if firsts else begin


def _times(database: duckdb.DuckDBPyConnection, query: str) -> list[datetime]:
    """The times of a query in UTC, sorted; one that no calendar of Python holds is its first or last moment."""
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    rows = database.execute(f"select epoch_us(t) from ({query}) as found(t)").fetchall()
    span = (first - EPOCH) // MICROSECOND, (last - EPOCH) // MICROSECOND
    return sorted(EPOCH + min(max(value, span[0]), span[1]) * MICROSECOND for (value,) in rows)


def set_aside(
    database: duckdb.DuckDBPyConnection,
    source: str,
    what: str,
    table: str,
    keys: tuple[str, ...],
    since: datetime,
    wall_clock: datetime,
) -> list[str]:
    """Make the table of the rows of a source that are believed; a sentence for those that are not.

    Args:
        database: with the source attached.
        source: path or URI.
        what: the rows are, in the plural.
        table: name of the new table, in SQL.
        keys: columns that a message shows.
        since: begin of the history.
        wall_clock: the real time.
    """
    time, begin, end = quoted(TIME), literal(since), literal(wall_clock)
    inside = f"{time} between {begin} and {end}"
    database.execute(f"create or replace view {table} as select * from {quoted(source)} where {inside}")
    count, early, late = database.execute(
        f"select count(*), count(*) filter ({time} < {begin}), count(*) filter ({time} > {end}) from {quoted(source)}"
    ).fetchall()[0]
    if not early + late:
        return []
    names = ", ".join(map(quoted, keys))
    rows = database.execute(
        f"select {names}, {time}::varchar from {quoted(source)} where not ({inside}) order by all limit {EXAMPLES}"
    ).fetchall()
    parts = [f"{early:,} before {since.isoformat()}, where the history begins"] * bool(early)
    parts += [f"{late:,} in the future (it is {wall_clock.isoformat()})"] * bool(late)
    return [
        f"{source}: {early + late:,} of {count:,} {what} are set aside for their {TIME}: {' and '.join(parts)}; as "
        f"{examples((*keys, TIME), rows)}; correct the clock or the zone that wrote them"
    ]


def until(time: str, now: datetime) -> str:
    """SQL that is true of rows published at or before `now`."""
    return f"{quoted(time)} <= {literal(now)}"


def examples(names: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    """Example rows in a message."""
    return "; ".join(
        "(" + ", ".join(f"{name}={_plain(value)}" for name, value in zip(names, row, strict=True)) + ")" for row in rows
    )


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else repr(value)
