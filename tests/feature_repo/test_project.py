"""Definitions are loaded by path, and what is wrong in them is said with its file."""

from pathlib import Path

import pytest

from feature_repo.project import load
from perennial.errors import DataError, NotFoundError
from perennial.settings import Settings
from tests.second_project import DEFINITIONS, write_project

pytestmark = [
    # Feast's dependencies warn about each other in use.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_environment({"PERENNIAL_PROJECT": str(write_project(tmp_path / "project", per_day=1))})


def test_a_project_with_folders_of_our_names_is_loaded(settings: Settings) -> None:
    project = load(settings)
    assert (sorted(project.entities), sorted(project.views), sorted(project.services)) == (
        ["customer_id", "shop_code"],
        ["account", "pair"],
        ["chargeback"],
    )
    service = project.service("chargeback")
    assert service.views == ("account", "pair")
    assert service.join_keys == ("customer_id", "shop_code")
    assert [(column.name, column.dtype, column.view) for column in service.columns] == [
        ("account_days", "int", "account"),
        ("account_vip", "bool", "account"),
        ("account_country", "string", "account"),
        ("pair_orders", "int", "pair"),
        ("pair_spend", "float", "pair"),
    ]
    assert {view.path for view in service.sources} == {settings.source("account"), settings.source("pair")}


def test_the_digest_is_of_the_texts_and_the_service_digest_of_the_meaning(settings: Settings) -> None:
    before = load(settings)
    file = settings.definitions / "payments.py"
    file.write_text(DEFINITIONS + "# a remark\n")
    remark = load(settings)
    assert remark.digest != before.digest
    assert remark.service("chargeback").digest == before.service("chargeback").digest
    file.write_text(DEFINITIONS.replace("pair_spend", "pair_money"))
    assert load(settings).service("chargeback").digest != before.service("chargeback").digest


def mount(folder: Path) -> None:
    """Lay the files of a folder out as Kubernetes mounts a ConfigMap."""
    dated = folder / "..2026_11_27_10_00_00.1"
    dated.mkdir()
    for file in folder.glob("*.py"):
        file.rename(dated / file.name)
        file.symlink_to(Path("..data") / file.name)
    (folder / "..data").symlink_to(dated.name)


def test_a_mounted_configmap_defines_what_its_files_define(settings: Settings) -> None:
    before = load(settings)
    mount(settings.definitions)
    (settings.definitions / ".payments.py").write_text("an editor's copy that is no Python")
    after = load(settings)
    assert (after.files, after.digest) == (before.files, before.digest)
    assert sorted(after.views) == ["account", "pair"]


def test_only_names_that_begin_with_a_dot_are_left_out(settings: Settings) -> None:
    (settings.definitions / "2026_11_27").mkdir()
    copied = settings.definitions / "2026_11_27" / "payments.py"
    copied.write_text(DEFINITIONS)
    with pytest.raises(DataError, match=f"is defined in {copied} and in {settings.definitions / 'payments.py'}"):
        load(settings)


def test_a_project_below_a_hidden_folder_is_loaded(tmp_path: Path) -> None:
    folder = write_project(tmp_path / ".demo" / "project", per_day=1)
    assert load(Settings.from_environment({"PERENNIAL_PROJECT": str(folder)})).services


def test_a_service_may_take_some_fields_of_a_view(settings: Settings) -> None:
    (settings.definitions / "payments.py").write_text(
        DEFINITIONS.replace("features=[account, pair]", 'features=[pair[["pair_spend", "pair_observed_at"]]]')
    )
    assert [column.name for column in load(settings).service("chargeback").columns] == ["pair_spend"]


def test_files_may_use_each_others_objects_through_one_file_only(settings: Settings) -> None:
    (settings.definitions / "copy.py").write_text(DEFINITIONS)
    with pytest.raises(DataError, match=r"the entity 'customer_id' is defined in .*copy\.py and in .*payments\.py"):
        load(settings)


def test_no_definitions_are_not_found(settings: Settings) -> None:
    (settings.definitions / "payments.py").unlink()
    with pytest.raises(NotFoundError, match="no definitions; write entities, views and services"):
        load(settings)


OBSERVED = '        Field(name="pair_observed_at", dtype=UnixTimestamp, tags={"role": "observed_at"}),\n'


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param(
            "from feast.types", "from feast.typos", r"payments\.py:5: cannot be imported: ModuleNotFoundError", id="import"
        ),
        pytest.param("entities=[customer]", "entities=[custmer]", r"payments\.py:\d+: cannot be imported: NameError", id="name"),
        pytest.param("shop = Entity", "shop = = Entity", "cannot be imported: SyntaxError", id="syntax"),
        pytest.param('name="pair",\n', 'name="account",\n', "the feature view 'account' is defined twice in", id="two views"),
        pytest.param(
            "pair_orders", "account_days", "the feature 'account_days' is in the views 'account' and 'pair'", id="feature"
        ),
        pytest.param(OBSERVED, "", r'has no field .pair_observed_at.; add Field\(name="pair_observed_at"', id="no time"),
        pytest.param(OBSERVED, OBSERVED.replace(', tags={"role": "observed_at"}', ""), "with tags {}; add Field", id="no role"),
        pytest.param(OBSERVED, OBSERVED.replace("UnixTimestamp", "Int64"), "is Int64 with tags", id="no timestamp"),
        pytest.param(
            '"pair_spend", dtype=Float64', '"pair_spend", dtype=UnixTimestamp', "publish an age in hours", id="time feature"
        ),
        pytest.param(
            '"pair_spend", dtype=Float64', '"pair_spend", dtype=feast.types.Bytes', "allowed: BOOL, FLOAT32", id="bytes"
        ),
        pytest.param(", value_type=ValueType.STRING", "", "give it value_type=ValueType.STRING", id="untyped key"),
        pytest.param("[account, pair]", "[account, pair.with_name('p')]", "is renamed or joined by other keys", id="renamed"),
        pytest.param(
            'name="pair",\n',
            'name="pair",\n    ttl=__import__("datetime").timedelta(hours=6),\n',
            r"view 'pair' has ttl=6:00:00: .*features.freshness: \[\{view: pair, max_age_hours: …, on_stale: default\}\]",
            id="ttl",
        ),
        pytest.param(
            'name="pair",\n', 'name="pair",\n    online=False,\n', "view 'pair' has online=False: its values", id="never online"
        ),
        *(
            pytest.param(
                'timestamp_field="event_timestamp"',
                f'timestamp_field="event_timestamp", {argument}',
                f"view 'account' has {said}",
                id=said,
            )
            for argument, said in (
                ('created_timestamp_column="written"', "created_timestamp_column: a row counts from its timestamp_field on"),
                ("file_format=feast.data_format.DeltaFormat()", "file_format: sources are Parquet"),
                ('s3_endpoint_override="http://store"', "s3_endpoint_override: AWS_ENDPOINT_URL says where"),
            )
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(settings: Settings, old: str, new: str, message: str) -> None:
    assert old in DEFINITIONS
    text = DEFINITIONS.replace(old, new).replace("from feast import", "import feast\nfrom feast import")
    (settings.definitions / "payments.py").write_text(text)
    with pytest.raises(DataError, match=message):
        load(settings).service("chargeback")


def test_an_unknown_service_is_answered_with_those_there_are(settings: Settings) -> None:
    with pytest.raises(DataError, match="no feature service 'chargebacks'; defined: chargeback"):
        load(settings).service("chargebacks")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # Feast calls them experimental
def test_a_view_with_a_transformation_of_its_own_is_refused(settings: Settings) -> None:
    text = DEFINITIONS.replace("pair = FeatureView(", "pair = BatchFeatureView(").replace(
        "from feast import", "from feast import BatchFeatureView,"
    )
    (settings.definitions / "payments.py").write_text(text)
    with pytest.raises(DataError, match="BatchFeatureView 'pair' is not supported; write its values into a Parquet source"):
        load(settings)


def test_on_demand_views_are_refused(settings: Settings) -> None:
    (settings.definitions / "payments.py").write_text(
        DEFINITIONS
        + "\nfrom feast import RequestSource\nfrom feast.on_demand_feature_view import on_demand_feature_view\n\n"
        + "@on_demand_feature_view(sources=[pair], schema=[Field(name='d', dtype=Float64)])\n"
        + "def double(inputs):\n    return inputs\n"
    )
    with pytest.raises(DataError, match="OnDemandFeatureView 'double' is not supported; write its values into a Parquet source"):
        load(settings)
