"""The plan reader gives what Feast's `get_online_features` gives, and says what Feast does not: a stale layout."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic

import pandas as pd
import pytest

from feature_repo import store
from feature_repo.online_store.database import open_database
from feature_repo.online_store.layout import Layout, Value
from feature_repo.online_store.reader import Found, PlanReader
from feature_repo.online_store.sqlite import MAX_WANTED
from feature_repo.plan import resolve
from perennial.data.read_plan import ReadPlan
from perennial.errors import DataError, PlatformError
from perennial.settings import Settings
from perennial.spec.model import Model
from perennial.spec.read import read
from tests.second_project import write_project
from tests.servers.redis import Redis

pytestmark = [
    # Feast's dependencies warn about each other on import and in use.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

DEFINITIONS = """
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Bool, Float32, Float64, Int32, Int64, String, UnixTimestamp

from feature_repo.sources import path

customer = Entity(name="customer_id", join_keys=["customer_id"], value_type=ValueType.INT64)
shop = Entity(name="shop_code", join_keys=["shop_code"], value_type=ValueType.STRING)
lane = Entity(name="lane", join_keys=["lane"], value_type=ValueType.INT32)


def observed(view):
    return Field(name=f"{view}_observed_at", dtype=UnixTimestamp, tags={"role": "observed_at"})


def source(name):
    return FileSource(name=name, path=path(name), timestamp_field="event_timestamp")


types = FeatureView(
    name="types",
    entities=[lane],
    source=source("types"),
    schema=[
        Field(name="a_float32", dtype=Float32),
        Field(name="a_string", dtype=String),
        Field(name="a_float64", dtype=Float64),
        Field(name="an_int32", dtype=Int32),
        observed("types"),
        Field(name="an_int64", dtype=Int64),
        Field(name="a_bool", dtype=Bool),
        Field(name="unused", dtype=String),
    ],
)
pair = FeatureView(
    name="pair",
    entities=[shop, customer],
    source=source("pair"),
    schema=[Field(name="pair_orders", dtype=Int64), Field(name="pair_spend", dtype=Float64), observed("pair")],
)
chargeback = FeatureService(
    name="chargeback",
    features=[pair, types[["a_bool", "a_string", "an_int64", "a_float32", "a_float64", "an_int32", "types_observed_at"]]],
)
"""
TIME = datetime(2024, 3, 1, tzinfo=UTC)
LANES = pd.DataFrame(
    {
        "lane": [1, 2, -3],
        "a_float32": [0.1, None, 3.4e38],
        "a_string": ["é", None, ""],
        "a_float64": [0.1, None, -1e300],
        "an_int32": pd.array([-(2**31), None, 7], dtype="Int64"),
        "an_int64": pd.array([2**62 + 1, None, 0], dtype="Int64"),
        "a_bool": pd.array([True, None, False], dtype="boolean"),
        "unused": ["x", "y", None],
        "types_observed_at": [TIME - timedelta(hours=1), TIME - timedelta(days=400), TIME],
        "event_timestamp": TIME,
    }
)
PAIRS = pd.DataFrame(
    {
        "shop_code": ["S1", "S1", "Größe"],
        "customer_id": [1, 2, 2**40],
        "pair_orders": pd.array([3, None, 5], dtype="Int64"),
        "pair_spend": [1.25, 7.5, None],
        "pair_observed_at": TIME - timedelta(minutes=90),
        "event_timestamp": TIME,
    }
)
KEYS: list[tuple[Value, ...]] = [
    (1, 1, "S1"),
    (2, 2, "S1"),
    (2**40, -3, "Größe"),
    (1, 99, "S1"),
    (1, 1, "never seen"),
    (-5, 0, ""),
]
"""customer_id, lane, shop_code: everything there, nulls, large numbers, then one or both views missing."""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, new_store: Callable[[], str]) -> Settings:
    folder = write_project(tmp_path_factory.mktemp("online"), per_day=1)
    (folder / "feature_repo" / "definitions" / "payments.py").write_text(DEFINITIONS)
    found = Settings.from_environment({"PERENNIAL_PROJECT": str(folder), "PERENNIAL_ONLINE_STORE": new_store()})
    for name, frame in (("types", LANES), ("pair", PAIRS)):
        frame.to_parquet(found.source(name), index=False, coerce_timestamps="us")
    store.apply(found)
    store.write_online(found.online_store, "types", LANES)
    store.write_online(found.online_store, "pair", PAIRS)
    return found


@pytest.fixture(scope="module")
def model(settings: Settings) -> Model:
    return read(settings.models / "chargeback.yaml")


@pytest.fixture(scope="module")
def plan(settings: Settings, model: Model) -> ReadPlan:
    return resolve(settings, model)


def test_a_plan_names_keys_fields_and_limits_in_their_order(plan: ReadPlan, model: Model) -> None:
    (limit,) = model.spec.features.freshness
    assert [(key.name, key.kind) for key in plan.keys] == [("customer_id", "int64"), ("lane", "int32"), ("shop_code", "string")]
    assert [(field.name, field.dtype) for field in plan.fields] == [("amount", "float"), ("method", "string")]
    assert [(view.view, view.max_age_hours, view.on_stale) for view in plan.views] == [
        ("pair", limit.max_age_hours, limit.on_stale),
        ("types", None, "default"),
    ]
    assert [feature.name for feature in plan.views[1].features][:3] == ["a_bool", "a_string", "an_int64"]


def test_a_plan_survives_json(plan: ReadPlan) -> None:
    assert ReadPlan.model_validate_json(plan.to_json()) == plan


def test_the_reader_gives_what_feast_gives(settings: Settings, plan: ReadPlan) -> None:
    names = [key.name for key in plan.keys]
    rows = [dict(zip(names, row, strict=True)) for row in KEYS]
    with store.open(settings) as opened:
        answer = opened.get_online_features(opened.get_feature_service("chargeback"), rows).to_dict()
    reader = PlanReader(plan, settings.online_store)
    found = reader.read(KEYS)
    for place, feature in enumerate(plan.features):
        ours = [row.values[place] for row in found]
        assert ours == answer[feature.name], feature.name
        assert [type(value) for value in ours] == [type(value) for value in answer[feature.name]], feature.name
    for place, view in enumerate(plan.views):
        times = answer[view.observed_at]
        assert [row.observed_at[place] for row in found] == [None if time is None else time.timestamp() for time in times]
    assert [row.status for row in found] == [("found", "found")] * 3 + [
        ("found", "missing"),
        ("missing", "found"),
        ("missing",) * 2,
    ]
    reader.close()


def test_many_rows_are_read_as_single_ones(settings: Settings, plan: ReadPlan) -> None:
    reader = PlanReader(plan, settings.online_store)
    single = [reader.read([row])[0] for row in KEYS]
    many = [*KEYS, *((number, number, f"S{number}") for number in range(10, 10 + MAX_WANTED)), *KEYS]
    assert reader.read(many)[: len(KEYS)] == single
    assert reader.read(many)[-len(KEYS) :] == single
    assert reader.read([]) == []
    reader.close()


def test_a_layout_of_the_store_is_compared_with_the_plan(settings: Settings, plan: ReadPlan) -> None:
    reader = PlanReader(plan, settings.online_store)
    reader.check()
    foreign = plan.views[1].model_copy(update={"view": "elsewhere", "layout": ""})
    with pytest.raises(DataError, match="this release packs its fields as"):
        PlanReader(plan.model_copy(update={"views": (foreign,)}), settings.online_store)
    reader.close()


def test_a_plan_reads_values_of_its_own_layout_as_long_as_they_are_kept(
    settings: Settings, plan: ReadPlan, new_store: Callable[[], str]
) -> None:
    where = new_store()
    with open_database(settings.online_store, write=False) as source, open_database(where) as target:
        layouts = [source.layout(view.view) for view in plan.views]
        target.keep_layouts(layouts)
        for layout in layouts:
            target.write(layout, source.rows(layout.view))
    reader = PlanReader(plan, where)
    before = reader.read(KEYS[:1])
    assert before[0].status == ("found", "found")
    changed = Layout(view="types", join_keys=layouts[1].join_keys, fields=layouts[1].fields[::-1])
    with open_database(where) as target:
        target.keep_layouts([changed])
    assert reader.read(KEYS[:1]) == before
    with open_database(where) as target:
        target.write(changed, [(key, 1, changed.encode([None] * len(changed.fields))) for key, *_ in rows_of(settings, "types")])
    assert reader.read(KEYS[:1]) == before, "what was written by another layout is another value"
    reader.check()
    with open_database(where) as target:
        assert target.purge({(layouts[0].view, layouts[0].digest)}) == [layouts[1]]
    after = reader.read(KEYS[:1])
    assert after == [Found((*before[0].values[:2], *[None] * 6), (before[0].observed_at[0], None), ("found", "stale layout"))]
    with pytest.raises(DataError, match=r"view 'types' has layout .* the version reads"):
        reader.check()
    with open_database(where) as target:
        target.drop(["types"])
    with pytest.raises(DataError, match="no view 'types'; it has pair"):
        reader.check()
    reader.close()


def rows_of(settings: Settings, view: str) -> list[tuple[bytes, int, bytes]]:
    with open_database(settings.online_store, write=False) as source:
        return list(source.rows(view))


def test_a_file_that_is_gone_comes_back_by_itself(settings: Settings, plan: ReadPlan, tmp_path: Path) -> None:
    path = str(tmp_path / "online.db")
    reader = PlanReader(plan, path)
    with pytest.raises(PlatformError, match="does not answer"):
        reader.read(KEYS)
    Path(path).write_bytes(b"no database at all, but long enough to be looked at" * 100)
    with pytest.raises(PlatformError, match="does not answer"):
        reader.answers()
    Path(path).unlink()
    with open_database(settings.online_store, write=False) as source, open_database(path) as target:
        target.keep_layouts([source.layout(view.view) for view in plan.views])
    reader.answers()
    assert reader.read(KEYS[:1])[0].status == ("missing", "missing")
    reader.close()


def test_a_redis_that_was_away_is_read_again_by_itself(settings: Settings, plan: ReadPlan, redis: Redis) -> None:
    where = redis.store()
    with open_database(settings.online_store, write=False) as source, open_database(where) as target:
        for view in plan.views:
            layout = source.layout(view.view)
            target.keep_layouts([layout])
            target.write(layout, source.rows(view.view))
    reader = PlanReader(plan, where)
    before = reader.read(KEYS)
    redis.stop()
    for ask in (reader.check, reader.answers, lambda: reader.read(KEYS)):
        with timed() as took, pytest.raises(PlatformError, match=r"the online store does not answer: .*refused.*try again"):
            ask()
        assert took() < 1
    redis.start()
    assert reader.read(KEYS) == before
    redis.stop()
    redis.start()
    assert reader.read(KEYS) == before, "a connection that was ended while nobody asked costs no answer"
    redis.hang()
    with timed() as took, pytest.raises(PlatformError, match=r"the online store does not answer: .*[Tt]imeout"):
        reader.read(KEYS)
    assert took() < 1
    redis.go_on()
    assert reader.read(KEYS) == before
    reader.answers()
    reader.close()


def test_a_redis_that_lost_everything_does_not_answer(plan: ReadPlan, redis: Redis) -> None:
    reader = PlanReader(plan, redis.store())
    with pytest.raises(PlatformError, match=r"it holds no views of 'perennial'; `perennial features apply`, then materialise"):
        reader.answers()
    reader.close()


@contextmanager
def timed() -> Iterator[Callable[[], float]]:
    """Says how many seconds the block took."""
    times = [monotonic()]
    yield lambda: times[1] - times[0]
    times.append(monotonic())
