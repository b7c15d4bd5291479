"""One version: `pyproject.toml` says it, the installed package, the lock and the changelog repeat it."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def test_the_installed_package_and_the_lock_have_the_version() -> None:
    packages = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]
    assert importlib.metadata.version("perennial") == VERSION
    assert [package["version"] for package in packages if package["name"] == "perennial"] == [VERSION]


def test_the_changelog_has_the_unreleased_first_then_the_version_with_its_date() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert re.fullmatch(re.escape(VERSION) + r" \(\d{4}-\d\d-\d\d\)", headings[1])
