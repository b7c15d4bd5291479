"""Datasets: every request once, with what could be read then and the labels known by now."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from feature_repo.dataset import build, model_columns
from feature_repo.project import load as load_project
from perennial.data.dataset import Dataset, DatasetInfo, load, store, values_digest
from perennial.errors import DataError, PlatformError
from perennial.moment import Moment
from perennial.settings import Settings
from perennial.spec import Freshness, Model, Sliding
from perennial.spec.read import read
from tests.second_project import FIRST_DAY, NOW, write_project

pytestmark = [
    # Feast's dependencies warn about each other in use.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
WALL_CLOCK = NOW + timedelta(days=400)
Built = tuple[pd.DataFrame, DatasetInfo]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings.from_environment({"PERENNIAL_PROJECT": str(write_project(tmp_path_factory.mktemp("set") / "p", per_day=12))})


@pytest.fixture(scope="module")
def model(settings: Settings) -> Model:
    return read(settings.models / "chargeback.yaml")


@pytest.fixture(scope="module")
def built(settings: Settings, model: Model) -> Built:
    return build(settings, model, Moment(NOW, WALL_CLOCK))


def changed(model: Model, **parts: object) -> Model:
    """The model with other parts of its specification."""
    return model.model_copy(update={"spec": model.spec.model_copy(update=parts)})


def source(settings: Settings, name: str) -> pd.DataFrame:
    return pd.read_parquet(settings.source(name))


def test_every_request_of_the_matured_days_is_in_it_once(settings: Settings, built: Built) -> None:
    frame, info = built
    payments = source(settings, "payments")
    assert (info.start, info.end) == ("2024-01-01T00:00:00+00:00", "2024-04-10T00:00:00+00:00")
    assert info.evaluation_start == "2024-03-13T00:00:00+00:00"
    inside = payments[payments["event_timestamp"] < pd.Timestamp(info.end)]
    assert frame["payment_id"].tolist() == sorted(inside["payment_id"])
    assert info.rows == len(frame) == len(inside) and info.rejected == 0


def test_its_columns_have_the_promised_order_and_types(built: Built) -> None:
    frame, info = built
    features = ["account_days", "account_vip", "account_country", "pair_orders", "pair_spend", "amount", "method"]
    assert frame.columns.tolist() == [
        *("payment_id", "event_timestamp", "customer_id", "shop_code"),
        *(*features, "account_observed_at", "pair_observed_at", "label", "label_known_at"),
    ]
    assert [column.name for column in info.columns] == features
    assert {str(frame[name].dtype) for name in ("account_days", "account_vip", "pair_orders", "pair_spend", "amount")} == {
        "float64"
    }
    assert str(frame["label"].dtype) == "boolean"
    assert {str(frame[name].dtype) for name in frame if str(name).endswith(("_at", "_timestamp"))} == {"datetime64[us, UTC]"}
    assert {type(value) for value in frame["account_country"]} == {str, type(None)}


def test_features_are_those_of_the_newest_row_before_the_request(settings: Settings, built: Built) -> None:
    frame, _ = built
    pair = source(settings, "pair")
    for row in frame.sample(60, random_state=1).to_dict("records"):
        mine = pair[(pair["customer_id"] == row["customer_id"]) & (pair["shop_code"] == row["shop_code"])]
        past = mine[mine["event_timestamp"] <= row["event_timestamp"]].sort_values("event_timestamp").tail(1)
        if past.empty:
            assert np.isnan(row["pair_orders"]) and row["pair_observed_at"] is pd.NaT
        else:
            assert row["pair_orders"] == past["pair_orders"].iloc[0]
            assert row["pair_spend"] == past["pair_spend"].iloc[0]
            assert row["pair_observed_at"] == past["pair_observed_at"].iloc[0]


def test_request_fields_and_labels_belong_to_their_request(settings: Settings, built: Built) -> None:
    frame, info = built
    payments = source(settings, "payments").set_index("payment_id").loc[frame["payment_id"]]
    assert frame["amount"].tolist() == payments["amount"].tolist()
    assert frame["method"].tolist() == payments["method"].tolist()
    outcomes = source(settings, "outcomes").set_index("payment_id")
    known = frame["label"].notna()
    assert info.labelled == int(known.sum())
    assert frame.loc[known, "label"].tolist() == outcomes.loc[frame.loc[known, "payment_id"], "charged_back"].tolist()
    assert frame.loc[known, "label_known_at"].tolist() == outcomes.loc[frame.loc[known, "payment_id"], "event_timestamp"].tolist()
    assert frame.loc[~known, "label_known_at"].isna().all()


def test_excluded_times_are_left_out_counted_and_change_the_dataset(settings: Settings, model: Model, built: Built) -> None:
    spans = [(FIRST_DAY + timedelta(days=day), FIRST_DAY + timedelta(days=day + 7)) for day in (20, 24)]
    before, after = spans[0][0], spans[1][1]
    frame, info = build(settings, model, Moment(NOW, WALL_CLOCK), spans)
    outside = (built[0]["event_timestamp"] < before) | (built[0]["event_timestamp"] >= after)
    assert 0 < info.excluded == int((~outside).sum()) < built[1].rows
    assert built[1].excluded == 0
    pd.testing.assert_frame_equal(frame, built[0][outside].reset_index(drop=True))
    assert info.digest != built[1].digest


def test_nothing_known_after_now_is_in_it(settings: Settings, model: Model) -> None:
    now = FIRST_DAY + timedelta(days=60, hours=7)
    frame, info = build(settings, model, Moment(now, WALL_CLOCK))
    assert info.end == "2024-02-27T00:00:00+00:00"
    assert frame["label_known_at"].max() <= now
    assert frame["event_timestamp"].max() < pd.Timestamp(info.end)
    assert (frame["pair_observed_at"].dropna() <= frame["event_timestamp"][frame["pair_observed_at"].notna()]).all()


def test_labels_that_come_after_now_are_not_known(settings: Settings, model: Model, built: Built) -> None:
    # Labels take up to 70 hours; a maturity of an hour lets the newest requests in before their labels.
    early = changed(model, label=model.spec.label.model_copy(update={"maturity_hours": 1.0}))
    now = FIRST_DAY + timedelta(days=80)
    frame, _ = build(settings, early, Moment(now, WALL_CLOCK))
    later = built[0].set_index("payment_id").loc[frame["payment_id"]]
    pending = (later["label_known_at"] > now).to_numpy()
    assert pending.sum() >= 2
    assert (frame["label"].isna().to_numpy() == (pending | later["label"].isna().to_numpy())).all()


def test_the_future_of_a_source_changes_nothing(settings: Settings, model: Model, tmp_path: Path) -> None:
    now = FIRST_DAY + timedelta(days=60)
    before = build(settings, model, Moment(now, WALL_CLOCK))[1]
    other = settings.model_copy(update={"sources": str(tmp_path), "threads": 2})
    for name in ("payments", "outcomes", "account", "pair"):
        frame = source(settings, name)
        frame[frame["event_timestamp"] <= now].to_parquet(tmp_path / f"{name}.parquet", index=False, coerce_timestamps="us")
    assert build(other, model, Moment(now, WALL_CLOCK))[1] == before


def test_built_again_it_has_the_same_digest_and_comes_back_from_disk(
    settings: Settings, model: Model, built: Built, tmp_path: Path
) -> None:
    frame, info = build(settings, model, Moment(NOW, WALL_CLOCK))
    assert info == built[1]
    assert info.digest == values_digest(frame)
    found, said = load(store(Dataset(frame, info), tmp_path))
    pd.testing.assert_frame_equal(found, frame)
    assert said == info


def test_what_was_lost_and_stale_is_counted(settings: Settings, built: Built) -> None:
    frame, info = built
    account, pair = info.views
    assert (account.view, account.lost, account.stale) == ("account", 0, 0)
    assert pair.view == "pair" and pair.lost == int(frame["pair_observed_at"].isna().sum()) > 0
    age = (frame["event_timestamp"] - frame["pair_observed_at"]).dt.total_seconds() / 3600
    assert pair.stale == int((age > 720).sum()) > 0
    assert pair.median_age_hours == pytest.approx(age.median(), abs=1e-6)
    # The limit says last_known: the old values are still there.
    assert frame.loc[age > 720, "pair_orders"].notna().all()


@pytest.mark.parametrize("on_stale", ["default", "reject"])
def test_the_freshness_policy_is_applied_in_training(settings: Settings, model: Model, built: Built, on_stale: str) -> None:
    limit = Freshness.model_validate({"view": "pair", "max_age_hours": 720.0, "on_stale": on_stale})
    policy = changed(model, features=model.spec.features.model_copy(update={"freshness": (limit,)}))
    frame, info = build(settings, policy, Moment(NOW, WALL_CLOCK))
    before = built[0]
    stale = ((before["event_timestamp"] - before["pair_observed_at"]) > pd.Timedelta(hours=720)).to_numpy()
    assert info.views == built[1].views
    if on_stale == "reject":
        assert info.rejected == stale.sum() and frame["payment_id"].tolist() == before["payment_id"][~stale].tolist()
        assert info.labelled == int(before["label"][~stale].notna().sum())
    else:
        assert info.rejected == 0
        assert frame.loc[stale, ["pair_orders", "pair_spend"]].isna().all(axis=None)
        assert frame.loc[~stale, "pair_orders"].isna().sum() == info.views[1].lost


def test_a_sliding_window_takes_the_newest_days(settings: Settings, model: Model) -> None:
    window = Sliding(kind="sliding", days=50)
    sliding = changed(model, training=model.spec.training.model_copy(update={"window": window}))
    frame, info = build(settings, sliding, Moment(NOW, WALL_CLOCK))
    assert (info.start, info.end) == ("2024-02-20T00:00:00+00:00", "2024-04-10T00:00:00+00:00")
    assert frame["event_timestamp"].min() >= pd.Timestamp(info.start)


def test_too_short_a_history_is_said_in_numbers(settings: Settings, model: Model) -> None:
    with pytest.raises(
        DataError, match=r"requests begin at 2024-01-01.*28 days, of which the evaluation takes 28; it needs at least 29"
    ):
        build(settings, model, Moment(FIRST_DAY + timedelta(days=31), WALL_CLOCK))
    with pytest.raises(DataError, match="no requests before 2023-12-29"):
        build(settings, model, Moment(FIRST_DAY, WALL_CLOCK))


def test_a_dataset_of_the_future_is_refused(settings: Settings, model: Model) -> None:
    with pytest.raises(PlatformError, match="a dataset of the future cannot be built"):
        build(settings, model, Moment(NOW, NOW - timedelta(days=1)))


def test_labels_of_other_ids_are_no_labels(settings: Settings, model: Model, tmp_path: Path) -> None:
    shutil.copytree(settings.sources, tmp_path, dirs_exist_ok=True)
    outcomes = source(settings, "outcomes")
    outcomes.assign(payment_id=outcomes["payment_id"] + 10**6).to_parquet(tmp_path / "outcomes.parquet", coerce_timestamps="us")
    other = settings.model_copy(update={"sources": str(tmp_path)})
    with pytest.raises(DataError, match=r"none of the 1,200 requests .* do the ids of payments and outcomes match"):
        build(other, model, Moment(NOW, WALL_CLOCK))


def test_a_feature_that_does_not_exist_is_named(settings: Settings, model: Model) -> None:
    with pytest.raises(DataError, match="no feature service 'chargebak'; defined: chargeback"):
        features = model.spec.features.model_copy(update={"service": "chargebak"})
        build(settings, changed(model, features=features), Moment(NOW, WALL_CLOCK))


def test_a_request_field_with_the_name_of_a_feature_is_named(settings: Settings, model: Model) -> None:
    field = model.spec.requests.fields[0].model_copy(update={"name": "pair_spend"})
    requests = model.spec.requests.model_copy(update={"fields": (field,)})
    with pytest.raises(DataError, match="the column 'pair_spend' of the request is also a column of 'pair'; rename one"):
        build(settings, changed(model, requests=requests), Moment(NOW, WALL_CLOCK))


NAMES = (
    ("account_days", "shop_code", "the column 'shop_code' of view 'account' is also a join key of 'pair'; rename one"),
    (
        "account_days",
        "Shop_Code",
        "the column 'Shop_Code' of view 'account' is also a join key of 'pair' but for case, 'shop_code'",
    ),
    ("account_days", "payment_id", "the column 'payment_id' of view 'account' is also the id; rename"),
    ("account_days", "label", "the column 'label' of view 'account' is also the label; rename"),
    ("account_days", "Label", "the column 'Label' of view 'account' is also the label but for case, 'label'"),
    ("account_days", "probability", "the column 'probability' of view 'account' is also the model's own output"),
    ("account_days", "block", "the column 'block' of view 'account' is also the blocks that monitoring keeps of a training"),
    ("account_days", "event_timestamp", "the column 'event_timestamp' of view 'account' is also the time"),
    ("account_days", "amount", "the column 'amount' of the request is also a column of 'account'"),
    ("account_days", "pair_Observed_at", "is also the observation time of 'pair' but for case, 'pair_observed_at'"),
    ("account_days", "account_since", ""),
)


@pytest.mark.parametrize(("old", "new", "message"), NAMES, ids=[new for _, new, _ in NAMES])
def test_every_name_that_meets_in_a_dataset_is_unique(tmp_path: Path, old: str, new: str, message: str) -> None:
    project = write_project(tmp_path / "project", per_day=1)
    file = project / "feature_repo" / "definitions" / "payments.py"
    file.write_text(file.read_text().replace(f'name="{old}"', f'name="{new}"'))
    settings = Settings.from_environment({"PERENNIAL_PROJECT": str(project)})
    own = read(settings.models / "chargeback.yaml")
    if not message:
        assert new in [column.name for column in model_columns(own, load_project(settings).service("chargeback"))]
        return
    with pytest.raises(DataError, match=message):
        model_columns(own, load_project(settings).service("chargeback"))


def test_a_join_key_may_be_a_field_of_the_request_or_its_id(settings: Settings, model: Model) -> None:
    service = load_project(settings).service("chargeback")
    key = model.spec.requests.fields[1].model_copy(update={"name": "shop_code"})
    requests = model.spec.requests.model_copy(update={"fields": (key,), "id": "customer_id"})
    assert [column.name for column in model_columns(changed(model, requests=requests), service)][-1] == "shop_code"


def with_labels(settings: Settings, folder: Path, known: float) -> Settings:
    """Settings of the same sources in which each request carries its label in its own row, null where it is not known."""
    copied = folder / "sources"
    shutil.copytree(settings.sources, copied)
    payments, outcomes = (pd.read_parquet(copied / f"{name}.parquet") for name in ("payments", "outcomes"))
    labels = payments["payment_id"].map(outcomes.set_index("payment_id")["charged_back"]).astype("boolean")
    labels = labels.mask(np.random.default_rng(1).uniform(size=len(labels)) > known)
    payments.assign(charged_back=labels).to_parquet(copied / "payments.parquet", index=False, coerce_timestamps="us")
    return settings.model_copy(update={"sources": str(copied)})


def test_a_label_in_the_requests_own_source_is_read(settings: Settings, model: Model, tmp_path: Path) -> None:
    label = model.spec.label.model_copy(update={"source": "payments"})
    inside, one = with_labels(settings, tmp_path, known=0.9), changed(model, label=label)
    frame, info = build(inside, one, Moment(NOW, WALL_CLOCK))
    source = pd.read_parquet(inside.source("payments")).set_index("payment_id")["charged_back"]
    assert info.labelled == int(source.reindex(frame["payment_id"]).notna().sum()) < info.rows
    assert frame["label"].equals(source.reindex(frame["payment_id"]).reset_index(drop=True).rename("label"))
    assert (frame["label_known_at"] == frame["event_timestamp"])[frame["label"].notna()].all()
    field = model.spec.requests.fields[0].model_copy(update={"name": "charged_back", "dtype": "bool"})
    requests = model.spec.requests.model_copy(update={"fields": (field,)})
    with pytest.raises(DataError, match="the field 'charged_back' of the request is the label itself; take it out"):
        build(inside, changed(one, requests=requests), Moment(NOW, WALL_CLOCK))


def test_two_views_on_one_source_and_a_view_on_the_requests_are_read(tmp_path: Path) -> None:
    project = write_project(tmp_path / "project", per_day=2)
    settings = Settings.from_environment({"PERENNIAL_PROJECT": str(project)})
    file = project / "feature_repo" / "definitions" / "payments.py"
    observed = 'dtype=UnixTimestamp, tags={"role": "observed_at"})'
    views = f"""
usage = FeatureView(
    name="usage",
    entities=[customer],
    source=source("account"),
    schema=[Field(name="usage_hours", dtype=Float64), Field(name="usage_observed_at", {observed}],
)
last = FeatureView(
    name="last",
    entities=[customer],
    source=FileSource(name="last", path=path("payments"), timestamp_field="event_timestamp"),
    schema=[Field(name="last_total", dtype=Float64), Field(name="last_observed_at", {observed}],
)
chargeback = """
    text = file.read_text().replace("features=[account, pair]", "features=[account, pair, usage, last]")
    file.write_text(text.replace("chargeback = ", views))
    path = settings.source("account")
    account = pd.read_parquet(path).assign(usage_hours=1.5)
    account.assign(usage_observed_at=account["account_observed_at"]).to_parquet(path, index=False, coerce_timestamps="us")
    path = settings.source("payments")
    payments = pd.read_parquet(path)
    payments = payments[~payments.duplicated(["customer_id", "event_timestamp"])]
    payments = payments.assign(last_total=payments["amount"] * 2, last_observed_at=payments["event_timestamp"])
    payments.to_parquet(path, index=False, coerce_timestamps="us")
    frame, _ = build(settings, read(settings.models / "chargeback.yaml"), Moment(NOW, WALL_CLOCK))
    assert frame["usage_hours"].eq(1.5).all() and frame["account_days"].notna().all()
    assert (frame["last_total"] == frame["amount"] * 2).all()


def test_a_float32_feature_has_the_bits_that_serving_keeps(tmp_path: Path) -> None:
    project = write_project(tmp_path / "project", per_day=2)
    settings = Settings.from_environment({"PERENNIAL_PROJECT": str(project)})
    file = project / "feature_repo" / "definitions" / "payments.py"
    file.write_text(
        file.read_text()
        .replace('"pair_spend", dtype=Float64', '"pair_spend", dtype=Float32')
        .replace("Float64, ", "Float32, Float64, ")
    )
    frame, _ = build(settings, read(settings.models / "chargeback.yaml"), Moment(NOW, WALL_CLOCK))
    values = frame["pair_spend"].dropna()
    assert len(values) and (values == values.astype("float32").astype("float64")).all()


BIG_IDS: dict[str, Callable[[int], Any]] = {
    "near the end of int64": lambda rows: 2**63 - 1 - np.arange(rows),
    "negative": lambda rows: -(2**63) + np.arange(rows),
    "texts": lambda rows: np.array(["007", "7", "🙂", "1e3", *(str(2**62 + place) for place in range(rows - 4))], dtype=object),
}


@pytest.mark.parametrize("case", BIG_IDS)
def test_ids_and_keys_are_themselves_in_joins_and_labels(tmp_path: Path, case: str) -> None:
    settings = Settings.from_environment({"PERENNIAL_PROJECT": str(write_project(tmp_path / "project", per_day=2))})
    own = read(settings.models / "chargeback.yaml")
    plain_frame, _ = build(settings, own, Moment(NOW, WALL_CLOCK))
    sources = {name: pd.read_parquet(settings.source(name)) for name in ("payments", "outcomes", "account", "pair")}
    ids = dict(zip(sources["payments"]["payment_id"], BIG_IDS[case](len(sources["payments"])), strict=True))
    for name in ("payments", "outcomes"):
        sources[name]["payment_id"] = sources[name]["payment_id"].map(ids)
    for name in ("payments", "account", "pair"):
        sources[name]["customer_id"] += 2**62
    for name, frame in sources.items():
        frame.to_parquet(settings.source(name), index=False, coerce_timestamps="us")
    frame, info = build(settings, own, Moment(NOW, WALL_CLOCK))
    assert info.rows == len(plain_frame)
    expected = plain_frame.assign(payment_id=plain_frame["payment_id"].map(ids), customer_id=plain_frame["customer_id"] + 2**62)
    pd.testing.assert_frame_equal(
        frame.set_index("payment_id").sort_index(), expected.set_index("payment_id").sort_index()[frame.columns[1:]]
    )
    assert frame["customer_id"].dtype == np.int64


def test_the_flights_of_a_quarter_are_a_dataset(flights_sources: Path, tmp_path: Path) -> None:
    here = Path(__file__).parents[2]
    settings = Settings.from_environment(
        {"PERENNIAL_PROJECT": str(here), "PERENNIAL_STATE": str(tmp_path), "PERENNIAL_SOURCES": str(flights_sources)}
    )
    flights = read(here / "models" / "flight-delay.yaml")
    frame, info = build(settings, flights, Moment(datetime(2013, 4, 2, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)))
    assert (info.start, info.end) == ("2013-01-01T00:00:00+00:00", "2013-04-01T00:00:00+00:00")
    assert (info.rows, info.labelled) == (80_776, 77_898)
    assert {view.view: view.lost for view in info.views} == {"weather": 0, "plane": 13_403, "carrier": 0, "route": 0}
    # A row is published hourly: no trailing rate is older than an hour, no weather younger than one.
    for view, least, most in (("carrier", 0, 1), ("route", 0, 1), ("weather", 1, 7)):
        age = (frame["event_timestamp"] - frame[f"{view}_observed_at"]).dt.total_seconds() / 3600
        assert age.between(least, most).all(), view
