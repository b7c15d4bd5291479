"""What an error of a library becomes at the edges of the feature repository: the data's fault, a platform's, or nobody's."""

from collections.abc import Callable
from pathlib import Path

import duckdb
import feast
import pyarrow as pa
import pyarrow.parquet
import pytest
from feast.errors import FeatureNameCollisionError
from redis.exceptions import AuthenticationError, ResponseError

from feature_repo import store
from feature_repo.online_store import redis as redis_store
from feature_repo.online_store import sqlite as sqlite_store
from feature_repo.online_store.feast_store import PackedOnlineStore
from feature_repo.project import load
from feature_repo.reading.sql import connect
from feature_repo.sources import opened
from perennial.errors import DataError, PerennialError, PlatformError, UnexpectedError
from perennial.settings import Settings
from tests.second_project import write_project

pytestmark = [
    # Feast's dependencies warn about each other in use.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

FULL = OSError(28, "No space left on device")


def raise_in(file: str, error: Exception) -> None:
    """Raise an error as the code of this file would."""
    found: dict[str, Callable[[Exception], None]] = {}
    exec(compile("def fail(error):\n    raise error\n", file, "exec"), found)
    found["fail"](error)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_environment({"PERENNIAL_PROJECT": str(write_project(tmp_path / "project", per_day=1))})


@pytest.fixture
def source(tmp_path: Path) -> str:
    pa.parquet.write_table(pa.table({"x": ["1", "two"]}), tmp_path / "source.parquet")
    return str(tmp_path / "source.parquet")


READ: list[tuple[Exception, type[PerennialError], str]] = [
    # what Arrow raises while a source is read
    (FULL, PlatformError, "No space left on device; the same call may work later"),
    (PermissionError(13, "Permission denied"), PlatformError, "Permission denied"),
    (OSError("When reading: AWS Error NETWORK_CONNECTION during GetObject"), PlatformError, "the object store does not answer"),
    (OSError("Couldn't deserialize thrift: TProtocolException"), DataError, "not a Parquet file that can be read"),
    (pa.ArrowInvalid("Parquet magic bytes not found in footer"), DataError, "not a Parquet file that can be read"),
]


@pytest.mark.parametrize(("raised", "kind", "said"), READ)
def test_a_disk_that_fails_below_a_source_is_not_the_source_s_fault(
    source: str, raised: Exception, kind: type[PerennialError], said: str
) -> None:
    with pytest.raises(kind, match=said), opened(source):
        raise_in("pyarrow/error.pxi", raised)


@pytest.mark.parametrize(
    "raised",
    [FULL, FileNotFoundError(2, "No such file or directory"), OSError("of the caller"), KeyError("x"), ValueError("no")],
    ids=repr,
)
def test_what_a_reader_s_own_code_raises_is_not_the_source_s_fault(source: str, raised: Exception) -> None:
    with pytest.raises(type(raised)) as found, opened(source):
        raise raised.with_traceback(None)
    assert found.value is raised


def test_what_arrow_raises_of_a_source_is_the_source_s(source: str) -> None:
    with pytest.raises(DataError, match="No match for FieldRef"), opened(source) as dataset:
        dataset.to_table(columns=["nothing"])
    with pytest.raises(DataError, match="not a Parquet file that can be read"), opened(source) as dataset:
        Path(source).unlink()
        dataset.to_table()


def test_a_full_disk_below_a_query_is_the_platform_s_and_a_value_is_not(source: str) -> None:
    with pytest.raises(PlatformError, match="No space left"), connect(1) as database:
        database.execute("copy (select range i from range(3000000)) to '/dev/full' (format csv)")
    with pytest.raises(duckdb.ConversionException), connect(1) as database:
        database.execute(f"select x::integer from read_parquet('{source}')").fetchall()


REFUSED: list[tuple[Exception, type[PerennialError], str]] = [
    # what Feast raises while definitions are applied
    (FeatureNameCollisionError(["x"], True), DataError, "definitions: FeatureNameCollisionError"),
    (ValueError("an entity named x exists"), DataError, "definitions: ValueError: an entity named x exists"),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"), UnexpectedError, "definitions: UnicodeDecodeError: 'utf-8' codec"),
    (KeyError("x"), UnexpectedError, r"definitions: KeyError: 'x' \(feature_repo/"),
    (TypeError("no"), UnexpectedError, "definitions: TypeError: no"),
    (FULL, PlatformError, "No space left on device; the same call may work later"),
]


@pytest.mark.parametrize(("raised", "kind", "said"), REFUSED)
def test_what_feast_raises_is_the_definitions_fault_only_where_it_refuses_them(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, raised: Exception, kind: type[PerennialError], said: str
) -> None:
    def apply(*_: object, **__: object) -> None:
        raise_in(feast.feature_store.__file__, raised)

    monkeypatch.setattr(feast.FeatureStore, "apply", apply)
    with pytest.raises(kind, match=said):
        store.apply(settings)


def test_a_value_error_of_others_than_feast_is_a_bug(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def update(*_: object, **__: object) -> None:
        raise ValueError("of our own store, which Feast asks")

    monkeypatch.setattr(PackedOnlineStore, "update", update)
    with pytest.raises(UnexpectedError, match="definitions: ValueError: of our own store"):
        store.apply(settings)


def run(statement: str, where: str) -> None:
    with sqlite_store.open_file(where, write=True) as database:
        database._connection.execute(statement)


def test_a_statement_that_the_online_store_does_not_understand_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = str(tmp_path / "online.db")
    with pytest.raises(UnexpectedError, match=r"online\.db: sqlite3\.OperationalError: no such table: missing \("):
        run("select * from missing", where)
    monkeypatch.setattr(sqlite_store, "WRITE_SECONDS", 0.1)
    with sqlite_store.open_file(where, write=True), pytest.raises(PlatformError, match="locked"):
        run("select 1", where)


@pytest.mark.parametrize(
    ("raised", "kind", "said"),
    [
        (AuthenticationError("invalid username-password pair"), PlatformError, "must hold the password"),
        (ResponseError("MISCONF Errors writing to the AOF file: No space left on device"), PlatformError, "does not answer"),
        (ResponseError("WRONGTYPE Operation against a key"), UnexpectedError, "WRONGTYPE Operation against a key"),
    ],
)
def test_redis_s_refusals_of_a_command_are_no_outage(raised: Exception, kind: type[PerennialError], said: str) -> None:
    found = redis_store.failure("redis://host", raised)
    assert type(found) is kind
    assert said in str(found)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("raise ValueError('no')", DataError),
        ("raise TimeoutError('the catalogue of sources')", PlatformError),
        ("open('/nowhere')", DataError),
    ],
)
def test_definitions_that_cannot_be_imported_are_wrong_unless_a_platform_failed(
    settings: Settings, line: str, kind: type[PerennialError]
) -> None:
    (settings.definitions / "more.py").write_text(f"{line}\n")
    with pytest.raises(kind, match=r"more\.py"):
        load(settings)
