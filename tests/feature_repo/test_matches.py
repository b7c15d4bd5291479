"""The newest row at or before a time, against a loop that says the same slowly."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from feature_repo.matches import NONE, newest
from perennial.errors import DataError

EARLIEST = np.iinfo(np.int64).min


def slowly(
    asked: list[tuple[object, ...]], asked_times: list[int], keys: list[tuple[object, ...]], times: list[int], ttl: int | None
) -> list[int]:
    found = []
    for key, at in zip(asked, asked_times, strict=True):
        fits = [
            (time, place)
            for place, (other, time) in enumerate(zip(keys, times, strict=True))
            if other == key and time <= at and (ttl is None or at - time <= ttl)
        ]
        found.append(max(fits)[1] if fits else NONE)
    return found


@pytest.mark.parametrize("ttl", [None, 0, 40])
@pytest.mark.parametrize("columns", [0, 1, 2, 3])
def test_it_equals_the_slow_search(columns: int, ttl: int | None) -> None:
    random = np.random.default_rng(columns)

    def drawn(rows: int, null: bool) -> pa.Table:
        number = pa.array(random.integers(-3, 4, rows), mask=random.random(rows) < 0.1 if null else None)
        words = pa.array(random.choice(["", "a", "b", "é"], rows).tolist())
        more = pa.array(random.integers(0, 3, rows))
        every = {"number": pa.chunked_array([number[: rows // 3], number[rows // 3 :]]), "word": words, "more": more}
        return pa.table(dict(list(every.items())[:columns]))

    asked, keys = drawn(300, null=True), drawn(200, null=False)
    # No two rows of one time, since either would do; before, at and after the rows' times.
    times, asked_times = random.choice(500, 200, replace=False) - 100, random.integers(-150, 500, 300)
    rows_asked, rows = ([tuple(row.values()) for row in table.to_pylist()] for table in (asked, keys))
    if columns == 0:
        rows_asked, rows = [()] * 300, [()] * 200
    expected = slowly(rows_asked, asked_times.tolist(), rows, times.tolist(), ttl)
    assert newest(asked, asked_times, keys, times, ttl).tolist() == expected
    assert len(set(expected)) > 5 or ttl == 0


def test_nothing_is_found_in_nothing() -> None:
    empty = pa.table({"id": pa.array([], pa.int64())})
    none, two = np.array([], dtype=np.int64), pa.table({"id": [1, 2]})
    assert newest(two, np.array([1, 2]), empty, none).tolist() == [NONE, NONE]
    assert newest(empty, none, two, np.array([1, 2])).tolist() == []
    assert newest(empty, none, empty, none, ttl=1).tolist() == []


def test_a_missing_time_finds_nothing() -> None:
    one = pa.table({"id": [1]})
    assert newest(one, np.array([EARLIEST]), one, np.array([5]), ttl=3).tolist() == [NONE]


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        pytest.param(pa.array([1, 2**40], pa.int64()), pa.array([1], pa.int32()), id="wider integer"),
        pytest.param(pa.array([1.0, None]), pa.array([1], pa.int64()), id="integer that pandas made a float for a missing one"),
        pytest.param(pa.array([1.0, 1.5]), pa.array([1], pa.int64()), id="fraction"),
        pytest.param(pa.array([1, 2], pa.uint64()), pa.array([1], pa.int64()), id="unsigned"),
        pytest.param(pa.array(["a", "b"]), pa.array(["a"], pa.large_string()), id="large string"),
        pytest.param(pa.array(["a", "b"]).dictionary_encode(), pa.array(["a"]), id="categories"),
        pytest.param(pa.array(["a", None]), pa.array(["a"]).dictionary_encode(), id="categories in the source"),
        pytest.param(pa.Table.from_pandas(pd.DataFrame({"k": ["a", None]})).column("k"), pa.array(["a"]), id="objects"),
    ],
)
def test_keys_are_compared_by_value(asked: pa.Array, key: pa.Array) -> None:
    assert newest(pa.table({"k": asked}), np.array([5, 5]), pa.table({"k": key}), np.array([5])).tolist() == [0, NONE]


def test_keys_without_a_common_type_are_refused() -> None:
    with pytest.raises(DataError, match="key 'id' is string in the entity rows and int64 in the source; give it one type"):
        newest(pa.table({"id": ["1"]}), np.array([5]), pa.table({"id": [1]}), np.array([5]))
