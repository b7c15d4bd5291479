"""What exceptions mean: those of the installed libraries, made as they are made, and their names as a log prints them."""

import builtins
import errno
import http.client
import inspect
import os
import shutil
import socket
import sqlite3
import ssl
import subprocess
import urllib.error
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from email.message import Message
from pathlib import Path

import duckdb
import feast.errors
import obstore.exceptions
import psycopg.errors
import pyarrow as pa
import pyarrow.dataset
import pytest
import redis.exceptions
import requests  # type: ignore[import-untyped]
import sqlalchemy.exc
import urllib3.exceptions
from kubernetes.client.exceptions import ApiException
from obstore.store import S3Store
from sqlalchemy import NullPool, create_engine, text

from perennial.errors import DataError, FencedError, PerennialError, PlatformError, UnexpectedError
from perennial.outages import RULES, is_outage, place_of, raised_by, says_outage, translated

PORT = 1
"""Of this machine; nothing listens there."""


def caught(work: Callable[[], object]) -> Exception:
    """What a library raises for this work."""
    try:
        work()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def response(status: int) -> requests.Response:
    found = requests.Response()
    found.status_code, found.reason, found.url = status, "so it is", "http://mlflow/api"
    return found


def of_sqlite(work: Callable[[sqlite3.Connection], object]) -> Exception:
    with closing(sqlite3.connect(":memory:")) as connection:
        return caught(lambda: work(connection))


def ask_for_a_missing_table() -> None:
    with create_engine("sqlite://", poolclass=NullPool).connect() as connection:
        connection.execute(text("select * from missing"))


def object_store() -> S3Store:
    return S3Store(
        "b",
        config={"region": "r", "endpoint": f"http://127.0.0.1:{PORT}", "skip_signature": True},
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )


def of_mlflow(text: str, **code: int) -> Exception:
    """An error of MLflow, which reads when it is imported that it must not call home: other tests need it so."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.exceptions import MlflowException

    return MlflowException(text, **code)  # type: ignore[arg-type]


def rest_exception(code: str) -> Exception:
    """An error that MLflow's server answered."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.exceptions import RestException

    return RestException({"error_code": code, "message": "so it is"})  # type: ignore[no-untyped-call]


def http_error(status: int) -> urllib.error.HTTPError:
    return urllib.error.HTTPError("http://mlflow", status, "so it is", Message(), None)


OUTAGES: dict[str, Callable[[], Exception]] = {
    "timeout": lambda: TimeoutError("timed out"),
    "connection refused": lambda: caught(lambda: socket.create_connection(("127.0.0.1", PORT), 1)),
    "connection reset": lambda: ConnectionResetError(errno.ECONNRESET, "reset"),
    "broken pipe": lambda: BrokenPipeError(errno.EPIPE, "broken"),
    "name not found": lambda: socket.gaierror(-2, "Name or service not known"),
    "certificate": lambda: ssl.SSLCertVerificationError(1, "certificate verify failed"),
    "permission": lambda: PermissionError(errno.EACCES, "Permission denied", "/state/ledger.db"),
    **{
        f"disk {errno.errorcode[number]}": lambda number=number: OSError(number, "so it is", "/state/x")  # type: ignore[misc]
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ESTALE)
    },
    "disk full, of several files": lambda: shutil.Error([("a", "b", "[Errno 28] No space left on device")]),
    "memory": lambda: MemoryError(),
    "killed worker": lambda: BrokenProcessPool("a child died"),
    "command without end": lambda: subprocess.TimeoutExpired("pg_dump", 10),
    "half an answer": lambda: http.client.IncompleteRead(b"x"),
    "closed without answer": lambda: http.client.RemoteDisconnected("closed"),
    "urllib 503": lambda: http_error(503),
    "urllib refused": lambda: urllib.error.URLError(ConnectionRefusedError(111, "refused")),
    "duckdb full disk": lambda: caught(
        lambda: duckdb.sql("copy (select range i from range(3000000)) to '/dev/full' (format csv)")
    ),
    "duckdb memory": lambda: caught(
        lambda: (
            duckdb.connect(config={"memory_limit": "5MB", "temp_directory": "", "threads": 1})
            .execute("select list(i) from range(5000000) t(i)")
            .fetchall()
        )
    ),
    "duckdb over Arrow": lambda: duckdb.InvalidInputException("OSError: When reading: AWS Error NETWORK_CONNECTION during GET"),
    "arrow object store": lambda: OSError("When getting information: AWS Error SLOW_DOWN during HeadObject operation: x"),
    "arrow memory": lambda: pa.ArrowMemoryError("malloc of size 9 failed"),
    "sqlite locked": lambda: sqlite3.OperationalError("database is locked"),
    "sqlite full": lambda: sqlite3.OperationalError("database or disk is full"),
    "sqlite folder": lambda: caught(lambda: sqlite3.connect("/nowhere/ledger.db")),
    "sqlite damaged": lambda: sqlite3.DatabaseError("database disk image is malformed"),
    "sqlalchemy on sqlite": lambda: caught(lambda: create_engine("sqlite:////nowhere/ledger.db").connect()),
    "sqlalchemy on postgresql": lambda: caught(
        lambda: create_engine(f"postgresql+psycopg://me@127.0.0.1:{PORT}/ledger").connect()
    ),
    "sqlalchemy pool": lambda: sqlalchemy.exc.TimeoutError("QueuePool limit of size 5 reached"),
    "sqlalchemy interface": lambda: sqlalchemy.exc.InterfaceError(
        "select 1", {}, psycopg.OperationalError("the connection is closed")
    ),
    "psycopg refused": lambda: caught(lambda: psycopg.connect(f"postgresql://me@127.0.0.1:{PORT}/x")),
    "psycopg lock": lambda: psycopg.errors.LockNotAvailable("canceling statement due to lock timeout"),
    "psycopg deadlock": lambda: psycopg.errors.DeadlockDetected("deadlock detected"),
    "psycopg shutdown": lambda: psycopg.errors.AdminShutdown("terminating connection"),
    "psycopg full": lambda: psycopg.errors.DiskFull("could not extend file"),
    "psycopg standby": lambda: psycopg.errors.ReadOnlySqlTransaction("cannot execute INSERT"),
    "redis refused": lambda: caught(lambda: redis.Redis(port=PORT).ping()),
    "redis timeout": lambda: redis.exceptions.TimeoutError("Timeout reading from socket"),
    "redis loading": lambda: redis.exceptions.BusyLoadingError("Redis is loading the dataset in memory"),
    "redis disk": lambda: redis.exceptions.ResponseError("MISCONF Redis is configured to save RDB snapshots, but cannot"),
    "redis full": lambda: redis.exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'"),
    "obstore refused": lambda: caught(lambda: object_store().get("x")),
    "obstore forbidden": lambda: obstore.exceptions.PermissionDeniedError("403"),
    "requests refused": lambda: caught(lambda: requests.get(f"http://127.0.0.1:{PORT}", timeout=1)),
    "requests timeout": lambda: requests.exceptions.ReadTimeout("read timed out"),
    "requests 503": lambda: caught(response(503).raise_for_status),
    "requests 429": lambda: caught(response(429).raise_for_status),
    "urllib3 refused": lambda: caught(lambda: urllib3.PoolManager(retries=0).request("GET", f"http://127.0.0.1:{PORT}")),
    "urllib3 protocol": lambda: urllib3.exceptions.ProtocolError("Connection aborted."),
    "mlflow busy": lambda: of_mlflow("database is locked", error_code=2),
    "mlflow 5xx": lambda: rest_exception("INTERNAL_ERROR"),
    "mlflow away": lambda: of_mlflow("API request to http://mlflow/api failed with exception Max retries exceeded"),
    "mlflow 502": lambda: of_mlflow("API request to endpoint /api failed with error code 502 != 200. Response body: ''"),
    "kubernetes 503": lambda: ApiException(status=503, reason="Service Unavailable"),
    "kubernetes 429": lambda: ApiException(status=429, reason="Too Many Requests"),
    "kubernetes unreachable": lambda: ApiException(status=0, reason="SSLError"),
}
"""A platform failed."""
BUGS: dict[str, Callable[[], Exception]] = {
    "value": lambda: caught(lambda: int("x")),
    "key": lambda: KeyError("amount"),
    "type": lambda: caught(lambda: len(3)),  # type: ignore[arg-type]
    "assertion": lambda: AssertionError(),
    "recursion": lambda: RecursionError("maximum recursion depth exceeded"),
    "unicode": lambda: caught(lambda: b"\xff".decode()),
    "file not there": lambda: caught(lambda: Path("/nowhere").read_bytes()),
    "folder for a file": lambda: caught(lambda: Path("/").read_bytes()),
    "no text with it": lambda: OSError(),
    "error that names another": lambda: ValueError("a connection timed out, said the row; disk full"),
    "duckdb conversion": lambda: caught(lambda: duckdb.sql("select 'x'::integer").fetchall()),
    "duckdb syntax": lambda: caught(lambda: duckdb.sql("selec 1")),
    "duckdb file not there": lambda: caught(lambda: duckdb.sql("select * from read_parquet('/nowhere.parquet')")),
    "duckdb internal": lambda: duckdb.InternalException("INTERNAL Error: assertion failed"),
    "arrow value": lambda: caught(lambda: pa.array(["x"]).cast(pa.int64())),
    "arrow type": lambda: pa.ArrowTypeError("Expected bytes"),
    "arrow thrift": lambda: OSError("Couldn't deserialize thrift: TProtocolException: Invalid data"),
    "sqlite table": lambda: of_sqlite(lambda found: found.execute("select * from missing")),
    "sqlite syntax": lambda: of_sqlite(lambda found: found.execute("selec 1")),
    "sqlite binding": lambda: of_sqlite(lambda found: found.execute("select ?", (object(),))),
    "sqlalchemy table": lambda: caught(ask_for_a_missing_table),
    "sqlalchemy integrity": lambda: sqlalchemy.exc.IntegrityError("insert", {}, sqlite3.IntegrityError("UNIQUE failed")),
    "sqlalchemy argument": lambda: sqlalchemy.exc.ArgumentError("Could not parse URL"),
    "sqlalchemy programming": lambda: sqlalchemy.exc.ProgrammingError("x", {}, psycopg.errors.UndefinedColumn("no such column")),
    "psycopg syntax": lambda: psycopg.errors.SyntaxError("syntax error at or near"),
    "psycopg table": lambda: psycopg.errors.UndefinedTable("relation does not exist"),
    "psycopg range": lambda: psycopg.errors.NumericValueOutOfRange("bigint out of range"),
    "redis type": lambda: redis.exceptions.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
    "redis data": lambda: redis.exceptions.DataError("Invalid input of type: 'list'"),
    "obstore path": lambda: obstore.exceptions.InvalidPathError("illegal character"),
    "requests URL": lambda: caught(lambda: requests.get("http://", timeout=1)),
    "requests 404": lambda: caught(response(404).raise_for_status),
    "requests JSON": lambda: requests.exceptions.JSONDecodeError("Expecting value", "", 0),
    "urllib 400": lambda: http_error(400),
    "urllib scheme": lambda: urllib.error.URLError("unknown url type: htp"),
    "urllib3 URL": lambda: urllib3.exceptions.LocationParseError("x"),
    "mlflow parameter": lambda: of_mlflow("Invalid value 'x' for parameter 'key'", error_code=1000),
    "mlflow exists": lambda: rest_exception("RESOURCE_ALREADY_EXISTS"),
    "kubernetes 400": lambda: ApiException(status=400, reason="Bad Request"),
    "kubernetes 422": lambda: ApiException(status=422, reason="Unprocessable Entity"),
    "feast view": lambda: feast.errors.FeatureViewNotFoundException("account", "shop"),  # type: ignore[no-untyped-call]
    "feast columns": lambda: feast.errors.RegistryInferenceFailure("FeatureView", "no columns"),
}
"""A bug, or a fault of the data."""


@pytest.mark.parametrize("made", OUTAGES.values(), ids=OUTAGES)
def test_what_says_that_a_platform_failed_may_work_later(made: Callable[[], Exception]) -> None:
    error = translated(made(), "train")
    assert (type(error), error.exit_code) == (PlatformError, 75), error
    assert str(error).startswith("train: ")
    assert str(error).endswith("the same call may work later")


@pytest.mark.parametrize("made", BUGS.values(), ids=BUGS)
def test_everything_else_is_a_bug_or_a_fault_of_the_data(made: Callable[[], Exception]) -> None:
    found = made()
    error = translated(found, "train")
    assert (type(error), error.exit_code) == (UnexpectedError, 70), error
    assert str(error).startswith(f"train: {printed(found)[0]}")
    assert "trying again is useless" in str(error)
    assert "\n" not in str(error)


def printed(error: Exception) -> tuple[str, str]:
    """Name and text of an exception, as the last line of its trace has them."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return name, str(error).partition("\n")[0]


UNPRINTED = {"mlflow busy"}
"""Whose code stands in an attribute, and not in what is printed."""


@pytest.mark.parametrize(
    ("made", "expected"),
    [(made, True) for name, made in OUTAGES.items() if name not in UNPRINTED] + [(made, False) for made in BUGS.values()],
    ids=[name for name in OUTAGES if name not in UNPRINTED] + list(BUGS),
)
def test_a_printed_name_means_the_same_as_the_exception_itself(made: Callable[[], Exception], expected: bool) -> None:
    assert says_outage(*printed(made())) is expected


@pytest.mark.parametrize("error", [DataError("orders.parquet: empty"), FencedError("taken"), PlatformError("locked")])
def test_an_error_of_ours_stays_what_it_is(error: PerennialError) -> None:
    assert translated(error, "train") is error


def test_what_was_raised_from_an_outage_is_one_and_what_was_raised_beside_one_is_not() -> None:
    from_one, beside = ValueError("could not load"), ValueError("could not load")
    from_one.__cause__ = TimeoutError("timed out")
    beside.__context__ = TimeoutError("timed out")
    assert (is_outage(from_one), is_outage(beside)) == (True, False)


def test_the_message_names_type_place_and_versions() -> None:
    error = caught(lambda: place_of(3))  # type: ignore[arg-type]
    said = str(translated(error, "features apply", "this line"))
    assert "features apply: TypeError: 'int' object is not iterable (perennial/outages.py, line " in said
    assert ", in place_of)" in said
    assert "To report it, send this line, and that it was Perennial " in said
    assert " on Python 3." in said


LIBRARIES = (builtins, socket, ssl, http.client, sqlite3, sqlalchemy.exc, psycopg.errors, redis.exceptions, requests.exceptions)


def test_subclasses_of_what_always_means_an_outage_are_listed_for_the_logs_that_print_them() -> None:
    """An exception at hand is known by its base classes, a printed one only by its own name."""
    always = {name for name, rule in RULES.items() if not rule.pattern and not name.startswith("psycopg")}
    missing = []
    for library in (*LIBRARIES, urllib3.exceptions):
        for kind in vars(library).values():
            if not (inspect.isclass(kind) and issubclass(kind, BaseException) and kind.__module__ == library.__name__):
                continue
            names = {f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__}
            own = f"{kind.__module__}.{kind.__qualname__}"
            if names & always and own not in always:
                missing.append(own)
    assert missing == ["ssl.SSLWantReadError", "ssl.SSLWantWriteError", "urllib3.exceptions.ResponseNotChunked"], "not outages"


STATES = ("08", "40", "53", "57", "58")
"""Classes of SQL states: connection, rollback, resources, intervention, system."""


def test_every_state_of_postgresql_s_failures_is_listed() -> None:
    found = [kind for kind in vars(psycopg.errors).values() if inspect.isclass(kind)]
    wanted = {
        kind.__qualname__ for kind in found if issubclass(kind, psycopg.OperationalError) and str(kind.sqlstate)[:2] in STATES
    }
    assert len(wanted) > 20
    assert [name for name in sorted(wanted) if f"psycopg.errors.{name}" not in RULES] == []


def test_who_raised_an_exception_is_known_by_its_last_place(tmp_path: Path) -> None:
    by_arrow = caught(lambda: pyarrow.dataset.dataset(str(tmp_path / "nothing")))
    from_cython = caught(lambda: pa.array(["x"], pa.int64()))
    by_caller = caught(lambda: (tmp_path / "nothing").read_bytes())
    assert [raised_by(error, "pyarrow") for error in (by_arrow, from_cython, by_caller)] == [True, True, False]
    assert not raised_by(by_arrow, "arrow")
