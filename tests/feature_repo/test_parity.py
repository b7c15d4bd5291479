"""Parity finds every skew of a hundredth of a column's values, and is silent on a system that serves what it trains on.

The log is made by another path than the one that is compared with: values published hour by hour into the packed online store,
read by the plan reader, written and collected as a prediction log.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from feature_repo import store
from feature_repo.online_store.reader import PlanReader
from feature_repo.parity import MAX_SHARE, Parity, agreement, compare, recompute
from feature_repo.plan import resolve
from monitoring.log.collect import collect, load
from perennial.errors import DataError
from perennial.prediction_log import LogRow, LogWriter
from perennial.settings import Settings
from perennial.spec.model import Model
from perennial.spec.read import read
from tests.second_project import write_project

pytestmark = [
    # Feast's dependencies warn about each other on import and in use.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.xdist_group("flights"),
]

ROOT = Path(__file__).parents[2]
START, END = datetime(2013, 2, 8, tzinfo=UTC), datetime(2013, 2, 11, tzinfo=UTC)
HOUR = timedelta(hours=1)
VIEWS = ("weather", "plane", "carrier", "route")
LATE_STEPS = (1, 3)
"""How many materialisations a late log lags behind."""
RUNS = 20


@dataclass(frozen=True)
class Served:
    """Three days of a served model."""

    settings: Settings
    model: Model
    log: pd.DataFrame
    """What was logged."""
    expected: pd.DataFrame
    """What training would have given each row of it."""
    late: dict[int, pd.DataFrame]
    """The same requests with every value as it stood so many materialisations before, rows in the same order."""


@pytest.fixture(scope="module")
def served(flights_sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Served:
    folder = tmp_path_factory.mktemp("parity")
    sources = folder / "sources"
    sources.mkdir()
    for name in VIEWS:  # the join reads a source from its beginning: a few days of it are enough here
        filters = (
            None if name == "plane" else [("event_timestamp", ">=", START - timedelta(days=1)), ("event_timestamp", "<", END)]
        )
        pq.write_table(pq.read_table(flights_sources / f"{name}.parquet", filters=filters), sources / f"{name}.parquet")
    span = [("event_timestamp", ">=", START), ("event_timestamp", "<", END)]
    requests = pq.read_table(flights_sources / "requests.parquet", filters=span).to_pandas().sort_values("event_timestamp")
    model = read(ROOT / "models" / "flight-delay.yaml")
    logs: dict[int, pd.DataFrame] = {}
    for steps in (0, *LATE_STEPS):
        state = folder / f"late{steps}"
        environment = {"PERENNIAL_PROJECT": str(ROOT), "PERENNIAL_STATE": str(state), "PERENNIAL_SOURCES": str(sources)}
        settings = Settings.from_environment(environment)
        store.apply(settings)
        logs[steps] = serve(settings, model, requests, steps * HOUR)
    environment["PERENNIAL_STATE"] = str(folder / "late0")
    settings, log = Settings.from_environment(environment), logs.pop(0)
    return Served(settings, model, log, recompute(settings, model, log), logs)


def serve(settings: Settings, model: Model, requests: pd.DataFrame, lag: timedelta) -> pd.DataFrame:
    """The log of answering `requests`, each hour after what was published until then, less the lag."""
    plan = resolve(settings, model)
    reader = PlanReader(plan, settings.online_store)
    published = {view: pd.read_parquet(settings.source(view)) for view in VIEWS}
    names = [feature.name for feature in plan.features]
    done = datetime(2012, 1, 1, tzinfo=UTC)
    with LogWriter(settings.state / "log", lambda: 0.0) as writer:
        for number in range(int((END - START) / HOUR)):
            now = START + number * HOUR
            for view, frame in published.items():
                fresh = frame[(frame["event_timestamp"] > done) & (frame["event_timestamp"] <= now - lag)]
                if len(fresh):
                    keys = [key.name for found in plan.views if found.view == view for key in found.join_keys]
                    store.write_online(
                        settings.online_store, view, fresh.sort_values("event_timestamp").drop_duplicates(keys, keep="last")
                    )
            done = now - lag
            asked = requests[(requests["event_timestamp"] >= now) & (requests["event_timestamp"] < now + HOUR)]
            if asked.empty:
                continue
            keyed = asked[[key.name for key in plan.keys]]
            rows = []
            for (_, request), found in zip(asked.iterrows(), reader.read(keyed.to_numpy().tolist()), strict=True):
                at = request["event_timestamp"].timestamp()
                values = dict(zip(names, found.values, strict=True))
                for read_view, observed in zip(plan.views, found.observed_at, strict=True):
                    if read_view.is_stale(observed, at):
                        values |= {feature.name: None for feature in read_view.features}
                rows.append(
                    LogRow(
                        prediction_id=f"p{request['flight_id']}",
                        time=at,
                        version="f" * 64,
                        keys={key.name: str(request[key.name]) for key in plan.keys},
                        fields={},
                        features=values,
                        observed_at=dict(zip((view.view for view in plan.views), found.observed_at, strict=True)),
                        stale={},
                        probability=0.5,
                        decision=True,
                    )
                )
            assert writer.append(rows) == 0
    reader.close()
    assert collect(settings.state / "log", settings.state / "tables", END).damaged == ()
    return load(settings.state / "tables").sort_values("prediction_id", ignore_index=True)


def parity(served: Served, rows: pd.DataFrame) -> Parity:
    return compare(served.settings, served.model, rows)


def parity_of_some(served: Served, rows: pd.DataFrame) -> Parity:
    """The same for some rows of the log, with the join of all of them: a join takes longer than everything else together."""
    service = store.describe(served.settings, served.model.spec.features.service)
    return agreement(served.model.name, service, rows, served.expected.loc[rows.index])


def test_what_is_served_is_what_training_would_use(served: Served) -> None:
    found = parity(served, served.log)
    assert (found.rows, found.flagged, found.not_logged, found.unknown) == (len(served.log), False, (), ())
    assert found.rows > 2000
    assert found.values == found.rows * (25 + 4)
    assert found.share is not None
    assert found.share >= 0.999
    assert found.sentence.endswith("what was served is what training would have used.")
    assert Parity.model_validate_json(found.to_json()) == found
    assert found == parity_of_some(served, served.log)


def chance_of(what: str) -> np.random.Generator:
    seed = time.time_ns() % 2**32
    sys.stdout.write(f"{what}: seed {seed}\n")
    return np.random.default_rng(seed)


def some_of(log: pd.DataFrame, chance: np.random.Generator) -> pd.Index:
    """Rows of a random part of the time, at least half of it."""
    size = int(chance.integers(len(log) // 2, len(log)))
    start = int(chance.integers(0, len(log) - size + 1))
    return log["time"].sort_values().index[start : start + size]


def test_twenty_clean_logs_are_not_flagged(served: Served) -> None:
    chance = chance_of("clean")
    for _ in range(RUNS):
        found = parity_of_some(served, served.log.loc[some_of(served.log, chance)])
        assert not found.flagged, found.sentence
        assert found.share is not None
        assert found.share >= 0.999


def shift(served: Served, rows: pd.DataFrame, chance: np.random.Generator) -> tuple[str, pd.DataFrame]:
    """A number that changes, shifted by at least 1 % of its spread in at least 1 % of the rows."""
    numbers = [str(name) for name in rows if str(name).startswith("features.") and rows[name].dtype.kind in "if"]
    name = str(chance.choice([name for name in numbers if rows[name].nunique() > 1]))
    values = rows[name].astype("float64")
    spread = float(values.max() - values.min())
    hit = values.notna() & (chance.uniform(size=len(rows)) < chance.choice([0.015, 0.05, 0.5, 1.0]))
    return name, rows.assign(**{name: values.where(~hit, values + chance.choice([-1, 1]) * chance.uniform(0.01, 1) * spread)})


def delay(served: Served, rows: pd.DataFrame, chance: np.random.Generator) -> tuple[str, pd.DataFrame]:
    """A column that changes, as it stood one or three materialisations before, in some or all rows."""
    late = served.late[int(chance.choice(LATE_STEPS))].loc[rows.index]
    changing = [str(name) for name in rows if str(name).startswith("features.") and changed(rows[name], late[name]) >= 0.01]
    name = str(chance.choice(changing))
    hit = chance.uniform(size=len(rows)) < chance.choice([0.3, 1.0])
    return name, rows.assign(**{name: rows[name].where(~hit, late[name])})


def changed(before: "pd.Series[Any]", after: "pd.Series[Any]") -> float:
    """Share of values that are not the same."""
    return float((~((before == after) | (before.isna() & after.isna()))).mean())


@pytest.mark.parametrize("fault", [shift, delay])
def test_every_fault_of_a_hundredth_of_a_column_is_found(
    served: Served, fault: Callable[[Served, pd.DataFrame, np.random.Generator], tuple[str, pd.DataFrame]]
) -> None:
    chance = chance_of(fault.__name__)
    drawn: list[str] = []
    while len(drawn) < RUNS:
        rows = served.log.loc[some_of(served.log, chance)]
        name, faulty = fault(served, rows, chance)
        if changed(rows[name], faulty[name]) < 0.01:
            continue  # not a fault that must be found
        drawn.append(name)
        found = parity_of_some(served, faulty)
        flagged = [column.name for column in found.columns if column.flagged]
        assert flagged == [name.removeprefix("features.")], found.sentence
        assert found.flagged
        assert flagged[0] in found.sentence
        assert found.columns[0].examples[0].logged != found.columns[0].examples[0].expected
    assert len(set(drawn)) > 1


def test_a_store_that_is_never_materialised_is_flagged_in_every_view_that_changes(served: Served) -> None:
    found = parity(served, served.late[3])
    views = {column.view for column in found.columns if column.flagged}
    assert views == {"weather", "carrier", "route"}
    assert {"weather_observed_at", "carrier_observed_at", "route_observed_at"} <= {
        column.name for column in found.columns if column.flagged
    }


def test_one_value_in_a_thousand_is_named_but_not_flagged(served: Served) -> None:
    rows = served.log.copy()
    rows.loc[[5, 6], "features.weather_temp"] = [400.0, None]
    found = parity(served, rows)
    worst = found.columns[0]
    assert (worst.name, worst.differing, worst.flagged, found.flagged) == ("weather_temp", 2, False, False)
    assert worst.differing / worst.values < MAX_SHARE
    first = worst.examples[0]
    assert (first.prediction_id, first.logged) == (rows["prediction_id"][5], 400.0)
    assert set(first.keys) == {"carrier", "dest", "origin", "tailnum"}
    assert worst.examples[1].logged is None


def test_columns_that_only_one_side_knows_are_named_and_a_missing_key_is_refused(served: Served) -> None:
    rows = served.log.head(50).rename(columns={"features.weather_temp": "features.temp"})
    found = parity(served, rows)
    assert (found.not_logged, found.unknown, found.flagged) == (("weather_temp",), ("temp",), False)
    with pytest.raises(DataError, match="not every row has the join key 'tailnum' of service 'flight_delay'"):
        parity(served, served.log.head(5).drop(columns="keys.tailnum"))


def test_no_rows_are_nothing_to_compare(served: Served) -> None:
    found = parity(served, served.log.head(0))
    assert (found.rows, found.share, found.flagged) == (0, None, False)
    assert found.sentence == "No prediction was logged in this time: nothing to compare."


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Model, pd.DataFrame]:
    """A project with integer keys, a boolean and a text, and one logged row for each of its last payments."""
    folder = write_project(tmp_path_factory.mktemp("second"), per_day=10)
    settings = Settings.from_environment({"PERENNIAL_PROJECT": str(folder)})
    model = read(settings.models / "chargeback.yaml")
    payments = pd.read_parquet(settings.source("payments")).tail(300)
    account = pd.read_parquet(settings.source("account")).set_index("customer_id")
    pair = pd.read_parquet(settings.source("pair")).sort_values("event_timestamp")
    rows = []
    for _, payment in payments.iterrows():
        own = account.loc[payment["customer_id"]]
        before = pair[
            (pair["customer_id"] == payment["customer_id"])
            & (pair["shop_code"] == payment["shop_code"])
            & (pair["event_timestamp"] <= payment["event_timestamp"])
        ]
        rows.append(
            {
                "prediction_id": str(payment["payment_id"]),
                "time": payment["event_timestamp"],
                "keys.customer_id": payment["customer_id"],
                "keys.shop_code": payment["shop_code"],
                "features.account_days": int(own["account_days"]),
                "features.account_vip": bool(own["account_vip"]),
                "features.account_country": own["account_country"],
                "features.pair_orders": None if before.empty else float(before["pair_orders"].iloc[-1]),
                "features.pair_spend": None if before.empty else float(before["pair_spend"].iloc[-1]),
                "observed_at.pair": None if before.empty else before["event_timestamp"].iloc[-1],
            }
        )
    return settings, model, pd.DataFrame(rows)


def test_integers_booleans_texts_and_missing_values_are_compared_as_a_model_sees_them(
    second: tuple[Settings, Model, pd.DataFrame],
) -> None:
    settings, model, rows = second
    found = compare(settings, model, rows)
    assert (found.share, found.flagged) == (1.0, False), found.sentence
    assert rows["features.pair_orders"].isna().any()
    for name, wrong in (
        ("account_vip", ~rows["features.account_vip"]),
        ("account_country", rows["features.account_country"].str.lower()),
        ("account_days", rows["features.account_days"].astype(str)),  # a text where a number should be
        ("pair_orders", rows["features.pair_orders"].fillna(0)),  # missing is not zero
    ):
        seen = compare(settings, model, rows.assign(**{f"features.{name}": wrong}))
        assert [column.name for column in seen.columns if column.flagged] == [name]
