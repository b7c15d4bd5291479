"""DuckDB: connections, and values and names in its SQL. What is asked of it belongs to `asof` and `sources`."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb

MICROSECOND = timedelta(microseconds=1)


def connect(threads: int) -> duckdb.DuckDBPyConnection:
    """A fresh in-memory database in UTC."""
    settings: dict[str, str | bool | int | float | list[str]] = {"threads": threads, "preserve_insertion_order": False}
    database = duckdb.connect(config=settings)
    database.execute("set timezone = 'UTC'")
    return database


def parquet(path: Path) -> str:
    """A Parquet file, or a folder of them, as a table expression."""
    return f"read_parquet({text(str(path / '**' / '*.parquet' if path.is_dir() else path))})"


def quoted(name: str) -> str:
    """A column's name in SQL.

    >>> quoted('a"b')
    '"a""b"'
    """
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """A text in SQL.

    >>> text("a'b")
    "'a''b'"
    """
    return "'" + value.replace("'", "''") + "'"


def literal(time: datetime) -> str:
    """A time in SQL; without zone it is UTC.

    >>> literal(datetime(2013, 1, 2, 3, 4, 5, 6))
    "'2013-01-02T03:04:05.000006+00:00'::timestamptz"
    """
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return f"{text(aware.astimezone(UTC).isoformat(timespec='microseconds'))}::timestamptz"
