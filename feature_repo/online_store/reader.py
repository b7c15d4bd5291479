"""The read plan, carried out on the packed online store: features of many rows and all views in one read. No Feast, no pandas.

Held equal to Feast's `get_online_features` by a test. What is found is returned as it is; what is too old, and what happens then,
is decided by the caller with `perennial.data.read_plan`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from feature_repo.online_store.database import open_lookup
from feature_repo.online_store.layout import Field, Layout, Value, key_encoder
from perennial.data.read_plan import PlanView, ReadPlan
from perennial.errors import DataError


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
        positions = {field.name: position for position, field in enumerate(view.fields)}
        unknown = [name for name in (*(feature.name for feature in view.features), view.observed_at) if name not in positions]
        if unknown:
            raise DataError(f"view {view.view!r}: the plan takes {', '.join(unknown)}, stored are {', '.join(positions)}")
        self.name = view.view
        self._encode: Callable[[Sequence[Value]], bytes] = key_encoder(join_keys)
        self._keys = tuple(keys.index(key.name) for key in view.join_keys)
        self._features = tuple(positions[feature.name] for feature in view.features)
        self._observed = positions[view.observed_at]
        self._nothing: tuple[None, ...] = (None,) * len(view.features)

    def key(self, row: Sequence[Value]) -> bytes:
        return self._encode([row[position] for position in self._keys])

    def part(self, data: bytes | None, held: Mapping[str, frozenset[bytes]]) -> _Part:
        """Values, observation time and status of what is stored of a key; `held` are the store's layouts by view."""
        if data is None:
            # Values of a layout that was purged are not missing of this key: they are of all keys.
            return self._nothing, None, MISSING if self.layout.digest in held.get(self.name, ()) else STALE_LAYOUT
        try:
            values = self.layout.decode(data)
        except ValueError:
            return self._nothing, None, STALE_LAYOUT
        observed = values[self._observed]
        return tuple([values[position] for position in self._features]), None if observed is None else float(observed), FOUND


class PlanReader:
    """Reads the features of a plan from the store. For one thread at a time."""

    def __init__(self, plan: ReadPlan, where: str) -> None:
        """Nothing is opened yet.

        Args:
            plan: what is read.
            where: path of the store's file, or URL of its Redis.

        Raises:
            DataError: the plan contradicts itself, or was written by another release.
            SpecError: the URL is wrong.
        """
        self._where = where
        self._keys = tuple(key.name for key in plan.keys)
        self._views = tuple(_ViewReader(view, self._keys) for view in plan.views)
        self._lookup = open_lookup(where)

    def check(self) -> None:
        """The store answers, and packs every view as the plan says.

        Raises:
            PlatformError: the store does not answer.
            DataError: a view was never applied, or has another layout than the plan.
        """
        stored = {view: sorted(digest.hex() for digest in digests) for view, digests in self._lookup.layouts().items()}
        for view in self._views:
            expected = view.layout.digest.hex()
            if view.name not in stored:
                view_names = ", ".join(sorted(stored)) or "none"
                raise DataError(
                    f"{self._where}: no view {view.name!r}; it has {view_names}: `perennial features apply` adds views"
                )
            if expected not in stored[view.name]:
                raise DataError(
                    f"{self._where}: view {view.name!r} has layout {', '.join(stored[view.name])}, the version reads {expected}: "
                    "the definitions were changed after it was trained; apply those that it was trained with, or train again"
                )

    def answers(self) -> None:
        """The store answers.

        Raises:
            PlatformError: it does not.
        """
        self._lookup.answers()

    def read(self, rows: Sequence[Sequence[Value]]) -> list[Found]:
        """What the store holds for each row, all of one moment.

        Args:
            rows: for each the values of the plan's keys, in its order.

        Raises:
            PlatformError: the store does not answer.
        """
        pairs_by_row = [[(number, view.key(row)) for number, view in enumerate(self._views)] for row in rows]
        pairs = list(dict.fromkeys(pair for row_pairs in pairs_by_row for pair in row_pairs))
        values = self._lookup.values([(self._views[number].layout.name, key) for number, key in pairs]) if pairs else []
        # The layouts are asked for where they decide, which is rare: a key of which nothing is stored.
        held = self._lookup.layouts() if None in values else {}
        parts = {pair: self._views[pair[0]].part(data, held) for pair, data in zip(pairs, values, strict=True)}
        results = []
        for row_pairs in pairs_by_row:
            row_parts = [parts[pair] for pair in row_pairs]
            features: list[Value] = []
            for part in row_parts:
                features += part[0]
            results.append(Found(tuple(features), tuple([part[1] for part in row_parts]), tuple([part[2] for part in row_parts])))
        return results

    def close(self) -> None:
        """Nothing is held any more; the next read opens the store again."""
        self._lookup.close()
