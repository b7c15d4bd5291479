"""The SQLite file of the packed online store: one value for each view and entity key. Imports neither Feast nor pandas.

Write-ahead logging lets readers go on while one process writes; a value is replaced only by one that is not older.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from feature_repo.layout import Layout
from perennial.errors import DataError, NotFoundError, PlatformError

WAIT_SECONDS = 30.0
"""How long a write waits for another process's write. A batch takes milliseconds; half a minute means something is stuck."""

SCHEMA = """
create table if not exists layouts (
  view text primary key,
  digest blob not null,
  layout text not null
) without rowid;
create table if not exists feature_values (
  view text not null,
  key blob not null,
  event_timestamp integer not null, -- microseconds since 1970
  value blob not null,
  primary key (view, key)
) without rowid;
"""

Row = tuple[bytes, int, bytes]
"""Key, event timestamp in microseconds, value."""


class OnlineDatabase:
    """The file `where`, opened."""

    def __init__(self, where: str, connection: sqlite3.Connection) -> None:
        self.where = where
        self._connection = connection

    def keep_layouts(self, layouts: Iterable[Layout]) -> None:
        """These layouts are current; values packed by another layout of their views are gone (they could not be read)."""
        for layout in layouts:
            self._connection.execute(
                "insert into layouts values (?, ?, ?) on conflict (view) do update"
                " set digest = excluded.digest, layout = excluded.layout where digest <> excluded.digest",
                (layout.view, layout.digest, layout.model_dump_json()),
            )
            self._connection.execute(
                "delete from feature_values where view = ? and substr(value, 1, 8) <> ?", (layout.view, layout.digest)
            )

    def layout(self, view: str) -> Layout:
        """Current layout of a view.

        Raises:
            NotFoundError: the view was never applied here.
        """
        found = self._connection.execute("select layout from layouts where view = ?", (view,)).fetchone()
        if found is None:
            known = [str(name) for (name,) in self._connection.execute("select view from layouts order by view")]
            raise NotFoundError(
                f"{self.where}: no view {view!r}; it has {', '.join(known) or 'none'}; `perennial features apply` adds views"
            )
        return Layout.model_validate_json(found[0])

    def write(self, layout: Layout, rows: Iterable[Row]) -> None:
        """Each row is stored unless a newer one of its key is.

        Raises:
            DataError: the view's layout was changed by another process since `layout` was read.
        """
        current = self._connection.execute("select digest from layouts where view = ?", (layout.view,)).fetchone()
        if current is not None and current[0] != layout.digest:
            raise DataError(
                f"{self.where}: view {layout.view!r} has layout {current[0].hex()}, these values {layout.digest.hex()}; "
                "the definitions were changed: `perennial features apply`, then write again"
            )
        self._connection.executemany(
            "insert into feature_values values (?, ?, ?, ?) on conflict (view, key) do update"
            " set event_timestamp = excluded.event_timestamp, value = excluded.value"
            " where excluded.event_timestamp >= event_timestamp",
            ((layout.view, *row) for row in rows),
        )

    def read(self, view: str, keys: Sequence[bytes]) -> list[tuple[int, bytes] | None]:
        """Event timestamp (microseconds) and value of each key; None where there is none."""
        found: list[tuple[int, bytes] | None] = []
        for key in keys:
            row = self._connection.execute(
                "select event_timestamp, value from feature_values where view = ? and key = ?", (view, key)
            ).fetchone()
            found.append(None if row is None else (row[0], row[1]))
        return found

    def rows(self, view: str) -> Iterator[Row]:
        """Everything stored of a view, ordered by key."""
        yield from self._connection.execute(
            "select key, event_timestamp, value from feature_values where view = ? order by key", (view,)
        )

    def count(self, view: str, after: int, until: int) -> int:
        """How many of a view's values have an event timestamp in (after, until], in microseconds."""
        found = self._connection.execute(
            "select count(*) from feature_values where view = ? and event_timestamp > ? and event_timestamp <= ?",
            (view, after, until),
        ).fetchone()
        return int(found[0])

    def drop(self, views: Iterable[str]) -> None:
        """Nothing is stored of these views any more."""
        for view in views:
            self._connection.execute("delete from feature_values where view = ?", (view,))
            self._connection.execute("delete from layouts where view = ?", (view,))


@contextmanager
def open_database(where: str, *, write: bool = True) -> Iterator[OnlineDatabase]:
    """The file `where`, made when absent; what is done with it is one transaction, undone by an exception.

    Args:
        where: path of the file.
        write: whether the transaction writes. It then takes the write lock at once: a lock taken in the middle could not wait.

    Raises:
        PlatformError: the file is locked, cannot be written, or is no such database.
    """
    try:
        Path(where).parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(where, timeout=WAIT_SECONDS, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise PlatformError(f"{where}: cannot be opened: {error}; the folder must be writable") from error
    try:
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = normal")
        connection.executescript(SCHEMA)
        connection.execute("begin immediate" if write else "begin")
        yield OnlineDatabase(where, connection)
        connection.execute("commit")
    except sqlite3.Error as error:
        if connection.in_transaction:
            connection.execute("rollback")
        raise PlatformError(f"{where}: {error}; another process may be writing: try again, or look who holds the file") from error
    except BaseException:
        if connection.in_transaction:
            connection.execute("rollback")
        raise
    finally:
        connection.close()
