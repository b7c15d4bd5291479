"""The connection that every part of the ledger shares: transactions, their errors, and the fence."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

from sqlalchemy import Connection, Engine, Select, select

from perennial.errors import FencedError
from perennial.ledger.database import WAIT_SECONDS, connect, name_of, translated
from perennial.ledger.records import Fence
from perennial.ledger.tables import claims, leases
from perennial.ledger.upgrade import upgrade
from perennial.record import Record

R = TypeVar("R", bound=Record)


class Transactions:
    """An open ledger. Each call of its subclasses is one transaction, and every write goes through `_write`."""

    def __init__(self, engine: Engine, where: str, wait_seconds: float, fence: Fence | None = None) -> None:
        self._engine = engine
        self._writers = engine.execution_options(writes=True)
        self._where = where
        self._wait_seconds = wait_seconds
        self._fence = fence

    @classmethod
    def open(cls, url: str, wait_seconds: float = WAIT_SECONDS) -> Self:
        """The ledger at `url`, made or upgraded to this release.

        Args:
            url: SQLAlchemy URL; the folder of an SQLite file is made.
            wait_seconds: how long a writer waits for another one.

        Raises:
            PlatformError: it cannot be opened, is locked, or was written by a newer release.
        """
        engine = connect(url, wait_seconds)
        ledger = cls(engine, name_of(url), wait_seconds)
        try:
            with translated(ledger._where, wait_seconds):
                upgrade(engine, ledger._writers, ledger._where)
        except BaseException:
            ledger.close()
            raise
        return ledger

    def close(self) -> None:
        """Its connections are closed."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def with_fence(self, fence: Fence) -> Self:
        """The same ledger for a writer that acts under a claim or a lease: its writes are refused once that was taken anew.

        The token is looked at within each writing transaction: a writer that was paused cannot come in after its successor.
        """
        return type(self)(self._engine, self._where, self._wait_seconds, fence)

    def check_fence(self) -> None:
        """Nobody has taken the claim or lease since; nothing to check without a fence.

        For calls that leave the ledger: made just before them.

        Raises:
            FencedError: somebody has.
        """
        with self._read() as connection:
            self._check(connection)

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with translated(self._where, self._wait_seconds), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with translated(self._where, self._wait_seconds), self._writers.begin() as connection:
            self._check(connection)
            yield connection

    def _check(self, connection: Connection) -> None:
        if self._fence is None:
            return
        # Writers queue: nobody takes the claim between this look and the commit.
        token = connection.scalar(fence_query(self._fence))
        if token != self._fence.token:
            finding = "it is gone" if token is None else f"it has token {token}"
            raise FencedError(
                f"ledger {self._where}: the {self._fence.kind} {self._fence.key!r} was taken by another process "
                f"({finding}, this one holds {self._fence.token}): nothing was written; the other one goes on with the work"
            )


def fence_query(fence: Fence) -> Select[int]:
    """Asks for the token that the claim or lease has now."""
    if fence.kind == "claim":
        return select(claims.c.token).where(claims.c.key == fence.key)
    return select(leases.c.token).where(leases.c.name == fence.key)


def read_all(connection: Connection, query: Select[Any], kind: type[R]) -> tuple[R, ...]:
    """The rows of a query as records, in its order."""
    return tuple(kind.model_validate(dict(row)) for row in connection.execute(query).mappings())


def read_one(connection: Connection, query: Select[Any], kind: type[R]) -> R | None:
    """The only row of a query as a record; none when there is none."""
    return next(iter(read_all(connection, query, kind)), None)
