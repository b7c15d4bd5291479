"""What a model sees: one 2-D object array, columns by position, made by one rule in training and in serving.

Here: the rule for one value (`convert`), for one request (`to_row`) and for a whole frame (`to_matrix`). Not here: which columns
a model has (recipe, contract) and what it does with missing values (estimators).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from perennial.errors import DataError
from perennial.spec.columns import Column
from perennial.spec.features import DType

if TYPE_CHECKING:
    import pandas as pd

LARGEST = 3.4e38
"""Largest number that a model sees; beyond it trees, which compute in 32 bits, refuse the row. It counts as missing."""


def convert(value: object, dtype: DType) -> float | str | None:
    """One value as the model sees it: a string or None (missing), a finite number or NaN (missing).

    Infinite numbers, and those beyond `LARGEST`, count as missing: they must not stop a model from answering.

    Args:
        value: as it stands in a frame or in a request; None, NaN and pandas' missing values count as missing.
        dtype: type of the column.

    Raises:
        DataError: a value of another type.

    >>> convert(3, "int"), convert(True, "bool"), convert(None, "float"), convert("EWR", "string"), convert(None, "string")
    (3.0, 1.0, nan, 'EWR', None)
    >>> convert("3", "int")
    Traceback (most recent call last):
        ...
    perennial.errors.DataError: found '3' (str) where a column of type int has numbers
    """
    if is_missing(value):
        return None if dtype == "string" else math.nan
    if dtype == "string":
        if isinstance(value, str):
            return str(value)
        raise DataError(f"found {value!r} ({type(value).__name__}) where a column of type string has strings")
    if isinstance(value, bool | int | float | np.bool_ | np.number) and not isinstance(value, np.complexfloating):
        try:
            number = float(value)
        except OverflowError:
            return math.nan
        return number if -LARGEST <= number <= LARGEST else math.nan
    raise DataError(f"found {value!r} ({type(value).__name__}) where a column of type {dtype} has numbers")


def is_missing(value: object) -> bool:
    """Whether a value is None, NaN, NaT or pandas' NA.

    >>> is_missing(None), is_missing(float("nan")), is_missing(""), is_missing(0)
    (True, True, False, False)
    """
    if value is None:
        return True
    if isinstance(value, str | bool | int):
        return False
    if isinstance(value, float | np.floating | np.datetime64):
        return bool(value != value)
    return type(value).__name__ in ("NAType", "NaTType")  # pandas' own, without importing pandas


def to_row(values: Mapping[str, object], columns: Sequence[Column]) -> list[float | str | None]:
    """One request as the model sees it: its values in the columns' order; an absent one counts as missing.

    Raises:
        DataError: a value of another type; names the column.

    >>> to_row({"hour": 7}, [Column(name="origin", dtype="string", view=None), Column(name="hour", dtype="int", view=None)])
    [None, 7.0]
    """
    return [_named(values.get(column.name), column) for column in columns]


def to_matrix(frame: pd.DataFrame, columns: Sequence[Column]) -> NDArray[np.object_]:
    """A frame as the model sees it: object array [rows, columns], equal to `convert` of each value.

    Args:
        frame: has every column, in any order.
        columns: the columns, in the order of the matrix.

    Raises:
        DataError: a column is not there or holds values of another type.
    """
    missing_columns = [column.name for column in columns if column.name not in frame]
    if missing_columns:
        raise DataError(f"the frame has no column {', '.join(missing_columns)}; it has {', '.join(map(str, frame.columns))}")
    matrix = np.empty((len(frame), len(columns)), dtype=object)
    for position, column in enumerate(columns):
        series = frame[column.name]
        if column.dtype != "string" and series.dtype.kind in "fiub":
            numbers = series.to_numpy(dtype=np.float64, na_value=np.nan)
            matrix[:, position] = np.where(np.abs(numbers) <= LARGEST, numbers, np.nan)
        else:
            matrix[:, position] = _converted(series.to_numpy(dtype=object), column)
    return matrix


def _converted(values: NDArray[np.object_], column: Column) -> list[float | str | None]:
    """Each value of a column converted; each distinct string only once."""
    cache: dict[str, float | str | None] = {}
    cells: list[float | str | None] = []
    for value in values:
        if value.__class__ is str:
            if value not in cache:
                cache[value] = _named(value, column)
            cells.append(cache[value])
        else:
            cells.append(_named(value, column))
    return cells


def _named(value: object, column: Column) -> float | str | None:
    try:
        return convert(value, column.dtype)
    except DataError as error:
        raise DataError(f"column {column.name}: {error}") from error
