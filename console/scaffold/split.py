"""A table split into the sources of a first model: requests, labels, and one feature view."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from console.scaffold.roles import Roles, check_roles
from console.scaffold.table import MOMENT, identified, plain, shown, times, truths
from perennial.errors import DataError
from perennial.spec.features import DType
from perennial.spec.part import TIME

MAX_MISSING = 0.9
"""Largest share of missing values of a column that is taken: the gate *data* allows no more."""


@dataclass(frozen=True)
class Split:
    """Sources, and what was found on the way."""

    requests: pa.Table
    """In the order of time: id, time, keys, request fields."""
    labels: pa.Table
    """Id, the time at which it was known, label; only what is known by now."""
    view: str
    """Name of the feature view."""
    features: pa.Table
    """Keys, time, features, `<view>_observed_at`."""
    dtypes: dict[str, DType]
    """Type of each key, request field and feature."""
    notes: tuple[str, ...]
    """What was assumed or left out; a sentence each."""


def split(where: str, table: pa.Table, roles: Roles, now: datetime) -> Split:
    """The sources that a table gives.

    Args:
        where: the table, in messages.
        table: one row for each question.
        roles: what its columns are.
        now: the real time; what is known later is no label yet.

    Raises:
        SpecError: a role names a column that is not there, or names one twice.
        DataError: a column or its rows cannot be what they should be.
    """
    check_roles(where, table.column_names, roles)
    moments, is_naive = times(where, roles.time, table[roles.time], now)
    table = table.set_column(table.column_names.index(roles.time), roles.time, moments).sort_by(roles.time)
    moments = table[roles.time]
    notes = [f"--time {roles.time} names no zone: it is read as UTC"] * is_naive
    keys = {name: identified(where, "--key", name, table[name]) for name in roles.keys}
    _refuse_repeated(where, (*roles.keys, roles.time), pa.table({**keys, roles.time: moments}), "one row of a key at a time")
    identifier = _identifiers(where, table, roles)
    request_fields = {name: plain(where, name, table[name]) for name in roles.request_fields}
    looked_up = {}
    for name in roles.features(table.column_names):
        missing = _share_missing(table[name])
        if missing > MAX_MISSING:
            notes.append(f"{name} is left out: {missing:.0%} of its values are missing, and a model learns nothing from it")
        else:
            looked_up[name] = plain(where, name, table[name])
    if not looked_up:
        raise DataError(f"{where}: each column that could be a feature is nearly empty; allowed: one with values")
    view = roles.view(table.column_names)
    labels, later = _labels(where, table, roles, (identifier, moments), now)
    if later:
        notes.append(f"{later:,} labels are left out: {roles.label_hours:g} hours after their rows have not passed yet")
    kinds: dict[str, DType] = {name: "string" if pa.types.is_string(column.type) else "int" for name, column in keys.items()}
    features = {name: column for name, (_, column) in looked_up.items()}
    return Split(
        requests=pa.table(
            {
                roles.request_id: identifier,
                TIME: moments,
                **keys,
                **{name: column for name, (_, column) in request_fields.items()},
            }
        ),
        labels=labels,
        view=view,
        features=pa.table({**keys, TIME: moments, **features, f"{view}_observed_at": moments}),
        dtypes=kinds | {name: dtype for name, (dtype, _) in (request_fields | looked_up).items()},
        notes=tuple(notes),
    )


def _identifiers(where: str, table: pa.Table, roles: Roles) -> pa.ChunkedArray:
    """The ids of the requests; numbers from 1 in the order of time where the table has none."""
    if roles.identifier is None:
        return pa.chunked_array([pa.array(range(1, table.num_rows + 1), pa.int64())])
    ids = identified(where, "--id", roles.identifier, table[roles.identifier])
    _refuse_repeated(where, (roles.identifier,), pa.table({roles.identifier: ids}), "each id once")
    return ids


def _refuse_repeated(where: str, names: tuple[str, ...], table: pa.Table, allowed: str) -> None:
    counts = table.group_by(list(names)).aggregate([([], "count_all")])
    repeated = counts.filter(pc.greater(counts["count_all"], 1))
    if repeated.num_rows:
        first = repeated.slice(0, 1).to_pylist()[0]
        rows = first.pop("count_all")
        named = ", ".join(f"{name}={shown(repeated[name].slice(0, 1))}" for name in first)
        raise DataError(
            f"{where}: {repeated.num_rows:,} times {' and '.join(names)} are the same in several rows, as {named} in {rows}; "
            f"allowed: {allowed}; keep one row of each, or name a key more"
        )


def _share_missing(column: pa.ChunkedArray) -> float:
    return float(pc.mean(pc.cast(pc.is_null(column, nan_is_null=pa.types.is_floating(column.type)), pa.float64())).as_py())


def _labels(
    where: str, table: pa.Table, roles: Roles, request: tuple[pa.ChunkedArray, pa.ChunkedArray], now: datetime
) -> tuple[pa.Table, int]:
    """The labels that are known by now, and how many are not yet.

    Args:
        where: the table, in messages.
        table: with the label.
        roles: which column it is, and after how long it is known.
        request: ids and times of the rows.
        now: the real time.
    """
    truth = truths(where, roles.label, table[roles.label])
    wait = pa.scalar(timedelta(hours=roles.label_hours), pa.duration("us"))
    known_at = pc.add(request[1], wait).cast(MOMENT)
    labels = pa.table({roles.request_id: request[0], TIME: known_at, roles.label: truth})
    labels = labels.filter(pc.is_valid(truth))
    known_labels = labels.filter(pc.less_equal(labels[TIME], pa.scalar(now, MOMENT)))
    return known_labels, labels.num_rows - known_labels.num_rows
