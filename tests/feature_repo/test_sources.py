"""A source in a bucket is the same source: the same datasets, checks and online values; but its store may be away."""

import os
import sqlite3
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pyarrow.compute
import pytest

from feature_repo import store
from feature_repo.asof import Wanted, look_up
from feature_repo.dataset import build
from feature_repo.project import load
from feature_repo.reading.files import Files
from feature_repo.reading.source_checks import check
from feature_repo.sources import files, opened
from perennial.errors import DataError, NotFoundError, PlatformError
from perennial.moment import Moment
from perennial.settings import Settings
from perennial.spec.read import read
from perennial.stores.bucket import Bucket
from tests.second_project import FIRST_DAY, NOW, write_project
from tests.servers.s3 import S3

pytestmark = [
    # Feast's dependencies warn about each other in use.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
WALL_CLOCK = NOW + timedelta(days=400)
SECRET = "canary-of-the-secret-key"
NAMES = ("payments", "outcomes", "account", "pair")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("sources") / "project", per_day=5)


@pytest.fixture
def local(project: Path, tmp_path: Path) -> Settings:
    """Settings of the sources in their folder."""
    folder = str(project / ".perennial" / "sources")
    places = {"PERENNIAL_PROJECT": str(project), "PERENNIAL_STATE": str(tmp_path / "local"), "PERENNIAL_SOURCES": folder}
    return Settings.from_environment(places)


@pytest.fixture
def remote(local: Settings, tmp_path: Path, s3: S3) -> Settings:
    """Settings of the same sources in a bucket."""
    places = {
        "PERENNIAL_PROJECT": str(local.project),
        "PERENNIAL_STATE": str(tmp_path / "remote"),
        "PERENNIAL_BUCKET": s3.bucket(),
    }
    settings = Settings.from_environment(places)
    for name in NAMES:
        Bucket(settings.sources).put(f"{name}.parquet", Path(local.source(name)))
    return settings


def test_where_sources_are_is_said_by_bucket_and_sources_together() -> None:
    where = Settings.from_environment
    assert where({"PERENNIAL_STATE": "/state"}).source("a") == "/state/sources/a.parquet"
    assert where({"PERENNIAL_BUCKET": "s3://team/prod"}).source("a") == "s3://team/prod/sources/a.parquet"
    both = where({"PERENNIAL_BUCKET": "s3://team/prod", "PERENNIAL_SOURCES": "s3://lake/tables/"})
    assert both.source("a") == "s3://lake/tables/a.parquet"
    assert where(both.to_environment()) == both
    assert where({"PERENNIAL_BUCKET": "s3://team/prod", "PERENNIAL_SOURCES": "here"}).sources == str(Path("here").absolute())


def test_a_dataset_from_a_bucket_is_the_one_from_the_folder(local: Settings, remote: Settings) -> None:
    model = read(local.models / "chargeback.yaml")
    (frame, info), (again, said) = (build(settings, model, Moment(NOW, WALL_CLOCK)) for settings in (local, remote))
    assert said == info
    assert info.rows == 500
    pd.testing.assert_frame_equal(again, frame)


def test_feast_materialises_from_a_bucket_what_it_does_from_the_folder(local: Settings, remote: Settings) -> None:
    rows = []
    for settings in (local, remote):
        store.apply(settings)
        count = store.materialize(settings, FIRST_DAY - timedelta(days=30), NOW, lambda _: None)
        with sqlite3.connect(settings.online_store) as database:
            tables = [name for (name,) in database.execute("select name from sqlite_master where type = 'table'").fetchall()]
            rows.append(
                (count, {name: sorted(database.execute(f'select * from "{name}"').fetchall(), key=repr) for name in tables})
            )
        database.close()
    assert rows[0] == rows[1]
    assert all(count > 0 for count in rows[0][0].values())


def spoilt(name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Settings, Path], None]:
    """Rewrites a source in the bucket."""

    def spoil(settings: Settings, folder: Path) -> None:
        with opened(settings.source(name)) as dataset:
            frame = dataset.to_table().to_pandas()
        change(frame).to_parquet(folder / "spoilt.parquet", index=False)
        Bucket(settings.sources).replace(f"{name}.parquet", (folder / "spoilt.parquet").read_bytes())

    return spoil


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        pytest.param(
            lambda settings, _: Bucket(settings.sources).replace("pair.parquet", b"PAR1 and nothing else"),
            "not a Parquet file that can be read",
            id="no Parquet",
        ),
        pytest.param(spoilt("pair", lambda frame: frame.head(0)), "the file has no rows; write the source again", id="no rows"),
        pytest.param(
            spoilt("pair", lambda frame: pd.concat([frame, frame.head(1)])),
            r"duplicate keys customer_id, shop_code, event_timestamp: \(customer_id=",
            id="a duplicate",
        ),
        pytest.param(
            spoilt("pair", lambda frame: frame.assign(shop_code=frame["shop_code"].mask(frame.index == 0))),
            r"column 'shop_code' is null; .*; 1 rows, as",
            id="a null",
        ),
        pytest.param(
            spoilt("pair", lambda frame: frame.drop(columns="pair_spend")),
            "no column 'pair_spend'; it has shop_code",
            id="a column",
        ),
    ],
)
def test_a_fault_of_a_source_in_a_bucket_is_named(
    remote: Settings, tmp_path: Path, spoil: Callable[[Settings, Path], None], reason: str
) -> None:
    model = read(remote.models / "chargeback.yaml")
    service = load(remote).service("chargeback")
    check(remote, model, service, Moment(NOW, WALL_CLOCK))
    spoil(remote, tmp_path)
    with pytest.raises(DataError, match=f"^{remote.source('pair')}: {reason}"):
        check(remote, model, service, Moment(NOW, WALL_CLOCK))


def test_a_source_that_is_nowhere_is_not_found(remote: Settings, local: Settings) -> None:
    for source in (remote.source("nothing"), "s3://nobody/sources/pair.parquet", local.source("nothing")):
        missing = pytest.raises(NotFoundError, match=f"^{source}: no such file; write the source there, or set PERENNIAL_SOURCES")
        with missing, opened(source):
            pass
    nobody = remote.model_copy(update={"sources": "s3://nobody/sources"})
    with pytest.raises(DataError, match=r"^s3://nobody/sources/payments\.parquet: no such file"):
        build(nobody, read(remote.models / "chargeback.yaml"), Moment(NOW, WALL_CLOCK))


def refused(remote: Settings) -> Iterator[pytest.ExceptionInfo[PlatformError]]:
    """What each reader of sources ends with when the store gives nothing; none may take long."""

    def read_later() -> None:
        model = read(remote.models / "chargeback.yaml")
        build(remote, model, Moment(NOW, WALL_CLOCK))

    def pull() -> None:
        store.apply(remote)
        store.materialize(remote, FIRST_DAY, NOW, lambda _: None)

    for question in (read_later, pull):
        begin = time.monotonic()
        with pytest.raises(PlatformError, match=f"^{remote.sources}/.*: the object store does not answer or refuses: ") as found:
            question()
        assert time.monotonic() - begin < 20
        yield found


def test_a_store_that_is_away_is_said_in_time_and_may_be_asked_again(remote: Settings, s3: S3) -> None:
    s3.stop()
    assert len(list(refused(remote))) == 2
    s3.start()
    assert build(remote, read(remote.models / "chargeback.yaml"), Moment(NOW, WALL_CLOCK))[1].rows == 500


def test_a_store_that_goes_away_while_duckdb_reads_is_no_fault_of_the_data(remote: Settings, s3: S3) -> None:
    moments = pyarrow.array([NOW], pyarrow.timestamp("us", "UTC"))
    keys = (("customer_id", "customer_id"),)
    view = Wanted("account", remote.source("account"), keys, "event_timestamp", None, (("account_days", "account_days"),), None)
    assert look_up(pyarrow.table({"customer_id": [1]}), moments, view).num_rows == 1

    class Leaving:
        """An opened source whose store stops before it is read."""

        def __init__(self, source: str) -> None:
            self.inner = files(source)

        def __enter__(self) -> Files:
            found = self.inner.__enter__()
            assert found.dataset.schema
            s3.stop()
            return found

        def __exit__(self, *_: object) -> None:
            self.inner.__exit__(None, None, None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("feature_repo.reading.sql.files", Leaving)
        with pytest.raises(PlatformError, match="the object store does not answer or refuses: NETWORK_CONNECTION"):
            look_up(pyarrow.table({"customer_id": [1]}), moments, view)


def test_who_is_not_known_is_refused_and_no_secret_is_shown(remote: Settings, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with s3.guarded():
        found = list(refused(remote))
    assert len(found) == 2
    for one in found:
        assert "ACCESS_DENIED" in str(one.value)
        assert SECRET not in "".join(traceback.format_exception(one.value))
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == SECRET
