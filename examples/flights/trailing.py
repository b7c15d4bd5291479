"""Trailing delay rates from flights that had landed, published every hour for every carrier and every route.

Only landings at or before the hour of publication count; the flight's departure plays no part (its delay is not known then).
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

HOUR = 3_600_000_000
"""Microseconds of an hour."""
STRENGTH = 5
"""Flights that the prior is worth: a window with five landings is believed half."""
FIRST_PRIOR = 0.23
"""Prior before anything landed: a round figure for the share of flights that arrive late. It touches only the few hours until the
first landing of the data; from then on the prior is the rate of everything that has landed."""

Times = NDArray[np.int64]
Flags = NDArray[np.bool_]


def trailing(
    landed: pd.DataFrame, keys: list[str], entities: pd.DataFrame, hours: Times, windows: dict[str, int]
) -> pd.DataFrame:
    """Rates and counts of each entity's trailing windows, at each hour.

    Args:
        landed: flights that landed: `keys`, `landing` (microseconds UTC, int64), `late` (bool), in any order.
        keys: columns that identify an entity.
        entities: the entities to publish, one row each: `keys`.
        hours: hours of publication, microseconds UTC, ascending.
        windows: name of each window with its length in hours.

    Returns:
        One row for each hour and entity, by hour: `keys`, `hour`, and for each window `late_rate_<name>`, `landed_<name>`.
        A window of w hours at hour h holds the landings in (h - w, h].
    """
    landed = landed.sort_values("landing", kind="stable")
    prior = prior_rate(landed["landing"].to_numpy(), landed["late"].to_numpy(), hours)
    groups = dict(iter(landed.groupby(keys, sort=False)))
    parts: dict[str, list[NDArray[np.generic]]] = {}
    for key in entities[keys].itertuples(index=False, name=None):
        part = groups.get(key)
        time = np.empty(0, np.int64) if part is None else part["landing"].to_numpy()
        late = np.empty(0, np.bool_) if part is None else part["late"].to_numpy()
        for name, length in windows.items():
            count, of_them = window_counts(time, late, hours, length * HOUR)
            parts.setdefault(f"late_rate_{name}", []).append((of_them + STRENGTH * prior) / (count + STRENGTH))
            parts.setdefault(f"landed_{name}", []).append(count)
    # Entities lie in rows, hours in columns; a source is ordered by time, so that a range of time is a range of its file.
    columns: dict[str, NDArray[np.generic]] = {
        key: np.tile(entities[key].to_numpy(dtype=object), len(hours)).astype(object) for key in keys
    }
    columns["hour"] = np.repeat(hours, len(entities))
    columns |= {name: np.stack(values).T.ravel() for name, values in parts.items()}
    return pd.DataFrame(columns)


def window_counts(time: Times, late: Flags, hours: Times, length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many landed in (hour - length, hour], and how many of them late; `time` is ascending.

    >>> time, late = np.array([10, 20, 30]), np.array([True, False, True])
    >>> count, of_them = window_counts(time, late, np.array([9, 20, 30, 99]), 20)
    >>> count.tolist(), of_them.tolist()
    ([0, 2, 2, 0], [0, 1, 1, 0])
    """
    total = np.concatenate([[0], np.cumsum(late, dtype=np.int64)])
    end = np.searchsorted(time, hours, side="right")
    begin = np.searchsorted(time, hours - length, side="right")
    return (end - begin).astype(np.int64), total[end] - total[begin]


def prior_rate(time: Times, late: Flags, hours: Times) -> NDArray[np.float64]:
    """Share of late ones among everything that has landed by each hour; `FIRST_PRIOR` before the first landing.

    >>> prior_rate(np.array([10, 20]), np.array([True, False]), np.array([5, 10, 20])).tolist()
    [0.23, 1.0, 0.5]
    """
    total = np.concatenate([[0], np.cumsum(late, dtype=np.int64)])
    count = np.searchsorted(time, hours, side="right")
    return np.where(count > 0, total[count] / np.maximum(count, 1), FIRST_PRIOR)
