"""Evidently's summary: of a seeded sample, and never the end of a run."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from monitoring.summary import summarise
from perennial.data.dataset import Dataset, DatasetInfo
from perennial.spec.columns import Column

COLUMNS = (
    Column(name="amount", dtype="float", view="purchases"),
    Column(name="visits", dtype="int", view="purchases"),
    Column(name="is_member", dtype="bool", view="customer"),
    Column(name="city", dtype="string", view="customer"),
    Column(name="gone", dtype="float", view="customer"),
    Column(name="gone_too", dtype="string", view="customer"),
    Column(name="absent", dtype="float", view=None),
    Column(name="retyped", dtype="float", view=None),
    Column(name="endless", dtype="float", view=None),
    Column(name="same", dtype="float", view=None),
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
    rows=600,
    labelled=600,
    rejected=0,
    views=(),
)


def orders(rows: int) -> pd.DataFrame:
    """A dataset that breaks its contract in every way that Evidently could stumble over."""
    random = np.random.default_rng(1)
    amount = random.normal(20, 5, rows)
    amount[: rows // 10] = np.nan
    return pd.DataFrame(
        {
            "order": np.arange(rows),
            "event_timestamp": pd.date_range("2024-01-01", periods=rows, freq="h", tz="UTC").as_unit("us"),
            "amount": amount,
            "visits": random.integers(0, 9, rows).astype(float),
            "is_member": random.integers(0, 2, rows).astype(float),
            "city": np.array(["Rome", "Oslo", None], dtype=object)[random.integers(0, 3, rows)],
            "gone": np.full(rows, np.nan),
            "gone_too": np.full(rows, None, dtype=object),
            "retyped": random.normal(size=rows).astype(str),
            "endless": np.where(np.arange(rows) % 2 == 0, np.inf, 1.0),
            "same": np.full(rows, 7.0),
            "label": pd.array(random.integers(0, 2, rows) == 1, dtype="boolean"),
        }
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the summary of a sample of 200 of 600 orders."""
    folder = tmp_path_factory.mktemp("summary")
    summarise(Dataset(orders(600), INFO), rows=200, seed=3, html=folder / "a.html", json=folder / "a.json")
    return folder


def test_the_numbers_are_those_of_the_sample(written: Path) -> None:
    stored = json.loads((written / "a.json").read_text(encoding="utf-8"))
    assert stored["metadata"]["rows"] == 200
    assert stored["metadata"]["rows_of_dataset"] == 600
    values = {metric["metric_name"]: metric["value"] for metric in stored["metrics"]}
    assert values["RowCount()"] == 200
    chosen = np.sort(np.random.default_rng(3).choice(600, size=200, replace=False))
    mean = float(orders(600)["amount"].iloc[chosen].mean())
    assert values["MeanValue(column=amount)"] == pytest.approx(mean)


def test_columns_that_would_end_the_report_are_left_out_and_named(written: Path) -> None:
    stored = json.loads((written / "a.json").read_text(encoding="utf-8"))
    assert stored["metadata"]["left_out"] == {
        "gone": "no value in the sample",
        "gone_too": "no value in the sample",
        "absent": "no such column",
    }
    page = (written / "a.html").read_text(encoding="utf-8")
    assert "A sample of 200 of 600 requests of churn" in page
    assert "Left out: gone (no value in the sample); gone_too (no value in the sample); absent (no such column)." in page
    assert len(page) < 6_000_000


def test_the_page_shows_every_other_column(written: Path) -> None:
    page = (written / "a.html").read_text(encoding="utf-8")
    for name in ("amount", "visits", "is_member", "city", "retyped", "endless", "same", "label"):
        assert name in page


@pytest.mark.parametrize("rows", [0, 1])
def test_a_dataset_of_hardly_any_rows_is_summarised_too(rows: int, tmp_path: Path) -> None:
    summarise(Dataset(orders(rows), INFO), seed=3, html=tmp_path / "a.html", json=tmp_path / "a.json")
    stored = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert stored["metadata"]["rows"] == rows
    assert f"A sample of {rows} of {rows} requests" in (tmp_path / "a.html").read_text(encoding="utf-8")
