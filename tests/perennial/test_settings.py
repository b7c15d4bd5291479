"""Settings refuse what would show a secret or mix two programs' tables."""

from pathlib import Path

import pytest

from perennial.errors import SpecError
from perennial.settings import Settings

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


def test_a_spec_is_a_file_whose_name_begins_with_no_dot(tmp_path: Path) -> None:
    settings = Settings.from_environment({"PERENNIAL_PROJECT": str(tmp_path)})
    assert settings.specs == []
    (settings.models / "..2026_11_27_10_00_00.1").mkdir(parents=True)
    for name in ("b.yaml", "a.yaml", ".b.yaml", "..2026_11_27_10_00_00.1/a.yaml"):
        (settings.models / name).touch()
    assert settings.specs == [settings.models / "a.yaml", settings.models / "b.yaml"]
