"""Training and serving see the same values, by one rule."""

import math
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from perennial.data.matrix import convert, to_matrix, to_row
from perennial.errors import DataError
from perennial.spec.columns import Column
from perennial.spec.features import DType


def column(name: str, dtype: DType) -> Column:
    return Column(name=name, dtype=dtype, view=None)


def same(left: object, right: object) -> bool:
    both_missing = isinstance(left, float) and isinstance(right, float) and math.isnan(left) and math.isnan(right)
    return both_missing or (type(left) is type(right) and left == right)


NUMBERS: list[object] = [
    0,
    1,
    -3,
    2.5,
    True,
    False,
    None,
    math.nan,
    pd.NA,
    pd.NaT,
    math.inf,
    -math.inf,
    1e39,
    -3.4e38,
    np.float32(0.1),
    10**400,
]
STRINGS: list[object] = ["EWR", "", "None", None, math.nan, pd.NA, "ü", np.str_("JFK")]


def test_a_frame_and_a_single_request_give_the_same_values() -> None:
    columns = [column("delay", "float"), column("count", "int"), column("is_new", "bool"), column("origin", "string")]
    rows = [
        {"delay": number, "count": number, "is_new": number, "origin": STRINGS[position % len(STRINGS)]}
        for position, number in enumerate(NUMBERS)
    ]
    matrix = to_matrix(pd.DataFrame(rows, dtype=object), columns)
    for row, values in zip(matrix, rows, strict=True):
        assert all(same(left, right) for left, right in zip(row, to_row(values, columns), strict=True)), values


@pytest.mark.parametrize(
    "series",
    [
        pd.Series([1.5, math.nan, math.inf, 1e39, -0.0]),
        pd.Series([1, 2, None], dtype="Int64"),
        pd.Series([True, False, None], dtype="boolean"),
        pd.Series([1, 2, 3], dtype="int32"),
        pd.Series([True, False]),
        pd.Series([0.1, None], dtype="Float32"),
    ],
    ids=str,
)
def test_every_type_of_pandas_column_gives_what_each_value_gives(series: pd.Series) -> None:
    matrix = to_matrix(pd.DataFrame({"x": series}), [column("x", "float")])
    expected = [convert(value, "float") for value in series]
    assert all(same(left, right) for left, right in zip(matrix[:, 0], expected, strict=True)), (matrix[:, 0], expected)


def test_columns_come_in_the_asked_order_whatever_the_frame_has() -> None:
    frame = pd.DataFrame({"b": [1.0], "unused": ["x"], "a": ["s"]})
    assert to_matrix(frame, [column("a", "string"), column("b", "float")]).tolist() == [["s", 1.0]]


@pytest.mark.parametrize(
    ("values", "dtype", "found"),
    [
        (["7"], "float", "'7' (str) where a column of type float has numbers"),
        ([7], "string", "7 (int) where a column of type string has strings"),
        ([[1.0]], "int", r"[1.0] (list)"),
        ([1 + 2j], "float", "(1+2j) (complex)"),
        ([b"x"], "string", "(bytes)"),
        ([pd.Timestamp("2013-01-01")], "float", "(Timestamp)"),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_column(values: list[object], dtype: DType, found: str) -> None:
    with pytest.raises(DataError) as caught:
        to_matrix(pd.DataFrame({"x": pd.Series(values, dtype=object)}), [column("x", dtype)])
    assert str(caught.value).startswith("column x: found ")
    assert found in str(caught.value)
    with pytest.raises(DataError, match="column x"):
        to_row({"x": values[0]}, [column("x", dtype)])


def test_a_retyped_column_is_refused() -> None:
    with pytest.raises(DataError, match="column x"):
        to_matrix(pd.DataFrame({"x": pd.to_datetime(["2013-01-01"])}), [column("x", "float")])
    with pytest.raises(DataError, match="column x"):
        to_matrix(pd.DataFrame({"x": [1.0, 2.0]}), [column("x", "string")])


def test_a_missing_column_is_named() -> None:
    with pytest.raises(DataError, match="no column y; it has x"):
        to_matrix(pd.DataFrame({"x": [1.0]}), [column("x", "float"), column("y", "float")])


def test_a_categorical_column_gives_strings() -> None:
    frame = pd.DataFrame({"x": pd.Series(["a", None, "b"], dtype="category")})
    assert to_matrix(frame, [column("x", "string")])[:, 0].tolist() == ["a", None, "b"]


def test_a_hundred_thousand_rows_take_less_than_seconds() -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({f"n{number}": random.normal(size=100_000) for number in range(28)})
    names = np.array(["EWR", "JFK", None], dtype=object)
    for number in range(7):
        frame[f"s{number}"] = names[random.integers(0, 3, 100_000)]
    columns = [column(str(name), "string" if str(name).startswith("s") else "float") for name in frame]
    begin = time.process_time()
    assert to_matrix(frame, columns).shape == (100_000, 35)
    assert time.process_time() - begin < 2  # 0.2 s when quiet


@pytest.mark.parametrize("module", ["matrix", "rows"])
def test_serving_can_import_it_without_pandas_and_pyarrow(module: str) -> None:
    code = f"import perennial.data.{module}, sys; print(*{{'pandas', 'pyarrow'}} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.split() == []
