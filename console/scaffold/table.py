"""A table from a file, and its columns as sources need them: times in UTC, labels that are true or false, plain types."""

from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from perennial.errors import DataError, NotFoundError, PlatformError
from perennial.spec.features import DType

MOMENT = pa.timestamp("us", "UTC")
"""The type of every time in a source."""
EXAMPLES = 5
"""Values that a message shows."""
WORDS = {
    "true": True,
    "false": False,
    "yes": True,
    "no": False,
    "y": True,
    "n": False,
    "t": True,
    "f": False,
    "1": True,
    "0": False,
}
"""Texts that say whether something came true."""


def read_table(path: Path) -> pa.Table:
    """The table of a Parquet or CSV file.

    Raises:
        NotFoundError: there is no such file.
        DataError: it is neither, is empty, or has a column twice.
        PlatformError: it cannot be read.
    """
    if not path.is_file():
        raise NotFoundError(f"{path}: no such file; allowed: one .parquet or .csv file")
    try:
        if path.suffix == ".parquet":
            table = pa.parquet.ParquetFile(path).read()
        elif path.suffix == ".csv":
            table = pa.csv.read_csv(path, convert_options=pa.csv.ConvertOptions(strings_can_be_null=True))
        else:
            raise DataError(f"{path}: its name ends in {path.suffix or 'nothing'!r}; allowed: .parquet, .csv")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        message = str(error).splitlines()[0]
        raise DataError(
            f"{path}: not a {path.suffix[1:]} file: {message}; allowed: one table, its names in the header"
        ) from error
    except OSError as error:
        raise PlatformError(f"{path}: cannot be read: {error}") from error
    repeated = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if repeated:
        raise DataError(f"{path}: the column {', '.join(repeated)} is there twice; allowed: each name once")
    if table.num_rows == 0:
        raise DataError(f"{path}: no row; allowed: one row for each time that the question was, or would have been, asked")
    return table


def shown(values: pa.ChunkedArray) -> str:
    """A few values of a column, in a message."""
    return ", ".join(repr(value) for value in values.slice(0, EXAMPLES).to_pylist())


def times(where: str, name: str, column: pa.ChunkedArray, now: datetime) -> tuple[pa.ChunkedArray, bool]:
    """The times of a column in UTC, and whether they named no zone, so that UTC is assumed.

    Args:
        where: the table, in messages.
        name: of the column.
        column: timestamps, dates, or ISO 8601 texts.
        now: the real time; nothing may be later.

    Raises:
        DataError: it holds something else, a null, or the future.
    """
    column_type = column.type
    if _is_text(column_type):
        column = _parsed(where, name, column)
    elif not (pa.types.is_timestamp(column_type) or pa.types.is_date(column_type)):
        raise DataError(
            f"{where}: --time {name}: found {column_type}: {shown(column)}; allowed: timestamps, or texts such as "
            f"2024-01-31T12:00:00Z; write them so (pandas: pd.to_datetime(…, unit='s', utc=True) for seconds since 1970)"
        )
    is_naive = not (pa.types.is_timestamp(column.type) and column.type.tz)
    if is_naive:
        column = column.cast(pa.timestamp("us"), safe=False)
    moments = column.cast(MOMENT, safe=False)
    if moments.null_count:
        raise DataError(
            f"{where}: --time {name}: {moments.null_count:,} rows have no time; allowed: a time in each row; leave them out"
        )
    later = pc.greater(moments, pa.scalar(now, MOMENT))
    if count := pc.sum(later).as_py():
        raise DataError(
            f"{where}: --time {name}: {count:,} rows lie in the future (it is {now:%Y-%m-%dT%H:%M}Z), as "
            f"{shown(moments.filter(later))}; allowed: what has happened; correct the zone or leave the rows out"
        )
    return moments, is_naive


def _parsed(where: str, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts as timestamps, with the zone UTC where they name zones."""
    for target in (pa.timestamp("us"), MOMENT):
        try:
            return column.cast(target)
        except pa.ArrowInvalid:
            continue
    raise DataError(
        f"{where}: --time {name}: not all texts are times: {shown(pc.unique(column))}; allowed: all as 2024-01-31T12:00:00Z, "
        "or all without a zone, which is read as UTC"
    )


def truths(where: str, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The labels of a column as true, false, or null where a label is not known.

    Raises:
        DataError: it does not hold two values that say true and false.
    """
    allowed = "allowed: true and false, 1 and 0, or yes and no; empty where it is not known"
    words = [None if value is None else _word(value) for value in column.to_pylist()]
    values = {value for value in words if value is not None}
    if unknown := sorted(values - set(WORDS)):
        kinds = ", ".join(unknown[:EXAMPLES]) + (", …" if len(unknown) > EXAMPLES else "")
        raise DataError(f"{where}: --label {name}: found {kinds} among {len(values):,} different values; {allowed}")
    labels = [None if word is None else WORDS[word] for word in words]
    if len({label for label in labels if label is not None}) < 2:
        only = ", ".join(sorted(values)) or "nothing"
        raise DataError(f"{where}: --label {name}: found {only} alone; a model needs both; {allowed}")
    return pa.chunked_array([pa.array(labels, pa.bool_())])


def _word(value: object) -> str:
    """A value as a word: 1.0 is 1, YES is yes.

    >>> _word(1.0), _word("YES "), _word(True), _word(2.5)
    ('1', 'yes', 'true', '2.5')
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip().casefold()


def identified(where: str, option: str, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of ids or keys: whole numbers or texts, none missing.

    Raises:
        DataError: it holds something else.
    """
    column_type = _type_of(column)
    is_text = _is_text(column_type)
    if not is_text and not pa.types.is_integer(column_type):
        raise DataError(
            f"{where}: {option} {name}: found {column_type}: {shown(column)}; allowed: whole numbers or text; write it so "
            "(a float comes of missing values: leave those rows out)"
        )
    if column.null_count:
        raise DataError(
            f"{where}: {option} {name}: {column.null_count:,} rows have none; allowed: one in each row; leave them out"
        )
    return _cast(where, name, column, pa.string() if is_text else pa.int64())


def plain(where: str, name: str, column: pa.ChunkedArray) -> tuple[DType, pa.ChunkedArray]:
    """The type of a column that a model reads, and its values in it. Whole numbers with gaps become floats.

    Raises:
        DataError: it is of no type that a model reads, or holds an infinite number.
    """
    column_type = _type_of(column)
    if pa.types.is_boolean(column_type):
        return "bool", column
    if _is_text(column_type):
        return "string", _cast(where, name, column, pa.string())
    if pa.types.is_integer(column_type) and not column.null_count:
        return "int", _cast(where, name, column, pa.int64())
    if pa.types.is_integer(column_type) or pa.types.is_floating(column_type) or pa.types.is_decimal(column_type):
        numbers = _cast(where, name, column, pa.float64())
        numbers = pc.if_else(pc.fill_null(pc.is_nan(numbers), False), pa.scalar(None, pa.float64()), numbers)
        if infinite := pc.sum(pc.is_inf(numbers)).as_py():
            raise DataError(
                f"{where}: column {name!r}: {infinite:,} values are infinite; allowed: numbers, or empty; correct them"
            )
        return "float", numbers
    raise DataError(
        f"{where}: column {name!r} is {column_type}; allowed: numbers, text, true and false; write it as one of them (for a "
        f"time: the hours since then), or --leave-out {name}"
    )


def _type_of(column: pa.ChunkedArray) -> pa.DataType:
    """The type of a column's values, whether each is written out or named by a dictionary."""
    return column.type.value_type if pa.types.is_dictionary(column.type) else column.type


def _is_text(column_type: pa.DataType) -> bool:
    return bool(pa.types.is_string(column_type) or pa.types.is_large_string(column_type))


def _cast(where: str, name: str, column: pa.ChunkedArray, target: pa.DataType) -> pa.ChunkedArray:
    try:
        return column.cast(target)
    except pa.ArrowInvalid as error:
        raise DataError(
            f"{where}: column {name!r}: {error}; allowed: what fits into {target}; write it so, or as text"
        ) from error
