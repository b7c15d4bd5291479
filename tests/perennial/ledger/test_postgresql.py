"""What only a server can do wrong: it is away, refuses, restarts, or waits for a writer who stands still."""

import dataclasses
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import SQLAlchemyError

from perennial.errors import PlatformError
from perennial.ledger import Ledger, database
from perennial.ledger.tables import leases
from tests.perennial.ledger.conftest import directly, held
from tests.servers.postgresql import PostgreSQL

NOW = datetime(2024, 5, 1, tzinfo=UTC)


@pytest.fixture
def url(postgresql: PostgreSQL) -> Iterator[str]:
    made = postgresql.database()
    yield made
    postgresql.drop(made)


def refusal(url: str) -> str:
    with pytest.raises(PlatformError) as refused:
        Ledger.open(url, wait_seconds=0.1)
    return str(refused.value)


def test_what_a_server_refuses_is_said_with_a_remedy_and_without_the_password(
    postgresql: PostgreSQL, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {
        "away": refusal(dataclasses.replace(postgresql, port=1).url("x")),
        "unknown": refusal(postgresql.url("nowhere")),
        "host": refusal(url.replace("127.0.0.1", "nowhere.invalid")),
    }
    monkeypatch.setenv("PGPASSWORD", "wrong " + postgresql.password)
    said["wrong"] = refusal(url)
    monkeypatch.delenv("PGPASSWORD")
    said["none"] = refusal(url)
    assert "Connection refused; see that the server runs and that the URL names it" in said["away"]
    assert 'database "nowhere" does not exist; create it, empty, or correct the URL' in said["unknown"]
    assert "nowhere.invalid" in said["host"] and "; see that the server runs" in said["host"]
    assert "; the password is read from PGPASSWORD: set it, from a secret" in said["wrong"]
    assert "; the password is read from PGPASSWORD: set it, from a secret" in said["none"]
    assert not [text for text in said.values() if postgresql.password in text or "\n" in text]


def test_a_user_without_rights_and_tables_of_another_program_are_named(postgresql: PostgreSQL, url: str) -> None:
    with directly(url) as connection:
        connection.execute(text(f"create role reader login password '{postgresql.password}'"))
    try:
        found = refusal(postgresql.url(url.rpartition("/")[2], "reader"))
        assert "permission denied for schema public; its user lacks a right: grant it all rights on the database" in found
    finally:
        with directly(url) as connection:
            connection.execute(text("drop role reader"))
    with directly(url) as connection:
        connection.execute(text("create table runs (run_uuid text)"))
    assert 'relation "runs" already exists; another program keeps its tables there' in refusal(url)


def test_a_server_that_was_restarted_between_two_calls_is_asked_anew(url: str) -> None:
    with Ledger.open(url) as ledger:
        assert ledger.take_lease("controller", "a", now=NOW, seconds=60) is not None
        with directly(url) as connection:
            ended = "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and datname = :name"
            assert list(connection.scalars(text(ended), {"name": url.rpartition("/")[2]})) == [True]
        assert ledger.lease("controller") is not None


def test_a_connection_that_is_lost_in_a_write_loses_the_write_and_the_same_call_works_again(url: str) -> None:
    with Ledger.open(url) as ledger:
        with pytest.raises(PlatformError, match="terminating connection"), ledger._write() as connection:
            connection.execute(update(leases).values(holder="nobody"))
            pid = connection.scalar(text("select pg_backend_pid()"))
            with directly(url) as other:
                other.execute(text(f"select pg_terminate_backend({pid})"))
            connection.execute(update(leases).values(holder="nobody"))
        assert ledger.take_lease("controller", "a", now=NOW, seconds=60) is not None


def test_a_writer_who_stands_still_lets_the_next_one_in_and_has_written_nothing(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Ledger.open(url) as ledger:
        ledger.take_lease("controller", "a", now=NOW, seconds=60)
        monkeypatch.setattr(database, "STANDSTILL_SECONDS", 0.3)
        with (
            ThreadPoolExecutor(1) as pool,
            pytest.raises(PlatformError, match="stood still in the middle of a write and others went on: nothing was written"),
            held(url) as connection,
        ):
            connection.execute(update(leases).values(holder="the paused one"))
            later = NOW + timedelta(seconds=61)
            waiting = pool.submit(ledger.take_lease, "controller", "b", now=later, seconds=60)
            lease = waiting.result(timeout=5)
            assert lease is not None and (lease.holder, lease.token) == ("b", 2)
            connection.execute(update(leases).values(holder="the paused one"))
        found = ledger.lease("controller")
        assert found is not None and found.holder == "b"


def test_a_reader_sees_one_moment_and_may_not_write(url: str) -> None:
    with Ledger.open(url) as ledger, Ledger.open(url) as other:
        ledger.take_lease("controller", "a", now=NOW, seconds=60)
        with ledger._read() as connection:
            before = connection.scalar(select(leases.c.expires))
            other.take_lease("controller", "a", now=NOW + timedelta(days=1), seconds=60)
            assert connection.scalar(select(leases.c.expires)) == before
            with pytest.raises(SQLAlchemyError, match="read-only transaction"):
                connection.execute(update(leases).values(holder="nobody"))


def test_readers_do_not_wait_for_a_writer(url: str) -> None:
    with Ledger.open(url) as ledger, held(url):
        begin = time.monotonic()
        assert ledger.runs() == ()
        assert time.monotonic() - begin < 2.0


def test_times_are_kept_with_their_zone(url: str, postgresql: PostgreSQL) -> None:
    with Ledger.open(url) as ledger:
        ledger.take_lease("controller", "a", now=NOW, seconds=60)
        found = ledger.lease("controller")
        assert found is not None and found.expires == NOW + timedelta(seconds=60) and found.expires.tzinfo is UTC
    with psycopg.connect(postgresql.dsn(url.rpartition("/")[2])) as connection:
        row = connection.execute("select expires, current_setting('timezone') from leases").fetchone()
    assert row is not None and row[0] == NOW + timedelta(seconds=60) and row[1] == "America/New_York"
