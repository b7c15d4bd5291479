"""DuckDB: connections, and values and names in its SQL. What is asked of it belongs to `asof` and `sources`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa

from feature_repo.reading.files import same
from feature_repo.sources import REMOTE, files, refuse_outage

MICROSECOND = timedelta(microseconds=1)
NUMBERS = {pa.int64(): "bigint", pa.float32(): "float", pa.float64(): "double"}
"""Types to which numbers are widened."""


@contextmanager
def connect(threads: int) -> Iterator[duckdb.DuckDBPyConnection]:
    """A fresh in-memory database in UTC, for sources that `attach` makes its tables.

    Raises:
        PlatformError: an object store or the disk does not answer while a source is read, or memory ran out.
    """
    settings: dict[str, str | bool | int | float | list[str]] = {"threads": threads, "preserve_insertion_order": False}
    with duckdb.connect(config=settings) as database:
        database.execute("set timezone = 'UTC'")
        try:
            yield database
        except duckdb.Error as error:
            refuse_outage(error, "sources")
            raise


def attach(database: duckdb.DuckDBPyConnection, source: str) -> None:
    """The source is a table of the database, named by its path or URI; nothing is read yet. Attached again, nothing changes.

    DuckDB reads files itself, two to four times as fast as through Arrow, but only those of the source's list, as they are named
    there, and every column in the type of the list. Objects come through Arrow: its own way to S3 is an extension that must be
    downloaded. So do files with a backslash in their path, which DuckDB cannot be told literally.

    Raises:
        NotFoundError: there is no such source.
        DataError: it is not Parquet, or its files disagree.
        PlatformError: the object store does not answer or refuses.
    """
    with files(source) as source_files:
        if source.startswith(REMOTE) or "\\" in source or any("\\" in path for path in source_files.own):
            database.register(source, source_files.dataset)
            return
        parts = [_select(file_schema, paths, source_files.schema) for file_schema, paths in same(source_files.own)]
        database.execute(f"create or replace view {quoted(source)} as {' union all by name '.join(parts)}")


def _select(own: pa.Schema, paths: Sequence[str], schema: pa.Schema) -> str:
    """SQL that reads files of equal columns, each in the type of the source; a column without a value has that of other files."""
    columns = []
    for field in own:
        target_type, column = schema.field(field.name).type, quoted(field.name)
        if pa.types.is_null(field.type):
            column = "null"
        elif target_type in NUMBERS and field.type != target_type:
            column = f"{column}::{NUMBERS[target_type]}"
        columns.append(f"{column} as {quoted(field.name)}")
    path_list = ", ".join(text(without_patterns(path)) for path in paths)
    return f"select {', '.join(columns)} from read_parquet([{path_list}], hive_partitioning = false)"


def without_patterns(path: str) -> str:
    """A path that DuckDB takes as it is: no sign in it stands for others.

    >>> without_patterns("/data/[a]*?.parquet"), without_patterns("/data/a.parquet")
    ('/data/[[]a][*][?].parquet', '/data/a.parquet')
    """
    return "".join(f"[{sign}]" if sign in "*?[" else sign for sign in path)


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
