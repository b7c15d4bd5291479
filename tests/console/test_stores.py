"""A store that is there and does not answer is named with who must act; one that answers or was never made is not."""

import dataclasses
import sqlite3
from pathlib import Path

import pytest

from console.display.status import show_status
from console.stores import failing_stores
from perennial.settings import Settings
from tests.made_up import FIRST, settings_in
from tests.servers.postgresql import PostgreSQL
from tests.servers.redis import PASSWORD, Redis


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A project whose online store answers; the others were never made."""
    made = settings_in(tmp_path)
    Path(made.online_store).parent.mkdir(parents=True)
    with sqlite3.connect(made.online_store) as connection:
        connection.execute("CREATE TABLE x (y)")
    connection.close()
    return made


def test_stores_that_answer_or_were_never_made_are_no_fault(settings: Settings) -> None:
    assert failing_stores(settings) == ()


def test_a_locked_store_is_named(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    lock = sqlite3.connect(settings.online_store, isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    (said,) = failing_stores(settings)
    assert said == f"the online store fails: {settings.online_store}: database is locked: the platform team brings it back"
    show_status(settings, FIRST, FIRST, json=False)
    assert "the online store fails" in capsys.readouterr().out
    lock.close()
    assert failing_stores(settings) == ()


def test_a_store_that_is_no_database_or_a_folder_is_named(settings: Settings) -> None:
    file = Path(settings.tracking.removeprefix("sqlite:///"))
    file.parent.mkdir(parents=True)
    file.write_bytes(b"not a database" * 100)
    online = Path(settings.online_store)
    online.unlink()
    online.mkdir()
    for_online, for_tracking = failing_stores(settings)
    assert "the online store fails" in for_online
    assert "MLflow's database fails" in for_tracking and "not a database" in for_tracking


def test_a_redis_that_is_away_or_refuses_is_named(settings: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = settings.model_copy(update={"online_store": redis.store()})
    assert failing_stores(elsewhere) == (), "nothing was applied yet, which is no fault"
    redis.stop()
    (said,) = failing_stores(elsewhere)
    assert said.startswith(f"the online store fails: {elsewhere.online_store}: the online store does not answer: ")
    assert said.endswith(": the platform team brings it back")
    redis.start()
    assert failing_stores(elsewhere) == ()
    monkeypatch.setenv(PASSWORD, "canary")
    (said,) = failing_stores(elsewhere)
    assert f"{PASSWORD} must hold the password" in said and "canary" not in said


def test_a_postgresql_or_a_tracking_server_that_is_away_is_named(settings: Settings, postgresql: PostgreSQL) -> None:
    found = {"feature_registry": postgresql.url("postgres"), "tracking": postgresql.url("postgres")}
    assert failing_stores(settings.model_copy(update=found)) == ()
    away = dataclasses.replace(postgresql, port=1)
    found = {"feature_registry": away.url("features"), "tracking": "http://127.0.0.1:1"}
    registry, tracking = failing_stores(settings.model_copy(update=found))
    assert registry.startswith(f"the feature registry fails: PostgreSQL {away.url('features')}: connection failed: ")
    assert tracking.startswith("MLflow's database fails: MLflow http://127.0.0.1:1: does not answer: ")
    assert registry.endswith(": the platform team brings it back") and tracking.endswith(": the platform team brings it back")
