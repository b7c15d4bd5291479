"""PostgreSQL as every store of ours meets it: how long it is waited for, whether it answers, what its errors mean.

The only home of its driver, which reads the password from PGPASSWORD.
"""

from perennial.errors import PlatformError

SCHEME = "postgresql+psycopg://"
"""How a URL begins that names a database of PostgreSQL."""

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
BY_TEXT = {
    "no password supplied": PASSWORD,
    "password authentication failed": PASSWORD,
    "does not exist": "create it, empty, or correct the URL",
    "failed: ": ANSWER,
    "timeout": ANSWER,
    "server closed the connection": ANSWER,
}
"""What the driver and the server say while a connection is made, where there is no state, in this order."""


def connect_options(wait_seconds: float) -> dict[str, object]:
    """What the driver is told beside the URL: a server that is gone is noticed, before and after it is connected.

    Args:
        wait_seconds: how long it may take to answer a new connection; two seconds at least.
    """
    beat = max(1, DEAD_SECONDS // 6)
    kept = {"keepalives_idle": 3 * beat, "keepalives_interval": beat, "keepalives_count": 3}
    return {"connect_timeout": max(2, round(wait_seconds)), "tcp_user_timeout": 1000 * DEAD_SECONDS, **kept}


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
    return next((found for key, found in BY_TEXT.items() if key in text), ANSWER)


def check(name: str, url: str, wait_seconds: float) -> None:
    """The database answers.

    Args:
        name: what it is to the reader.
        url: its SQLAlchemy URL.
        wait_seconds: how long it may take; two seconds at least.

    Raises:
        PlatformError: it does not.
    """
    import psycopg

    try:
        dsn = "postgresql://" + url.removeprefix(SCHEME)
        with psycopg.connect(dsn, autocommit=True, **connect_options(wait_seconds)) as connection:  # type: ignore[arg-type]
            connection.execute("select 1")
    except psycopg.Error as error:
        raise PlatformError(f"{name} {url}: {said(error)}; {remedy(error, wait_seconds)}") from error
