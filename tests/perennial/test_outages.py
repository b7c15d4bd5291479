"""A foreign exception is a bug until its type says that a platform failed: real ones of each library, and what each means."""

import errno
import socket
import sqlite3
import urllib.error
from email.message import Message

import duckdb
import kubernetes.client
import obstore.exceptions
import psycopg
import pyarrow as pa
import pytest
import redis.exceptions
import sqlalchemy.exc
import urllib3.exceptions

from perennial.errors import FINAL, DataError, PerennialError, PlatformError, SpecError, UnexpectedError
from perennial.outages import in_words, translated
from pipelines.log import find_error

requests = pytest.importorskip("requests")
with pytest.MonkeyPatch.context() as patch:
    patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")  # read at the first import
    mlflow = pytest.importorskip("mlflow.exceptions")
    databricks_pb2 = pytest.importorskip("mlflow.protos.databricks_pb2")

FAILED: list[BaseException] = [
    TimeoutError("slow"),
    ConnectionRefusedError(111, "Connection refused"),
    ConnectionResetError("reset"),
    BrokenPipeError(32, "Broken pipe"),
    socket.gaierror(-3, "no such host"),
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EDQUOT, "Disk quota exceeded"),
    OSError(errno.EIO, "Input/output error"),
    OSError(errno.EROFS, "Read-only file system"),
    OSError(errno.EMFILE, "Too many open files"),
    PermissionError(errno.EACCES, "Permission denied"),
    sqlite3.OperationalError("database is locked"),
    sqlalchemy.exc.OperationalError("select 1", {}, Exception("server closed the connection")),
    sqlalchemy.exc.TimeoutError("QueuePool limit"),
    psycopg.OperationalError("connection is bad"),
    redis.exceptions.ConnectionError("away"),
    redis.exceptions.TimeoutError("slow"),
    redis.exceptions.BusyLoadingError("loading"),
    urllib3.exceptions.MaxRetryError(None, "/", None),  # type: ignore[arg-type] # the pool is only for its message
    urllib3.exceptions.ReadTimeoutError(None, "/", "slow"),  # type: ignore[arg-type]
    requests.exceptions.ConnectionError("away"),
    requests.exceptions.ReadTimeout("slow"),
    urllib.error.HTTPError("/", 503, "Service Unavailable", Message(), None),
    kubernetes.client.ApiException(status=500, reason="Internal Server Error"),
    kubernetes.client.ApiException(status=429, reason="Too Many Requests"),
    kubernetes.client.ApiException(status=0, reason="no answer"),
    mlflow.MlflowException("away", databricks_pb2.TEMPORARILY_UNAVAILABLE),
    obstore.exceptions.GenericError("away"),
    duckdb.IOException("IO Error: Could not write: No space left on device"),
]
UNFORESEEN: list[BaseException] = [
    ValueError("2"),
    KeyError("amount"),
    TypeError("no"),
    AssertionError(),
    ZeroDivisionError("division by zero"),
    OverflowError("date value out of range"),
    RecursionError("too deep"),
    MemoryError(),
    OSError(errno.EISDIR, "Is a directory"),
    FileNotFoundError(errno.ENOENT, "No such file"),
    sqlalchemy.exc.ProgrammingError("selct", {}, Exception("syntax error")),
    sqlalchemy.exc.IntegrityError("insert", {}, Exception("unique")),
    redis.exceptions.ResponseError("wrong type"),
    requests.exceptions.InvalidURL("no host"),
    urllib.error.HTTPError("/", 404, "Not Found", Message(), None),
    kubernetes.client.ApiException(status=404, reason="Not Found"),
    kubernetes.client.ApiException(status=422, reason="Unprocessable"),
    mlflow.MlflowException("no such thing", databricks_pb2.INVALID_PARAMETER_VALUE),
    obstore.exceptions.InvalidPathError(".."),
    duckdb.ConversionException("Conversion Error: Could not convert string 'x' to INT64"),
    duckdb.CatalogException("Catalog Error: View with name x already exists"),
    pa.ArrowInvalid("out of range"),
]


def shown(error: BaseException) -> str:
    kind = type(error)
    return f"{kind.__module__}.{kind.__qualname__}: {str(error)[:40]}"


@pytest.mark.parametrize("error", FAILED, ids=shown)
def test_an_exception_of_a_platform_may_be_tried_again(error: BaseException) -> None:
    found = translated(error, "perennial train")
    assert type(found) is PlatformError and found.exit_code == 75
    assert str(found).startswith("perennial train: ") and "the same call may work later" in str(found)


@pytest.mark.parametrize("error", UNFORESEEN, ids=shown)
def test_any_other_exception_is_unexpected_and_final(error: BaseException) -> None:
    found = translated(error, "perennial train")
    assert type(found) is UnexpectedError and isinstance(found, FINAL) and found.exit_code == 70
    assert "trying again is useless. Report it with this line" in str(found) and ", Python 3." in str(found)


def test_ours_is_itself() -> None:
    for error in (DataError("empty"), SpecError("wrong"), PlatformError("away")):
        assert translated(error, "x") is error


def test_the_place_is_the_last_line_of_ours() -> None:
    from perennial.spec.read import read_text

    with pytest.raises(TypeError) as raised:
        read_text(7)  # type: ignore[arg-type] # a fault that a check of types would find
    found = str(translated(raised.value, "perennial validate"))
    assert "perennial validate: TypeError: " in found and "(perennial/spec/" in found


TRACE = [
    "06:15:35.500 - INFO - Executing task 'build-dataset'",
    "    Traceback (most recent call last):",
    '      File "/x/site-packages/kfp/dsl/executor_main.py", line 109, in executor_main',
    '      File "/app/feature_repo/dataset.py", line 96, in build',
    '      File "/x/site-packages/pandas/core/frame.py", line 7, in take',
]


@pytest.mark.parametrize(
    ("line", "kind", "said"),
    [
        ("ValueError: 2", UnexpectedError, "build-dataset: ValueError: 2 (feature_repo/dataset.py:96 in build): a bug"),
        ("AssertionError", UnexpectedError, "build-dataset: AssertionError:  (feature_repo/dataset.py:96 in build)"),
        ("OSError: [Errno 28] No space left on device: '/x'", PlatformError, "build-dataset: OSError: [Errno 28] No space"),
        ("OSError: [Errno 21] Is a directory: '/x'", UnexpectedError, "build-dataset: OSError: [Errno 21]"),
        ("requests.exceptions.ReadTimeout: slow", PlatformError, "build-dataset: requests.exceptions.ReadTimeout: slow"),
        ("sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) database is locked", PlatformError, "database is locked"),
        ("kubernetes.client.exceptions.ApiException: (503)", PlatformError, "(503)"),
        ("kubernetes.client.exceptions.ApiException: (404)", UnexpectedError, "(404)"),
        ("perennial.errors.DataError: empty", DataError, "empty"),
    ],
)
def test_a_printed_exception_means_what_it_does_in_the_process(line: str, kind: type[PerennialError], said: str) -> None:
    found = find_error([*TRACE, f"    {line}"])
    assert type(found) is kind and said in str(found)


def test_ours_wins_over_what_is_printed_after_it() -> None:
    later = ["", "    urllib3.exceptions.MaxRetryError: HTTPConnectionPool(host='x'): Max retries exceeded"]
    found = find_error([*TRACE, "    perennial.errors.DataError: orders.parquet: empty", *later])
    assert type(found) is DataError and str(found) == "orders.parquet: empty"
    assert type(find_error([*TRACE, *later])) is PlatformError


def test_without_a_frame_of_ours_the_last_one_is_the_place() -> None:
    found = in_words("train", "ValueError", "2", ['  File "/x/site-packages/numpy/core.py", line 3, in add'])
    assert "(/x/site-packages/numpy/core.py:3 in add)" in str(found)
