"""The documents lead somewhere: links, the index, the site's navigation, the paths and commands of CONTRIBUTING and SECURITY."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md") if path.name != "index.md")
DOCUMENTS = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), ROOT / "k8s" / "README.md"]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))

by_guide = pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md"])


def prose(path: Path) -> str:
    """A document without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def links(path: Path) -> list[str]:
    """Where the relative links of a document lead, without anchors."""
    targets = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`(?!\])", "", prose(path)))
    return [target.partition("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]


def yaml_of(*parts: str) -> Any:
    return yaml.safe_load(ROOT.joinpath(*parts).read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_file(path: Path) -> None:
    assert [link for link in links(path) if not (path.parent / link).exists()] == []


def test_the_pages_of_the_site_link_to_pages_of_the_site_only() -> None:
    for path in DOCS.rglob("*.md"):
        assert [link for link in links(path) if not (path.parent / link).resolve().is_relative_to(DOCS)] == [], path


def test_the_index_and_the_navigation_name_every_page_once() -> None:
    navigation = re.findall(r"^ +- .*?([a-z0-9/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(links(DOCS / "index.md")) == PAGES
    assert navigation[0] == "index.md"
    assert sorted(navigation[1:]) == PAGES


@by_guide
def test_the_paths_of_a_guide_exist(name: str) -> None:
    quoted = re.findall(r"`([^`\s]+)`", prose(ROOT / name))
    paths = [
        each for each in quoted if not re.search(r"[<*:=]", each) and ("/" in each or re.search(r"\.(py|md|toml|ya?ml)$", each))
    ]
    assert len(paths) > 5
    assert [each for each in paths if not (ROOT / each).exists()] == []


def test_the_commands_of_the_guide_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"\bmake ([a-z-]+)", text))
    modules = set(re.findall(r"`python -m ([a-z_.]+)`", text))
    assert len(targets) >= 4
    assert targets - TARGETS == set()
    assert modules
    assert {each for each in modules if importlib.util.find_spec(each) is None} == set()


def test_the_words_of_code_in_the_guide_exist() -> None:
    words = {"ALL": "components/__init__.py", "WAITS_FOR": "console/training.py", "def judge": "perennial/evaluation/gates.py"}
    store = "feature_repo/online_store"
    words |= {"class OnlineDatabase": f"{store}/interface.py", "class Lookup": f"{store}/interface.py"}
    words |= {"def open_database": f"{store}/database.py", "def open_lookup": f"{store}/database.py"}
    words |= {"def new_store": "tests/servers/redis.py", "def check(": "feature_repo/reading/source_checks.py"}
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for word, file in words.items():
        assert f"`{word.rpartition(' ')[2].rstrip('(')}`" in text
        assert word in (ROOT / file).read_text(encoding="utf-8"), f"{file} has no {word}"


def test_a_commit_is_checked_by_make_lint() -> None:
    (repository,) = yaml_of(".pre-commit-config.yaml")["repos"]
    (hook,) = repository["hooks"]
    assert (hook["entry"], hook["always_run"], hook["pass_filenames"]) == ("make lint", True, False)


def test_the_workflow_runs_what_must_be_true_and_may_only_read() -> None:
    workflow = yaml_of(".github", "workflows", "checks.yml")
    (job,) = workflow["jobs"].values()
    assert workflow["permissions"] == {"contents": "read"}
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert job["timeout-minutes"] == 90
    assert "secrets." not in (ROOT / ".github" / "workflows" / "checks.yml").read_text(encoding="utf-8")
