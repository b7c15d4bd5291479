"""The join's guards, each shown to fire and to stay silent."""

from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from feature_repo.checks import Treated, check_conservation, treat
from feature_repo.online_store.layout import Field
from feature_repo.service import ServiceInfo, ViewInfo
from perennial.data.dataset import ViewCounts
from perennial.data.read_plan import PlanView
from perennial.errors import DataError
from perennial.spec import Freshness

ASKED = pd.Timestamp("2024-01-10T12:00Z")
SERVICE = ServiceInfo(
    "s",
    (
        ViewInfo(
            name="v",
            path="v.parquet",
            time="event_timestamp",
            join_keys=(Field(name="k", kind="string"),),
            features=(Field(name="number", kind="float64"), Field(name="text", kind="string")),
        ),
    ),
)


def hours(*ages: float | None) -> list[pd.Timestamp | None]:
    return [None if age is None else ASKED - pd.Timedelta(hours=age) for age in ages]


def joined(observed: list[pd.Timestamp | None]) -> pd.DataFrame:
    rows = len(observed)
    return pd.DataFrame(
        {
            "id": np.arange(rows),
            "event_timestamp": [ASKED] * rows,
            "number": [1.0 if time is not None else np.nan for time in observed],
            "text": pd.Series(["x" if time is not None else None for time in observed], dtype=object),
            "v_observed_at": pd.to_datetime(pd.Series(observed, dtype="datetime64[us, UTC]")),
        }
    )


def treated(
    observed: list[pd.Timestamp | None],
    on_stale: Literal["reject", "default", "last_known"] | None,
    published: list[pd.Timestamp | None] | None = None,
) -> Treated:
    matched = pa.array(observed if published is None else published, pa.timestamp("us", "UTC"))
    limits = () if on_stale is None else (Freshness(view="v", max_age_hours=3, on_stale=on_stale),)
    return treat(joined(observed), SERVICE, limits, {"v": matched}, "id", "event_timestamp")


OLD = hours(1, 3, 3.001, None, 50)


def test_a_stale_value_is_blanked_by_default_and_its_time_kept() -> None:
    found = treated(OLD, "default")
    assert found.frame["number"].isna().tolist() == [False, False, True, True, True]
    assert [text is None for text in found.frame["text"]] == [False, False, True, True, True]
    assert found.frame["v_observed_at"].isna().tolist() == [False, False, False, True, False]
    assert found.kept.all()
    assert found.counts == (ViewCounts(view="v", lost=1, stale=2, median_age_hours=3.0005),)


def test_a_stale_value_is_kept_as_last_known() -> None:
    found = treated(OLD, "last_known")
    assert found.frame["number"].isna().tolist() == [False, False, False, True, False]
    assert found.kept.all() and found.counts[0].stale == 2


def test_a_stale_row_is_rejected_a_lost_one_is_not() -> None:
    found = treated(OLD, "reject")
    assert found.kept.tolist() == [True, True, False, True, False]


def test_without_a_limit_nothing_is_stale() -> None:
    found = treated(OLD, None)
    assert found.counts == (ViewCounts(view="v", lost=1, stale=0, median_age_hours=3.0005),)


def test_a_view_that_is_never_found_has_no_age() -> None:
    assert treated(hours(None, None), "default").counts == (ViewCounts(view="v", lost=2, stale=0, median_age_hours=None),)


def test_an_observation_after_the_request_stops_the_run() -> None:
    with pytest.raises(
        DataError, match=r"v_observed_at is later than the request in 1 rows, as \[1\]: the join reads the future"
    ):
        treated(hours(1, -0.001), "default", published=hours(1, 0))


def test_a_row_published_after_the_request_stops_the_run() -> None:
    with pytest.raises(DataError, match=r"event_timestamp is later than the request in 2 rows, as \[0, 2\]"):
        treated(hours(1, 1, 1), "default", published=hours(-1, 0, -2))


def test_a_value_at_the_moment_of_the_request_is_allowed() -> None:
    assert treated(hours(0, 0), "default").counts[0].median_age_hours == 0.0


@pytest.mark.parametrize(("observed", "published"), [(hours(1, None), hours(1, 1)), (hours(1, 1), hours(1, None))])
def test_a_row_without_observation_time_stops_the_run(
    observed: list[pd.Timestamp | None], published: list[pd.Timestamp | None]
) -> None:
    with pytest.raises(DataError, match="have a row but no v_observed_at, or the reverse"):
        treated(observed, "default", published=published)


def test_a_join_that_keeps_every_row_passes() -> None:
    check_conservation(pd.DataFrame({"id": [3, 1, 2]}), pd.DataFrame({"id": [3, 1, 2]}), "id")


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([3, 1], r"3 requests became 2 rows: 1 lost \[2\]"),
        ([3, 1, 2, 2], r"became 4 rows: 0 lost \[\], 0 added \[\], 1 more than once \[2\]"),
        ([3, 1, 1], r"1 lost \[2\], 0 added \[\], 1 more than once \[1\]"),
        ([3, 1, 9], r"1 lost \[2\], 1 added \[9\]"),
        ([1, 2, 3], "or in another order"),
    ],
)
def test_a_join_that_does_not_keep_every_row_stops_the_run(found: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_conservation(pd.DataFrame({"id": [3, 1, 2]}), pd.DataFrame({"id": found}), "id")


@pytest.mark.parametrize("fraction_ms", [0, 1, 499, 500, 999])
@pytest.mark.parametrize("beyond_ms", [-1500, -600, -1, 0, 1, 600, 1500])
def test_a_value_is_as_stale_in_training_as_when_it_is_served(fraction_ms: int, beyond_ms: int) -> None:
    # The online store keeps the second in which a value was observed; the request comes about three hours later.
    observed = ASKED.floor("s") - pd.Timedelta(hours=3) + pd.Timedelta(milliseconds=fraction_ms)
    request = observed + pd.Timedelta(hours=3) + pd.Timedelta(milliseconds=beyond_ms)
    frame = joined([observed]).assign(event_timestamp=[request])
    matched = {"v": pa.array([observed], pa.timestamp("us", "UTC"))}
    limits = (Freshness(view="v", max_age_hours=3, on_stale="default"),)
    trained = treat(frame, SERVICE, limits, matched, "id", "event_timestamp").counts[0].stale == 1
    view = PlanView(view="v", join_keys=(), fields=(), layout="0" * 16, features=(), observed_at="o", max_age_hours=3)
    assert view.is_stale(float(int(observed.timestamp())), request.timestamp()) == trained
