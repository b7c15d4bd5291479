"""Whether the sources of a model can be used: each fault is a `DataError` that names file, column, rows and remedy.

What would otherwise end as a wrong training set or as a foreign library's error. Rows published after `now` are not looked at,
except for their time: a replayed year lies in the future of its own `now`. Whether the *dataset* is fit to train on (shares of
nulls, of labels) is decided in `perennial.validation`, as a result.
"""

from dataclasses import dataclass, field
from datetime import datetime

import duckdb
import pyarrow as pa

from feature_repo.layout import Kind
from feature_repo.service import ServiceInfo, ViewInfo
from feature_repo.sources import TIME, opened
from feature_repo.sql import attach, connect, literal, quoted
from perennial.errors import DataError, NotFoundError
from perennial.settings import Settings
from perennial.spec import Model
from perennial.spec.features import DType

EXAMPLES = 3
"""Rows that a message shows."""
FROM_DTYPE: dict[DType, Kind] = {"float": "float64", "int": "int64", "string": "string", "bool": "bool"}


@dataclass(frozen=True)
class Source:
    """What is expected of one file."""

    path: str
    """Path or URI."""
    keys: tuple[str, ...]
    """Columns that, with the time, identify a row; never null."""
    columns: dict[str, Kind]
    """Every column that is read, with its type; keys and times included."""
    required: tuple[str, ...] = field(default=())
    """Columns besides keys and time that are never null."""


def check(settings: Settings, model: Model, service: ServiceInfo, now: datetime, wall_clock: datetime) -> None:
    """The sources can be used for a dataset as of `now`.

    Args:
        settings: where the sources are.
        model: the spec that names requests and labels.
        service: the feature service that names the views.
        now: rows published later are not looked at.
        wall_clock: the real time; a row published later than it was not published, whatever it says.

    Raises:
        DataError: the first fault found.
    """
    spec = model.spec
    kinds = {key.name: key.kind for view in service.sources for key in view.join_keys}
    identifier = _identifier_kind(settings, model)
    requests = Source(
        path=settings.source(spec.requests.source),
        keys=(spec.requests.id,),
        columns={
            **{sent.name: FROM_DTYPE[sent.dtype] for sent in spec.requests.fields},
            **kinds,
            spec.requests.id: identifier,
        },
        required=service.join_keys,
    )
    labels = Source(
        path=settings.source(spec.label.source),
        keys=(spec.requests.id,),
        columns={spec.requests.id: identifier, spec.label.column: "bool"},
        required=(spec.label.column,),
    )
    with connect(settings.threads) as database:
        for source in (requests, labels):
            check_schema(source, TIME)
            attach(database, source.path)
            check_rows(database, source, TIME, now, wall_clock)
        check_unique(database, requests.path, (spec.requests.id,), (), now, "a request is asked for once")
        check_labels(database, requests.path, labels.path, spec.requests.id, spec.label.column, now)
        for view in service.sources:
            check_view(database, view, now, wall_clock)


def check_view(database: duckdb.DuckDBPyConnection, view: ViewInfo, now: datetime, wall_clock: datetime) -> None:
    """The source of a feature view can be used."""
    columns = {column.name: column.kind for column in (*view.join_keys, *view.features)}
    source = Source(
        path=view.path,
        keys=tuple(key.name for key in view.join_keys),
        columns={**columns, view.observed_at: "timestamp"},
        required=(view.observed_at,),
    )
    check_schema(source, view.time)
    attach(database, source.path)
    check_rows(database, source, view.time, now, wall_clock)
    check_unique(database, source.path, source.keys, (view.time,), now, "each row is the full state published at its time")
    late = f"{quoted(view.observed_at)} > {quoted(view.time)}"
    _refuse(
        database,
        source.path,
        f"{late} and {_until(view.time, now)}",
        (*source.keys, view.time, view.observed_at),
        f"{view.observed_at} is later than {view.time}: a value cannot be read before it was observed; "
        f"{view.time} is the time from which the row can be read",
    )


def check_schema(source: Source, time: str) -> None:
    """The file is Parquet, has rows, and every column has its type."""
    schema = _schema(source.path)
    for name, kind in {**source.columns, time: "timestamp"}.items():
        if name not in schema.names:
            raise DataError(
                f"{source.path}: no column {name!r}; it has {', '.join(schema.names)}; write it, or change spec or view"
            )
        found = schema.field(name).type
        if not has_kind(found, kind):
            hint = "; write it as timestamp in microseconds, UTC (pandas: coerce_timestamps='us')" if kind == "timestamp" else ""
            raise DataError(
                f"{source.path}: column {name!r} is {found}, expected {kind}{hint or '; write it so, or change spec or view'}"
            )


def has_kind(found: pa.DataType, kind: Kind) -> bool:
    """Whether a Parquet column can be read as a declared type without changing a value; a column of nulls alone has any type.

    >>> has_kind(pa.int64(), "float64"), has_kind(pa.float64(), "int64"), has_kind(pa.timestamp("ns", "UTC"), "timestamp")
    (True, False, False)
    """
    types = pa.types
    if types.is_null(found):
        return kind != "timestamp"
    if kind in {"float32", "float64"}:
        return bool(types.is_floating(found) or types.is_integer(found))
    if kind in {"int32", "int64"}:
        return bool(types.is_integer(found))
    if kind == "bool":
        return bool(types.is_boolean(found))
    if kind == "string":
        value = found.value_type if types.is_dictionary(found) else found
        return bool(types.is_string(value) or types.is_large_string(value))
    return bool(types.is_timestamp(found) and found.unit == "us" and found.tz in {"UTC", "+00:00", "Etc/UTC"})


def check_rows(database: duckdb.DuckDBPyConnection, source: Source, time: str, now: datetime, wall_clock: datetime) -> None:
    """No time lies in the future, and no key or required column is null."""
    _refuse(
        database,
        source.path,
        f"{quoted(time)} > {literal(wall_clock)}",
        (*source.keys, time),
        f"{time} lies in the future (it is {wall_clock.isoformat()}); correct the source's clock or zone",
    )
    _refuse(
        database,
        source.path,
        f"{quoted(time)} is null",
        source.keys,
        f"{time} is null; every row needs the time from which it can be read",
    )
    for name in (*source.keys, *source.required):
        _refuse(
            database,
            source.path,
            f"{quoted(name)} is null and {_until(time, now)}",
            tuple(dict.fromkeys((*source.keys, time))),
            f"column {name!r} is null; leave such rows out, or give them a value of their own (as UNKNOWN)",
        )


def check_unique(
    database: duckdb.DuckDBPyConnection, path: str, keys: tuple[str, ...], times: tuple[str, ...], now: datetime, why: str
) -> None:
    """No two rows have the same `keys` and `times`."""
    columns = ", ".join(map(quoted, (*keys, *times)))
    query = (
        f"select {columns}, count(*) as rows from {quoted(path)} where {_until(times[0] if times else TIME, now)} group by all"
    )
    found = database.execute(f"{query} having count(*) > 1 order by all limit {EXAMPLES}").fetchall()
    if found:
        names = (*keys, *times, "rows")
        raise DataError(
            f"{path}: duplicate keys {', '.join((*keys, *times))}: {_shown(names, found)}; {why}: keep one row of each"
        )


def check_labels(
    database: duckdb.DuckDBPyConnection, requests: str, labels: str, identifier: str, column: str, now: datetime
) -> None:
    """No request has two different labels, and no label is older than its request."""
    name, value, known = quoted(identifier), quoted(column), _until(TIME, now)
    found = database.execute(
        f"select {name}, list(distinct {value}) from {quoted(labels)} where {known} group by {name}"
        f" having count(distinct {value}) > 1 order by all limit {EXAMPLES}"
    ).fetchall()
    if found:
        shown = _shown((identifier, column), found)
        raise DataError(f"{labels}: conflicting labels: {shown}; a label is final: publish it when it is, keep one row of each")
    early = database.execute(
        f"select l.{name}, l.{TIME}, r.{TIME} from (select * from {quoted(labels)} where {known}) l"
        f" join {quoted(requests)} r on l.{name} = r.{name} where l.{TIME} < r.{TIME} order by all limit {EXAMPLES}"
    ).fetchall()
    if early:
        shown = _shown((identifier, f"{TIME} of the label", f"{TIME} of the request"), early)
        raise DataError(f"{labels}: labels before their request: {shown}; {TIME} of a label is when it became known")


def _identifier_kind(settings: Settings, model: Model) -> Kind:
    """Type of the requests' id: integer or string, as the requests have it."""
    path, name = settings.source(model.spec.requests.source), model.spec.requests.id
    schema = _schema(path)
    return "string" if name in schema.names and has_kind(schema.field(name).type, "string") else "int64"


def _schema(path: str) -> pa.Schema:
    """Schema of a source that has rows."""
    try:
        with opened(path) as dataset:
            rows, schema = dataset.count_rows(), dataset.schema
    except NotFoundError as error:
        raise DataError(str(error)) from error
    if rows == 0:
        raise DataError(f"{path}: the file has no rows; write the source again")
    return schema


def _until(time: str, now: datetime) -> str:
    return f"{quoted(time)} <= {literal(now)}"


def _refuse(database: duckdb.DuckDBPyConnection, path: str, condition: str, shown: tuple[str, ...], message: str) -> None:
    """Raise when a row of the file meets `condition`."""
    columns = ", ".join(map(quoted, shown))
    count = database.execute(f"select count(*) from {quoted(path)} where {condition}").fetchall()[0][0]
    if count:
        rows = database.execute(
            f"select {columns} from {quoted(path)} where {condition} order by all limit {EXAMPLES}"
        ).fetchall()
        raise DataError(f"{path}: {message}; {count:,} rows, as {_shown(shown, rows)}")


def _shown(names: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    """Example rows in a message."""
    return "; ".join(
        "(" + ", ".join(f"{name}={_plain(value)}" for name, value in zip(names, row, strict=True)) + ")" for row in rows
    )


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else repr(value)
