"""Values of a stretch of time, packed once and written as their times come: what replays publish an hour at a time.

The same bytes as `store.write_online` writes, which packs what it is given anew at each call. Whose time it is, the caller says.
Values of kept layouts (`kept`) age here: a replay begins with the definitions that it has.
"""

from bisect import bisect_right
from collections.abc import Mapping
from datetime import datetime
from typing import Self

import pandas as pd

from feature_repo.online_store.database import open_database
from feature_repo.online_store.feast_store import to_microseconds
from feature_repo.online_store.interface import Row
from feature_repo.online_store.layout import Layout
from feature_repo.online_store.packing import pack
from perennial.settings import Settings


class Publication:
    """Rows of several views in the order of their times, and how far they have been written."""

    def __init__(self, settings: Settings, views: list[tuple[Layout, list[Row]]]) -> None:
        """Nothing is written yet.

        Args:
            settings: where the online store is.
            views: layout and packed rows of each view, ascending by time.
        """
        self._settings, self._views = settings, views
        self._times = [[time for _, time, _ in rows] for _, rows in views]
        self._written = [0] * len(views)

    @classmethod
    def prepare(cls, settings: Settings, frames: Mapping[str, pd.DataFrame]) -> Self:
        """The rows of these frames, packed.

        Args:
            settings: where the online store is.
            frames: by applied view: join keys, `event_timestamp` (UTC), every field of the view; rows in any order, of one key
                and time the last one counts.

        Raises:
            NotFoundError: a view was not applied.
            DataError: a column is missing.
        """
        with open_database(settings.online_store, write=False) as database:
            layouts = [database.layout(view) for view in frames]
        return cls(settings, [(layout, pack(layout, frames[layout.view])) for layout in layouts])

    def write_until(self, time: datetime) -> int:
        """The online store holds every row published at `time` or before; returns how many were new.

        Nothing is lost when it fails: the next call writes the same rows again.

        Raises:
            DataError: a view's layout was changed since the rows were packed.
            PlatformError: the store is locked or cannot be written.
        """
        until = to_microseconds(time)
        ends = [bisect_right(times, until, lo=begin) for times, begin in zip(self._times, self._written, strict=True)]
        count = sum(ends) - sum(self._written)
        if count:
            with open_database(self._settings.online_store) as database:
                for (layout, rows), begin, end in zip(self._views, self._written, ends, strict=True):
                    database.write(layout, rows[begin:end])
        self._written = ends
        return count
