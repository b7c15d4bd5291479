"""The packed online store in an SQLite file. `database` decides when it is used.

Write-ahead logging lets readers go on while one process writes.
"""

import sqlite3
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from feature_repo.online_store.interface import Row, no_view, other_layout
from feature_repo.online_store.layout import Layout
from perennial.errors import PlatformError
from perennial.outages import is_outage, translated

WRITE_SECONDS = 30.0
"""How long a write waits for another process's write. A batch takes milliseconds; half a minute means something is stuck."""
READ_SECONDS = 0.2
"""How long a lookup waits for a lock. Write-ahead logging needs none; only a recovery after a crash holds one for a moment."""
MAX_WANTED = 256
"""Values that one statement asks for. A statement is compiled for each number of them, so that the number is bounded."""

SCHEMA = """
create table if not exists layouts (
  view text primary key,
  digest blob not null,
  layout text not null
) without rowid;
create table if not exists held_layouts (
  name text primary key,
  view text not null,
  digest blob not null,
  layout text not null
) without rowid;
create table if not exists feature_values (
  view text not null, -- name of the layout: view@digest
  key blob not null,
  event_timestamp integer not null, -- microseconds since 1970
  value blob not null,
  primary key (view, key)
) without rowid;
"""


FORMAT = 2
"""`user_version` of a file whose values are stored by layout. Before, they were stored by view, of one layout alone."""


class FileDatabase:
    """The file `where`, opened: an `OnlineDatabase`."""

    def __init__(self, where: str, connection: sqlite3.Connection) -> None:
        self.where = where
        self._connection = connection

    def keep_layouts(self, layouts: Iterable[Layout]) -> None:
        """These layouts are current; values of other layouts of their views stay."""
        for layout in layouts:
            record = (layout.view, layout.digest, layout.model_dump_json())
            self._connection.execute(
                "insert into layouts values (?, ?, ?) on conflict (view) do update"
                " set digest = excluded.digest, layout = excluded.layout where digest <> excluded.digest",
                record,
            )
            self._connection.execute("insert or ignore into held_layouts values (?, ?, ?, ?)", (layout.name, *record))

    def forget(self, views: Iterable[str]) -> None:
        """These views are in no definition any more; their values stay."""
        for view in views:
            self._connection.execute("delete from layouts where view = ?", (view,))

    def held(self) -> list[Layout]:
        """Every layout, current or kept, by name."""
        records = self._connection.execute("select layout from held_layouts order by name").fetchall()
        return [Layout.model_validate_json(layout) for (layout,) in records]

    def purge(self, needed: Container[tuple[str, bytes]]) -> list[Layout]:
        """Drop the layouts, with their values, that are neither current nor needed; returns them."""
        current = set(self._connection.execute("select view, digest from layouts").fetchall())
        gone = [layout for layout in self.held() if (layout.view, layout.digest) not in current]
        gone = [layout for layout in gone if (layout.view, layout.digest) not in needed]
        for layout in gone:
            self._connection.execute("delete from feature_values where view = ?", (layout.name,))
            self._connection.execute("delete from held_layouts where name = ?", (layout.name,))
        return gone

    def views(self) -> list[str]:
        """Views that were applied here, sorted."""
        return [str(name) for (name,) in self._connection.execute("select view from layouts order by view")]

    def layout(self, view: str) -> Layout:
        """Current layout of a view.

        Raises:
            NotFoundError: the view was never applied here.
        """
        record = self._connection.execute("select layout from layouts where view = ?", (view,)).fetchone()
        if record is None:
            raise no_view(self.where, view, self.views())
        return Layout.model_validate_json(record[0])

    def write(self, layout: Layout, rows: Iterable[Row]) -> None:
        """Each row is stored unless a newer one of its key is.

        Raises:
            DataError: the layout was purged by another process since it was read, or never kept.
        """
        current = self._connection.execute("select digest from layouts where view = ?", (layout.view,)).fetchone()
        held = self._connection.execute("select 1 from held_layouts where name = ?", (layout.name,)).fetchone()
        if current is not None and held is None:
            raise other_layout(self.where, layout, current[0])
        self._connection.executemany(
            "insert into feature_values values (?, ?, ?, ?) on conflict (view, key) do update"
            " set event_timestamp = excluded.event_timestamp, value = excluded.value"
            " where excluded.event_timestamp >= event_timestamp",
            ((layout.name, *row) for row in rows),
        )

    def read(self, view: str, keys: Sequence[bytes]) -> list[tuple[int, bytes] | None]:
        """Event timestamp (microseconds) and value of each key, by the current layout; None where there is none."""
        name, values = self._name(view), list[tuple[int, bytes] | None]()
        for key in keys:
            row = self._connection.execute(
                "select event_timestamp, value from feature_values where view = ? and key = ?", (name, key)
            ).fetchone()
            values.append(None if row is None else (row[0], row[1]))
        return values

    def rows(self, view: str) -> Iterator[Row]:
        """Everything stored by the current layout of a view, or by the layout of that name, ordered by key."""
        yield from self._connection.execute(
            "select key, event_timestamp, value from feature_values where view = ? order by key", (self._name(view),)
        )

    def count(self, view: str, after: int, until: int) -> int:
        """How many values of a view's current layout have an event timestamp in (after, until], in microseconds."""
        row = self._connection.execute(
            "select count(*) from feature_values where view = ? and event_timestamp > ? and event_timestamp <= ?",
            (self._name(view), after, until),
        ).fetchone()
        return int(row[0])

    def drop(self, views: Iterable[str]) -> None:
        """Nothing is stored of these views any more, by whatever layout."""
        for view in views:
            self._connection.execute(
                "delete from feature_values where view in (select name from held_layouts where view = ?)", (view,)
            )
            self._connection.execute("delete from held_layouts where view = ?", (view,))
            self._connection.execute("delete from layouts where view = ?", (view,))

    def _name(self, view: str) -> str:
        """The name of a view's current layout; a name of a layout is itself."""
        record = self._connection.execute("select layout from layouts where view = ?", (view,)).fetchone()
        return view if record is None else Layout.model_validate_json(record[0]).name


def upgrade(connection: sqlite3.Connection) -> None:
    """Store by layout what a release before stored by view: each value begins with the digest of its layout."""
    if connection.execute("pragma user_version").fetchone()[0] >= FORMAT:
        return
    connection.execute("begin immediate")
    if connection.execute("pragma user_version").fetchone()[0] < FORMAT:
        connection.execute("update feature_values set view = view || '@' || lower(hex(substr(value, 1, 8)))")
        for view, digest, layout in connection.execute("select view, digest, layout from layouts").fetchall():
            record = (f"{view}@{digest.hex()}", view, digest, layout)
            connection.execute("insert or ignore into held_layouts values (?, ?, ?, ?)", record)
        connection.execute(f"pragma user_version = {FORMAT}")
    connection.execute("commit")


@contextmanager
def open_file(where: str, *, write: bool) -> Iterator[FileDatabase]:
    """The file `where`, made when absent; what is done with it is one transaction, undone by an exception.

    Args:
        where: path of the file.
        write: whether the transaction writes. It then takes the write lock at once: a lock taken in the middle could not wait.

    Raises:
        PlatformError: the file is locked, cannot be written, or is no such database.
    """
    try:
        Path(where).parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(where, timeout=WRITE_SECONDS, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise PlatformError(f"{where}: cannot be opened: {error}; the folder must be writable") from error
    try:
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = normal")
        connection.executescript(SCHEMA)
        upgrade(connection)
        connection.execute("begin immediate" if write else "begin")
        yield FileDatabase(where, connection)
        connection.execute("commit")
    except sqlite3.Error as error:
        if connection.in_transaction:
            connection.execute("rollback")
        if not is_outage(error):
            raise translated(error, where) from error
        raise PlatformError(f"{where}: {error}; another process may be writing: try again, or look who holds the file") from error
    except BaseException:
        if connection.in_transaction:
            connection.execute("rollback")
        raise
    finally:
        connection.close()


class FileLookup:
    """The file `where`, read by a server: a `Lookup`. A file that was replaced is opened again."""

    def __init__(self, where: str) -> None:
        self._path = Path(where)
        self._connection: sqlite3.Connection | None = None
        self._file = (0, 0)

    def layouts(self) -> dict[str, frozenset[bytes]]:
        """Digests of each view's layouts, current and kept."""
        digests: dict[str, frozenset[bytes]] = {}
        for view, digest in self._ask("select view, digest from held_layouts"):
            digests[view] = digests.get(view, frozenset()) | {digest}
        return digests

    def answers(self) -> None:
        """The file can be read."""
        self._ask("select 1 from layouts limit 1")

    def values(self, wanted: Sequence[tuple[str, bytes]]) -> list[bytes | None]:
        """What is stored of these pairs of a layout's name and a key, all of one moment; None where there is nothing."""
        if len(wanted) <= MAX_WANTED:
            return self._chunk(wanted)
        values: list[bytes | None] = []
        self._ask("begin")
        for start in range(0, len(wanted), MAX_WANTED):
            values += self._chunk(wanted[start : start + MAX_WANTED])
        self._ask("commit")
        return values

    def close(self) -> None:
        """The file is closed."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _chunk(self, wanted: Sequence[tuple[str, bytes]]) -> list[bytes | None]:
        values: list[bytes | None] = [None] * len(wanted)
        rows: list[tuple[int, bytes]] = self._ask(_statement(len(wanted)), [part for pair in wanted for part in pair])
        for position, data in rows:
            values[position] = data
        return values

    def _ask(self, statement: str, parameters: Sequence[str | bytes] = ()) -> list[Any]:
        try:
            return self._opened().execute(statement, parameters).fetchall()
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise PlatformError(f"{self._path}: the online store does not answer: {error}") from error

    def _opened(self) -> sqlite3.Connection:
        status = self._path.stat()
        file = (status.st_dev, status.st_ino)
        if self._connection is None or file != self._file:
            self.close()
            # Not read-only: the first reader of a write-ahead log has to make the file by which it is shared.
            self._connection = sqlite3.connect(
                f"{self._path.absolute().as_uri()}?mode=rw",
                uri=True,
                timeout=READ_SECONDS,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=MAX_WANTED,
            )
            if self._connection.execute("pragma user_version").fetchone()[0] < FORMAT:
                self._connection.executescript(SCHEMA)
                upgrade(self._connection)  # a file of the release before
            self._connection.execute("pragma query_only = 1")
            self._file = file
        return self._connection


_STATEMENTS: dict[int, str] = {}


def _statement(count: int) -> str:
    """A statement that looks `count` pairs of view and key up: one search of the index each, in one read transaction."""
    if count not in _STATEMENTS:
        pairs = ",".join(f"({position},?,?)" for position in range(count))
        _STATEMENTS[count] = (
            f"with wanted(place, view, key) as (values {pairs}) select place, value from wanted"
            " cross join feature_values stored on stored.view = wanted.view and stored.key = wanted.key"
        )
    return _STATEMENTS[count]
