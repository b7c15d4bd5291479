"""`perennial init`: what it writes is right as it stands, and what cannot be a first model is refused with a way forward."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from console.cli import init
from console.scaffold.command import begin_and_show
from console.scaffold.roles import Roles
from console.scaffold.sample import ROLES, made_up
from console.scaffold.sizes import sizes
from console.scaffold.split import split
from examples.chargeback import sources
from feature_repo import store
from perennial.errors import DataError, PerennialError, SpecError
from perennial.settings import Settings
from perennial.spec.read import check_against, read

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)
Change = Callable[[pd.DataFrame], pd.DataFrame]


def settings_of(folder: Path) -> Settings:
    return Settings.from_environment({"PERENNIAL_PROJECT": str(folder)})


def begun(folder: Path, frame: pd.DataFrame, roles: Roles = ROLES, now: datetime = NOW, name: str = "data.parquet") -> Settings:
    """The settings of a project that was begun from this table."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path, index=False)
    settings = settings_of(folder / "project")
    begin_and_show(settings, "churn", path, roles, now, json=True)
    return settings


def is_valid(settings: Settings, model: str = "churn") -> bool:
    """Whether `perennial validate` finds no mistake, beside the definitions too."""
    path = settings.models / f"{model}.yaml"
    spec = read(path)
    service = store.describe(settings, spec.spec.features.service)
    return check_against(spec, service.columns, service.views, service.join_keys, path) == ()


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    made: pd.DataFrame = made_up(NOW).to_pandas()
    return made


def payments() -> pd.DataFrame:
    """The example's payments, what was known of their customers, and their outcome, in one table."""
    made = sources.sources_of(per_day=60)
    account = made["account"].drop(columns=["event_timestamp", "account_observed_at"])
    outcomes = made["outcomes"].drop(columns="event_timestamp")
    joined = made["payments"].merge(account, on="customer_id").merge(outcomes, on="payment_id", how="left")
    unique: pd.DataFrame = joined.drop_duplicates(["customer_id", "event_timestamp"])
    return unique


def test_a_made_up_table_makes_a_valid_project_whose_sources_are_split(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_of(tmp_path)
    begin_and_show(settings, "churn", None, None, NOW, json=True)
    said = json.loads(capsys.readouterr().out)
    assert all(Path(path).is_file() for path in said["files"])
    assert len(said["next"]) <= 7
    assert is_valid(settings)
    requests, labels, customer = (pd.read_parquet(settings.source(name)) for name in ("requests", "labels", "customer"))
    assert list(requests) == ["request_id", "event_timestamp", "customer_id", "channel"]
    assert list(labels) == ["request_id", "event_timestamp", "churned"]
    assert set(customer) == {
        *("customer_id", "event_timestamp", "plan", "monthly_spend", "visits_30d", "support_calls_30d", "customer_observed_at")
    }
    assert (customer["event_timestamp"] == requests["event_timestamp"]).all()
    both = labels.merge(requests, on="request_id", suffixes=("", "_asked"))
    assert (both["event_timestamp"] - both["event_timestamp_asked"] == timedelta(hours=72)).all()
    assert labels["event_timestamp"].max() <= NOW
    assert any("from the future" in note for note in said["notes"])


@pytest.mark.parametrize("name", ["data.parquet", "data.csv"])
def test_the_payments_of_the_example_begin_a_project(name: str, tmp_path: Path) -> None:
    roles = Roles(("customer_id", "shop_code"), "event_timestamp", "charged_back", ("amount", "method"), "payment_id", (), 72)
    settings = begun(tmp_path, payments(), roles, name=name)
    assert is_valid(settings)
    spec = read(settings.models / "churn.yaml").spec
    assert (spec.requests.id, [field.dtype for field in spec.requests.fields]) == ("payment_id", ["float", "string"])
    assert spec.evaluation.days == 28
    assert len(pd.read_parquet(settings.source("labels"))) < len(pd.read_parquet(settings.source("requests")))


def test_a_short_table_gets_gates_of_its_size(table: pd.DataFrame) -> None:
    import pyarrow as pa

    def sized(frame: pd.DataFrame) -> tuple[int, int, float]:
        found = sizes("t", split("t", pa.Table.from_pandas(frame, preserve_index=False), ROLES, NOW), ROLES.label_hours, NOW)
        return found.evaluation_days, found.folds, found.max_gap

    short = table[table["event_timestamp"] > NOW - timedelta(days=60)]
    assert sized(table) == (28, 2, 0.06)
    assert sized(short.iloc[::2]) == (14, 2, 0.11)


def test_times_without_a_zone_are_read_as_utc_and_it_is_said(
    table: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    naive = table.assign(event_timestamp=table["event_timestamp"].dt.tz_localize(None))
    settings = begun(tmp_path / "naive", naive)
    assert "names no zone: it is read as UTC" in capsys.readouterr().out
    paris = table.assign(event_timestamp=table["event_timestamp"].dt.tz_convert("Europe/Paris"))
    other = begun(tmp_path / "paris", paris)
    assert "names no zone" not in capsys.readouterr().out
    pd.testing.assert_frame_equal(pd.read_parquet(settings.source("requests")), pd.read_parquet(other.source("requests")))


def test_nothing_is_overwritten_and_the_file_that_is_there_is_named(table: pd.DataFrame, tmp_path: Path) -> None:
    settings = begun(tmp_path, table)
    before = {path: path.read_bytes() for path in settings.project.rglob("*") if path.is_file()}
    with pytest.raises(SpecError, match=r"models/churn\.yaml: is there already.*PERENNIAL_PROJECT"):
        begun(tmp_path, table)
    (settings.models / "churn.yaml").unlink()
    with pytest.raises(SpecError, match=r"definitions/churn\.py: is there already"):
        begun(tmp_path, table)
    assert {path: path.read_bytes() for path in settings.project.rglob("*") if path.is_file()} == {
        path: content for path, content in before.items() if path.name != "churn.yaml"
    }


def test_a_table_that_is_there_is_not_made_up_again(tmp_path: Path) -> None:
    (tmp_path / "data.parquet").write_text("mine")
    with pytest.raises(SpecError, match=r"data\.parquet: is there already.*--from data\.parquet with --key"):
        begin_and_show(settings_of(tmp_path), "churn", None, None, NOW, json=True)
    assert (tmp_path / "data.parquet").read_text() == "mine"


def twice(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame, frame.head(1)])


FAULTS: list[tuple[str, Roles, Change, str]] = [
    ("other time", Roles(("customer_id",), "visits_30d", "churned"), lambda t: t, "--time event_timestamp if it is when"),
    (
        "missing",
        Roles(("customer",), "event_timestamp", "churned"),
        lambda t: t,
        r"--key: no column 'customer'; allowed: customer_id,",
    ),
    ("two roles", Roles(("customer_id",), "event_timestamp", "plan", ("plan",)), lambda t: t, "named by --label already"),
    ("no key", Roles((), "event_timestamp", "churned"), lambda t: t, "--key: no column is named"),
    (
        "label",
        Roles(("customer_id",), "event_timestamp", "plan"),
        lambda t: t,
        "found basic, family, plus among 3.*allowed: true and",
    ),
    ("one label", ROLES, lambda t: t.assign(churned=False), "found false alone; a model needs both"),
    (
        "no times",
        Roles(("customer_id",), "visits_30d", "churned"),
        lambda t: t.drop(columns="event_timestamp"),
        "--time visits_30d: found int64.*timestamps",
    ),
    ("texts", ROLES, lambda t: t.assign(event_timestamp="1 May"), "not all texts are times: '1 May'; allowed"),
    ("null time", ROLES, lambda t: t.assign(event_timestamp=t["event_timestamp"].where(t.index != 3)), "1 rows have no time"),
    (
        "future",
        ROLES,
        lambda t: t.assign(event_timestamp=t["event_timestamp"] + timedelta(days=9)),
        "lie in the future.*leave the",
    ),
    ("twice", ROLES, twice, "1 times customer_id and event_timestamp are the same in several rows.*allowed: one row"),
    (
        "float key",
        ROLES,
        lambda t: t.assign(customer_id=t["customer_id"] + 0.5),
        "--key customer_id: found double.*whole numbers or",
    ),
    ("name", ROLES, lambda t: t.rename(columns={"plan": "The Plan"}), "'The Plan' has no name.*as in 'the_plan'.*--leave-out"),
    ("reserved", ROLES, lambda t: t.rename(columns={"plan": "label"}), "a name of Perennial's own"),
    (
        "type",
        ROLES,
        lambda t: t.assign(since=t["event_timestamp"]),
        "'since' is timestamp.*the hours since then.*--leave-out since",
    ),
    ("infinite", ROLES, lambda t: t.assign(monthly_spend=float("inf")), "4,000 values are infinite"),
    ("few days", ROLES, lambda t: t.tail(1500), r"whole days.*at least 42, because days are what the gates count"),
    ("few rows", ROLES, lambda t: t.iloc[::20], "136 rows with a label come before.*at least 500 rows with a label, 50"),
    (
        "no feature",
        ROLES,
        lambda t: t[["customer_id", "event_timestamp", "channel", "churned"]],
        "no column is left to be a feature",
    ),
]


@pytest.mark.parametrize(("roles", "change", "said"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS])
def test_what_cannot_be_is_refused_with_what_is_allowed(
    roles: Roles, change: Change, said: str, table: pd.DataFrame, tmp_path: Path
) -> None:
    with pytest.raises(PerennialError, match=said) as raised:
        begun(tmp_path, change(table), roles)
    assert raised.value.exit_code == 2
    assert "allowed" in str(raised.value) or "rename it" in str(raised.value)
    assert not (tmp_path / "project").exists()


def test_a_column_that_is_nearly_empty_is_left_out_and_named(
    table: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = begun(tmp_path, table.assign(remark=pd.Series(["x"]).reindex(table.index)))
    assert "remark is left out" in capsys.readouterr().out
    assert "remark" not in pd.read_parquet(settings.source("customer"))
    assert is_valid(settings)


def test_names_that_yaml_reads_otherwise_are_quoted(table: pd.DataFrame, tmp_path: Path) -> None:
    roles = Roles(ROLES.keys, ROLES.time, "yes", ("on",), None, (), 72)
    settings = begun(tmp_path, table.rename(columns={"channel": "on", "churned": "yes", "plan": "null"}), roles)
    assert is_valid(settings)


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    path.write_text("no table")
    with pytest.raises(DataError, match=r"data\.parquet: not a parquet file"):
        begin_and_show(settings_of(tmp_path), "churn", path, ROLES, NOW, json=True)
    with pytest.raises(DataError, match=r"its name ends in '\.xlsx'; allowed: \.parquet, \.csv"):
        begin_and_show(settings_of(tmp_path), "churn", path.rename(tmp_path / "data.xlsx"), ROLES, NOW, json=True)


def test_options_belong_together(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="--from, --time, --label: missing; allowed"):
        init("churn", key=["customer_id"])
    with pytest.raises(SpecError, match=r"'Churn_1' is no name for a model.*did you mean 'churn-1'"):
        begin_and_show(settings_of(tmp_path), "Churn_1", None, None, NOW, json=True)


def test_the_command_imports_no_feast_and_writes_what_it_says(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom console.cli import main\nsys.argv = ['perennial', 'init', 'churn']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    print('CODE', end.code)\n"
        "print('HEAVY', [name for name in ('feast', 'sklearn', 'mlflow', 'kfp', 'duckdb') if name in sys.modules])"
    )
    environment = {**os.environ, "PERENNIAL_PROJECT": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert run.stdout.endswith("CODE 0\nHEAVY []\n")
    assert f"wrote {tmp_path / 'models' / 'churn.yaml'}" in run.stdout
    assert "  perennial train churn\n" in run.stdout
