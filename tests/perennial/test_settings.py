"""Settings refuse what would show a secret or mix two programs' tables."""

from pathlib import Path

import pytest

from perennial.errors import SpecError
from perennial.settings import STORES, Settings

POSTGRESQL = "postgresql+psycopg://perennial@db/ledger"


def refusal(**variables: str) -> str:
    with pytest.raises(SpecError) as refused:
        Settings.from_environment({f"PERENNIAL_{name.upper()}": value for name, value in variables.items()})
    return str(refused.value)


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("ledger", "postgresql+psycopg://me:canary@db/ledger"),
        ("ledger", f"{POSTGRESQL}?sslmode=require&password=canary"),
        ("feature_registry", f"{POSTGRESQL}?sslpassword=canary"),
        ("tracking", "https://me:canary@mlflow"),
        ("online_store", "redis://:canary@redis:6379/0"),
        ("online_store", "redis://redis:6379/0?password=canary"),
    ],
)
def test_a_url_with_a_password_is_refused_and_not_shown(name: str, url: str) -> None:
    found = refusal(**{name: url})
    assert found.startswith(f"environment: PERENNIAL_{name.upper()}: holds a password; give it as ")
    assert "canary" not in found


def test_the_ledger_and_mlflow_have_a_database_each() -> None:
    assert "names the ledger's database; both keep a table runs" in refusal(
        ledger=POSTGRESQL, tracking=f"{POSTGRESQL}?sslmode=require"
    )
    found = Settings.from_environment(
        {"PERENNIAL_LEDGER": f"{POSTGRESQL}?sslmode=require", "PERENNIAL_FEATURE_REGISTRY": POSTGRESQL}
    )
    assert found.ledger == f"{POSTGRESQL}?sslmode=require" and found.tracking.startswith("sqlite:///")


NAMED = {
    "embedded": "never",
    "ledger": POSTGRESQL,
    "feature_registry": "postgresql+psycopg://perennial@db/features",
    "online_store": "redis://redis:6379/0",
    "tracking": "http://mlflow:5000",
    "bucket": "s3://team/prod",
}


def test_every_store_that_would_be_embedded_is_named_at_once() -> None:
    found = refusal(embedded="never", online_store="redis://redis:6379/0")
    missing = "PERENNIAL_LEDGER, PERENNIAL_FEATURE_REGISTRY, PERENNIAL_TRACKING, PERENNIAL_BUCKET"
    assert found.startswith(f"environment: not set: {missing}; with PERENNIAL_EMBEDDED=never")
    assert "ConfigMap perennial-settings" in found


@pytest.mark.parametrize("name", STORES)
def test_one_store_that_would_be_embedded_is_refused(name: str) -> None:
    assert f"not set: PERENNIAL_{name.upper()};" in refusal(**{key: value for key, value in NAMED.items() if key != name})


def test_named_stores_are_taken_and_reach_a_child_process() -> None:
    found = Settings.from_environment({f"PERENNIAL_{name.upper()}": value for name, value in NAMED.items()})
    assert found.embedded == "never" and Settings.from_environment(found.to_environment()) == found


def test_stores_are_embedded_where_they_may_be_or_are_not_opened() -> None:
    assert Settings.from_environment({"PERENNIAL_EMBEDDED": "allowed"}) == Settings.from_environment({})
    found = Settings.from_environment({"PERENNIAL_EMBEDDED": "never"}, needs_stores=False)
    assert found.ledger.startswith("sqlite:///")
    assert "PERENNIAL_EMBEDDED: Input should be 'allowed' or 'never'; found 'no'" in refusal(embedded="no")


def test_models_come_from_a_cluster_only_with_its_namespace() -> None:
    wanted = {"PERENNIAL_PROJECT": "/team", "PERENNIAL_MODELS_FROM": "cluster"}
    with pytest.raises(SpecError, match="PERENNIAL_MODELS_FROM: cluster, but no PERENNIAL_NAMESPACE"):
        Settings.from_environment(wanted)
    assert Settings.from_environment({**wanted, "PERENNIAL_NAMESPACE": "team"}).models_from == "cluster"
    assert Settings.from_environment({"PERENNIAL_PROJECT": "/team"}).models_from == "files"
    with pytest.raises(SpecError, match="PERENNIAL_MODELS_FROM"):
        Settings.from_environment({**wanted, "PERENNIAL_NAMESPACE": "team", "PERENNIAL_MODELS_FROM": "git"})


def test_a_spec_is_a_file_whose_name_begins_with_no_dot(tmp_path: Path) -> None:
    settings = Settings.from_environment({"PERENNIAL_PROJECT": str(tmp_path)})
    assert settings.specs == []
    (settings.models / "..2026_11_27_10_00_00.1").mkdir(parents=True)
    for name in ("b.yaml", "a.yaml", ".b.yaml", "..2026_11_27_10_00_00.1/a.yaml"):
        (settings.models / name).touch()
    assert settings.specs == [settings.models / "a.yaml", settings.models / "b.yaml"]
