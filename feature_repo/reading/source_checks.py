"""Whether the sources of a model can be used: each fault is a `DataError` that names file, column, rows and remedy.

What would otherwise end as a wrong training set or as a foreign library's error. Rows published after `now` are not looked at,
except for their time: a replayed year lies in the future of its own `now`. What can be left out without harm, as a request of
1970, is set aside and named. Whether the *dataset* is fit to train on (shares of nulls, of labels) is decided in
`perennial.data.validation`, as a result.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import duckdb
import pyarrow as pa

from feature_repo.online_store.layout import Kind, Layout
from feature_repo.reading.files import EXACT, shown
from feature_repo.reading.history import EXAMPLES, begin_of, examples, set_aside, until
from feature_repo.reading.kinds import check_type, identifier_kind
from feature_repo.reading.sql import attach, connect, literal, quoted
from feature_repo.service import ServiceInfo, ViewInfo
from feature_repo.sources import TIME, files
from perennial.errors import DataError, NotFoundError
from perennial.moment import Moment
from perennial.settings import Settings
from perennial.spec import Model
from perennial.spec.features import DType

FROM_DTYPE: dict[DType, Kind] = {"float": "float64", "int": "int64", "string": "string", "bool": "bool"}
BOUNDS: dict[Kind, tuple[int | float, int | float]] = {
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "float32": (-3.4028234663852886e38, 3.4028234663852886e38),
}
"""Smallest and largest finite value that serving can keep of a declared type."""


@dataclass(frozen=True)
class CheckedSource:
    """What is expected of one file."""

    path: str
    """Path or URI."""
    keys: tuple[str, ...]
    """Columns that, with the time, identify a row; never null."""
    columns: dict[str, Kind]
    """Every column that is read, with its type; keys and times included."""
    required: tuple[str, ...] = field(default=())
    """Columns besides keys and time that are never null."""
    table: str = ""
    """Name of the SQL table that holds the rows to look at; empty for all rows of the file."""

    @property
    def rows(self) -> str:
        """The rows to look at, in SQL."""
        return quoted(self.table or self.path)


@dataclass(frozen=True)
class Checked:
    """What is known of sources that can be used."""

    since: datetime
    """Begin of the history, UTC: what was requested or labelled before is set aside."""
    notes: tuple[str, ...]
    """What was set aside, and columns that some files lack; a sentence each."""


def check(settings: Settings, model: Model, service: ServiceInfo, moment: Moment) -> Checked:
    """The sources can be used for a dataset as of `moment.now`: the begin of their history, and what people should know of them.

    Args:
        settings: where the sources are.
        model: the spec that names requests and labels.
        service: the feature service that names the views.
        moment: rows published after `now` are not looked at; one from after `wall_clock` was not published, whatever it says.

    Raises:
        DataError: the first fault found.
    """
    now, wall_clock = moment
    spec, notes = model.spec, list[str]()
    kinds = {key.name: key.kind for view in service.sources for key in view.join_keys}
    identifier = _identifier_kind(settings, model)
    requests = CheckedSource(
        path=settings.source(spec.requests.source),
        keys=(spec.requests.id,),
        columns={
            **{request_field.name: FROM_DTYPE[request_field.dtype] for request_field in spec.requests.fields},
            **kinds,
            spec.requests.id: identifier,
        },
        required=service.join_keys,
        table="believed requests",
    )
    labels = CheckedSource(
        path=settings.source(spec.label.source),
        keys=(spec.requests.id,),
        columns={spec.requests.id: identifier, spec.label.column: "bool"},
        # Requests that carry their label have a row each, whether it is known or not.
        required=() if spec.label.source == spec.requests.source else (spec.label.column,),
        table="believed labels",
    )
    with connect(settings.threads) as database:
        for source, time in ((requests, TIME), (labels, TIME), *((view_source(view), view.time) for view in service.sources)):
            notes += check_schema(source, time)
            attach(database, source.path)
            _refuse_missing_times(database, source, time)
        since = begin_of(database, requests.path, service.sources, min(now, wall_clock))
        for source, what in ((requests, "requests"), (labels, "labels")):
            notes += set_aside(database, source.path, what, source.rows, source.keys, since, wall_clock)
            check_rows(database, source, TIME, now)
        check_seen_keys(
            database, requests, [request_field.name for request_field in spec.requests.fields if request_field.name in kinds], now
        )
        check_unique(database, requests, (), now, "a request is asked for once")
        check_labels(database, requests, labels, spec.label.column, now)
        for view in service.sources:
            check_view(database, view, moment)
    return Checked(since, tuple(dict.fromkeys(notes)))


def view_source(view: ViewInfo) -> CheckedSource:
    """What is expected of the source of a feature view."""
    columns = {column.name: column.kind for column in (*view.join_keys, *view.features)}
    return CheckedSource(
        path=view.path,
        keys=tuple(key.name for key in view.join_keys),
        columns={**columns, view.observed_at: "timestamp"},
        required=(view.observed_at,),
    )


def check_view(database: duckdb.DuckDBPyConnection, view: ViewInfo, moment: Moment) -> None:
    """The source of a feature view, attached, can be used."""
    now, wall_clock = moment
    source = view_source(view)
    _refuse(
        database,
        source,
        f"{quoted(view.time)} > {literal(wall_clock)}",
        (*source.keys, view.time),
        f"{view.time} lies in the future (it is {wall_clock.isoformat()}); correct the source's clock or zone",
    )
    check_rows(database, source, view.time, now)
    check_unique(database, source, (view.time,), now, "each row is the full state published at its time")
    late = f"{quoted(view.observed_at)} > {quoted(view.time)}"
    _refuse(
        database,
        source,
        f"{late} and {until(view.time, now)}",
        (*source.keys, view.time, view.observed_at),
        f"{view.observed_at} is later than {view.time}: a value cannot be read before it was observed; "
        f"{view.time} is the time from which the row can be read",
    )


def check_stretch(path: str, layout: Layout, time: str, start: datetime, end: datetime, threads: int) -> list[str]:
    """What was published in [start, end] can be packed by a layout; a sentence for each column that some files lack.

    Args:
        path: of the source, or its URI.
        layout: by which its rows are about to be stored.
        time: name of the column of the rows' times.
        start: inclusive begin, UTC.
        end: inclusive end, UTC.
        threads: of DuckDB.

    Raises:
        DataError: a column is missing or of another type, or a row has a null key or a number beyond its type.
        NotFoundError: there is no such source.
    """
    source = CheckedSource(
        path=path,
        keys=tuple(key.name for key in layout.join_keys),
        columns={field.name: field.kind for field in (*layout.join_keys, *layout.fields)},
        table="stretch",
    )
    with files(path) as source_files:
        if not source_files.rows:
            return []
    notes = check_schema(source, time)
    with connect(threads) as database:
        attach(database, path)
        inside = f"{quoted(time)} between {literal(start)} and {literal(end)}"
        database.execute(f"create view {source.rows} as select * from {quoted(path)} where {inside}")
        check_rows(database, source, time, end)
    return notes


def check_schema(source: CheckedSource, time: str) -> list[str]:
    """The file is Parquet, has rows, and every column has its type; a sentence for each column that some files lack."""
    try:
        with files(source.path) as source_files:
            rows, schema, lacking, partitions = (
                source_files.rows,
                source_files.schema,
                source_files.lacking,
                source_files.partitions,
            )
    except NotFoundError as error:
        raise DataError(str(error)) from error
    if rows == 0:
        raise DataError(f"{source.path}: the file has no rows; write the source again")
    notes = []
    for name, kind in {**source.columns, time: "timestamp"}.items():
        if name not in schema.names:
            where = f" (a value in a folder's name, as {name}=…, is not read: write it into the files)" * (name in partitions)
            raise DataError(
                f"{source.path}: no column {name!r}; it has {', '.join(schema.names)}; write it, or change spec or view{where}"
            )
        check_type(source.path, name, schema.field(name).type, kind)
        if name in lacking:
            without = f"{source.path}: column {name!r} is not in {shown(lacking[name])}, or has no value there"
            if name in (*source.keys, *source.required, time):
                raise DataError(f"{without}, and every row needs it; write it into all files")
            notes.append(f"{without}: it is null in their rows")
    return notes


def check_rows(database: duckdb.DuckDBPyConnection, source: CheckedSource, time: str, now: datetime) -> None:
    """No key or required column is null, and no number is beyond its declared type."""
    for name in (*source.keys, *source.required):
        _refuse(
            database,
            source,
            f"{quoted(name)} is null and {until(time, now)}",
            tuple(dict.fromkeys((*source.keys, time))),
            f"column {name!r} is null; leave such rows out, or give them a value of their own (as UNKNOWN)",
        )
    with files(source.path) as source_files:
        types = {name: source_files.schema.field(name).type for name in source.columns}
    for name, kind in source.columns.items():
        low, high = bounds_of(types[name], kind)
        if low is None or high is None:
            continue
        _refuse(
            database,
            source,
            f"{quoted(name)} not between {low!r} and {high!r} and {_finite(name, types[name])} and {until(time, now)}",
            tuple(dict.fromkeys((*source.keys, time, name))),
            f"column {name!r} holds numbers beyond {kind}, which has {low} to {high}; declare a wider type, or write a text",
        )


def check_seen_keys(database: duckdb.DuckDBPyConnection, requests: CheckedSource, names: Sequence[str], now: datetime) -> None:
    """No join key that a model also sees as a field is a whole number that a dataset, whose numbers are float64, cannot hold.

    Args:
        database: with the requests attached.
        requests: as they are expected.
        names: join keys that are fields of the request too.
        now: rows published later are not looked at.
    """
    with files(requests.path) as source_files:
        types = {name: source_files.schema.field(name).type for name in names}
    for name in names:
        low, high = bounds_of(types[name], "float64")
        if low is not None and high is not None:
            _refuse(
                database,
                requests,
                f"{quoted(name)} not between {low!r} and {high!r} and {until(TIME, now)}",
                (*requests.keys, TIME, name),
                f"column {name!r} is a join key and a field that the model sees, and holds numbers beyond {low} to {high}, of "
                "which a model sees a neighbour; take it out of requests.fields, where a key need not stand, or write a text",
            )


def bounds_of(found: pa.DataType, kind: Kind) -> tuple[int | float | None, int | float | None]:
    """Smallest and largest value of a declared type, where a column can hold others; else two nulls.

    >>> bounds_of(pa.int64(), "int32"), bounds_of(pa.int32(), "int64"), bounds_of(pa.int64(), "float64")
    ((-2147483648, 2147483647), (None, None), (-9007199254740992, 9007199254740992))
    """
    if pa.types.is_integer(found):
        if kind == "float64":
            return (None, None) if found.bit_width < 64 else (-EXACT, EXACT)
        low, high = BOUNDS.get(kind, (None, None))
        is_wide = found.bit_width > 32 or (found.bit_width == 32 and pa.types.is_unsigned_integer(found))
        return (low, high) if (is_wide and kind == "int32") or (found == pa.uint64() and kind == "int64") else (None, None)
    return BOUNDS[kind] if found == pa.float64() and kind == "float32" else (None, None)


def _finite(name: str, found: pa.DataType) -> str:
    return f"isfinite({quoted(name)})" if pa.types.is_floating(found) else "true"


def _refuse_missing_times(database: duckdb.DuckDBPyConnection, source: CheckedSource, time: str) -> None:
    everything = CheckedSource(source.path, source.keys, source.columns)
    message = f"{time} is null; every row needs the time from which it can be read"
    _refuse(database, everything, f"{quoted(time)} is null", source.keys, message)


def check_unique(
    database: duckdb.DuckDBPyConnection, source: CheckedSource, times: tuple[str, ...], now: datetime, why: str
) -> None:
    """No two rows have the same keys and `times`."""
    names = (*source.keys, *times)
    condition = until(times[0] if times else TIME, now)
    query = f"select {', '.join(map(quoted, names))}, count(*) as rows from {source.rows} where {condition} group by all"
    duplicates = database.execute(f"{query} having count(*) > 1 order by all limit {EXAMPLES}").fetchall()
    if duplicates:
        raise DataError(
            f"{source.path}: duplicate keys {', '.join(names)}: {examples((*names, 'rows'), duplicates)}; {why}: "
            "keep one row of each"
        )


def check_labels(
    database: duckdb.DuckDBPyConnection, requests: CheckedSource, labels: CheckedSource, column: str, now: datetime
) -> None:
    """No request has two different labels, and no label is older than its request."""
    identifier = requests.keys[0]
    name, value, condition = quoted(identifier), quoted(column), until(TIME, now)
    conflict_rows = database.execute(
        f"select {name}, list(distinct {value}) from {labels.rows} where {condition} group by {name}"
        f" having count(distinct {value}) > 1 order by all limit {EXAMPLES}"
    ).fetchall()
    if conflict_rows:
        conflicts = examples((identifier, column), conflict_rows)
        raise DataError(
            f"{labels.path}: conflicting labels: {conflicts}; a label is final: publish it when it is, keep one row of each"
        )
    early = database.execute(
        f"select l.{name}, l.{TIME}, r.{TIME} from (select * from {labels.rows} where {condition}) l"
        f" join {requests.rows} r on l.{name} = r.{name} where l.{TIME} < r.{TIME} order by all limit {EXAMPLES}"
    ).fetchall()
    if early:
        early_rows = examples((identifier, f"{TIME} of the label", f"{TIME} of the request"), early)
        raise DataError(f"{labels.path}: labels before their request: {early_rows}; {TIME} of a label is when it became known")


def _identifier_kind(settings: Settings, model: Model) -> Kind:
    """Type of the requests' id: integer or string, as the requests have it."""
    path, name = settings.source(model.spec.requests.source), model.spec.requests.id
    try:
        with files(path) as source_files:
            schema = source_files.schema
    except NotFoundError as error:
        raise DataError(str(error)) from error
    return identifier_kind(schema.field(name).type) if name in schema.names else "int64"


def _refuse(
    database: duckdb.DuckDBPyConnection, source: CheckedSource, condition: str, names: tuple[str, ...], message: str
) -> None:
    """Raise when a row of the source meets `condition`."""
    columns = ", ".join(map(quoted, names))
    count = database.execute(f"select count(*) from {source.rows} where {condition}").fetchall()[0][0]
    if count:
        rows = database.execute(f"select {columns} from {source.rows} where {condition} order by all limit {EXAMPLES}").fetchall()
        raise DataError(f"{source.path}: {message}; {count:,} rows, as {examples(names, rows)}")
