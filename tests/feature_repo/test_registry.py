"""Feast's registry, on a file and on PostgreSQL: what is applied, applied at once by several, and not to be had."""

import dataclasses
import gc
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from feature_repo import store
from feature_repo.online_store.database import open_database
from perennial.errors import DataError, PlatformError
from perennial.settings import Settings
from tests.second_project import write_project
from tests.servers.postgresql import PostgreSQL

pytestmark = [
    # Feast's dependencies warn about each other in use.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
BEGIN, END = datetime(2023, 12, 30, tzinfo=UTC), datetime(2024, 1, 20, tzinfo=UTC)
APPLIED = store.Applied(("customer_id", "shop_code"), ("account", "pair"), ("chargeback",))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("registry") / "project", per_day=5)


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, original: Path, tmp_path: Path) -> Iterator[Settings]:
    """A project of its own, not applied yet."""
    found = {"PERENNIAL_PROJECT": str(shutil.copytree(original, tmp_path / "project"))}
    if request.param == "sqlite":
        yield Settings.from_environment(found)
        return
    server: PostgreSQL = request.getfixturevalue("postgresql")
    url = server.database()
    yield Settings.from_environment(found | {"PERENNIAL_FEATURE_REGISTRY": url})
    server.drop(url)


def views(settings: Settings) -> list[str]:
    with store.open(settings) as feast:
        return [str(view.name) for view in feast.list_feature_views()]


def change(settings: Settings, before: str, after: str) -> None:
    file = settings.definitions / "payments.py"
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))


def test_what_is_applied_is_materialised_and_read_again(settings: Settings) -> None:
    with pytest.raises(DataError, match="no feature views; `perennial features apply` first"):
        store.materialize(settings, BEGIN, END, lambda _: None)
    assert store.apply(settings) == store.apply(settings) == APPLIED
    assert store.materialize(settings, BEGIN, END, lambda _: None)["account"] == 300
    with store.open(settings) as feast:
        rows = [{"customer_id": 3, "shop_code": "S01"}]
        found = feast.get_online_features(feast.get_feature_service("chargeback"), rows).to_dict()
    assert found["account_days"][0] > 0


def test_what_is_changed_or_no_longer_defined_is_so_in_the_registry(settings: Settings) -> None:
    store.apply(settings)
    change(settings, 'Field(name="pair_orders", dtype=Int64)', 'Field(name="pair_orders", dtype=Float64)')
    store.apply(settings)
    with store.open(settings) as feast:
        pair = feast.get_feature_view("pair")
    assert [str(field.dtype) for field in pair.features if field.name == "pair_orders"] == ["Float64"]
    change(settings, "features=[account, pair]", "features=[pair]")
    change(settings, "account = Feature", "_ = lambda: Feature")
    assert store.apply(settings).views == ("pair",)
    assert views(settings) == ["pair"]


def test_appliers_at_the_same_time_wait_for_each_other(settings: Settings, tmp_path: Path) -> None:
    barrier = threading.Barrier(4)

    def apply(place: int) -> store.Applied:
        # As another process would, each loads definitions of its own.
        own = settings.model_copy(update={"project": tmp_path / f"{place}"})
        shutil.copytree(settings.definitions, own.definitions)
        barrier.wait()
        return store.apply(own)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(apply, range(4))) == [APPLIED] * 4
    assert views(settings) == ["account", "pair"]
    with open_database(settings.online_store, write=False) as online:
        assert sorted(online.views()) == ["account", "pair"]


def opened(settings: Settings) -> None:
    with store.open(settings):
        pass


def test_a_server_that_is_away_or_refuses_is_said_with_a_remedy_and_without_the_password(
    original: Path, postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(url: str, use: Callable[[Settings], object] = store.apply) -> str:
        found = {"PERENNIAL_PROJECT": str(original), "PERENNIAL_FEATURE_REGISTRY": url}
        with pytest.raises(PlatformError) as refused:
            use(Settings.from_environment(found))
        return str(refused.value)

    away = dataclasses.replace(postgresql, port=1).url("x")
    for use in (store.apply, opened):
        assert said(away, use).endswith(
            "Connection refused; see that the server runs and that the URL names it; the same call may work later"
        )
    assert said(postgresql.url("nowhere")).endswith('database "nowhere" does not exist; create it, empty, or correct the URL')
    monkeypatch.setenv("PGPASSWORD", "wrong " + postgresql.password)
    refused = said(postgresql.url("postgres"))
    assert "the password is read from PGPASSWORD" in refused and postgresql.password not in refused


def test_a_user_without_rights_is_told_which(original: Path, postgresql: PostgreSQL) -> None:
    url = postgresql.database()
    with postgresql.connection(url) as connection:
        connection.execute(f"create role reader login password '{postgresql.password}'".encode())
    try:
        found = {
            "PERENNIAL_PROJECT": str(original),
            "PERENNIAL_FEATURE_REGISTRY": postgresql.url(url.rpartition("/")[2], "reader"),
        }
        with pytest.raises(PlatformError, match="permission denied for schema public; its user lacks a right: grant it"):
            store.apply(Settings.from_environment(found))
        gc.collect()  # Feast forgot the connection: in this module that is no warning
    finally:
        with postgresql.connection(url) as connection:
            connection.execute("drop role reader")
