"""Registry and online store: applied definitions, materialised values, the same bytes by Feast's way and by ours."""

import shutil
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from feature_repo import store
from feature_repo.online_store.database import open_database
from feature_repo.online_store.interface import Row
from perennial.errors import DataError, NotFoundError, PlatformError, SpecError
from perennial.settings import Settings
from perennial.sqlite import file_of
from tests.second_project import ODD, write_project
from tests.servers.redis import Redis

pytestmark = [
    # Feast's dependencies warn about each other in use.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
BEGIN, END = datetime(2023, 12, 30, tzinfo=UTC), datetime(2024, 1, 20, tzinfo=UTC)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("store") / ODD, per_day=5)


@pytest.fixture
def settings(original: Path, tmp_path: Path) -> Settings:
    """A project of its own, whose folders carry our names, not applied yet."""
    folder = tmp_path / "project"
    shutil.copytree(original, folder)
    return Settings.from_environment({"PERENNIAL_PROJECT": str(folder)})


@pytest.fixture
def on_each(settings: Settings, new_store: Callable[[], str]) -> Settings:
    """The same on every kind of online store."""
    return settings.model_copy(update={"online_store": new_store()})


def stored(settings: Settings, view: str) -> list[Row]:
    with open_database(settings.online_store, write=False) as database:
        return list(database.rows(view))


def newest(settings: Settings, view: str, keys: list[str], start: datetime, end: datetime) -> pd.DataFrame:
    frame = pd.read_parquet(settings.source(view))
    inside = frame[(frame["event_timestamp"] > start) & (frame["event_timestamp"] <= end)]
    return inside.sort_values("event_timestamp").drop_duplicates(keys, keep="last")


def silent(text: str) -> None:
    pass


def test_definitions_are_applied_and_applied_again(settings: Settings) -> None:
    first = store.apply(settings)
    assert first == store.Applied(("customer_id", "shop_code"), ("account", "pair"), ("chargeback",))
    assert store.apply(settings) == first
    with store.open(settings) as feast:
        assert [view.name for view in feast.list_feature_views()] == ["account", "pair"]


def test_what_is_no_longer_defined_is_gone(on_each: Settings) -> None:
    store.apply(on_each)
    store.materialize(on_each, BEGIN, END, silent)
    assert stored(on_each, "account")
    file = on_each.definitions / "payments.py"
    text = file.read_text()
    file.write_text(
        text.replace("features=[account, pair]", "features=[pair]").replace("account = Feature", "_ = lambda: Feature")
    )
    assert store.apply(on_each).views == ("pair",)
    with store.open(on_each) as feast:
        assert [view.name for view in feast.list_feature_views()] == ["pair"]
    assert not stored(on_each, "account")
    assert stored(on_each, "pair")


def test_materialised_and_written_values_are_the_same_row_by_row(
    on_each: Settings, tmp_path: Path, new_store: Callable[[], str]
) -> None:
    other = Settings.from_environment(
        {
            "PERENNIAL_PROJECT": str(on_each.project),
            "PERENNIAL_STATE": str(tmp_path / "other"),
            "PERENNIAL_ONLINE_STORE": new_store(),
            "PERENNIAL_SOURCES": on_each.sources,
        }
    )
    for each in (on_each, other):
        store.apply(each)
    keys = {"account": ["customer_id"], "pair": ["shop_code", "customer_id"]}
    edges = [BEGIN, BEGIN + timedelta(days=5), BEGIN + timedelta(days=9, hours=3), END]
    for start, end in pairwise(edges):
        counts = store.materialize(on_each, start, end, silent)
        for view, names in keys.items():
            frame = newest(other, view, names, start, end)
            assert counts[view] == store.write_online(other.online_store, view, frame) == len(frame)
        for view in keys:
            assert stored(on_each, view) == stored(other, view)
    assert len(stored(on_each, "account")) == 300


def test_an_interval_excludes_its_begin_and_includes_its_end(on_each: Settings) -> None:
    store.apply(on_each)
    pair = pd.read_parquet(on_each.source("pair"))
    first = pair["event_timestamp"].min().to_pydatetime()
    assert store.materialize(on_each, first, first + timedelta(hours=1), silent)["pair"] == 0
    count = store.materialize(on_each, first - timedelta(hours=1), first, silent)["pair"]
    assert count == int((pair["event_timestamp"] == first).sum()) > 0


def test_an_older_interval_leaves_newer_values_alone(on_each: Settings) -> None:
    store.apply(on_each)
    store.materialize(on_each, BEGIN, END, silent)
    before = stored(on_each, "pair")
    store.materialize(on_each, BEGIN, BEGIN + timedelta(days=4), silent)
    frame = newest(on_each, "pair", ["shop_code", "customer_id"], BEGIN, BEGIN + timedelta(days=4))
    store.write_online(on_each.online_store, "pair", frame)
    assert stored(on_each, "pair") == before


def test_more_rows_than_one_batch_are_all_written(on_each: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BATCH_ROWS", 7)
    store.apply(on_each)
    store.materialize(on_each, BEGIN, END, silent)
    assert len(stored(on_each, "account")) == 300


def test_feast_reads_what_was_written(on_each: Settings) -> None:
    store.apply(on_each)
    store.materialize(on_each, BEGIN, END, silent)
    frame = pd.read_parquet(on_each.source("account"))
    account = frame[frame["customer_id"] == 3].to_dict("records")[0]
    rows = [{"customer_id": 3, "shop_code": "S01"}, {"customer_id": 9_999, "shop_code": "S01"}]
    with store.open(on_each) as feast:
        service = feast.get_feature_service("chargeback")
        found = feast.get_online_features(features=service, entity_rows=rows).to_dict(include_event_timestamps=True)
    assert found["account_days"] == [account["account_days"], None]
    assert found["account_vip"] == [account["account_vip"], None]
    assert found["account_observed_at"][0] == account["account_observed_at"]
    assert found["account_days__ts"][0] == int(account["event_timestamp"].timestamp())


def test_values_pushed_through_feast_are_stored_alike(on_each: Settings) -> None:
    store.apply(on_each)
    frame = pd.read_parquet(on_each.source("account")).head(20)
    with store.open(on_each) as feast:
        feast.write_to_online_store("account", frame)
    pushed = stored(on_each, "account")
    store.write_online(on_each.online_store, "account", frame)
    assert stored(on_each, "account") == pushed and len(pushed) == 20


def test_a_changed_layout_drops_the_values_that_nobody_could_read(on_each: Settings) -> None:
    store.apply(on_each)
    store.materialize(on_each, BEGIN, END, silent)
    file = on_each.definitions / "payments.py"
    file.write_text(
        file.read_text().replace('Field(name="pair_orders", dtype=Int64)', 'Field(name="pair_orders", dtype=Float64)')
    )
    store.apply(on_each)
    assert not stored(on_each, "pair") and len(stored(on_each, "account")) == 300
    assert store.materialize(on_each, BEGIN, END, silent)["pair"] > 0


def test_nothing_is_materialised_before_anything_is_applied(on_each: Settings) -> None:
    with pytest.raises(DataError, match="no feature views; `perennial features apply` first"):
        store.materialize(on_each, BEGIN, END, silent)
    with pytest.raises(NotFoundError, match="no view 'pair'; it has none"):
        store.write_online(on_each.online_store, "pair", pd.DataFrame())


def test_an_empty_interval_is_refused(settings: Settings) -> None:
    with pytest.raises(DataError, match="start must be before end"):
        store.materialize(settings, END, END, silent)


def test_a_frame_without_a_column_is_refused(settings: Settings) -> None:
    store.apply(settings)
    frame = pd.read_parquet(settings.source("pair")).drop(columns="pair_spend")
    with pytest.raises(DataError, match="the frame has no column pair_spend"):
        store.write_online(settings.online_store, "pair", frame)


def test_a_source_that_is_gone_is_named(settings: Settings) -> None:
    store.apply(settings)
    Path(settings.source("account")).unlink()
    with pytest.raises(NotFoundError, match=r"account\.parquet: no such file; write the source there"):
        store.materialize(settings, BEGIN, END, silent)


def test_a_locked_online_store_says_so_and_loses_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feature_repo.online_store.sqlite.WRITE_SECONDS", 0.1)
    store.apply(settings)
    frame = pd.read_parquet(settings.source("account"))
    blocker = sqlite3.connect(settings.online_store, isolation_level=None)
    blocker.execute("begin immediate")
    with pytest.raises(PlatformError, match=r"online\.db: database is locked; another process may be writing: try again"):
        store.write_online(settings.online_store, "account", frame)
    blocker.execute("rollback")
    blocker.close()
    assert store.write_online(settings.online_store, "account", frame) == 300


def test_a_locked_registry_says_so(settings: Settings) -> None:
    store.apply(settings)
    blocker = sqlite3.connect(str(file_of(settings.feature_registry)), isolation_level=None)
    blocker.execute("begin exclusive")
    try:
        with pytest.raises(PlatformError, match=r"registry\.db: .*database is locked.*try again"):
            store.apply(settings)
    finally:
        blocker.execute("rollback")
        blocker.close()


def test_a_state_folder_that_is_a_file_says_so(settings: Settings) -> None:
    Path(settings.online_store).parent.write_text("in the way")
    with pytest.raises(PlatformError, match="the state's folder must be writable"):
        store.apply(settings)


def test_a_redis_of_an_installation_with_another_name_is_refused(settings: Settings) -> None:
    other = settings.model_copy(update={"online_store": "redis://host/0?prefix=fraud"})
    with pytest.raises(SpecError, match="its keys begin with 'fraud', PERENNIAL_NAME is 'perennial'"):
        store.apply(other)


def test_a_redis_that_is_away_says_so(settings: Settings, redis: Redis) -> None:
    elsewhere = settings.model_copy(update={"online_store": redis.store()})
    store.apply(elsewhere)
    redis.stop()
    for use in (lambda: store.apply(elsewhere), lambda: store.materialize(elsewhere, BEGIN, END, silent)):
        with pytest.raises(PlatformError, match="the online store does not answer"):
            use()
    redis.start()
    assert store.materialize(elsewhere, BEGIN, END, silent)["account"] == 300


@pytest.mark.parametrize("stored", ["float16", "float32", "float64", "int8", "int64"])
@pytest.mark.parametrize("declared", ["Float32", "Float64"])
def test_a_number_is_materialised_however_it_is_stored(settings: Settings, declared: str, stored: str) -> None:
    file = settings.definitions / "payments.py"
    text = file.read_text().replace('"account_days", dtype=Int64', f'"account_days", dtype={declared}')
    file.write_text(text.replace("import Bool, Float64,", "import Bool, Float32, Float64,"))
    path = settings.source("account")
    frame = pd.read_parquet(path)
    frame.assign(account_days=np.full(300, 7.0).astype(stored)).to_parquet(path, index=False, coerce_timestamps="us")
    store.apply(settings)
    assert store.materialize(settings, BEGIN, END, silent)["account"] == 300
    with open_database(settings.online_store, write=False) as database:
        layout = database.layout("account")
        values = [layout.decode(value) for _, _, value in database.rows("account")]
    place = [field.name for field in layout.fields].index("account_days")
    assert {value[place] for value in values} == {7.0}


@pytest.mark.parametrize(
    ("declared", "value", "said"),
    [
        ("Int32", np.int64(2**40), r"column 'account_days' holds numbers beyond int32, which has -2147483648 to 2147483647"),
        ("Int64", np.uint64(2**63 + 5), r"column 'account_days' holds numbers beyond int64"),
        ("Float32", 1e300, r"column 'account_days' holds numbers beyond float32"),
        ("Float64", np.int64(2**53 + 1), r"column 'account_days' holds numbers beyond float64"),
        ("Int64", "seven", r"column 'account_days' is (large_)?string, expected int64"),
    ],
)
def test_what_no_type_can_keep_is_refused_before_anything_of_it_is_stored(
    settings: Settings, declared: str, value: np.int64 | np.uint64 | float | str, said: str
) -> None:
    file = settings.definitions / "payments.py"
    text = file.read_text().replace('"account_days", dtype=Int64', f'"account_days", dtype={declared}')
    file.write_text(text.replace("import Bool, Float64,", "import Bool, Float32, Float64, Int32,"))
    path = settings.source("account")
    frame = pd.read_parquet(path).sort_values("event_timestamp", ignore_index=True)
    ordinary = "7" if isinstance(value, str) else type(value)(7)
    frame.assign(account_days=[ordinary] * 299 + [value]).to_parquet(path, index=False, coerce_timestamps="us")
    store.apply(settings)
    with pytest.raises(DataError, match=said):
        store.materialize(settings, BEGIN, END, silent)
    assert not stored(settings, "account")
    if not isinstance(value, str):
        last = frame["event_timestamp"].iloc[-1]
        before = store.materialize(settings, BEGIN, last - timedelta(microseconds=1), silent)["account"]
        assert before == (frame["event_timestamp"] < last).sum(), "a row that is not stored is in nobody's way"


def test_a_view_without_rows_yet_is_materialised_as_nothing(settings: Settings) -> None:
    path = settings.source("account")
    pd.read_parquet(path).head(0).to_parquet(path, index=False, coerce_timestamps="us")
    store.apply(settings)
    assert store.materialize(settings, BEGIN, END, silent)["account"] == 0


def test_a_replay_passes_by_a_kept_layout_with_other_join_keys(settings: Settings) -> None:
    store.apply(settings)
    frame = pd.read_parquet(settings.source("account"))
    with open_database(settings.online_store) as database:
        layout = database.layout("account")
        other = layout.model_copy(update={"join_keys": (layout.join_keys[0].model_copy(update={"name": "other_id"}),)})
        alike = layout.model_copy(update={"fields": layout.fields[:1]})
        database.keep_layouts([other, alike, layout])
    assert store.write_online(settings.online_store, "account", frame) == 300
    with open_database(settings.online_store, write=False) as database:
        assert [len(list(database.rows(name))) for name in ("account", alike.name, other.name)] == [300, 300, 0]
