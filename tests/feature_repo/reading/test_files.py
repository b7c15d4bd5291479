"""One list of files and one schema for every reader: DuckDB and Arrow give equal tables, from a folder and from a bucket."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from feature_repo.reading.sql import attach, connect, quoted
from feature_repo.sources import files, opened
from perennial.errors import DataError, NotFoundError
from perennial.stores.bucket import Bucket
from tests.servers.s3 import S3

ROWS = 5
Table = dict[str, list[Any]]
START = datetime(2024, 1, 1, tzinfo=UTC)


def write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(table, path)


def by_arrow(source: str) -> Table:
    with opened(source) as dataset:
        return sorted_rows(dataset.to_table())


def by_duckdb(source: str) -> Table:
    with connect(1) as database:
        attach(database, source)
        return sorted_rows(database.execute(f"select * from {quoted(source)}").to_arrow_table())


def sorted_rows(table: pa.Table) -> Table:
    """Columns by name; rows in the order of their text, the readers promising none."""
    columns = {name: [plain(value) for value in table.column(name).to_pylist()] for name in sorted(table.column_names)}
    rows = sorted(zip(*columns.values(), strict=True), key=repr)
    return {name: [row[place] for row in rows] for place, name in enumerate(columns)}


def plain(value: object) -> object:
    return value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo else value


def everywhere(folder: Path, s3: S3, *, name: str = "source.parquet") -> Iterator[str]:
    """The source in its folder, and the same files in a bucket."""
    yield str(folder / name)
    bucket = Bucket(s3.bucket())
    for path in sorted((folder / name).rglob("*")):
        if path.is_file():
            bucket.put(f"{name}/{path.relative_to(folder / name)}", path)
    yield f"{bucket.uri}/{name}"


@dataclass(frozen=True)
class Kind:
    """How a column may be stored in one file, and what it holds."""

    type: pa.DataType
    value: Callable[[random.Random], Any]


MOMENT = pa.timestamp("us", "UTC")
KINDS: dict[str, Sequence[Kind]] = {
    "whole": [
        Kind(pa.int8(), lambda r: r.randint(-128, 127)),
        Kind(pa.int16(), lambda r: r.randint(-(2**15), 2**15 - 1)),
        Kind(pa.int32(), lambda r: r.randint(-(2**31), 2**31 - 1)),
        Kind(pa.int64(), lambda r: r.choice([2**63 - 1, -(2**63), 0, r.randint(-(2**60), 2**60)])),
        Kind(pa.uint8(), lambda r: r.randint(0, 255)),
        Kind(pa.uint32(), lambda r: r.randint(0, 2**32 - 1)),
    ],
    "number": [
        Kind(pa.float16(), lambda r: np.float16(r.choice([0.5, -1.25, 3.0]))),
        Kind(pa.float32(), lambda r: float(np.float32(r.random()))),
        Kind(pa.float64(), lambda r: r.choice([r.random(), float("inf"), -0.0])),
        Kind(pa.int32(), lambda r: r.randint(-(2**31), 2**31 - 1)),
        Kind(pa.int64(), lambda r: r.choice([2**53, -(2**53), r.randint(-(2**50), 2**50)])),
    ],
    "text": [
        Kind(pa.string(), lambda r: r.choice(["007", "", "é", "🙂", "NULL", "a'b", None])),
        Kind(pa.large_string(), lambda r: r.choice(["007", "x"])),
        Kind(pa.dictionary(pa.int8(), pa.string()), lambda r: r.choice(["press", "lathe"])),
        Kind(pa.dictionary(pa.int32(), pa.large_string()), lambda r: r.choice(["press", "lathe"])),
    ],
    "truth": [Kind(pa.bool_(), lambda r: r.choice([True, False, None]))],
    "moment": [Kind(MOMENT, lambda r: START + timedelta(microseconds=r.randint(0, 10**12)))],
    "parts": [Kind(pa.list_(pa.int64()), lambda r: [r.randint(0, 9)] * r.randint(0, 3))],
}
FOLDERS = ("", "day=7/", "load=1/day=2/", "a b/", "[x]/", "*/", "é#%20/", "it's/", "?/")
LEFTOVERS = ("_temporary/0/part-0.parquet", ".part-0.parquet", "_SUCCESS", "part-0.parquet.crc", ".hidden/a.parquet", "notes.txt")


def drawn(seed: int, folder: Path) -> Table:
    """Files drawn by a seed below a folder, among what other writers leave; returns the rows that a reader must find."""
    draw = random.Random(seed)
    names = draw.sample(list(KINDS), draw.randint(2, len(KINDS)))
    expected: Table = {name: [] for name in names}
    for number in range(draw.randint(1, 5)):
        columns: dict[str, pa.Array] = {}
        rows = draw.choice([0, ROWS, ROWS])
        for name in draw.sample(names, len(names)):
            kind, state = draw.choice(KINDS[name]), draw.choice(["held", "held", "held", "null", "absent"])
            if rows == 0 and draw.random() < 0.5:
                kind = draw.choice(KINDS["text"])  # a column without rows is of any type
            values = [kind.value(draw) if state == "held" else None for _ in range(rows)]
            if state != "absent" or not columns:
                columns[name] = pa.array(values, pa.null() if state == "null" else kind.type)
            expected[name] += [float(value) if isinstance(value, np.floating) else value for value in values]
        write(folder / f"{draw.choice(FOLDERS)}part-{number}.parquet", pa.table(columns))
    for leftover in draw.sample(LEFTOVERS, 3):
        write(folder / leftover, pa.table({name: pa.array([99]) for name in names}))
    return expected


@pytest.mark.parametrize("seed", range(60))
def test_all_readers_find_the_same_rows_in_any_folder(tmp_path: Path, s3: S3, seed: int) -> None:
    expected = drawn(seed, tmp_path / "source.parquet")
    rows = len(next(iter(expected.values())))
    found = [read(source) for source in everywhere(tmp_path, s3) for read in (by_arrow, by_duckdb)]
    assert all(table == found[0] for table in found[1:])
    if rows:
        # A column that no file with rows has is nobody's.
        wanted = {name: values for name, values in sorted(expected.items()) if name in found[0]}
        if any(
            isinstance(value, float) for value in found[0].get("number", ())
        ):  # whole numbers beside fractions, all of them exact
            wanted["number"] = [None if value is None else float(value) for value in wanted["number"]]
        assert sorted(map(repr, zip(*wanted.values(), strict=True))) == sorted(map(repr, zip(*found[0].values(), strict=True)))
        assert all(value is None for name in expected.keys() - wanted.keys() for value in expected[name])


@pytest.mark.parametrize(
    "name", ["plain", "load=7", "[load]", "l*d", "l?d", "50%", "a#b", "it's", "a b", "ü文", "back\\slash", "\\[b]"]
)
def test_a_sign_in_the_path_changes_no_value(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    write(folder / "one.parquet", pa.table({"load": [1, 2]}))
    write(tmp_path / "lord" / "one.parquet", pa.table({"load": [9, 9]}))
    write(folder / "many.parquet" / "part-[0].parquet", pa.table({"load": [1]}))
    write(folder / "many.parquet" / "part-0.parquet", pa.table({"load": [2]}))
    for source in ("one.parquet", "many.parquet"):
        assert by_arrow(str(folder / source)) == by_duckdb(str(folder / source)) == {"load": [1, 2]}


REFUSED: dict[str, tuple[Sequence[pa.Table], str]] = {
    "text beside number": (
        [pa.table({"a": ["x"]}), pa.table({"a": [1]})],
        "column 'a' is string in part-0.parquet and int64 in part-1.parquet; no type holds both without changing a value",
    ),
    "number beyond 2**53 beside fractions": (
        [pa.table({"a": [2**53 + 1]}), pa.table({"a": [0.5]})],
        "column 'a' is int64 in part-0.parquet and float64 in another file, and holds 9007199254740993",
    ),
    "unsigned beside signed": (
        [pa.table({"a": pa.array([2**64 - 1], pa.uint64())}), pa.table({"a": [-1]})],
        "column 'a' is uint64 in part-0.parquet and int64 in part-1.parquet",
    ),
    "naive beside aware": (
        [pa.table({"a": pa.array([START], MOMENT)}), pa.table({"a": pa.array([START], pa.timestamp("us"))})],
        r"column 'a' is timestamp\[us, tz=UTC\] in part-0.parquet and timestamp\[us\] in part-1.parquet",
    ),
    "decimals of two scales": (
        [pa.table({"a": [Decimal("1.5")]}), pa.table({"a": [Decimal("1.25")]})],
        r"column 'a' is decimal128\(2, 1\) in part-0.parquet and decimal128\(3, 2\) in part-1.parquet",
    ),
    "list beside number": (
        [pa.table({"a": [[1]]}), pa.table({"a": [1]})],
        "column 'a' is list<element: int64> in part-0.parquet",
    ),
    "names but for case": ([pa.table({"a": [1]}), pa.table({"A": [1]})], "the columns 'a' and 'A' differ only in case"),
    "one name twice": (
        [pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"])],
        "part-0.parquet has the column 'a' twice",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_files_that_disagree_are_refused_by_name(tmp_path: Path, s3: S3, case: str) -> None:
    tables, message = REFUSED[case]
    for number, table in enumerate(tables):
        write(tmp_path / "source.parquet" / f"part-{number}.parquet", table)
    for source in everywhere(tmp_path, s3):
        for read in (by_arrow, by_duckdb):
            with pytest.raises(DataError, match=f"^{source}: {message}"):
                read(source)


def test_a_folder_without_a_part_of_a_source_is_not_found(tmp_path: Path, s3: S3) -> None:
    write(tmp_path / "source.parquet" / "_temporary" / "part-0.parquet", pa.table({"a": [1]}))
    for source in everywhere(tmp_path, s3):
        with pytest.raises(NotFoundError, match=r"source\.parquet: no \*\.parquet file in the folder"), opened(source):
            pass


def test_a_column_that_some_files_lack_is_named(tmp_path: Path) -> None:
    write(tmp_path / "s" / "a.parquet", pa.table({"x": [1], "y": [1.0]}))
    write(tmp_path / "s" / "b.parquet", pa.table({"x": [2]}))
    write(tmp_path / "s" / "c.parquet", pa.table({"x": pa.array([], pa.int64())}))
    write(tmp_path / "s" / "d.parquet", pa.table({"x": [3], "y": pa.nulls(1)}))
    with files(str(tmp_path / "s")) as found:
        assert found.lacking == {"y": ("b.parquet", "d.parquet")}


def test_an_old_timestamp_of_spark_is_not_taken_for_microseconds(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pa.table({"t": pa.array([START], MOMENT)}), path, use_deprecated_int96_timestamps=True)
    with files(str(path)) as found:
        assert found.schema.field("t").type == pa.timestamp("ns")
