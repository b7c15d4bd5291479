"""The supported versions: `docs/support.md` names those of the code, as they were shown; other pages name the same range."""

import re
import tomllib
from pathlib import Path

import pytest

from controller.preflight.cluster import INSTALL
from controller.preflight.versions import HOW, KSERVE, PIPELINES, SupportedVersion, kserve_is
from perennial.errors import DataError

ROOT = Path(__file__).parents[3]
SUPPORT = (ROOT / "docs" / "support.md").read_text(encoding="utf-8")


def table(page: str, title: str) -> list[tuple[str, str]]:
    """Version and how it was shown, of the first table below a heading."""
    (section,) = re.findall(rf"^## {title}\n(.*?)(?=^#|\Z)", page, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| (\d\S*) \| (\w+) \|", section, re.MULTILINE)
    return [(name, shown) for name, shown in rows]


def named(versions: tuple[SupportedVersion, ...]) -> list[tuple[str, str]]:
    return [(version.name, version.shown) for version in versions]


@pytest.mark.parametrize(("title", "versions"), [("KServe", KSERVE), ("Kubeflow Pipelines", PIPELINES)])
def test_the_page_names_exactly_the_supported_versions(title: str, versions: tuple[SupportedVersion, ...]) -> None:
    assert table(SUPPORT, title) == named(versions)
    one_less = SUPPORT.replace(f"| {versions[0].name} | {versions[0].shown} |", "| other |")
    assert table(one_less, title) != named(versions)


@pytest.mark.parametrize("versions", [KSERVE, PIPELINES])
def test_versions_are_in_order_and_without_a_gap(versions: tuple[SupportedVersion, ...]) -> None:
    numbers = [version.number for version in versions]
    assert numbers == [(numbers[0][0], numbers[0][1] + step) for step in range(len(numbers))]
    assert {version.shown for version in versions} <= set(HOW)


@pytest.mark.parametrize("file", ["docs/install.md", "k8s/README.md"])
def test_the_range_is_the_same_wherever_it_is_named(file: str) -> None:
    text = re.sub(r"\(http\S+?\)", "", (ROOT / file).read_text(encoding="utf-8"))
    assert re.findall(r"KServe\W+(\d\.\d+ \S+ \S+)", text) == [f"{KSERVE[0].name} to {KSERVE[-1].name}"]
    assert f"KServe {KSERVE[0].name} to {KSERVE[-1].name} " in INSTALL


def test_the_page_names_the_sdk_of_the_lock() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    (locked,) = (package["version"] for package in lock["package"] if package["name"] == "kfp")
    assert f"in the lock is kfp {locked}." in SUPPORT


def test_each_version_is_told_by_how_it_was_shown() -> None:
    assert [kserve_is(version.number) for version in KSERVE] == [HOW[version.shown] for version in KSERVE]
    major, minor = KSERVE[0].number
    with pytest.raises(DataError, match="too old"):
        kserve_is((major, minor - 1))
    assert "newer" in kserve_is((major, KSERVE[-1].number[1] + 1))
