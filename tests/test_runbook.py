"""The runbook has a section for each alert and each reason, and what it calls rehearsed is a test that is there."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### `([^`]+)`[^\n]*\n(.*?)(?=^##|\Z)", TEXT, flags=re.DOTALL | re.MULTILINE))
OF_CLUSTER = TEXT[TEXT.index("## On a cluster") :]


def test_every_alert_and_only_these_have_a_section() -> None:
    files = sorted((ROOT / "k8s" / "components" / "monitoring").glob("*rules.yaml"))
    groups = [group for file in files for group in yaml.safe_load(file.read_text(encoding="utf-8"))["spec"]["groups"]]
    alerts = {rule["alert"] for group in groups for rule in group["rules"]}
    assert len(groups) == 2
    assert {name for name in SECTIONS if name.startswith("Perennial")} == alerts


def test_every_section_of_the_cluster_says_when_it_was_rehearsed() -> None:
    names = re.findall(r"^### `([^`]+)`$", OF_CLUSTER, flags=re.MULTILINE)
    assert len(names) > 20
    assert [name for name in names if "- Last rehearsed: " not in SECTIONS[name]] == []


def test_what_is_called_rehearsed_is_a_test() -> None:
    said = re.findall(r"^- Last rehearsed: (.*)$", OF_CLUSTER, flags=re.MULTILINE)
    named = {name for line in said for name in re.findall(r"`(test_\w+)`", line)}
    assert named
    found = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert named - found == set()
    assert all("`test_" in line for line in said if re.match(r"\d", line)), "a date without a test"
