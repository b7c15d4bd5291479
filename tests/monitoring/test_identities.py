"""No id, key or count passes through a float: from the log through windows and labels to counts, whatever the ids look like."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from monitoring.labels import label_counts, labelled, labels_by
from monitoring.log.collect import collect_model, load
from monitoring.windows import WindowLog, matures
from tests.monitoring.world import END, NAME, WEEK, World, log_rows, requests_of, write_log

ROWS = 300
BIG = 2**63 - ROWS

IDS: dict[str, list[Any]] = {
    "near the end of int64": [BIG + place for place in range(ROWS)],
    "beyond 2**53": [1_200_000_000_000_000_000 + place for place in range(ROWS)],
    "negative": [-(2**63) + place for place in range(ROWS)],
    "texts": ["007", "7", "07", "🙂", "a'b", "é", "1e3", "NaN", "None", *(f"p-{place}" for place in range(ROWS - 9))],
    "texts of large numbers": [str(BIG + place) for place in range(ROWS)],
}


def answered(world: World, folder: Path, ids: list[Any], anonymous: int) -> tuple[World, pd.DataFrame]:
    """A copy of the world in which requests with these ids were answered in a week of their own, some without their id."""
    changed = world.at(folder)
    requests = requests_of(END + 8 * WEEK, 7, 5).iloc[:ROWS].assign(parcel_id=pd.Series(ids, dtype=object))
    rows = [
        replace(
            row, fields={**row.fields, "parcel_id": None if place < anonymous else ids[place]}, keys={"machine": place + 2**60}
        )
        for place, row in enumerate(log_rows(world, requests.assign(parcel_id=range(ROWS)), world.digest))
    ]
    write_log(changed.settings.prediction_log(NAME), rows)
    source = Path(changed.settings.source("arrivals"))
    made = pd.DataFrame(
        {
            "parcel_id": ids[anonymous:],
            "event_timestamp": (requests["event_timestamp"] + pd.Timedelta(hours=10)).tolist()[anonymous:],
            "late": requests["late"].tolist()[anonymous:],
        }
    )
    made.to_parquet(source, index=False, coerce_timestamps="us", allow_truncated_timestamps=True)
    return changed, requests


@pytest.mark.parametrize("anonymous", [0, 1, 7])
@pytest.mark.parametrize("case", IDS)
def test_ids_are_themselves_from_the_log_to_the_counts(world: World, tmp_path: Path, case: str, anonymous: int) -> None:
    ids = IDS[case]
    changed, requests = answered(world, tmp_path, ids, anonymous)
    now = END + 12 * WEEK
    window = changed.window(8)
    logged = WindowLog.read(changed.settings, changed.model, [window], now).window(window)
    assert (len(logged.frame), logged.repeated) == (ROWS, 0)
    named = logged.frame["fields.parcel_id"]
    assert sorted(named.dropna().tolist(), key=repr) == sorted(ids[anonymous:], key=repr)
    found = labelled(
        logged, labels_by(changed.settings, changed.model, window.start, matures(window, changed.model)), "parcel_id"
    )
    expected = dict(zip(ids[anonymous:], requests["late"].tolist()[anonymous:], strict=True))
    assert [expected.get(one) for one in named.dropna().tolist()] == found["label"][named.notna()].tolist()
    count = label_counts(changed.settings, changed.model, now)[-4]
    assert (count.start, count.predictions, count.arrived, count.anonymous) == (window.start, ROWS, ROWS - anonymous, anonymous)
    collect_model(changed.settings, NAME, now)
    keys = load(changed.settings.prediction_tables(NAME), window.start, window.end)["keys.machine"]
    assert sorted(keys.tolist()) == [2**60 + place for place in range(ROWS)]


def test_an_id_that_became_a_text_is_its_digits_and_nothing_stops(world: World, tmp_path: Path) -> None:
    ids = IDS["near the end of int64"]
    changed, _ = answered(world, tmp_path, ids, 1)
    later = requests_of(END + 9 * WEEK, 7, 6).iloc[:3]
    texts = [
        replace(row, fields={**row.fields, "parcel_id": f"p-{place}"})
        for place, row in enumerate(log_rows(world, later, world.digest))
    ]
    write_log(changed.settings.prediction_log(NAME), texts)
    window = changed.window(8)
    log = WindowLog.read(changed.settings, changed.model, [window, changed.window(9)], END + 12 * WEEK)
    logged = log.window(window)
    assert logged.frame["fields.parcel_id"].dropna().tolist() == [str(one) for one in ids[1:]]
    labels = labels_by(changed.settings, changed.model, window.start, window.end + timedelta(days=2))
    assert labelled(logged, labels, "parcel_id")["label"].notna().sum() == ROWS - 1
    assert log.window(changed.window(9)).frame["fields.parcel_id"].tolist() == ["p-0", "p-1", "p-2"]
