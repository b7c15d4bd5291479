"""What a ledger's database is, without opening the ledger: nothing is made or upgraded."""

from dataclasses import dataclass

from perennial.ledger.database import connect, name_of, translated
from perennial.ledger.tables import HEAD
from perennial.ledger.upgrade import revision_of


@dataclass(frozen=True)
class LedgerStanding:
    """A ledger's database as it answers."""

    server: str
    """For example `postgresql 15.14`."""
    revision: str | None
    """Of its tables; None before the ledger was opened first."""
    is_current: bool
    """Whether this release can use it, upgraded if need be; false when a newer release wrote it."""


def ledger_standing(url: str, wait_seconds: float) -> LedgerStanding:
    """What the database of a ledger says of itself.

    Args:
        url: SQLAlchemy URL.
        wait_seconds: how long it is waited for.

    Raises:
        PlatformError: it does not answer or refuses.
    """
    engine = connect(url, wait_seconds)
    try:
        with translated(name_of(url), wait_seconds), engine.begin() as connection:
            version = ".".join(str(part) for part in connection.dialect.server_version_info or ())
            revision = revision_of(connection)
        # Revisions are numbers with leading zeros.
        return LedgerStanding(f"{connection.dialect.name} {version}", revision, revision is None or revision <= HEAD)
    finally:
        engine.dispose()
