"""What a replay publishes hour by hour is what `materialize` and `write_online` store, byte by byte."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from feature_repo import store
from feature_repo.online_store.database import open_database
from feature_repo.online_store.interface import Row
from feature_repo.online_store.layout import Field, Kind, Layout
from feature_repo.online_store.packing import pack, packed_values, plain
from feature_repo.online_store.publication import Publication
from perennial.errors import DataError, NotFoundError, PlatformError
from perennial.settings import Settings
from tests.second_project import write_project
from tests.servers.redis import Redis

pytestmark = [
    # Feast's dependencies warn about each other in use.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
BEGIN, END = datetime(2023, 12, 30, tzinfo=UTC), datetime(2024, 1, 20, tzinfo=UTC)
VIEWS = ("account", "pair")
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("publication") / "project", per_day=5)


def applied(project: Path, folder: Path, where: str | None = None) -> Settings:
    """An installation of its own on the project, its definitions applied; its online store is a file unless it is said."""
    shutil.copytree(project, folder)
    variables = {"PERENNIAL_PROJECT": str(folder)} | ({} if where is None else {"PERENNIAL_ONLINE_STORE": where})
    settings = Settings.from_environment(variables)
    store.apply(settings)
    return settings


def sources(settings: Settings) -> dict[str, pd.DataFrame]:
    return {view: pd.read_parquet(settings.source(view)) for view in VIEWS}


def stored(settings: Settings, view: str) -> list[Row]:
    with open_database(settings.online_store, write=False) as database:
        return list(database.rows(view))


def test_published_by_the_hour_equals_materialised_and_written(
    project: Path, tmp_path: Path, new_store: Callable[[], str]
) -> None:
    published, materialised, written = (applied(project, tmp_path / name, new_store()) for name in ("one", "two", "three"))
    frames = sources(published)
    # In any order: what was published last counts, not what stands last.
    publication = Publication.prepare(published, {view: frame.sample(frac=1, random_state=1) for view, frame in frames.items()})
    count, hour = 0, BEGIN
    while hour <= END:
        count += publication.write_until(hour)
        for view in VIEWS:
            since = frames[view]["event_timestamp"]
            rows = frames[view][(since > hour - HOUR) & (since <= hour)]
            if len(rows):
                store.write_online(written.online_store, view, rows)
        hour += HOUR
    store.materialize(materialised, BEGIN, END, lambda _: None)
    assert count == sum(int((frame["event_timestamp"] <= END).sum()) for frame in frames.values())
    for view in VIEWS:
        assert stored(published, view) == stored(materialised, view) == stored(written, view)
        assert stored(published, view)


def test_nothing_from_after_the_hour_is_written_and_nothing_twice(project: Path, tmp_path: Path) -> None:
    settings = applied(project, tmp_path / "project")
    pair = sources(settings)["pair"]
    first = pair["event_timestamp"].min()
    publication = Publication.prepare(settings, {"pair": pair})
    assert publication.write_until((first - HOUR).to_pydatetime()) == 0
    assert not stored(settings, "pair")
    now = int((pair["event_timestamp"] == first).sum())
    assert publication.write_until(first.to_pydatetime()) == now == len(stored(settings, "pair"))
    assert publication.write_until(first.to_pydatetime()) == 0
    assert {time for _, time, _ in stored(settings, "pair")} == {first.value // 1000}


def test_a_write_that_fails_is_made_up_for_by_the_next(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feature_repo.online_store.sqlite.WRITE_SECONDS", 0.1)
    settings = applied(project, tmp_path / "project")
    publication = Publication.prepare(settings, sources(settings))
    with open_database(settings.online_store), pytest.raises(PlatformError, match="database is locked"):
        publication.write_until(END)
    assert not stored(settings, "account")
    assert publication.write_until(END) > 300
    assert len(stored(settings, "account")) == 300


def test_what_a_redis_that_was_away_missed_is_made_up_for_by_the_next_write(project: Path, tmp_path: Path, redis: Redis) -> None:
    settings = applied(project, tmp_path / "project", redis.store())
    publication = Publication.prepare(settings, sources(settings))
    publication.write_until(BEGIN)
    redis.stop()
    with pytest.raises(PlatformError, match="the online store does not answer"):
        publication.write_until(END)
    redis.start()
    assert publication.write_until(END) > 300
    assert len(stored(settings, "account")) == 300


def test_a_view_that_was_not_applied_or_lacks_a_column_is_refused(project: Path, tmp_path: Path) -> None:
    settings = applied(project, tmp_path / "project")
    with pytest.raises(NotFoundError, match="no view 'elsewhere'"):
        Publication.prepare(settings, {"elsewhere": pd.DataFrame()})
    with pytest.raises(DataError, match="view 'pair': the frame has no column pair_spend"):
        Publication.prepare(settings, {"pair": sources(settings)["pair"].drop(columns="pair_spend")})


def test_every_kind_is_packed_as_one_row_at_a_time_would_be() -> None:
    random, count = np.random.default_rng(3), 40
    kinds: tuple[Kind, ...] = ("float32", "float64", "int32", "int64", "bool", "timestamp", "float64", "int64", "bool")
    layout = Layout(view="v", join_keys=(), fields=tuple(Field(name=f"f{place}", kind=kind) for place, kind in enumerate(kinds)))
    values: dict[str, list[object]] = {}
    for field in layout.fields:
        numbers = random.integers(-1000, 1000, count)
        made: dict[str, list[object]] = {
            "float": (numbers / 7).tolist(),
            "int": numbers.tolist(),
            "bool": (numbers > 0).tolist(),
            "timestamp": list(pd.to_datetime(numbers * 1_000_000, unit="s", utc=True)),
        }
        column = made[field.kind.rstrip("3264")]
        values[field.name] = [
            None if missing else value for value, missing in zip(column, random.random(count) < 0.3, strict=True)
        ]
    frame = pd.DataFrame({name: pd.Series(column, dtype=object) for name, column in values.items()})
    rows = zip(*(plain(frame[field.name], field) for field in layout.fields), strict=True)
    assert packed_values(layout, frame) == [layout.encode(row) for row in rows]
    assert packed_values(layout, frame.head(0)) == []


def test_of_two_rows_of_a_key_and_time_the_last_one_comes_last() -> None:
    layout = Layout(view="v", join_keys=(Field(name="k", kind="int64"),), fields=(Field(name="x", kind="float64"),))
    time = pd.Timestamp("2024-01-01", tz="UTC")
    frame = pd.DataFrame({"k": [1, 1, 2], "event_timestamp": [time, time, time - HOUR], "x": [0.5, 1.5, 2.5]})
    assert [layout.decode(value)[0] for _, _, value in pack(layout, frame)] == [2.5, 0.5, 1.5]
