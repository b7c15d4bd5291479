"""Rows of a feature view as the online store holds them: frames become keys, times and packed values. One way for all writers."""

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_repo.online_store.interface import Row
from feature_repo.online_store.layout import Field, Kind, Layout, Value, key_encoder, struct_code
from feature_repo.sources import TIME
from perennial.errors import DataError


def pack(layout: Layout, frame: pd.DataFrame) -> list[Row]:
    """Key, time and value of each row of a frame, ascending by time.

    Args:
        layout: of the view.
        frame: join keys, `event_timestamp` (UTC), every field of the view.

    Raises:
        DataError: a column is missing.
    """
    check_columns(layout, frame)
    encode = key_encoder(layout.join_keys)
    key_bytes: dict[tuple[Value, ...], bytes] = {}
    keys = []
    for key in zip(*(plain(frame[field.name], field) for field in layout.join_keys), strict=True):
        if key not in key_bytes:
            key_bytes[key] = encode(key)
        keys.append(key_bytes[key])
    times = microseconds(frame[TIME])
    values = packed_values(layout, frame)
    order = np.argsort(times, kind="stable").tolist()
    moments = times.tolist()
    return [(keys[index], moments[index], values[index]) for index in order]


def packed_values(layout: Layout, frame: pd.DataFrame) -> list[bytes]:
    """`layout.encode` of each row, a column at a time.

    >>> from feature_repo.online_store.layout import Field
    >>> layout = Layout(view="v", join_keys=(), fields=(Field(name="a", kind="float64"), Field(name="b", kind="int32")))
    >>> packed_values(layout, pd.DataFrame({"a": [0.5, None], "b": [None, 7]})) == [
    ...     layout.encode([0.5, None]), layout.encode([None, 7])]
    True
    """
    columns = [plain(frame[field.name], field) for field in layout.fields]
    if not len(frame):
        return []
    if any(field.kind == "string" for field in layout.fields):
        return [layout.encode(row) for row in zip(*columns, strict=True)]
    count = len(frame)
    nulls = np.array([[value is None for value in column] for column in columns], dtype=bool).T
    parts: list[NDArray[np.uint8]] = [
        np.tile(np.frombuffer(layout.digest, dtype=np.uint8), (count, 1)),
        np.packbits(nulls, axis=1, bitorder="little"),
    ]
    for field, column in zip(layout.fields, columns, strict=True):
        filled = [0 if value is None else value for value in column]
        bytes_of_column = struct.pack(f"<{count}{struct_code(field.kind)}", *filled)
        parts.append(np.frombuffer(bytes_of_column, dtype=np.uint8).reshape(count, -1))
    rows = np.concatenate(parts, axis=1)
    size, data = rows.shape[1], rows.tobytes()
    return [data[begin : begin + size] for begin in range(0, len(data), size)]


def check_columns(layout: Layout, frame: pd.DataFrame) -> None:
    """Nothing, where a frame has every column of a view.

    Raises:
        DataError: a column is missing.
    """
    missing = [name for name in (*(field.name for field in (*layout.join_keys, *layout.fields)), TIME) if name not in frame]
    if missing:
        raise DataError(
            f"view {layout.view!r}: the frame has no column {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}"
        )


CONVERT: dict[Kind, Callable[[Any], Value]] = {
    "float32": float,
    "float64": float,
    "int32": int,
    "int64": int,
    "bool": bool,
    "string": str,
    "timestamp": lambda time: int(time) // 1_000_000,
}


def plain(column: "pd.Series[Any]", field: Field) -> list[Value]:
    """A column's values as the store holds them; None where missing.

    >>> plain(pd.Series([1.5, None]), Field(name="x", kind="float64")), plain(pd.Series([1, None]), Field(name="x", kind="int64"))
    ([1.5, None], [1, None])
    """
    values = microseconds(column).tolist() if field.kind == "timestamp" else column.tolist()
    convert = CONVERT[field.kind]
    return [None if missing else convert(value) for value, missing in zip(values, column.isna(), strict=True)]


def microseconds(times: "pd.Series[Any]") -> NDArray[np.int64]:
    """Microseconds since 1970 of a column of times; UTC where they have no zone."""
    aware = pd.to_datetime(times, utc=True).dt.tz_localize(None)
    return aware.to_numpy().astype("datetime64[us]").astype(np.int64)
