"""The data contract: a good dataset passes, each fault is found and named, none is an exception."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from perennial.data.dataset import Dataset, DatasetInfo, ViewCounts
from perennial.data.validation import Validation, validate
from perennial.spec.columns import Column
from perennial.spec.gates import DataGate

if TYPE_CHECKING:
    from pandas._libs.missing import NAType
    from pandas._libs.tslibs.nattype import NaTType

ROWS = 900
COLUMNS = (
    Column(name="amount", dtype="float", view="purchases"),
    Column(name="visits", dtype="int", view="purchases"),
    Column(name="is_member", dtype="bool", view="purchases"),
    Column(name="city", dtype="string", view="purchases"),
    Column(name="basket", dtype="float", view=None),
)
INFO = DatasetInfo(
    digest="d" * 64,
    model="churn",
    id_column="order",
    join_keys=("customer",),
    columns=COLUMNS,
    service="churn",
    service_digest="0",
    definitions_digest="0",
    now="2024-04-02T00:00:00+00:00",
    start="2024-01-01T00:00:00+00:00",
    evaluation_start="2024-03-04T00:00:00+00:00",
    end="2024-04-01T00:00:00+00:00",
    rows=ROWS,
    labelled=ROWS - 45,
    rejected=0,
    views=(ViewCounts(view="purchases", lost=3, stale=9, median_age_hours=1.0),),
)
GATE = DataGate(min_rows=500, max_null_share=0.9, max_unlabelled_share=0.2, max_stale_share=0.2)


def orders() -> pd.DataFrame:
    """A dataset as it must be: missing values, requests without a label, a new frame each time."""
    random = np.random.default_rng(1)
    time = pd.Series(pd.date_range("2024-01-01", "2024-03-31", periods=ROWS, tz="UTC").as_unit("us"))
    amount, basket = random.normal(20, 5, ROWS), random.normal(3, 1, ROWS)
    amount[::7] = np.nan
    frame = pd.DataFrame(
        {
            "order": np.arange(ROWS),
            "event_timestamp": time,
            "customer": [f"c{number % 40}" for number in range(ROWS)],
            "amount": amount,
            "visits": random.integers(0, 9, ROWS).astype(float),
            "is_member": random.integers(0, 2, ROWS).astype(float),
            "city": np.array(["Rome", "Oslo", None], dtype=object)[random.integers(0, 3, ROWS)],
            "basket": basket,
            "purchases_observed_at": time - pd.Timedelta("1h"),
            "label": pd.array(random.integers(0, 4, ROWS) == 0, dtype="boolean"),
            "label_known_at": time + pd.Timedelta("5h"),
        }
    )
    unlabelled = list(range(3, ROWS, 20))
    frame.loc[unlabelled, "label"] = pd.NA
    frame.loc[unlabelled, "label_known_at"] = pd.NaT
    frame.loc[3:5, "purchases_observed_at"] = pd.NaT
    return frame


def test_a_good_dataset_passes_with_its_numbers() -> None:
    found = validate(Dataset(orders(), INFO), GATE)
    assert found.findings == ()
    assert found.gate.verdict == "pass"
    assert found.gate.name == "data"
    assert found.gate.sentence.startswith("All 5 columns of 900 requests are as they must be; ")
    assert found.gate.numbers["unlabelled_share"] == pytest.approx(0.05)
    assert found.gate.numbers["stale_share"] == pytest.approx(0.01)
    assert Validation.model_validate_json(found.to_json()) == found


Change = Callable[[pd.DataFrame], object]


def put(column: str, rows: int | slice | list[int], value: float | pd.Timestamp | NAType | NaTType) -> Change:
    """A change that sets some rows of a column."""

    def change(frame: pd.DataFrame) -> None:
        chosen = [rows] if isinstance(rows, int) else rows
        frame.loc[chosen, column] = value

    return change


def whole(column: str, value: Callable[[pd.Series[Any]], pd.Series[Any]]) -> Change:
    """A change that replaces a column."""

    def change(frame: pd.DataFrame) -> None:
        frame[column] = value(frame[column])

    return change


def drop(column: str) -> Change:
    """A change that takes a column away."""
    return lambda frame: frame.drop(columns=column, inplace=True)


EARLY = slice(0, 500)
FAULTS: list[tuple[str, Change, str]] = [
    ("duplicate id", put("order", 11, 10), "order: more than once; must be unique; 2 of 900 rows, such as order 10"),
    (
        "missing time",
        put("event_timestamp", 7, pd.NaT),
        "event_timestamp: missing; must be known in every row; 1 of 900 rows, such as order 7",
    ),
    ("naive time", whole("event_timestamp", lambda values: values.dt.tz_localize(None)), "event_timestamp: not a time in UTC"),
    (
        "other zone",
        whole("label_known_at", lambda values: values.dt.tz_convert("Europe/Rome")),
        "label_known_at: not a time in UTC",
    ),
    (
        "request of the future",
        put("event_timestamp", 899, pd.Timestamp("2024-05-01", tz="UTC")),
        "event_timestamp: later than the dataset, 2024-04-02",
    ),
    (
        "label of the future",
        put("label_known_at", 899, pd.Timestamp("2024-05-01", tz="UTC")),
        "label_known_at: later than the dataset, 2024-04-02",
    ),
    (
        "label before its request",
        put("label_known_at", 5, pd.Timestamp("2023-05-01", tz="UTC")),
        "label_known_at: before the request; 1 of 900 rows, such as order 5",
    ),
    (
        "label without a time",
        put("label_known_at", 6, pd.NaT),
        "label_known_at: known without a label, or the other way round; 1 of 900 rows, such as order 6",
    ),
    (
        "a leak",
        put("purchases_observed_at", [8, 9], pd.Timestamp("2024-03-31", tz="UTC")),
        "purchases_observed_at: after the request, which is a leak; 2 of 900 rows, such as order 8, 9",
    ),
    ("missing column", drop("amount"), "amount: no such column"),
    ("missing key", drop("customer"), "customer: no such column"),
    ("missing label", drop("label"), "label: no such column"),
    ("missing time column", drop("event_timestamp"), "event_timestamp: no such column"),
    ("missing id", drop("order"), "order: no such column"),
    ("retyped number", whole("amount", lambda values: values.astype(str)), "amount: not of type float64"),
    ("retyped text", put("city", slice(2, 4), 7), "city: not a text; 3 of 900 rows, such as order 2, 3, 4 (found 7)"),
    ("retyped label", whole("label", lambda values: values.astype("float64")), "label: not of type boolean"),
    ("infinite", put("basket", 12, np.inf), "basket: not finite; 1 of 900 rows, such as order 12 (found inf)"),
    ("half a visit", put("visits", 13, 1.5), "visits: not a whole number; 1 of 900 rows, such as order 13 (found 1.5)"),
    ("a third truth", put("is_member", 14, 2.0), "is_member: neither 0 nor 1; 1 of 900 rows, such as order 14 (found 2.0)"),
    (
        "nearly gone",
        put("basket", slice(0, 850), np.nan),
        "basket: 94.6% of the values are missing; at most 90.0% (gates.data.max_null_share)",
    ),
    ("gone", whole("basket", lambda values: values * np.nan), "basket: every value is missing"),
    ("text gone", whole("city", lambda values: pd.Series([None] * len(values), dtype=object)), "city: every value is missing"),
    (
        "keys gone",
        whole("customer", lambda values: pd.Series([None] * len(values), dtype=object)),
        "customer: every value is missing",
    ),
    ("gone in training", put("basket", slice(0, 640), np.nan), "basket: every value before the evaluation block is missing"),
    (
        "one class",
        whole("label", lambda values: values.where(values.isna(), False)),
        "label: never true before the evaluation block; both must occur",
    ),
    (
        "one class in the block",
        put("label", slice(620, 899), True),
        "label: always true in the evaluation block; both must occur",
    ),
    ("no label at all", put("label", slice(0, 899), pd.NA), "label: no labelled row before the evaluation block"),
    (
        "few labels",
        put("label", EARLY, pd.NA),
        "label: missing for 57.9% of the requests; at most 20.0% (gates.data.max_unlabelled_share)",
    ),
    (
        "few rows to train on",
        put("label", EARLY, pd.NA),
        "labelled rows before the evaluation block (2024-03-04); at least 500 (gates.data.min_rows)",
    ),
]


@pytest.mark.parametrize(("change", "finding"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS])
def test_a_fault_is_found_and_named(change: Change, finding: str) -> None:
    frame = orders()
    change(frame)
    found = validate(Dataset(frame, INFO), GATE)
    assert found.gate.verdict == "fail"
    assert any(finding in said for said in found.findings), found.findings
    assert found.findings[0] in found.gate.sentence


def test_every_fault_is_found_at_once() -> None:
    frame = orders()
    for change in (
        drop("amount"),
        put("visits", 3, 0.5),
        put("basket", 4, -np.inf),
        put("order", 5, 4),
        put("is_member", 6, 7.0),
    ):
        change(frame)
    said = validate(Dataset(frame, INFO), GATE)
    assert {finding.split(":")[0] for finding in said.findings} == {"amount", "visits", "is_member", "basket", "order"}
    assert said.gate.sentence.endswith("(and 4 more).")


def test_stale_views_are_named() -> None:
    views = (ViewCounts(view="purchases", lost=0, stale=300, median_age_hours=9.0),)
    found = validate(Dataset(orders(), INFO.model_copy(update={"views": views})), GATE)
    assert found.findings == (
        "purchases: older than its freshness limit for 33.3% of the requests; at most 20.0% (gates.data.max_stale_share)",
    )


def test_rejected_requests_count_among_those_that_were_asked() -> None:
    views = (ViewCounts(view="purchases", lost=0, stale=300, median_age_hours=9.0),)
    found = validate(Dataset(orders(), INFO.model_copy(update={"views": views, "rejected": 900})), GATE)
    assert found.findings == ()


def test_a_description_of_another_frame_is_noticed() -> None:
    found = validate(Dataset(orders(), INFO.model_copy(update={"rows": 901})), GATE)
    assert found.findings == ("dataset: 900 rows; its description says 901",)


def test_an_empty_dataset_is_a_result() -> None:
    found = validate(Dataset(orders().iloc[:0], INFO.model_copy(update={"rows": 0})), GATE)
    assert found.gate.verdict == "fail"
    assert "dataset: no rows" in found.findings
