"""Rows carry labelled requests only, each array in the same order."""

import numpy as np
import pandas as pd
import pytest

from perennial.data.dataset import Dataset, DatasetInfo
from perennial.data.rows import Rows, from_dataset
from perennial.errors import DataError
from perennial.spec.columns import Column

INFO = DatasetInfo(
    digest="0" * 64,
    model="churn",
    id_column="ticket",
    join_keys=("customer",),
    columns=(Column(name="age", dtype="float", view="customer"), Column(name="plan", dtype="string", view=None)),
    service="churn",
    service_digest="1" * 64,
    definitions_digest="2" * 64,
    now="2024-03-01T00:00:00+00:00",
    start="2024-01-01T00:00:00+00:00",
    evaluation_start="2024-02-01T00:00:00+00:00",
    end="2024-02-29T00:00:00+00:00",
    rows=3,
    labelled=2,
    rejected=0,
    views=(),
)


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "ticket": ["t1", "t2", "t3"],
            "event_timestamp": pd.to_datetime(
                ["2024-01-01T23:59:59.999999Z", "2024-01-02T10:00:00Z", "2024-01-03T00:00:00Z"], format="ISO8601"
            ),
            "customer": [1, 2, 3],
            "plan": pd.Series(["gold", None, "blue"], dtype=object),
            "age": [30.0, 40.0, np.nan],
            "label": pd.array([True, None, False], dtype="boolean"),
            "label_known_at": pd.to_datetime(["2024-01-05T00:00Z", "NaT", "2024-01-04T12:00Z"]),
        }
    )


def test_requests_without_a_label_are_left_out(frame: pd.DataFrame) -> None:
    rows = from_dataset(Dataset(frame, INFO))
    assert rows.ids.tolist() == ["t1", "t3"]
    assert rows.label.tolist() == [True, False]
    assert rows.matrix[0].tolist() == [30.0, "gold"]
    assert len(rows) == 2


def test_the_day_is_the_utc_day_of_the_request(frame: pd.DataFrame) -> None:
    frame["event_timestamp"] = frame["event_timestamp"].dt.tz_convert("America/New_York")
    rows = from_dataset(Dataset(frame, INFO))
    assert rows.day.astype(str).tolist() == ["2024-01-01", "2024-01-03"]
    assert rows.time.dtype == np.dtype("datetime64[us]")
    assert str(rows.known_at[1]) == "2024-01-04T12:00:00.000000"


def test_rows_are_taken_by_mask_and_by_position(frame: pd.DataFrame) -> None:
    rows = from_dataset(Dataset(frame, INFO))
    assert rows.take(~rows.label).ids.tolist() == ["t3"]
    assert rows.take(np.array([1, 0])).matrix[:, 1].tolist() == ["blue", "gold"]


def test_arrays_of_different_length_are_refused(frame: pd.DataFrame) -> None:
    rows = from_dataset(Dataset(frame, INFO))
    with pytest.raises(ValueError, match="different length"):
        Rows(rows.ids, rows.matrix, rows.label[:1], rows.time, rows.known_at)


def test_a_frame_that_breaks_its_promise_is_refused(frame: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="no column label_known_at"):
        from_dataset(Dataset(frame.drop(columns="label_known_at"), INFO))
    with pytest.raises(DataError, match="no column plan"):
        from_dataset(Dataset(frame.drop(columns="plan"), INFO))
    naive = frame.assign(event_timestamp=frame["event_timestamp"].dt.tz_localize(None))
    with pytest.raises(DataError, match="expected timestamps in UTC"):
        from_dataset(Dataset(naive, INFO))
    unknown = frame.assign(label_known_at=pd.Series([pd.NaT] * 3, dtype="datetime64[us, UTC]"))
    with pytest.raises(DataError, match="2 labelled rows have no label_known_at"):
        from_dataset(Dataset(unknown, INFO))
