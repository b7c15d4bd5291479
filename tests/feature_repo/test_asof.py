"""The ASOF store, through Feast's own API: every row kept in its order, never the future."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.repo_config import RepoConfig
from feast.types import Float64, Int64

from feature_repo.asof import AsofOfflineStore, AsofRetrievalJob, Wanted, join
from perennial.errors import DataError
from perennial.stores.bucket import Bucket
from tests.servers.s3 import S3

pytestmark = [
    # Feast's dependencies warn about each other in use.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
DAY0 = pd.Timestamp("2024-01-01T00:00Z")
PLAIN, TTL = ["plain:x"], ["ttl:y"]


def day(number: float) -> pd.Timestamp:
    return DAY0 + pd.Timedelta(days=number)


def table(rows: Sequence[tuple[object, ...]], names: list[str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=names)


@pytest.fixture(scope="module", params=["folder", "bucket"])
def feast(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    folder = tmp_path_factory.mktemp("asof")
    # Availability, value, creation: entity 1 has a correction of day 1 that could be read from day 9 on.
    rows = [(1, day(1), 11.0, day(1)), (1, day(3), 13.0, day(3)), (2, day(8), 28.0, day(8)), (3, day(0), 30.0, day(0))]
    rows += [(1, day(9), 12.0, day(9)), (4, day(1), 41.0, day(1)), (4, day(1), 42.0, day(2))]
    frame = table(rows, ["id", "event_timestamp", "x", "created"]).assign(y=lambda found: found["x"])
    name = "source 'quoted'.parquet"
    path = str(folder / name)
    frame.to_parquet(path, index=False, coerce_timestamps="us")
    config = RepoConfig(
        project="p",
        provider="local",
        registry={"registry_type": "sql", "path": f"sqlite:///{folder}/registry.db"},
        offline_store={"type": "feature_repo.asof.AsofOfflineStore"},
        online_store={"type": "feature_repo.online_store.feast_store.PackedOnlineStore", "path": f"{folder}/online.db"},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    entity = Entity(name="id", value_type=ValueType.INT64)
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "bucket":
            s3: S3 = request.getfixturevalue("s3_server")
            s3.known(patch)
            bucket = Bucket(s3.bucket())
            bucket.put(name, Path(path))
            path = f"{bucket.uri}/{name}"
        store.apply([entity, *views_of(entity, path)])
        yield store


def views_of(entity: Entity, path: str) -> list[FeatureView]:
    source = FileSource(name="s", path=path, timestamp_field="event_timestamp", created_timestamp_column="created")
    return [
        FeatureView(name="plain", entities=[entity], schema=[Field(name="x", dtype=Float64)], source=source),
        FeatureView(name="ttl", entities=[entity], schema=[Field(name="y", dtype=Float64)], source=source, ttl=timedelta(days=2)),
    ]


def ask(feast: FeatureStore, rows: list[tuple[int, pd.Timestamp]], features: list[str]) -> list[float | None]:
    entities = table(rows, ["id", "event_timestamp"])
    entities["note"] = [f"row {place}" for place in range(len(rows))]
    found = feast.get_historical_features(entity_df=entities, features=features).to_df()
    assert found["note"].tolist() == entities["note"].tolist()
    return [None if np.isnan(value) else value for value in found[features[0].split(":")[1]]]


@pytest.mark.parametrize(
    ("row", "plain", "within_ttl"),
    [
        pytest.param((1, day(4)), 13.0, 13.0, id="newest before"),
        pytest.param((1, day(1)), 11.0, 11.0, id="at the very moment"),
        pytest.param((1, day(1) - pd.Timedelta(microseconds=1)), None, None, id="a microsecond early"),
        pytest.param((1, day(3) + pd.Timedelta(microseconds=1)), 13.0, 13.0, id="a microsecond late"),
        pytest.param((2, day(7)), None, None, id="only in the future"),
        pytest.param((3, day(2)), 30.0, 30.0, id="as old as the ttl"),
        pytest.param((3, day(2) + pd.Timedelta(microseconds=1)), 30.0, None, id="older than the ttl"),
        pytest.param((99, day(4)), None, None, id="unknown key"),
        pytest.param((1, day(6)), 13.0, None, id="before a late correction"),
        pytest.param((1, day(9)), 12.0, 12.0, id="after a late correction"),
        pytest.param((4, day(1)), 42.0, 42.0, id="same time: created last"),
    ],
)
def test_one_row_reads_what_could_be_read(
    feast: FeatureStore, row: tuple[int, pd.Timestamp], plain: float | None, within_ttl: float | None
) -> None:
    assert ask(feast, [row], PLAIN) == [plain]
    assert ask(feast, [row], TTL) == [within_ttl]


def test_every_row_is_kept_in_its_order_however_often_it_comes(feast: FeatureStore) -> None:
    rows = [(1, day(4)), (99, day(4)), (1, day(4)), (2, day(7)), (3, day(20)), (1, day(1)), (1, day(4))]
    assert ask(feast, rows, PLAIN) == [13.0, None, 13.0, None, 30.0, 11.0, 13.0]
    assert ask(feast, rows, TTL) == [13.0, None, 13.0, None, None, 11.0, 13.0]


def test_a_missing_key_finds_nothing(feast: FeatureStore) -> None:
    entities = pd.DataFrame({"id": pd.array([None, 1], dtype="Int64"), "event_timestamp": [day(4), day(4)]})
    found = feast.get_historical_features(entity_df=entities, features=PLAIN).to_df()["x"]
    assert found.isna().tolist() == [True, False]


def test_a_key_with_a_missing_part_is_never_equal_to_another(tmp_path: Path) -> None:
    path, time = tmp_path / "pairs.parquet", pd.array([day(1)] * 3)
    table([(1, "a"), (1, None), (None, "a")], ["id", "part"]).assign(t=time, x=[1.0, 2.0, 3.0]).to_parquet(path)
    entities = table([(1, "a"), (1, None), (None, "a"), (None, None)], ["id", "part"])
    keys = (("id", "id"), ("part", "part"))
    view = Wanted("v", str(path), keys, time="t", created=None, features=(("x", "x"),), ttl=None)
    found = join(entities, pd.Series([day(1)] * 4), [view], threads=1)
    assert found.table.column("x").to_pylist() == [1.0, None, None, None]


def test_rows_before_every_row_of_the_source_are_kept(feast: FeatureStore) -> None:
    assert ask(feast, [(1, day(-3)), (3, day(-1))], PLAIN) == [None, None]
    assert ask(feast, [(1, day(-3)), (3, day(-1))], TTL) == [None, None]


def test_a_missing_time_finds_nothing(feast: FeatureStore) -> None:
    entities = pd.DataFrame({"id": [1, 1], "event_timestamp": [pd.NaT, day(4)]})
    found = feast.get_historical_features(entity_df=entities, features=[*PLAIN, *TTL]).to_df()
    assert found["x"].isna().tolist() == [True, False]


def test_the_moment_of_each_match_is_known(feast: FeatureStore) -> None:
    entities = table([(1, day(4)), (2, day(7)), (3, day(20))], ["id", "event_timestamp"])
    job = feast.get_historical_features(entity_df=entities, features=[*PLAIN, *TTL])
    assert isinstance(job, AsofRetrievalJob)
    matched = job.join().matched
    assert matched["plain"].to_pylist() == [day(3).to_pydatetime(), None, day(0).to_pydatetime()]
    assert matched["ttl"].to_pylist() == [day(3).to_pydatetime(), None, None]


def test_full_names_carry_the_view(feast: FeatureStore) -> None:
    entities = table([(1, day(4))], ["id", "event_timestamp"])
    found = feast.get_historical_features(entity_df=entities, features=[*PLAIN, *TTL], full_feature_names=True).to_df()
    assert found.columns.tolist() == ["id", "event_timestamp", "plain__x", "ttl__y"]


def test_a_cut_by_creation_time_is_refused(feast: FeatureStore) -> None:
    entities = table([(1, day(4))], ["id", "event_timestamp"])
    with pytest.raises(NotImplementedError, match="filter_by_created_timestamp is not supported by AsofOfflineStore"):
        feast.get_historical_features(entity_df=entities, features=PLAIN, filter_by_created_timestamp=True)
    with pytest.raises(DataError, match="filter_by_created_timestamp: not supported"):
        AsofOfflineStore.get_historical_features(
            feast.config, [], [], entities, feast.registry, "p", filter_by_created_timestamp=True
        )


def test_entities_by_sql_or_by_range_of_time_are_refused(feast: FeatureStore) -> None:
    with pytest.raises(DataError, match="expected a pandas frame, found str"):
        feast.get_historical_features(entity_df="select 1", features=PLAIN)
    with pytest.raises(DataError, match="not supported"):
        feast.get_historical_features(features=PLAIN, start_date=datetime(2024, 1, 1, tzinfo=UTC))


def test_materialisation_reads_have_inclusive_bounds_and_one_chunk(feast: FeatureStore) -> None:
    source = feast.get_feature_view("plain").batch_source
    assert source is not None
    bounds = (day(1).to_pydatetime(), day(3).to_pydatetime())
    everything = AsofOfflineStore.pull_all_from_table_or_query(
        feast.config, source, ["id"], ["x"], "event_timestamp", "created", *bounds
    ).to_arrow()
    assert sorted(everything.column("x").to_pylist()) == [11.0, 13.0, 41.0, 42.0]
    assert everything.column("x").num_chunks == 1
    latest = AsofOfflineStore.pull_latest_from_table_or_query(
        feast.config, source, ["id"], ["x"], "event_timestamp", "created", *bounds
    ).to_arrow()
    assert sorted(latest.column("x").to_pylist()) == [13.0, 42.0]


def test_a_result_can_be_kept_as_a_saved_dataset(feast: FeatureStore, tmp_path: Path) -> None:
    entities = table([(1, day(4))], ["id", "event_timestamp"])
    job = feast.get_historical_features(entity_df=entities, features=PLAIN)
    path = tmp_path / "kept.parquet"
    job.persist(SavedDatasetFileStorage(path=str(path)))
    assert pd.read_parquet(path)["x"].tolist() == [13.0]
    with pytest.raises(Exception, match="already exists"):
        job.persist(SavedDatasetFileStorage(path=str(path)))


@pytest.mark.parametrize("ttl", [None, timedelta(hours=30)])
def test_a_large_join_equals_that_of_polars(tmp_path: Path, ttl: timedelta | None) -> None:
    random = np.random.default_rng(5)
    start = np.datetime64("2024-01-01", "us")
    feature_times = start + random.choice(60 * 24 * 3600, 20_000, replace=False).astype("timedelta64[s]")
    features = pd.DataFrame(
        {"id": random.integers(0, 300, 20_000), "event_timestamp": feature_times, "x": random.normal(size=20_000)}
    )
    features["event_timestamp"] = features["event_timestamp"].dt.tz_localize("UTC")
    features.to_parquet(tmp_path / "x.parquet", index=False, coerce_timestamps="us")
    times = start + random.integers(0, 60 * 24 * 3600 * 10**6, 50_000).astype("timedelta64[us]")
    entities = pd.DataFrame({"id": random.integers(0, 330, 50_000), "event_timestamp": times, "row": np.arange(50_000)})
    entities["event_timestamp"] = entities["event_timestamp"].dt.tz_localize("UTC")
    entity = Entity(name="id", value_type=ValueType.INT64)
    source = FileSource(name="x", path=str(tmp_path / "x.parquet"), timestamp_field="event_timestamp")
    schema = [Field(name="x", dtype=Float64), Field(name="id", dtype=Int64)]
    view = FeatureView(name="v", entities=[entity], schema=schema, source=source, ttl=ttl)
    config = RepoConfig(
        project="p",
        provider="local",
        registry={"registry_type": "sql", "path": f"sqlite:///{tmp_path}/registry.db"},
        offline_store={"type": "feature_repo.asof.AsofOfflineStore"},
        online_store={"type": "feature_repo.online_store.feast_store.PackedOnlineStore", "path": f"{tmp_path}/online.db"},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    store.apply([entity, view])
    mine = store.get_historical_features(entity_df=entities, features=["v:x"]).to_df()
    left, right = (pl.from_pandas(frame).sort("event_timestamp") for frame in (entities, features))
    reference = (
        left.join_asof(right, on="event_timestamp", by="id", tolerance=ttl, check_sortedness=False).sort("row").to_pandas()
    )
    assert (mine["row"] == np.arange(50_000)).all()
    np.testing.assert_array_equal(mine["x"].to_numpy(), reference["x"].to_numpy())
