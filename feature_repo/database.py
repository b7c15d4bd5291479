"""The packed online store, wherever it is: one value for each layout of a view and entity key. Imports neither Feast nor pandas.

A view has one *current* layout, that of the definitions. Others of it are *kept*: a version that was trained before a definition
changed goes on reading values of its own layout, until no version needs them and they are purged.

A file is SQLite (`sqlite_store`), a URL a Redis (`redis_store`). Both hold the same keys and values, those of `layout`, and
replace a value only by one that is not older. The choice is made here and nowhere else; what was not chosen is not imported.
"""

from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from feature_repo.layout import Layout
from perennial.errors import DataError, NotFoundError, SpecError

REDIS = ("redis://", "rediss://")
"""How the URL of a Redis begins; with `rediss` the connection is encrypted."""

Row = tuple[bytes, int, bytes]
"""Key, event timestamp in microseconds, value."""


class OnlineDatabase(Protocol):
    """The store as its writers know it, opened."""

    where: str
    """Path or URL, for people."""

    def keep_layouts(self, layouts: Iterable[Layout]) -> None:
        """These layouts are current; values of other layouts of their views stay."""
        ...

    def forget(self, views: Iterable[str]) -> None:
        """These views are in no definition any more; their values stay."""
        ...

    def held(self) -> list[Layout]:
        """Every layout, current or kept, by name."""
        ...

    def purge(self, needed: Container[tuple[str, bytes]]) -> list[Layout]:
        """Drop the layouts, with their values, that are neither current nor needed; returns them.

        Args:
            needed: view and digest of each layout that some version reads.
        """
        ...

    def views(self) -> list[str]:
        """Views that were applied here, sorted."""
        ...

    def layout(self, view: str) -> Layout:
        """Current layout of a view.

        Raises:
            NotFoundError: the view was never applied here.
        """
        ...

    def write(self, layout: Layout, rows: Iterable[Row]) -> None:
        """Each row is stored unless a newer one of its key is.

        Raises:
            DataError: the layout was purged by another process since it was read, or never kept.
        """
        ...

    def read(self, view: str, keys: Sequence[bytes]) -> list[tuple[int, bytes] | None]:
        """Event timestamp (microseconds) and value of each key, by the current layout; None where there is none."""
        ...

    def rows(self, view: str) -> Iterator[Row]:
        """Everything stored by the current layout of a view, or by the layout of that name, ordered by key."""
        ...

    def count(self, view: str, after: int, until: int) -> int:
        """How many values of a view's current layout have an event timestamp in (after, until], in microseconds."""
        ...

    def drop(self, views: Iterable[str]) -> None:
        """Nothing is stored of these views any more, by whatever layout."""
        ...


class Lookup(Protocol):
    """The store as a server reads it. For one thread at a time; a store that was away is reached again by the next question."""

    def layouts(self) -> dict[str, frozenset[bytes]]:
        """Digests of each view's layouts, current and kept.

        Raises:
            PlatformError: the store does not answer.
        """
        ...

    def answers(self) -> None:
        """The store answers.

        Raises:
            PlatformError: it does not.
        """
        ...

    def values(self, wanted: Sequence[tuple[str, bytes]]) -> list[bytes | None]:
        """What is stored of these pairs of a layout's name and a key, all of one moment; None where there is nothing.

        Raises:
            PlatformError: the store does not answer.
        """
        ...

    def close(self) -> None:
        """Nothing is held any more; the next question opens the store again."""
        ...


def is_redis(where: str) -> bool:
    """Whether the store is a Redis, not a file.

    >>> is_redis("redis://host:6379/0"), is_redis("/var/lib/perennial/online.db")
    (True, False)
    """
    return where.startswith(REDIS)


def open_database(where: str, *, write: bool = True) -> AbstractContextManager[OnlineDatabase]:
    """The store for its writers; a file is made when absent.

    What is done with a file is one transaction, undone by an exception. A Redis keeps what was written until then: the caller
    writes the same rows again, which changes nothing twice.

    Args:
        where: path of a file, or URL of a Redis.
        write: whether something is written. A file's write lock is then taken at once: in the middle it could not wait.

    Raises:
        PlatformError: the store is locked, cannot be reached or written, or is no such database.
        SpecError: the URL is wrong.
    """
    if is_redis(where):
        from feature_repo.redis_store import open_redis

        return open_redis(where)
    from feature_repo.sqlite_store import open_file

    return open_file(where, write=write)


def open_lookup(where: str) -> Lookup:
    """The store for a server; nothing is opened yet.

    Args:
        where: path of a file, or URL of a Redis.

    Raises:
        SpecError: the URL is wrong.
    """
    if is_redis(where):
        from feature_repo.redis_store import RedisLookup

        return RedisLookup(where)
    from feature_repo.sqlite_store import FileLookup

    return FileLookup(where)


def check_prefix(where: str, name: str) -> None:
    """The keys in a Redis begin with the name of the installation.

    A server is given the URL alone, so that the URL says how they begin. Two installations never write the same keys by mistake.

    Args:
        where: URL of the Redis.
        name: of the installation.

    Raises:
        SpecError: they begin otherwise, or the URL is wrong.
    """
    from feature_repo.redis_store import Place

    prefix = Place.of(where).prefix
    if prefix != name:
        raise SpecError(
            f"PERENNIAL_ONLINE_STORE: {where}: its keys begin with {prefix!r}, PERENNIAL_NAME is {name!r}: "
            f"let the URL end in ?prefix={name}"
        )


def no_view(where: str, view: str, known: Iterable[str]) -> NotFoundError:
    """The error of a view that was never applied."""
    has = ", ".join(known) or "none"
    return NotFoundError(f"{where}: no view {view!r}; it has {has}; `perennial features apply` adds views")


def other_layout(where: str, layout: Layout, current: bytes) -> DataError:
    """The error of a write by a layout that is not current any more."""
    return DataError(
        f"{where}: view {layout.view!r} has layout {current.hex()}, these values {layout.digest.hex()}; "
        "the definitions were changed: `perennial features apply`, then write again"
    )
