"""`docs/architecture.md` says what the code says: folders, steps of the pipelines, keys of claims."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from pipelines.monitoring import monitoring
from pipelines.training import training
from tests.test_layout import PACKAGES, ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
BESIDE = {"models", "k8s", "examples", "benchmarks", "feature_repo/definitions"}
"""Folders in the table that hold no package of ours, or a team's files."""


def section(title: str) -> str:
    """What stands under a heading of the page."""
    _, found, rest = PAGE.partition(f"\n## {title}\n")
    assert found, f"docs/architecture.md has no section {title!r}"
    return rest.partition("\n## ")[0]


def test_the_table_of_folders_has_every_folder_and_no_other() -> None:
    told = re.findall(r"^\| `([\w/]+)/` \|", section("Folders: each is the only home of one outside system"), re.MULTILINE)
    packages = {str(path.parent.relative_to(ROOT)) for package in PACKAGES for path in (ROOT / package).rglob("__init__.py")} - {
        "perennial/ledger/migrations/versions"
    }
    assert len(told) == len(set(told))
    assert set(told) == packages | BESIDE
    assert all((ROOT / folder).is_dir() for folder in told)


def steps_of(pipeline: Any) -> Iterator[str]:
    """Names of the steps of a compiled pipeline, as people say them."""
    components = pipeline.pipeline_spec.components

    def below(tasks: Any) -> Iterator[str]:
        for task in tasks.values():
            name = task.component_ref.name
            if components[name].WhichOneof("implementation") == "dag":
                yield from below(components[name].dag.tasks)
            else:
                yield re.sub(r"-\d+$", "", name.removeprefix("comp-")).replace("-", " ")

    yield from below(pipeline.pipeline_spec.root.dag.tasks)


@pytest.mark.parametrize(
    ("title", "pipeline"), [("What a training run does", training), ("What a monitoring run does", monitoring)]
)
def test_each_step_of_a_pipeline_is_drawn_and_explained(title: str, pipeline: Any) -> None:
    text, steps = section(title), set(steps_of(pipeline))
    drawing = text.partition("```text\n")[2].partition("```")[0]
    drawn = {name.strip() for name in re.split(r"─►|─┬─ \w+ |└─ \w+ |──►|\n", drawing)} - {""}
    assert {re.sub(r"[^a-z ]", "", name).strip() for name in drawn} - {""} == steps
    explained = {name for names in re.findall(r"^- \*\*([a-z, ]+)\*\*", text, re.MULTILINE) for name in names.split(", ")}
    assert explained == steps


def test_the_keys_of_claims_are_those_that_are_made() -> None:
    told = set(re.findall(r"`MODEL/(\w+)/", PAGE))
    made = set[str]()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            made |= set(re.findall(r"\}/(train|monitor|manual)/", path.read_text(encoding="utf-8")))
    assert told == made == {"train", "monitor", "manual"}


def test_every_file_that_the_page_names_is_there() -> None:
    for name in set(re.findall(r"`((?:[\w-]+/)+[\w-]+\.(?:py|md|yaml))`", PAGE)):
        assert (ROOT / name).exists() or name.startswith("models/<"), name
