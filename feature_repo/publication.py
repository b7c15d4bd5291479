"""Values of a stretch of time, packed once and written as their times come: what replays publish an hour at a time.

The same bytes as `store.write_online` writes, which packs what it is given anew at each call. Whose time it is, the caller says.
"""

import struct
from bisect import bisect_right
from collections.abc import Mapping
from datetime import datetime
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_repo.database import Row, open_database
from feature_repo.layout import Layout, Value, key_encoder, struct_code
from feature_repo.packed import to_microseconds
from feature_repo.sources import TIME
from feature_repo.store import check_columns, microseconds, plain
from perennial.settings import Settings


class Publication:
    """Rows of several views in the order of their times, and how far they have been written."""

    def __init__(self, settings: Settings, views: list[tuple[Layout, list[Row]]]) -> None:
        """Nothing is written yet.

        Args:
            settings: where the online store is.
            views: layout and packed rows of each view, ascending by time.
        """
        self._settings, self._views = settings, views
        self._times = [[time for _, time, _ in rows] for _, rows in views]
        self._written = [0] * len(views)

    @classmethod
    def prepare(cls, settings: Settings, frames: Mapping[str, pd.DataFrame]) -> Self:
        """The rows of these frames, packed.

        Args:
            settings: where the online store is.
            frames: by applied view: join keys, `event_timestamp` (UTC), every field of the view; rows in any order, of one key
                and time the last one counts.

        Raises:
            NotFoundError: a view was not applied.
            DataError: a column is missing.
        """
        with open_database(settings.online_store, write=False) as database:
            layouts = [database.layout(view) for view in frames]
        return cls(settings, [(layout, pack(layout, frames[layout.view])) for layout in layouts])

    def write_until(self, time: datetime) -> int:
        """The online store holds every row published at `time` or before, written in one transaction; returns how many were new.

        Nothing is lost when it fails: the next call writes the same rows again.

        Raises:
            DataError: a view's layout was changed since the rows were packed.
            PlatformError: the store is locked or cannot be written.
        """
        until = to_microseconds(time)
        ends = [bisect_right(times, until, lo=begin) for times, begin in zip(self._times, self._written, strict=True)]
        count = sum(ends) - sum(self._written)
        if count:
            with open_database(self._settings.online_store) as database:
                for (layout, rows), begin, end in zip(self._views, self._written, ends, strict=True):
                    database.write(layout, rows[begin:end])
        self._written = ends
        return count


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
    known: dict[tuple[Value, ...], bytes] = {}
    keys = []
    for key in zip(*(plain(frame[field.name], field) for field in layout.join_keys), strict=True):
        if key not in known:
            known[key] = encode(key)
        keys.append(known[key])
    times = microseconds(frame[TIME])
    values = packed_values(layout, frame)
    order = np.argsort(times, kind="stable").tolist()
    moments = times.tolist()
    return [(keys[place], moments[place], values[place]) for place in order]


def packed_values(layout: Layout, frame: pd.DataFrame) -> list[bytes]:
    """`layout.encode` of each row, a column at a time.

    >>> from feature_repo.layout import Field
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
