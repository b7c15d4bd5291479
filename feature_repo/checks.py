"""What must be true of every training join, and how old values are treated. A violation stops the run.

Rows out = rows in, by id; nothing later than its request; lost and stale values counted, the spec's freshness policy applied.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from feature_repo.service import ServiceInfo, ViewInfo
from perennial.data.dataset import ViewCounts
from perennial.errors import DataError
from perennial.spec import Freshness

SECOND, HOURS = 1_000_000, 3_600_000_000
"""Microseconds of a second, of an hour."""
MISSING = np.iinfo(np.int64).min
"""`NaT` as an integer."""


@dataclass(frozen=True)
class Treated:
    """A joined frame after the freshness policy."""

    frame: pd.DataFrame
    kept: NDArray[np.bool_]
    """For each row of the join, whether it stays: false where a view with `on_stale: reject` was stale."""
    counts: tuple[ViewCounts, ...]


def check_conservation(requests: pd.DataFrame, joined: pd.DataFrame, id_column: str) -> None:
    """Every request is in the join once, in its place.

    Raises:
        DataError: rows were lost, added or moved; says how many, with examples.
    """
    request_ids, joined_ids = requests[id_column].to_numpy(), joined[id_column].to_numpy()
    if len(request_ids) == len(joined_ids) and bool((request_ids == joined_ids).all()):
        return
    before, after = pd.Series(request_ids), pd.Series(joined_ids)
    lost, added = before[~before.isin(after)].tolist(), after[~after.isin(before)].tolist()
    duplicates = after[after.duplicated()].unique().tolist()
    raise DataError(
        f"point-in-time join: {len(request_ids):,} requests became {len(joined_ids):,} rows: {len(lost):,} lost {lost[:3]}, "
        f"{len(added):,} added {added[:3]}, {len(duplicates):,} more than once {duplicates[:3]}, or in another order; "
        "an offline store that does this cannot make a training set"
    )


def check_past(
    view: ViewInfo, ids: NDArray[np.generic], asked: NDArray[np.int64], published: NDArray[np.int64], observed: NDArray[np.int64]
) -> None:
    """No row of the view was published, and no value observed, after the request that reads it; a found row has both times.

    Args:
        view: the view.
        ids: ids of the requests.
        asked: time of each request, microseconds.
        published: event timestamp of the row that was found, `MISSING` where none was.
        observed: time of its observation, `MISSING` where none was.

    Raises:
        DataError: says how many, with examples.
    """
    for name, times in ((view.time, published), (view.observed_at, observed)):
        late = (times != MISSING) & (times > asked)
        if late.any():
            raise DataError(
                f"point-in-time join: view {view.name!r}: {name} is later than the request in {int(late.sum()):,} rows, as "
                f"{ids[late][:3].tolist()}: the join reads the future"
            )
    odd = (published == MISSING) != (observed == MISSING)
    if odd.any():
        raise DataError(
            f"point-in-time join: view {view.name!r}: {int(odd.sum()):,} rows, as {ids[odd][:3].tolist()}, have a row but no "
            f"{view.observed_at}, or the reverse; every published row needs it: freshness is measured on it"
        )


def treat(
    frame: pd.DataFrame,
    service: ServiceInfo,
    limits: tuple[Freshness, ...],
    matched: dict[str, pa.Array],
    id_column: str,
    time_column: str,
) -> Treated:
    """The frame checked against the future, its old values counted and treated as the spec says.

    A row that no view was found for is lost, not stale: the values are missing in any case. `default` makes a stale view's values
    missing, `last_known` leaves them, `reject` leaves the row out. Observation times are never changed.

    Raises:
        DataError: the join reads the future.
    """
    request_times, ids = to_microseconds(frame[time_column]), frame[id_column].to_numpy()
    row_mask, counts = np.ones(len(frame), dtype=bool), []
    policy = {limit.view: limit for limit in limits}
    for view in service.sources:
        observed = to_microseconds(frame[view.observed_at])
        published = np.asarray(matched[view.name].cast(pa.int64()).fill_null(MISSING))
        check_past(view, ids, request_times, published, observed)
        has_row = observed != MISSING
        age = np.where(has_row, request_times - observed, 0) / HOURS
        # The online store keeps whole seconds: a value is as old here as it is when it is served.
        served_age = np.where(has_row, request_times - observed // SECOND * SECOND, 0) / HOURS
        limit = policy.get(view.name)
        stale = np.zeros(len(frame), dtype=bool) if limit is None else has_row & (served_age > limit.max_age_hours)
        if limit is not None and limit.on_stale == "default" and stale.any():
            for feature in view.features:
                frame[feature.name] = frame[feature.name].mask(stale, None if feature.kind == "string" else np.nan)
        if limit is not None and limit.on_stale == "reject":
            row_mask &= ~stale
        counts.append(
            ViewCounts(
                view=view.name,
                lost=int((~has_row).sum()),
                stale=int(stale.sum()),
                median_age_hours=round(float(np.median(age[has_row])), 6) if has_row.any() else None,
            )
        )
    return Treated(frame, row_mask, tuple(counts))


def to_microseconds(times: "pd.Series[pd.Timestamp]") -> NDArray[np.int64]:
    """Microseconds since 1970, `MISSING` where null."""
    return times.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy().astype("datetime64[us]").astype(np.int64)
