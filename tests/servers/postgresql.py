"""A real PostgreSQL for tests: started once for each worker on a free port of the loopback, ended for certain, never a service.

It sorts texts as people do, not by their bytes, and asks for a password: what a ledger must cope with elsewhere.
"""

import itertools
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.servers.port import free_port

USER = "perennial"
OWNER = "postgres"
"""System user who runs it where the tests run as root, whom PostgreSQL refuses."""
START_SECONDS = 30.0
MEMORY = "/dev/shm"
"""A file system in memory: a database is hundreds of files, which a disk takes longer to make and delete than tests take."""
ATTEMPTS = 3
"""How often a port is drawn: another process may take it between the draw and the start."""
QUICK = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "200",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "timezone": "America/New_York",  # times must come back in UTC from a server that thinks otherwise
}


@dataclass(frozen=True)
class PostgreSQL:
    """A running server, whose superuser's password is in PGPASSWORD."""

    port: int
    password: str
    process: subprocess.Popen[bytes]
    _names: Iterator[int] = field(default_factory=itertools.count)

    def database(self) -> str:
        """SQLAlchemy URL of a new, empty database."""
        name = f"test_{next(self._names)}"
        with self.connection("postgres") as connection:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        return self.url(name)

    def drop(self, url: str) -> None:
        """The database is gone, whoever is connected to it."""
        with self.connection("postgres") as connection:
            name = sql.Identifier(url.rpartition("/")[2])
            connection.execute(sql.SQL("drop database {} with (force)").format(name))

    def url(self, name: str, user: str = USER) -> str:
        """SQLAlchemy URL of a database, without the password."""
        return f"postgresql+psycopg://{user}@127.0.0.1:{self.port}/{name}"

    def connection(self, name: str) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection to a database, by its name or its URL; each statement is a transaction."""
        return psycopg.connect(self.dsn(name.rpartition("/")[2]), autocommit=True)

    def dump(self, url: str) -> str:
        """Every row of every table of a database, as text."""
        with self.connection(url) as connection:
            tables = connection.execute(
                "select table_name from information_schema.tables where table_schema = 'public'"
            ).fetchall()
            rows = [connection.execute(sql.SQL("select t::text from {} t").format(sql.Identifier(name))) for (name,) in tables]
            return "\n".join(str(row[0]) for found in rows for row in found.fetchall())

    def dsn(self, name: str) -> str:
        """What psycopg connects to."""
        return f"host=127.0.0.1 port={self.port} user={USER} dbname={name}"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """The server of this worker; skips where PostgreSQL is not installed."""
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: `apt-get install postgresql-15`, or `make test` as root")
    # Not below pytest's own folder: another user runs the server, and may not look into that one.
    folder = Path(tempfile.mkdtemp(prefix="perennial-postgresql-", dir=MEMORY if roomy(MEMORY) else None))
    with pytest.MonkeyPatch.context() as patch:
        password = secrets.token_hex(12)
        patch.setenv("PGPASSWORD", password)
        try:
            prepare(programs, folder, password)
            server = start(programs, folder, password)
            try:
                yield server
            finally:
                server.process.send_signal(signal.SIGQUIT)
                server.process.wait(START_SECONDS)
        finally:
            shutil.rmtree(folder)


def roomy(folder: str) -> bool:
    """Whether a folder has room for some dozens of databases."""
    return Path(folder).is_dir() and shutil.disk_usage(folder).free > 2**30


def binaries() -> Path | None:
    """Folder of PostgreSQL's programs; none where it, or what a root needs to become its user, is not installed."""
    found = shutil.which("postgres")
    folders = (
        [Path(found).parent]
        if found
        else sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    )
    if not folders or not (folders[-1] / "initdb").exists() or shutil.which("setpriv") is None:
        return None
    return folders[-1]


def as_owner(*command: str | Path) -> list[str]:
    """The command as the system user who may run PostgreSQL; it ends when this process does, however that ends."""
    user = [f"--reuid={OWNER}", f"--regid={OWNER}", "--clear-groups"] if os.geteuid() == 0 else []
    return ["setpriv", *user, "--pdeathsig", "QUIT", *map(str, command)]


def prepare(programs: Path, folder: Path, password: str) -> None:
    """The folder holds a cluster of databases whose superuser has this password."""
    word = folder / "password"
    word.write_text(password)
    if os.geteuid() == 0:
        for path in (folder, word):
            shutil.chown(path, OWNER, OWNER)
    locale = ["--locale=C", "--locale-provider=icu", "--icu-locale=en-US", "--encoding=UTF8"]
    options = [f"--username={USER}", f"--pwfile={word}", "--auth=scram-sha-256", "--no-sync", "--no-instructions", *locale]
    made = subprocess.run(
        as_owner(programs / "initdb", "-D", folder / "data", *options), capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stdout + made.stderr
    word.unlink()


def start(programs: Path, folder: Path, password: str) -> PostgreSQL:
    """The cluster in the folder answers."""
    for _ in range(ATTEMPTS):
        port = free_port()
        settings = [f"-c{name}={value}" for name, value in (QUICK | {"port": str(port)}).items()]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(as_owner(programs / "postgres", "-D", folder / "data", *settings), stdout=log, stderr=log)
        server = PostgreSQL(port, password, process)
        if answers(server):
            return server
    raise AssertionError((folder / "log").read_text())


def answers(server: PostgreSQL) -> bool:
    """Whether the server comes to answer before it ends."""
    deadline = time.monotonic() + START_SECONDS
    while server.process.poll() is None:
        try:
            psycopg.connect(server.dsn("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            assert time.monotonic() < deadline, f"PostgreSQL did not answer within {START_SECONDS:g} s"
            time.sleep(0.02)
        else:
            return True
    return False
