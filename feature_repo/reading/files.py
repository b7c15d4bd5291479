"""The files of a source, and the one schema in which all of them are read. Every reader goes by this list.

One rule, the same for a folder and for a bucket: a source is one Parquet file, or every `*.parquet` below its folder of which no
part of the path begins with `.` or `_`. What other writers leave behind (`_temporary/`, `.part-0.crc`, `_SUCCESS`) is no part of
it. A value that stands in a folder's name only, as in `day=7/`, is not read: columns come from inside the files.

Types are widened where no value can change, and refused otherwise: nothing is cast. How each engine reads the list belongs to
`sources` (Arrow) and `sql` (DuckDB).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.compute
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet

from perennial.errors import DataError, NotFoundError

SUFFIX = ".parquet"
FOOTERS = 8
"""Files whose schema is read at once."""
EXACT = 2**53
"""Up to here a float64 holds every whole number."""


@dataclass(frozen=True)
class Files:
    """What a source consists of."""

    source: str
    """Path or URI, as the user knows it."""
    root: str
    """The same as the file system knows it."""
    filesystem: pyarrow.fs.FileSystem
    own: Mapping[str, pa.Schema]
    """Each file's own schema, by its path; files without rows are left out where another one has rows."""
    rows: int
    """Rows in all of them."""

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns of all files, each in the type in which it is read.

        Raises:
            DataError: two columns cannot be told apart, or a column has types that have no common one.
        """
        self._check_names()
        return pa.schema([pa.field(name, self._type_of(name)) for name in self._names])

    @cached_property
    def dataset(self) -> pyarrow.dataset.Dataset:
        """The rows of all files, for Arrow; nothing is held in memory."""
        return pyarrow.dataset.dataset(
            list(self.own), schema=self.schema, format="parquet", filesystem=self.filesystem, partitioning=None
        )

    @cached_property
    def lacking(self) -> dict[str, tuple[str, ...]]:
        """For each column that some file lacks, or has without any value, the names of these files: it is null there."""
        files_by_column = {
            name: tuple(
                self.name_of(path)
                for path, schema in self.own.items()
                if name not in schema.names or pa.types.is_null(schema.field(name).type)
            )
            for name in self._names
        }
        return {name: files for name, files in files_by_column.items() if 0 < len(files) < len(self.own)}

    def name_of(self, path: str) -> str:
        """A file's path below the source; for a source of one file its name."""
        return PurePosixPath(path).name if path == self.root else path.removeprefix(f"{self.root}/")

    @property
    def partitions(self) -> tuple[str, ...]:
        """Names that stand in folders as `name=value`, sorted."""
        parts = (part for path in self.own for part in PurePosixPath(self.name_of(path)).parts[:-1])
        return tuple(sorted({part.partition("=")[0] for part in parts if "=" in part}))

    @cached_property
    def _names(self) -> list[str]:
        return list(dict.fromkeys(name for schema in self.own.values() for name in schema.names))

    def _check_names(self) -> None:
        for path, schema in self.own.items():
            duplicates = [name for name, count in Counter(schema.names).items() if count > 1]
            if duplicates:
                raise DataError(
                    f"{self.source}: {self.name_of(path)} has the column {duplicates[0]!r} twice; write each column once"
                )
        folded: dict[str, str] = {}
        for name in self._names:
            other = folded.setdefault(name.casefold(), name)
            if other != name:
                raise DataError(
                    f"{self.source}: the columns {other!r} and {name!r} differ only in case, which SQL does not tell apart; "
                    "rename one of them, in all files"
                )

    def _type_of(self, name: str) -> pa.DataType:
        """The type in which a column is read: that of its files, or one that holds every value of them."""
        files: dict[pa.DataType, str] = {}
        for path, schema in self.own.items():
            if name in schema.names:
                files.setdefault(plain(schema.field(name).type), path)
        column_type, where = pa.null(), ""
        for other, path in files.items():
            common = common_type(column_type, other)
            if common is None:
                raise self._mixed(name, column_type, where, other, path)
            column_type, where = common, where if common == column_type else path
        if pa.types.is_float64(column_type):
            self._check_exact(name)
        return column_type

    def _mixed(self, name: str, one: pa.DataType, where: str, other: pa.DataType, path: str) -> DataError:
        return DataError(
            f"{self.source}: column {name!r} is {one} in {self.name_of(where)} and {other} in {self.name_of(path)}; "
            "no type holds both without changing a value: write one type in all files"
        )

    def _check_exact(self, name: str) -> None:
        """No whole number of a column that is read as float64 is changed by it.

        Raises:
            DataError: one lies beyond 2**53.
        """
        for path, schema in self.own.items():
            if name not in schema.names or not pa.types.is_integer(schema.field(name).type):
                continue
            dataset = pyarrow.dataset.dataset([path], format="parquet", filesystem=self.filesystem, partitioning=None)
            bounds = pyarrow.compute.min_max(dataset.to_table(columns=[name]).column(0)).as_py()
            for value in (bounds["min"], bounds["max"]):
                if value is not None and abs(value) > EXACT:
                    raise DataError(
                        f"{self.source}: column {name!r} is {schema.field(name).type} in {self.name_of(path)} and float64 in "
                        f"another file, and holds {value}, which no float64 holds exactly; write one type in all files"
                    )


def listed(source: str, root: str, filesystem: pyarrow.fs.FileSystem) -> Files:
    """The files of a source, each with its own schema.

    Args:
        source: path or URI, for messages.
        root: the same as the file system knows it.
        filesystem: of the machine, or of an object store.

    Raises:
        NotFoundError: there is no such file, or no Parquet file in the folder.
    """
    info = filesystem.get_file_info(root)
    if info.type == pyarrow.fs.FileType.File:
        paths = [root]
    elif info.type == pyarrow.fs.FileType.Directory:
        below = filesystem.get_file_info(pyarrow.fs.FileSelector(root, recursive=True))
        paths = sorted(entry.path for entry in below if entry.type == pyarrow.fs.FileType.File and is_part(entry.path, root))
    else:
        paths = []
    if not paths:
        missing = "no such file" if info.type == pyarrow.fs.FileType.NotFound else f"no *{SUFFIX} file in the folder"
        raise NotFoundError(f"{source}: {missing}; write the source there, or set PERENNIAL_SOURCES to where it is")
    with ThreadPoolExecutor(FOOTERS) as pool:
        footers = list(pool.map(lambda path: _footer(path, filesystem), paths))
    schemas = [(path, schema) for path, (schema, rows) in zip(paths, footers, strict=True) if rows]
    if not schemas:
        schemas = [(paths[0], footers[0][0])]
    return Files(source, root, filesystem, dict(schemas), sum(rows for _, rows in footers))


def is_part(path: str, root: str) -> bool:
    """Whether a file below a source's folder is part of the source.

    >>> [is_part(f"/s/{name}", "/s") for name in ("a.parquet", "day=7/a.parquet", "_temporary/a.parquet", ".a.parquet", "a.crc")]
    [True, True, False, False, False]
    """
    parts = PurePosixPath(path.removeprefix(root).lstrip("/")).parts
    return bool(parts) and parts[-1].endswith(SUFFIX) and not any(part.startswith((".", "_")) for part in parts)


def _footer(path: str, filesystem: pyarrow.fs.FileSystem) -> tuple[pa.Schema, int]:
    with pyarrow.parquet.ParquetFile(path, filesystem=filesystem) as file:
        return file.schema_arrow.remove_metadata(), file.metadata.num_rows


def plain(found: pa.DataType) -> pa.DataType:
    """The type in which a column of one file is read: texts as string, half floats as float32, UTC by one name.

    >>> plain(pa.dictionary(pa.int32(), pa.string())), plain(pa.float16()), plain(pa.timestamp("us", "+00:00"))
    (DataType(string), DataType(float), TimestampType(timestamp[us, tz=UTC]))
    """
    types = pa.types
    if types.is_dictionary(found):
        return plain(found.value_type)
    if types.is_large_string(found) or types.is_string_view(found):
        return pa.string()
    if types.is_float16(found):
        return pa.float32()
    if types.is_timestamp(found) and found.tz in {"+00:00", "Etc/UTC"}:
        return pa.timestamp(found.unit, "UTC")
    return found


def common_type(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type that holds every value of both unchanged; None where there is none, or it depends on more than the types.

    Whole numbers beside float64 are float64: whether each of them is exact there must be looked at.

    >>> common_type(pa.int32(), pa.uint32()), common_type(pa.int64(), pa.float32()), common_type(pa.null(), pa.string())
    (DataType(int64), DataType(double), DataType(string))
    >>> common_type(pa.int64(), pa.string()), common_type(pa.timestamp("us"), pa.timestamp("us", "UTC"))
    (None, None)
    """
    types = pa.types
    if one == other or types.is_null(other):
        return one
    if types.is_null(one):
        return other
    if types.is_integer(one) and types.is_integer(other):
        return None if pa.uint64() in (one, other) else pa.int64()
    numbers = [types.is_integer(column_type) or types.is_floating(column_type) for column_type in (one, other)]
    return pa.float64() if all(numbers) else None


def same(schemas: Mapping[str, pa.Schema]) -> list[tuple[pa.Schema, Sequence[str]]]:
    """Files in groups of equal columns and types, whatever their order."""
    groups: dict[frozenset[tuple[str, pa.DataType]], list[str]] = {}
    for path, schema in schemas.items():
        groups.setdefault(frozenset((field.name, field.type) for field in schema), []).append(path)
    return [(schemas[paths[0]], paths) for paths in groups.values()]


def shown(names: Iterable[str], most: int = 3) -> str:
    """A few names of many.

    >>> shown(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    every = list(names)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")
