"""Engines and errors of the ledger's database: how it is opened, how long it waits, what its errors mean."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from perennial import outages
from perennial.errors import PlatformError
from perennial.outages import is_outage
from perennial.stores import postgresql

WAIT_SECONDS = 10.0
"""How long a writer waits for another one. Writes take milliseconds; longer means that something hangs."""

STANDSTILL_SECONDS = WAIT_SECONDS / 2
"""How long a writer may stand still in the middle of a write before PostgreSQL lets the next one in, who still waits then."""

PAUSE_SECONDS = 0.02
"""How long it pauses between attempts where SQLite does not wait by itself."""

WRITERS = 7033646
"""Key of the advisory lock that PostgreSQL's writers queue for, one for each database."""

WRITABLE = "make it writable, or set PERENNIAL_STATE to a folder that is"


def name_of(url: str) -> str:
    """The ledger's name in messages: its file, or its URL without the password.

    >>> name_of("sqlite:////team/ledger.db"), name_of("postgresql://me:secret@db/ledger")
    ('/team/ledger.db', 'postgresql://me:***@db/ledger')
    """
    address = make_url(url)
    return str(address.database) if address.get_backend_name() == "sqlite" else address.render_as_string(hide_password=True)


def connect(url: str, wait_seconds: float) -> Engine:
    """An engine on the ledger's database; a missing folder of an SQLite file is made.

    Args:
        url: SQLAlchemy URL.
        wait_seconds: how long a writer waits for another one.

    Raises:
        PlatformError: the URL is not one, or the folder cannot be made.
    """
    try:
        address = make_url(url)
        if address.get_backend_name() != "sqlite":
            # Between two calls a server may be started anew: what the pool kept is tried before it is used.
            engine = create_engine(address, pool_pre_ping=True, connect_args=postgresql.connect_options(wait_seconds))
            event.listen(engine, "begin", partial(_begin_in_line, wait_seconds))
            return engine
        folder = Path(str(address.database)).parent
        folder.mkdir(parents=True, exist_ok=True)
        engine = create_engine(address, poolclass=NullPool, connect_args={"timeout": wait_seconds})
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        schemes = f"sqlite:///… or {postgresql.SCHEME}…"
        raise PlatformError(f"ledger: not a URL that can be opened ({error}); allowed: {schemes}") from error
    except OSError as error:
        raise PlatformError(f"ledger {name_of(url)}: {error.strerror}: {error.filename}; {WRITABLE}") from error
    event.listen(engine, "connect", partial(_set_up, wait_seconds))
    event.listen(engine, "begin", _begin)
    return engine


def _set_up(wait_seconds: float, connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # sqlite3 would begin transactions by itself, late and never for reads; `_begin` does it instead.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode")
    if cursor.fetchone() != ("wal",):
        _write_ahead(cursor, wait_seconds)
    cursor.execute("PRAGMA synchronous=FULL")  # what the ledger says must survive a power cut
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _write_ahead(cursor: DBAPICursor, wait_seconds: float) -> None:
    # SQLite does not wait for a lock here, although it was told to, when several processes open a new file at once.
    for _ in range(int(wait_seconds / PAUSE_SECONDS)):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            time.sleep(PAUSE_SECONDS)
    cursor.execute("PRAGMA journal_mode=WAL")


def _begin(connection: Connection) -> None:
    # A writer takes its lock at once: one that reads first and writes later cannot wait, it fails.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _begin_in_line(wait_seconds: float, connection: Connection) -> None:
    # As SQLite has it: a reader sees one moment, and writers queue before they look at anything, so each sees what the one
    # before it left. The server ends a transaction whose client is gone or paused: it would keep everybody out.
    if not connection.get_execution_options().get("writes", False):
        connection.exec_driver_sql("set transaction isolation level repeatable read, read only")
        return
    connection.exec_driver_sql(
        "set transaction isolation level read committed;"
        f"set local lock_timeout = {max(1, round(1000 * wait_seconds))};"
        f"set local idle_in_transaction_session_timeout = {round(1000 * STANDSTILL_SECONDS)};"
        f"select pg_advisory_xact_lock({WRITERS})"
    )


@contextmanager
def translated(where: str, wait_seconds: float = WAIT_SECONDS) -> Iterator[None]:
    """What the database cannot do now leaves the block as PlatformError that says where and what to do.

    A broken constraint leaves it as it is: it says that another writer came first, which the ledger can answer. What the database
    does not understand leaves it as UnexpectedError.
    """
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        # SQLAlchemy's own text shows statements and values; the driver's says what is wrong.
        cause = error.orig if isinstance(error.orig, Exception) else error
        if not (is_outage(error) or postgresql.has_remedy(cause)):
            raise outages.translated(cause, f"ledger {where}") from error
        remedy = (
            _remedy(cause, where, wait_seconds) if isinstance(cause, sqlite3.Error) else postgresql.remedy(cause, wait_seconds)
        )
        raise PlatformError(f"ledger {where}: {postgresql.said(cause)}; {remedy}") from error


def _remedy(error: sqlite3.Error, where: str, wait_seconds: float) -> str:
    message = str(error)
    if "locked" in message or "busy" in message:
        return (
            f"another process has held it for more than {wait_seconds:g} s: wait for its end and try again "
            f"(`fuser {where}` names it)"
        )
    if "unable to open" in message or "readonly" in message:
        return WRITABLE
    if "not a database" in message or "malformed" in message:
        return "the file is not a ledger or is damaged: put a backup in its place, or move it away to begin a new one"
    return "see the database's message; the same call may work later"
