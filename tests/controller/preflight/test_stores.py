"""Each store's row is shown missing once and there once: on a real S3 server, Redis and PostgreSQL, and a small MLflow."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from typing import Any

import psycopg
import pytest

from controller.preflight import PreflightRow, clocks, stores
from controller.preflight.row import asked
from perennial.ledger import Ledger
from perennial.ledger.tables import HEAD
from perennial.settings import Settings
from perennial.stores.bucket import Bucket
from tests.servers.http import listening
from tests.servers.postgresql import PostgreSQL
from tests.servers.redis import Redis
from tests.servers.s3 import S3

NOW = datetime(2026, 1, 2, tzinfo=UTC)
PASSWORD = "word-of-the-test"


def rows(variables: dict[str, str], environment: dict[str, str] | None = None) -> dict[str, PreflightRow]:
    settings = Settings.from_environment({"PERENNIAL_PROJECT": "/team", **variables})
    return {row.name: row for row in stores.rows(settings, environment or {})}


def test_without_settings_every_store_is_missing_with_how_to_get_it() -> None:
    found = rows({})
    assert [row.state for row in found.values()] == ["missing"] * 5
    for row, variable in zip(found.values(), ("BUCKET", "ONLINE_STORE", "LEDGER", "FEATURE_REGISTRY", "TRACKING"), strict=True):
        assert f"PERENNIAL_{variable}" in row.found and f"PERENNIAL_{variable}=" in row.remedy


def test_an_object_store_is_asked_for_all_that_it_must_do(s3: S3) -> None:
    uri = s3.bucket()
    for _ in range(2):  # the object that the first leaves is not in the way of the second
        found = rows({"PERENNIAL_BUCKET": uri})["object store"]
        assert (found.state, found.found) == ("ok", f"{uri}: put, get, list and put-if-absent do what they should")
    assert Bucket(uri).keys("") == [stores.KEY]
    absent = rows({"PERENNIAL_BUCKET": "s3://absent/perennial"})["object store"]
    assert absent.state == "missing" and "AWS_SECRET_ACCESS_KEY" in absent.remedy


def test_an_object_store_that_writes_over_objects_is_missing(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    def put(self: Bucket, key: str, content: bytes) -> bool:
        self.replace(key, content)
        return True

    monkeypatch.setattr(Bucket, "put", put)
    found = rows({"PERENNIAL_BUCKET": s3.bucket()})["object store"]
    assert found.state == "missing" and "writes over an object although told not to" in found.found


def test_an_object_store_that_loses_or_hides_what_it_is_given_is_missing(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = s3.bucket()
    with monkeypatch.context() as patched:
        patched.setattr(Bucket, "keys", lambda *_: [])
        assert "is not listed" in rows({"PERENNIAL_BUCKET": uri})["object store"].found
    monkeypatch.setattr(Bucket, "get", lambda *_: b"another")
    assert "read back different content" in rows({"PERENNIAL_BUCKET": s3.bucket()})["object store"].found


def test_the_clock_of_the_object_store_is_compared(s3: S3) -> None:
    environment = {"AWS_ENDPOINT_URL": s3.endpoint}
    right = asked("clock", lambda: clocks.of_s3(environment, lambda: datetime.now(UTC)), clocks.SET)
    assert right.state == "ok"
    wrong = asked("clock", lambda: clocks.of_s3(environment, lambda: NOW), clocks.SET)
    assert wrong.state == "missing" and "ahead of ours; allowed: 5 s" in wrong.found
    silent = asked("clock", lambda: clocks.of_s3({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, lambda: NOW), clocks.SET)
    assert silent.state == "not shown" and "does not answer" in silent.found


def test_a_refusal_tells_the_time_too() -> None:
    with web({"/": (403, "")}, NOW) as address:
        assert clocks.of_s3({"AWS_ENDPOINT_URL": address}, lambda: NOW) == "agrees within a second"


def test_an_online_store_answers_by_its_password(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    url = redis.store()
    found = rows({"PERENNIAL_ONLINE_STORE": url})["online store"]
    assert found.state == "ok" and found.found.startswith("Redis ") and found.found.endswith("with a password")
    for password in ("", "another"):
        monkeypatch.setenv("REDISCLI_AUTH", password)
        refused = rows({"PERENNIAL_ONLINE_STORE": url})["online store"]
        assert refused.state == "missing" and "REDISCLI_AUTH must hold the password" in refused.found
        assert redis.password not in refused.found


def test_an_online_store_that_is_away_or_wrongly_named_is_missing(redis: Redis) -> None:
    wrong = rows({"PERENNIAL_ONLINE_STORE": f"{redis.store()}?color=red"})["online store"]
    assert wrong.state == "missing" and "allowed: redis[s]://" in wrong.found
    url = redis.store()
    redis.stop()
    gone = rows({"PERENNIAL_ONLINE_STORE": url})["online store"]
    assert gone.state == "missing" and "does not answer" in gone.found


def test_an_online_store_that_drops_values_is_missing(redis: Redis) -> None:
    redis.ask("CONFIG SET maxmemory-policy allkeys-lru")
    assert rows({"PERENNIAL_ONLINE_STORE": redis.store()})["online store"].state == "ok"  # its memory has no limit
    redis.ask("CONFIG SET maxmemory 500mb")
    found = rows({"PERENNIAL_ONLINE_STORE": redis.store()})["online store"]
    redis.ask("CONFIG SET maxmemory 0")
    redis.ask("CONFIG SET maxmemory-policy noeviction")
    assert found.state == "missing" and "drops values when its memory is full (allkeys-lru)" in found.found


def test_a_ledger_is_described_and_not_made(postgresql: PostgreSQL) -> None:
    url = postgresql.database()
    empty = rows({"PERENNIAL_LEDGER": url})["ledger"]
    assert empty.state == "ok" and empty.found.startswith("postgresql 1") and "is empty" in empty.found
    assert "is empty" in rows({"PERENNIAL_LEDGER": url})["ledger"].found
    Ledger.open(url).close()
    assert rows({"PERENNIAL_LEDGER": url})["ledger"].found.endswith(f"has revision {HEAD}")
    with psycopg.connect(postgresql.dsn(url.rpartition("/")[2]), autocommit=True) as connection:
        connection.execute("update ledger_revision set version_num = '9999'")
    newer = rows({"PERENNIAL_LEDGER": url})["ledger"]
    assert newer.state == "missing" and "written by a newer release (revision 9999)" in newer.found


def test_a_database_that_is_not_there_is_missing(postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> None:
    url, absent = postgresql.database(), postgresql.url("absent")
    there = {"PERENNIAL_FEATURE_REGISTRY": url, "PERENNIAL_TRACKING": url}
    assert [rows(there)[name].state for name in ("feature registry", "MLflow")] == ["ok", "ok"]
    gone = rows({"PERENNIAL_LEDGER": absent, "PERENNIAL_FEATURE_REGISTRY": absent})
    gone["MLflow"] = rows({"PERENNIAL_TRACKING": absent})["MLflow"]
    for name in ("ledger", "feature registry", "MLflow"):
        assert gone[name].state == "missing" and '"absent" does not exist' in gone[name].found
    monkeypatch.setenv("PGPASSWORD", "another")
    assert "PGPASSWORD" in rows(there)["feature registry"].found


@contextmanager
def web(answers: dict[str, tuple[int, str]], now: datetime, authorization: str | None = None) -> Iterator[str]:
    """A web server with these answers by path; its address."""

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            status, content = answers.get(self.path, (404, "not found"))
            if authorization is not None and self.headers.get("Authorization") != authorization:
                status, content = 401, "no"
            self.send_response_only(status)
            self.send_header("Date", format_datetime(now, usegmt=True))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content.encode())

        do_GET = do_POST = do_HEAD = _do  # noqa: N815 # names of the library

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing is printed."""

    with listening(Handler) as address:
        yield address


MLFLOW = {"/version": (200, "3.17.2"), "/api/2.0/mlflow/experiments/search": (200, json.dumps({"experiments": []}))}


def tracking(url: str, environment: dict[str, str] | None = None) -> PreflightRow:
    return rows({"PERENNIAL_TRACKING": url}, environment)["MLflow"]


def test_an_mlflow_server_says_its_version() -> None:
    with web(MLFLOW, NOW) as url:
        found = tracking(url)
        assert (found.state, found.found) == ("ok", f"MLflow 3.17.2 at {url}")
    assert "does not answer" in tracking(url).found and tracking(url).state == "missing"


def test_an_mlflow_server_that_wants_a_password_is_given_it() -> None:
    pair = f"Basic {base64.b64encode(f'team:{PASSWORD}'.encode()).decode()}"
    with web(MLFLOW, NOW, pair) as url:
        assert "set MLFLOW_TRACKING_USERNAME" in tracking(url).found
        assert tracking(url, {"MLFLOW_TRACKING_USERNAME": "team", "MLFLOW_TRACKING_PASSWORD": PASSWORD}).state == "ok"
    with web(MLFLOW, NOW, "Bearer abc") as url:
        assert tracking(url, {"MLFLOW_TRACKING_TOKEN": "abc"}).state == "ok"


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {
            "/version": (200, "<html>a shop, with much to say about itself</html>"),
            **{key: MLFLOW[key] for key in list(MLFLOW)[1:]},
        },
        {"/version": (200, "3.17.2"), "/api/2.0/mlflow/experiments/search": (200, "<html>")},
    ],
)
def test_a_server_of_something_else_is_missing(answers: dict[str, tuple[int, str]]) -> None:
    with web(answers, NOW) as url:
        found = tracking(url)
    assert found.state == "missing" and ("is no MLflow" in found.found or "refuses with 404" in found.found)
