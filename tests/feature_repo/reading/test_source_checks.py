"""Each fault of a source is said with file, column, rows and remedy; sources without fault pass in silence."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from feature_repo.dataset import build
from feature_repo.project import load
from feature_repo.reading.source_checks import Checked, check
from perennial.errors import DataError
from perennial.moment import Moment
from perennial.settings import Settings
from perennial.spec.read import read
from tests.second_project import FIRST_DAY, NOW, write_project

pytestmark = [
    # Feast's dependencies warn about each other in use.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
WALL_CLOCK = NOW + timedelta(days=400)
LATER = datetime(2026, 1, 1, tzinfo=UTC)
Change = Callable[[pd.DataFrame], pd.DataFrame]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("checks") / "project", per_day=5)


@pytest.fixture
def settings(original: Path, tmp_path: Path) -> Settings:
    shutil.copytree(original, tmp_path / "project")
    return Settings.from_environment({"PERENNIAL_PROJECT": str(tmp_path / "project")})


def run(settings: Settings, now: datetime = NOW) -> Checked:
    model = read(settings.models / "chargeback.yaml")
    return check(settings, model, load(settings).service("chargeback"), Moment(now, WALL_CLOCK))


def rewrite(settings: Settings, source: str, change: Change) -> None:
    path = settings.source(source)
    change(pd.read_parquet(path)).to_parquet(path, index=False)


def put(column: str, value: object, rows: int = 1) -> Change:
    """A change that sets `column` of the first rows."""

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        found = frame[column].astype(object)
        found.iloc[:rows] = [value] * rows
        kept = found if value is None and frame[column].dtype == object else found.astype(frame[column].dtype)
        return frame.assign(**{column: kept})

    return change


def null(column: str) -> Change:
    """A change that makes the first value of `column` missing."""
    return lambda frame: frame.assign(**{column: frame[column].convert_dtypes().mask(frame.index == 0)})


def again(**changes: bool | int | pd.Timestamp) -> Change:
    """A change that repeats the first row, changed."""

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        row = frame.head(1).assign(**changes).astype(frame.dtypes.to_dict())
        return pd.concat([frame, row], ignore_index=True)

    return change


def test_sources_without_fault_pass(settings: Settings) -> None:
    assert run(settings) == Checked(since=FIRST_DAY, notes=())


@pytest.mark.parametrize("source", ["payments", "outcomes", "account", "pair"])
def test_a_missing_file_is_named(settings: Settings, source: str) -> None:
    Path(settings.source(source)).unlink()
    with pytest.raises(DataError, match=rf"{source}\.parquet: no such file; write the source there, or set PERENNIAL_SOURCES"):
        run(settings)


@pytest.mark.parametrize("source", ["payments", "outcomes", "account", "pair"])
def test_an_empty_source_is_named(settings: Settings, source: str) -> None:
    rewrite(settings, source, lambda frame: frame.head(0))
    with pytest.raises(DataError, match=rf"{source}\.parquet: the file has no rows"):
        run(settings)


@pytest.mark.parametrize("content", [b"", b"PAR1 and nothing else"])
def test_a_file_that_is_no_parquet_is_named(settings: Settings, content: bytes) -> None:
    Path(settings.source("pair")).write_bytes(content)
    with pytest.raises(DataError, match=r"pair\.parquet: not a Parquet file"):
        run(settings)


@pytest.mark.parametrize(
    ("source", "column"),
    [
        ("payments", "payment_id"),
        ("payments", "event_timestamp"),
        ("payments", "shop_code"),
        ("payments", "amount"),
        ("outcomes", "payment_id"),
        ("outcomes", "charged_back"),
        ("account", "customer_id"),
        ("account", "account_vip"),
        ("pair", "pair_observed_at"),
        ("pair", "event_timestamp"),
    ],
)
def test_a_missing_column_is_named(settings: Settings, source: str, column: str) -> None:
    rewrite(settings, source, lambda frame: frame.drop(columns=column))
    with pytest.raises(DataError, match=rf"{source}\.parquet: no column '{column}'; it has "):
        run(settings)


@pytest.mark.parametrize(
    ("source", "column", "dtype", "found"),
    [
        ("payments", "amount", "string", "string, expected float64"),
        ("payments", "payment_id", "float64", "double, expected int64"),
        ("payments", "method", "category-of-numbers", "int64, expected string"),
        ("outcomes", "charged_back", "int64", "int64, expected bool"),
        ("account", "account_days", "float64", "double, expected int64"),
        ("account", "account_vip", "int64", "int64, expected bool"),
        ("pair", "customer_id", "string", "string, expected int64"),
        ("pair", "pair_observed_at", "int64", "int64, expected timestamp; write it as timestamp in microseconds, UTC"),
        ("pair", "event_timestamp", "datetime64[us]", r"timestamp\[us\], expected timestamp; write it as"),
        ("pair", "event_timestamp", "datetime64[ns, UTC]", r"timestamp\[ns, tz=UTC\], expected timestamp; write it as"),
        ("pair", "event_timestamp", "datetime64[us, Europe/Berlin]", r"tz=Europe/Berlin\], expected timestamp; write it as"),
    ],
)
def test_a_retyped_column_is_named(settings: Settings, source: str, column: str, dtype: str, found: str) -> None:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        values = frame[column]
        if dtype == "category-of-numbers":
            return frame.assign(**{column: range(len(frame))})
        if dtype == "datetime64[us]":
            return frame.assign(**{column: values.dt.tz_localize(None)})
        return frame.astype({column: dtype})

    rewrite(settings, source, change)
    with pytest.raises(DataError, match=rf"{source}\.parquet: column '{column}' is .*{found}"):
        run(settings)


def test_whole_numbers_may_stand_for_floats_and_nulls_for_anything(settings: Settings) -> None:
    rewrite(settings, "payments", lambda frame: frame.assign(amount=frame["amount"].astype("int64")))
    rewrite(settings, "account", lambda frame: frame.assign(account_country=None, account_days=None))
    run(settings)


@pytest.mark.parametrize(
    ("source", "change", "message"),
    [
        pytest.param(
            "payments", again(), "duplicate keys payment_id: .payment_id=1000, rows=2.; a request is asked", id="request twice"
        ),
        pytest.param(
            "payments",
            again(event_timestamp=pd.Timestamp("2024-02-01T00:00Z")),
            "duplicate keys payment_id: .payment_id=1000",
            id="request at two times",
        ),
        pytest.param(
            "account",
            again(account_days=7),
            "duplicate keys customer_id, event_timestamp: .customer_id=1, event_time",
            id="state twice",
        ),
        pytest.param(
            "pair",
            again(pair_orders=7),
            "duplicate keys customer_id, shop_code, event_timestamp: .customer_id=.*keep one",
            id="pair twice",
        ),
        pytest.param(
            "payments", null("shop_code"), "column 'shop_code' is null; .*; 1 rows, as .payment_id=1000", id="null key of request"
        ),
        pytest.param(
            "pair", null("shop_code"), "column 'shop_code' is null; leave such rows out, or give them a value", id="null key"
        ),
        pytest.param("payments", null("payment_id"), "column 'payment_id' is null", id="null id"),
        pytest.param("outcomes", null("charged_back"), "column 'charged_back' is null", id="null label"),
        pytest.param("pair", null("pair_observed_at"), "column 'pair_observed_at' is null", id="null observation time"),
        pytest.param("pair", null("event_timestamp"), "event_timestamp is null; every row needs the time", id="null time"),
        pytest.param(
            "pair",
            put("pair_observed_at", pd.Timestamp("2024-05-01T00:00Z")),
            "pair_observed_at is later than event_timestamp: a value cannot be read before it was observed.*1 rows, as ",
            id="read before observed",
        ),
        *(
            pytest.param(
                source,
                put("event_timestamp", pd.Timestamp(LATER), 2),
                r"event_timestamp lies in the future \(it is 2025-.*2 rows, as .*2026-01-01",
                id=f"future {source}",
            )
            for source in ("account", "pair")
        ),
        pytest.param(
            "outcomes",
            lambda frame: again(charged_back=not frame["charged_back"].iloc[0])(frame),
            r"conflicting labels: \(payment_id=1000, charged_back=\[.*\]\); a label is final",
            id="two labels",
        ),
        pytest.param(
            "outcomes",
            put("event_timestamp", pd.Timestamp("2024-01-01T00:00Z")),
            r"labels before their request: \(payment_id=1000, event_timestamp of the label=2024-01-01.*of the request=2024-01-01",
            id="label too early",
        ),
    ],
)
def test_wrong_rows_are_shown(settings: Settings, source: str, change: Change, message: str) -> None:
    rewrite(settings, source, change)
    with pytest.raises(DataError, match=rf"{source}\.parquet: {message}"):
        run(settings)


def test_rows_after_now_are_not_looked_at(settings: Settings) -> None:
    # A replayed year lies in the future of its own now; what is wrong there is found when now has come to it.
    last = pd.read_parquet(settings.source("pair"))["event_timestamp"].max()
    rewrite(settings, "pair", lambda frame: pd.concat([frame, frame[frame["event_timestamp"] == last]]))
    run(settings, now=last.to_pydatetime() - timedelta(seconds=1))
    with pytest.raises(DataError, match="duplicate keys"):
        run(settings, now=last.to_pydatetime())


ODD_TIMES = (
    "0001-01-01",
    "1969-12-31",
    "1970-01-01",
    "1980-01-06",
    "2022-12-01",
    "2023-12-30",
    "2026-01-01",
    "2262-04-12",
    "9999-12-31",
)


@pytest.mark.parametrize("time", ODD_TIMES)
@pytest.mark.parametrize("source", ["payments", "outcomes"])
def test_a_time_outside_the_history_is_set_aside_counted_and_named(settings: Settings, source: str, time: str) -> None:
    rewrite(settings, source, put("event_timestamp", pd.Timestamp(time, tz="UTC").as_unit("us"), 2))
    found = run(settings)
    assert FIRST_DAY - timedelta(days=1) <= found.since <= FIRST_DAY
    side = "2 in the future" if time > "2025" else f"2 before {found.since.isoformat()}, where the history begins"
    assert len(found.notes) == 1 and found.notes[0].startswith(f"{settings.source(source)}: 2 of ")
    assert f" are set aside for their event_timestamp: {side}" in found.notes[0]
    assert f"payment_id=1000, event_timestamp='{time}" in found.notes[0]
    frame, info = build(settings, read(settings.models / "chargeback.yaml"), Moment(NOW, WALL_CLOCK))
    assert info.notes == found.notes and info.start >= FIRST_DAY.isoformat()
    assert (1000 in set(frame["payment_id"])) == (source == "outcomes")


def test_a_row_of_1970_costs_nothing(settings: Settings) -> None:
    model = read(settings.models / "chargeback.yaml")
    whole, _ = build(settings, model, Moment(NOW, WALL_CLOCK))
    rewrite(settings, "payments", put("event_timestamp", pd.Timestamp("1970-01-01", tz="UTC").as_unit("us")))
    rewrite(settings, "outcomes", lambda frame: frame[frame["payment_id"] != 1000])
    left, _ = build(settings, model, Moment(NOW, WALL_CLOCK))
    pd.testing.assert_frame_equal(left, whole[whole["payment_id"] != 1000].reset_index(drop=True))


@pytest.mark.parametrize("source", ["payments", "outcomes"])
@pytest.mark.parametrize("after", [timedelta(microseconds=1), timedelta(days=380)])
def test_a_row_from_between_now_and_the_real_time_is_merely_not_yet(settings: Settings, source: str, after: timedelta) -> None:
    # A year that is replayed must not end because of one request from long after it.
    whole = run(settings)
    rewrite(settings, source, put("event_timestamp", pd.Timestamp(NOW + after).as_unit("us")))
    if source == "payments":
        rewrite(settings, "outcomes", lambda frame: frame[frame["payment_id"] != 1000])
    assert run(settings) == whole
    frame, info = build(settings, read(settings.models / "chargeback.yaml"), Moment(NOW, WALL_CLOCK))
    assert info.notes == () and (1000 in set(frame["payment_id"])) == (source == "outcomes")


def test_a_row_from_long_after_the_others_begins_a_history_once_its_time_has_come(settings: Settings) -> None:
    late = NOW + timedelta(days=380)
    rewrite(settings, "payments", put("event_timestamp", pd.Timestamp(late).as_unit("us")))
    rewrite(settings, "outcomes", lambda frame: frame[frame["payment_id"] != 1000])
    found = run(settings, now=late)
    assert found.since == late.replace(hour=0, minute=0) and "499 before" in found.notes[0]


def test_a_view_that_was_always_valid_does_not_make_old_requests_believable(settings: Settings) -> None:
    always = put("event_timestamp", pd.Timestamp("1970-01-01", tz="UTC").as_unit("us"), 300)
    rewrite(
        settings,
        "account",
        lambda frame: always(frame).assign(account_observed_at=pd.Timestamp("1970-01-01", tz="UTC").as_unit("us")),
    )
    assert run(settings) == Checked(since=FIRST_DAY, notes=())
    rewrite(settings, "payments", put("event_timestamp", pd.Timestamp("1970-01-01", tz="UTC").as_unit("us")))
    assert "1 of 500 requests are set aside" in run(settings).notes[0]


@pytest.mark.parametrize(
    ("dtype", "value", "message"),
    [
        ("Int32", 2**31, "column 'account_days' holds numbers beyond int32, which has -2147483648 to 2147483647"),
        ("Int32", -(2**31) - 1, "column 'account_days' holds numbers beyond int32"),
        ("Int64", np.uint64(2**63), "column 'account_days' holds numbers beyond int64, which has -9223372036854775808 to"),
        ("Float64", 2**53 + 1, "column 'account_days' holds numbers beyond float64, which has -9007199254740992 to"),
        ("Float32", 1e39, "column 'account_days' holds numbers beyond float32"),
        ("Int32", 2**31 - 1, ""),
        ("Int64", 2**63 - 1, ""),
        ("Int64", np.uint64(2**63 - 1), ""),
        ("Float64", 2**53, ""),
        ("Float32", 3e38, ""),
        ("Float32", float("inf"), ""),
        ("Float64", np.float16(0.5), ""),
    ],
)
def test_a_number_beyond_its_declared_type_is_refused(settings: Settings, dtype: str, value: float, message: str) -> None:
    definitions = settings.definitions / "payments.py"
    changed = definitions.read_text().replace('"account_days", dtype=Int64', f'"account_days", dtype={dtype}')
    definitions.write_text(changed.replace("import Bool, Float64,", "import Bool, Float32, Float64, Int32,"))
    days = np.full(300, 7).astype(type(value) if isinstance(value, np.generic) else np.array(value).dtype)
    days[3] = value
    rewrite(settings, "account", lambda frame: frame.assign(account_days=days))
    if not message:
        run(settings)
        return
    with pytest.raises(
        DataError, match=rf"account\.parquet: {message}.*declare a wider type.*1 rows, as .customer_id=4, .*account_days="
    ):
        run(settings)


@pytest.mark.parametrize("value", [2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1])
@pytest.mark.parametrize("seen", [True, False])
def test_a_key_that_the_model_sees_is_a_number_that_it_can_see(settings: Settings, value: int, seen: bool) -> None:
    spec = settings.models / "chargeback.yaml"
    field = "{name: amount, dtype: float}"
    spec.write_text(spec.read_text().replace(field, f"{field}\n      - {{name: customer_id, dtype: int}}" if seen else field))
    somebody = pd.read_parquet(settings.source("payments"))["customer_id"].iloc[0]
    for source in ("payments", "account", "pair"):
        rewrite(settings, source, lambda frame: frame.assign(customer_id=frame["customer_id"].replace(somebody, value)))
    if seen and abs(value) > 2**53:
        message = r"payments\.parquet: column 'customer_id' is a join key and a field .* -9007199254740992 to 9007199254740992"
        with pytest.raises(DataError, match=rf"{message}.*take it out of requests\.fields.*customer_id={value}\)"):
            run(settings)
        return
    run(settings)
    frame, _ = build(settings, read(spec), Moment(NOW, WALL_CLOCK))
    asked = pd.read_parquet(settings.source("payments")).set_index("payment_id")["customer_id"]
    assert [int(one) for one in frame["customer_id"]] == [int(asked[one]) for one in frame["payment_id"]]
    assert value in {int(one) for one in frame["customer_id"]}
    assert frame.loc[frame["customer_id"] == value, "account_days"].notna().all()
