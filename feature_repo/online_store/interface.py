"""The packed online store as its writers and its readers know it, whatever keeps it. Imports neither Feast nor pandas."""

from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Protocol

from feature_repo.online_store.layout import Layout
from perennial.errors import DataError, NotFoundError

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
