"""Which row of a source an entity row reads: the newest one of its keys at or before its time. On integers, without a loop."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from perennial.errors import DataError

Integers = npt.NDArray[np.int64]
NONE = -1
"""The code of a key that is missing or unknown, and the place of a row that was not found."""


def newest(asked: pa.Table, asked_times: Integers, keys: pa.Table, times: Integers, ttl: int | None = None) -> Integers:
    """For each asked row the place of the newest row with its keys, at or before its time; `NONE` where there is none.

    A row's code and the rank of its time make one integer, so that one binary search finds both. It is below the square of the
    number of rows, which fits for every table that fits in memory.

    Args:
        asked: the key columns of the asked rows; a missing key finds nothing.
        asked_times: their times in microseconds.
        keys: the same columns, in the same order, of the rows that are looked through; without nulls.
        times: the times of these, in microseconds.
        ttl: a row older than this many microseconds is not found.

    Raises:
        DataError: a key has types that cannot be compared.

    >>> keys, times = pa.table({"id": ["a", "a"]}), np.array([7, 5])
    >>> newest(pa.table({"id": ["a", "a", "b", None]}), np.array([9, 4, 9, 9]), keys, times).tolist()
    [0, -1, -1, -1]
    >>> newest(pa.table({"id": ["a", "a"]}), np.array([9, 5]), keys, times, ttl=1).tolist()
    [-1, 1]
    """
    rows = len(times)
    if rows == 0:
        return np.full(len(asked_times), NONE)
    asked_codes, codes = _coded(asked, keys, len(asked_times), rows)
    by_time = np.argsort(times, kind="stable")
    table = np.sort(codes[by_time] * rows + np.arange(rows))
    # An asked row that is older than all rows has rank -1: what is found then has another code.
    ranks = _last_at_most(times[by_time], asked_times)
    positions = _last_at_most(table, asked_codes * rows + ranks)
    code, rank = np.divmod(table[positions], rows)
    candidates = by_time[rank]
    valid = (positions != NONE) & (code == asked_codes)
    if ttl is not None:
        valid &= asked_times - times[candidates] <= ttl
    return np.where(valid, candidates, NONE)


def _last_at_most(values: Integers, asked: Integers) -> Integers:
    """For each asked number the place of the last of the sorted values that is not larger, -1 if all are."""
    # Sorting first is worth it: neighbours then look at the same memory, which is several times as fast.
    order = np.argsort(asked)
    positions = np.empty(len(asked), dtype=np.int64)
    positions[order] = np.searchsorted(values, asked[order], side="right") - 1
    return positions


def _coded(asked: pa.Table, keys: pa.Table, asked_rows: int, rows: int) -> tuple[Integers, Integers]:
    """One number below `rows` for each row of `asked` and of `keys`: the same for the same keys, `NONE` if not among `keys`."""
    asked_codes, codes = np.zeros(asked_rows, dtype=np.int64), np.zeros(rows, dtype=np.int64)
    for index, name in enumerate(asked.column_names):
        asked_column, column = asked.column(index), keys.column(index)
        kind = _common(name, asked_column.type, column.type)
        asked_more, more = _codes_of(asked_column.cast(kind, safe=False), column.cast(kind, safe=False))
        if index == 0:
            asked_codes, codes = asked_more, more
            continue
        pairs = np.where((asked_codes == NONE) | (asked_more == NONE), NONE, asked_codes * rows + asked_more)
        asked_codes, codes = _codes_of(pa.chunked_array([pairs]), pa.chunked_array([codes * rows + more]))
    return asked_codes, codes


def _codes_of(asked: pa.ChunkedArray, keys: pa.ChunkedArray) -> tuple[Integers, Integers]:
    """The codes of one column: the place of the value among the distinct values of `keys`."""
    # In one piece, so that there is one dictionary.
    encoded = keys.combine_chunks().dictionary_encode()
    positions = pyarrow.compute.index_in(asked, value_set=encoded.dictionary, skip_nulls=True).fill_null(NONE)
    return positions.to_numpy().astype(np.int64), encoded.indices.to_numpy().astype(np.int64)


def _common(name: str, asked: pa.DataType, key: pa.DataType) -> pa.DataType:
    """The type in which two columns are compared.

    Raises:
        DataError: there is none.
    """
    plain = [kind.value_type if pa.types.is_dictionary(kind) else kind for kind in (asked, key)]
    try:
        return pa.unify_schemas([pa.schema({name: kind}) for kind in plain], promote_options="permissive").field(0).type
    except pa.ArrowTypeError as error:
        raise DataError(
            f"key {name!r} is {asked} in the entity rows and {key} in the source; give it one type in both"
        ) from error
