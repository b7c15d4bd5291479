"""The read plan, carried out on the packed online store: features of many rows and all views in one read. No Feast, no pandas.

Held equal to Feast's `get_online_features` by a test. What is found is returned as it is; what is too old, and what happens then,
is decided by the caller with `perennial.plan`.
"""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feature_repo.layout import Field, Layout, Value, key_encoder
from perennial.errors import DataError, PlatformError
from perennial.plan import PlanView, ReadPlan

WAIT_SECONDS = 0.2
"""How long a read waits for a lock. Write-ahead logging needs none; only a recovery after a crash holds one for a moment."""
MOST_WANTED = 256
"""Values that one statement asks for. A statement is compiled for each number of them, so that the number is bounded."""


@dataclass(slots=True)
class Found:
    """What the store holds for one row."""

    values: tuple[Value, ...]
    """A value for each feature of the plan, in its order; None where missing."""
    observed_at: tuple[float | None, ...]
    """For each view when its values were observed, Unix seconds; None where none were found."""
    status: tuple[str, ...]
    """For each view `found`, `missing` or `stale layout`."""


FOUND, MISSING, STALE_LAYOUT = "found", "missing", "stale layout"

_Part = tuple[tuple[Value, ...], float | None, str]


class _ViewReader:
    """One view of the plan: its keys as bytes, its bytes as values."""

    def __init__(self, view: PlanView, keys: Sequence[str]) -> None:
        join_keys = [Field(name=key.name, kind=key.kind) for key in view.join_keys]
        self.layout = Layout(
            view=view.view,
            join_keys=tuple(join_keys),
            fields=tuple(Field(name=field.name, kind=field.kind) for field in view.fields),
        )
        if self.layout.digest.hex() != view.layout:
            raise DataError(
                f"view {view.view!r}: the plan says layout {view.layout}, this release packs its fields as "
                f"{self.layout.digest.hex()}: install the release that wrote the plan, or train again"
            )
        places = {field.name: place for place, field in enumerate(view.fields)}
        unknown = [name for name in (*(feature.name for feature in view.features), view.observed_at) if name not in places]
        if unknown:
            raise DataError(f"view {view.view!r}: the plan takes {', '.join(unknown)}, stored are {', '.join(places)}")
        self.name = view.view
        self._encode: Callable[[Sequence[Value]], bytes] = key_encoder(join_keys)
        self._keys = tuple(keys.index(key.name) for key in view.join_keys)
        self._features = tuple(places[feature.name] for feature in view.features)
        self._observed = places[view.observed_at]
        self._nothing: tuple[None, ...] = (None,) * len(view.features)

    def key(self, row: Sequence[Value]) -> bytes:
        return self._encode([row[place] for place in self._keys])

    def part(self, data: bytes | None) -> _Part:
        """Values, observation time and status of what is stored of a key."""
        if data is None:
            return self._nothing, None, MISSING
        try:
            values = self.layout.decode(data)
        except ValueError:
            return self._nothing, None, STALE_LAYOUT
        observed = values[self._observed]
        return tuple([values[place] for place in self._features]), None if observed is None else float(observed), FOUND


class PlanReader:
    """Reads the features of a plan from the store's file. For one thread at a time; a file that was replaced is opened again."""

    def __init__(self, plan: ReadPlan, where: str) -> None:
        """Nothing is opened yet.

        Args:
            plan: what is read.
            where: path of the store's file.

        Raises:
            DataError: the plan contradicts itself, or was written by another release.
        """
        self._path = Path(where)
        self._keys = tuple(key.name for key in plan.keys)
        self._views = tuple(_ViewReader(view, self._keys) for view in plan.views)
        self._connection: sqlite3.Connection | None = None
        self._file = (0, 0)

    def check(self) -> None:
        """The store answers, and packs every view as the plan says.

        Raises:
            PlatformError: the store does not answer.
            DataError: a view was never applied, or has another layout than the plan.
        """
        layouts: list[tuple[str, bytes]] = self._ask("select view, digest from layouts")
        stored = {view: digest.hex() for view, digest in layouts}
        for view in self._views:
            expected = view.layout.digest.hex()
            if view.name not in stored:
                known = ", ".join(sorted(stored)) or "none"
                raise DataError(f"{self._path}: no view {view.name!r}; it has {known}: `perennial features apply` adds views")
            if stored[view.name] != expected:
                raise DataError(
                    f"{self._path}: view {view.name!r} has layout {stored[view.name]}, the version reads {expected}: the "
                    "definitions were changed after it was trained; apply those that it was trained with, or train again"
                )

    def answers(self) -> None:
        """The store answers.

        Raises:
            PlatformError: it does not.
        """
        self._ask("select 1 from layouts limit 1")

    def read(self, rows: Sequence[Sequence[Value]]) -> list[Found]:
        """What the store holds for each row, all of one moment.

        Args:
            rows: for each the values of the plan's keys, in its order.

        Raises:
            PlatformError: the store does not answer.
        """
        wanted: dict[tuple[int, bytes], _Part | None] = {}
        places = []
        for row in rows:
            own = [(number, view.key(row)) for number, view in enumerate(self._views)]
            places.append(own)
            wanted.update(dict.fromkeys(own))
        for pair, data in self._values(list(wanted)):
            wanted[pair] = self._views[pair[0]].part(data)
        parts = [view.part(None) for view in self._views]
        found = []
        for own in places:
            seen = [wanted[pair] or parts[pair[0]] for pair in own]
            values: list[Value] = []
            for part in seen:
                values += part[0]
            found.append(Found(tuple(values), tuple([part[1] for part in seen]), tuple([part[2] for part in seen])))
        return found

    def close(self) -> None:
        """Nothing is held any more; the next read opens the file again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _values(self, wanted: Sequence[tuple[int, bytes]]) -> list[tuple[tuple[int, bytes], bytes]]:
        """What is stored of these pairs of view and key."""
        if not wanted:
            return []
        if len(wanted) <= MOST_WANTED:
            return self._chunk(wanted)
        found = []
        self._ask("begin")
        for start in range(0, len(wanted), MOST_WANTED):
            found += self._chunk(wanted[start : start + MOST_WANTED])
        self._ask("commit")
        return found

    def _chunk(self, wanted: Sequence[tuple[int, bytes]]) -> list[tuple[tuple[int, bytes], bytes]]:
        parameters: list[str | bytes] = []
        for number, key in wanted:
            parameters += (self._views[number].name, key)
        rows: list[tuple[int, bytes]] = self._ask(_statement(len(wanted)), parameters)
        return [(wanted[place], data) for place, data in rows]

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
                timeout=WAIT_SECONDS,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=MOST_WANTED,
            )
            self._connection.execute("pragma query_only = 1")
            self._file = file
        return self._connection


_STATEMENTS: dict[int, str] = {}


def _statement(count: int) -> str:
    """A statement that looks `count` pairs of view and key up: one search of the index each, in one read transaction."""
    if count not in _STATEMENTS:
        pairs = ",".join(f"({place},?,?)" for place in range(count))
        _STATEMENTS[count] = (
            f"with wanted(place, view, key) as (values {pairs}) select place, value from wanted"
            " cross join feature_values stored on stored.view = wanted.view and stored.key = wanted.key"
        )
    return _STATEMENTS[count]
