"""PostgreSQL as every store of ours meets it: how long it is waited for, whether it answers, what its errors mean.

The only home of its driver, which reads the password from PGPASSWORD.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypedDict

from perennial.errors import PlatformError
from perennial.outages import is_outage, translated

if TYPE_CHECKING:
    from psycopg import Connection

SCHEME = "postgresql+psycopg://"
"""How a URL begins that names a database of PostgreSQL."""

CONNECT_SECONDS = 10.0
"""How long a server may take to answer a new connection."""

QUEUE = 7033647
"""Key of the advisory lock of `queued`; the ledger's writers have another one."""

DEAD_SECONDS = 30
"""After how long a connection whose other end is gone without a word counts as lost."""

PASSWORD = "the password is read from PGPASSWORD: set it, from a secret"
ANSWER = "see that the server runs and that the URL names it; the same call may work later"
BY_STATE = {
    "25006": "it can only be read (a standby?): name the primary in the URL",
    "25P03": "this process stood still in the middle of a write and others went on: nothing was written; try again",
    "42501": "its user lacks a right: grant it all rights on the database, or make it the owner",
    "42P07": "another program keeps its tables there: give each a database of its own",
}
"""By the state that the server gives, as the SQL standard numbers them."""
BY_TEXT = {
    "no password supplied": PASSWORD,
    "password authentication failed": PASSWORD,
    "does not exist": "create it, empty, or correct the URL",
}
"""By what is said while a connection is made, where the driver gives no state."""


class ConnectOptions(TypedDict):
    """What the driver is told beside the URL, as its library names it; seconds, but for the timeout in milliseconds."""

    connect_timeout: int
    keepalives_idle: int
    keepalives_interval: int
    keepalives_count: int
    tcp_user_timeout: int


def connect_options(wait_seconds: float) -> ConnectOptions:
    """A server that is gone is noticed, while and after it is connected.

    Args:
        wait_seconds: how long it may take to answer a new connection; two seconds at least.
    """
    return ConnectOptions(
        connect_timeout=max(2, round(wait_seconds)),
        keepalives_idle=DEAD_SECONDS // 2,
        keepalives_interval=DEAD_SECONDS // 6,
        keepalives_count=3,
        tcp_user_timeout=1000 * DEAD_SECONDS,
    )


def said(error: BaseException) -> str:
    """The first line of an error: the rest shows statements."""
    return str(error).strip().partition("\n")[0]


def remedy(error: BaseException, wait_seconds: float) -> str:
    """What to do about an error of the driver.

    Args:
        error: as the driver raised it.
        wait_seconds: how long a lock was waited for.

    >>> remedy(Exception('connection failed: FATAL: database "x" does not exist'), 10)
    'create it, empty, or correct the URL'
    """
    state, text = getattr(error, "sqlstate", None), str(error)
    if state == "55P03":
        return (
            f"another process has held it for more than {wait_seconds:g} s: wait for its end and try again (`pg_locks` names it)"
        )
    if state is not None:
        return BY_STATE.get(state, "see the database's message; the same call may work later")
    return next((todo for key, todo in BY_TEXT.items() if key in text), ANSWER)


def has_remedy(error: BaseException) -> bool:
    """Whether an error of the driver is one that whoever runs the server can mend."""
    return getattr(error, "sqlstate", None) in BY_STATE


@contextmanager
def answering(name: str, url: str, wait_seconds: float) -> "Iterator[Connection[tuple[Any, ...]]]":
    """A connection of its own; what is done in the block is one transaction.

    What the server cannot do now leaves the block as PlatformError, what it does not understand as UnexpectedError.

    Args:
        name: what the database is to the reader.
        url: its SQLAlchemy URL.
        wait_seconds: how long it may take to answer; two seconds at least.

    Raises:
        PlatformError: it does not answer, or refuses.
    """
    import psycopg

    try:
        dsn = "postgresql://" + url.removeprefix(SCHEME)
        with psycopg.connect(dsn, **connect_options(wait_seconds)) as connection:
            yield connection
    except psycopg.Error as error:
        if not (is_outage(error) or has_remedy(error)):
            raise translated(error, f"{name} {url}") from error
        raise PlatformError(f"{name} {url}: {said(error)}; {remedy(error, wait_seconds)}") from error


@contextmanager
def queued(name: str, url: str, wait_seconds: float) -> Iterator[None]:
    """No other process is in such a block about the same database.

    Args:
        name: what the database is to the reader.
        url: its SQLAlchemy URL.
        wait_seconds: how long another process is waited for.

    Raises:
        PlatformError: it does not answer, or another process is in the block for too long.
    """
    from psycopg.errors import LockNotAvailable

    with answering(name, url, CONNECT_SECONDS) as connection:
        connection.execute("select set_config('lock_timeout', %s, true)", [f"{round(1000 * wait_seconds)}ms"])
        try:
            connection.execute("select pg_advisory_xact_lock(%s)", [QUEUE])
        except LockNotAvailable as error:
            raise PlatformError(f"{name} {url}: {said(error)}; {remedy(error, wait_seconds)}") from error
        yield
