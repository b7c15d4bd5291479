"""What only a Redis can do wrong: the URL, the password, its rights, an encrypted connection, being away."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pytest

from feature_repo.online_store import redis as redis_store
from feature_repo.online_store.database import check_prefix, open_database, open_lookup
from feature_repo.online_store.layout import Field, Layout
from feature_repo.online_store.redis import PASSWORD, RedisPlace
from perennial.errors import PlatformError, SpecError
from tests.servers.port import free_port
from tests.servers.redis import Redis

LAYOUT = Layout(view="account", join_keys=(Field(name="k", kind="int64"),), fields=(Field(name="x", kind="int64"),))
ROWS = [(number.to_bytes(4, "big"), number, LAYOUT.encode([number])) for number in range(2_000)]


def write(where: str) -> None:
    with open_database(where) as database:
        database.keep_layouts([LAYOUT])
        database.write(LAYOUT, ROWS)


def ask(where: str) -> None:
    lookup = open_lookup(where)
    try:
        lookup.answers()
    finally:
        lookup.close()


EACH = pytest.mark.parametrize("use", [write, ask])


@pytest.mark.parametrize(
    ("where", "place"),
    [
        ("redis://host", RedisPlace(False, None, "host", 6379, 0, "perennial")),
        ("rediss://me@host:7000/3", RedisPlace(True, "me", "host", 7000, 3, "perennial")),
        ("redis://[::1]:7000/?prefix=fraud", RedisPlace(False, None, "::1", 7000, 0, "fraud")),
    ],
)
def test_a_url_names_a_place(where: str, place: RedisPlace) -> None:
    assert RedisPlace.of(where) == place


@pytest.mark.parametrize(
    "where",
    [
        "",
        "[::1",
        "host:x",
        "host:99999",
        "host/a",
        "host/-1",
        "host?prefix=",
        "host?prefix=a:b",
        "host?timeout=3",
        "host?prefix=a&db=3",
    ],
)
def test_a_url_that_names_no_place_is_refused(where: str) -> None:
    for use in (write, ask):
        with pytest.raises(SpecError, match=r": [a-z, ]+ cannot be used; allowed: redis\[s\]://\[user@\]host"):
            use(f"redis://{where}")


@EACH
@pytest.mark.parametrize("where", ["redis://me:canary@host/0", "redis://host/0?password=canary", "redis://:canary/1@host/0"])
def test_a_password_in_the_url_is_refused_and_not_repeated(use: Callable[[str], None], where: str) -> None:
    with pytest.raises(SpecError, match=r"the URL of the online store.*(password|host)") as said:
        use(where)
    assert "canary" not in str(said.value)


def test_the_prefix_must_be_the_name_of_the_installation() -> None:
    check_prefix("redis://host/0", "perennial")
    check_prefix("redis://host/0?prefix=fraud", "fraud")
    with pytest.raises(SpecError, match=r"begin with 'perennial', PERENNIAL_NAME is 'fraud': let the URL end in \?prefix=fraud"):
        check_prefix("redis://host/0", "fraud")


def test_installations_of_one_database_do_not_see_each_other(redis: Redis) -> None:
    where = redis.store()
    first, second = f"{where}?prefix=first", f"{where}?prefix=second"
    write(first)
    with pytest.raises(PlatformError, match="it holds no views of 'second'"):
        ask(second)
    write(second)
    with open_database(first) as database:
        database.drop(["account"])
    ask(second)
    with open_database(second) as database:
        assert list(database.rows("account")) == ROWS


@EACH
@pytest.mark.parametrize("password", ["canary", ""])
def test_a_wrong_password_says_which_variable_must_hold_it(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, use: Callable[[str], None], password: str
) -> None:
    monkeypatch.setenv(PASSWORD, password)
    with pytest.raises(PlatformError, match=rf"does not answer: .*; {PASSWORD} must hold the password$") as refused:
        use(redis.store())
    assert "canary" not in str(refused.value)
    monkeypatch.setenv(PASSWORD, redis.password)
    write(redis.store())


@EACH
def test_a_user_without_rights_is_told_which_to_get(redis: Redis, use: Callable[[str], None]) -> None:
    assert redis.ask(f"ACL SETUSER guest on >{redis.password} ~* +@connection") == b"+OK"
    assert redis.ask(f"ACL SETUSER team on >{redis.password} ~perennial:* +@read +@write +@scripting +@connection") == b"+OK"
    where = redis.store()
    with pytest.raises(PlatformError, match=r"does not answer: .*permission.*; grant its user `\+@read \+@write \+@scripting"):
        use(where.replace("://", "://guest@"))
    write(where.replace("://", "://team@"))
    use(where.replace("://", "://team@"))


def test_a_writer_says_in_time_that_redis_is_away_and_may_write_again(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    where = redis.store()
    write(where)
    redis.stop()
    with pytest.raises(PlatformError, match=r"redis://127\.0\.0\.1:\d+/\d+: the online store does not answer: .*try again"):
        write(where)
    redis.start()
    redis.hang()
    monkeypatch.setattr(redis_store, "WRITE_SECONDS", (0.1, 0.2))
    begin = monotonic()
    with pytest.raises(PlatformError, match=r"does not answer: .*[Tt]imeout"):
        write(where)
    assert monotonic() - begin < 2
    redis.go_on()
    write(where)
    with open_database(where) as database:
        assert list(database.rows("account")) == ROWS


def test_a_redis_that_is_full_refuses_what_is_written_and_is_still_read(redis: Redis) -> None:
    where = redis.store()
    write(where)
    redis.ask("CONFIG SET maxmemory 1")
    try:
        with pytest.raises(PlatformError, match="maxmemory"):
            write(where)
        ask(where)
    finally:
        redis.ask("CONFIG SET maxmemory 0")
    write(where)


def test_an_encrypted_connection_trusts_who_the_system_trusts(
    redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    command += ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    options = f"tls-cert-file {certificate} tls-key-file {key} tls-ca-cert-file {certificate} tls-auth-clients no"
    port = free_port()
    assert redis.ask(f"CONFIG SET {options} tls-port {port}") == b"+OK"
    where = f"rediss://127.0.0.1:{port}/900"
    try:
        with pytest.raises(PlatformError, match=r"does not answer: .*certificate verify failed"):
            write(where)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        write(where)
        ask(where)
        with pytest.raises(PlatformError, match="does not answer"):
            ask(where.replace("rediss", "redis"))
    finally:
        redis.ask("CONFIG SET tls-port 0")


def test_a_file_is_read_without_the_client_of_redis(tmp_path: Path) -> None:
    code = """
import sys
from feature_repo.online_store.database import open_database, open_lookup
with open_database(sys.argv[1]) as database:
    assert database.views() == []
open_lookup(sys.argv[1]).answers()
assert "redis" not in sys.modules
open_lookup("redis://host")
assert "redis" in sys.modules and not {"feast", "pandas"} & set(sys.modules)
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    command = [sys.executable, "-c", code, str(tmp_path / "online.db")]
    subprocess.run(command, check=True, env=environment, cwd=Path(__file__).parents[3])
