"""Every ledger test runs on SQLite and on a real PostgreSQL: the two must not differ."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import NullPool

from perennial.ledger import Ledger
from perennial.ledger.tables import VERSION_TABLE
from perennial.ledger.upgrade import MIGRATIONS
from tests.servers.postgresql import PostgreSQL


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of an empty database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'ledger.db'}"
        return
    server: PostgreSQL = request.getfixturevalue("postgresql")
    made = server.database()
    yield made
    server.drop(made)


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with Ledger.open(url) as opened:
        yield opened


@contextmanager
def directly(url: str) -> Iterator[Connection]:
    """A transaction that is not the ledger's."""
    with create_engine(url, poolclass=NullPool).begin() as connection:
        yield connection


@contextmanager
def held(url: str) -> Iterator[Connection]:
    """A transaction of another writer, who takes a while."""
    with Ledger.open(url) as other, other._write() as connection:
        yield connection


def migrate(connection: Connection, *revisions: str) -> None:
    """The database is one of an older release, which knew these revisions."""
    scripts = ScriptDirectory(str(MIGRATIONS))
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    with Operations.context(context):
        for revision in revisions:
            scripts.get_revision(revision).module.upgrade()
        context.stamp(scripts, revisions[-1])
