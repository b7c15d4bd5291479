"""The types that columns of a source may have, as Arrow names them; no value is looked at, and no engine asked.

Monitoring asks the same of labels that training does. What must be true of the rows belongs to `source_checks`.
"""

import pyarrow as pa

from feature_repo.online_store.layout import Kind
from perennial.errors import DataError


def check_type(path: str, name: str, found: pa.DataType, kind: Kind) -> None:
    """A column of a source has the type that is expected of it.

    Args:
        path: of the source, or its URI.
        name: of the column.
        found: its type.
        kind: the expected one.

    Raises:
        DataError: it has not.
    """
    if not has_kind(found, kind):
        hint = "; write it as timestamp in microseconds, UTC (pandas: coerce_timestamps='us')" if kind == "timestamp" else ""
        raise DataError(f"{path}: column {name!r} is {found}, expected {kind}{hint or '; write it so, or change spec or view'}")


def identifier_kind(found: pa.DataType) -> Kind:
    """The type that is expected of a column of ids: text where it is one, else whole numbers.

    >>> identifier_kind(pa.string()), identifier_kind(pa.int32()), identifier_kind(pa.float64())
    ('string', 'int64', 'int64')
    """
    return "string" if has_kind(found, "string") else "int64"


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
