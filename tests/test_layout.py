"""The shape of the repository: packages, homes, names, exemptions."""

import ast
import importlib.metadata
import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES: list[str] = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
NOT_SHIPPED = {"examples", "benchmarks", "tests"}


def test_every_package_is_in_the_wheel() -> None:
    found = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert found - NOT_SHIPPED == set(PACKAGES)


def test_no_other_distribution_owns_one_of_our_names() -> None:
    owners = importlib.metadata.packages_distributions()
    for package in PACKAGES:
        assert set(owners.get(package, [])) <= {"perennial"}, f"{package} is also in {owners[package]}"


def test_untyped_libraries_are_a_fixed_list() -> None:
    overrides = PROJECT["tool"]["mypy"]["overrides"]
    assert len(overrides) == 1
    assert overrides[0]["module"] == [
        "kfp.*",
        "kfp_server_api.*",
        "kserve.*",
        "kubernetes.*",
        "evidently.*",
        "sklearn.*",
        "skops.*",
        "pyarrow.*",
        "threadpoolctl.*",
    ]


GENERIC = {"hour", "distance", "weekday", "origin", "requests", "labels", "plane", "route", "probability"}
"""Names of the example that are also ordinary words of ours."""


def names_of_the_example() -> set[str]:
    """Every name that the shipped spec and definitions use: model, sources, columns, views, service, features, keys."""
    spec = yaml.safe_load((ROOT / "models" / "flight-delay.yaml").read_text(encoding="utf-8"))["spec"]
    requests, label = spec["requests"], spec["label"]
    names = {
        "flight",
        "flights",
        "flight-delay",
        spec["features"]["service"],
        requests["source"],
        requests["id"],
        label["source"],
        label["column"],
    }
    names |= {field["name"] for field in requests["fields"]} | set(spec["objective"]["segments"])
    names |= {limit["view"] for limit in spec["features"]["freshness"]} | {
        column["name"] for column in spec["monitoring"]["columns"]
    }
    definitions = (ROOT / "feature_repo" / "definitions" / "flights.py").read_text(encoding="utf-8")
    names |= set(re.findall(r'"([a-z][a-z0-9]*_[a-z0-9_]*)"', definitions))
    return {name for name in names if name not in GENERIC and not name.endswith("observed_at")}


OTHER_FLIGHT = re.compile(r"\bin flight\b|\bcontroller\.flight\b")
"""A run that is under way, and the module about such runs."""


def test_only_the_example_knows_flights() -> None:
    names = names_of_the_example()
    assert len(names) > 25
    words = re.compile(rf"\b({'|'.join(sorted(map(re.escape, names)))})\b")
    excepted = {"models", "examples", "tests", "benchmarks", "docs"}
    for path in [*ROOT.rglob("*.py"), *ROOT.rglob("*.yaml")]:
        place = path.relative_to(ROOT)
        if place.parts[0] in excepted or place.parts[0].startswith(".") or "definitions" in place.parts:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            assert not words.search(OTHER_FLIGHT.sub("", line)), f"{place}:{number} knows flights: {line.strip()}"


def test_file_names_are_nouns_that_say_something() -> None:
    empty = {"utils", "helpers", "common", "misc", "manager", "base", "handler"}
    for path in ROOT.rglob("*.py"):
        if not path.relative_to(ROOT).parts[0].startswith("."):
            assert path.stem not in empty, path


MAX_MODULES = 15
"""Modules of one folder that a newcomer can still look over."""


def test_no_folder_holds_more_modules_than_one_can_look_over() -> None:
    for package in PACKAGES:
        for folder in [ROOT / package, *(path for path in (ROOT / package).rglob("*") if path.is_dir())]:
            modules = [path.stem for path in folder.glob("*.py") if not path.stem.startswith("__")]
            assert len(modules) <= MAX_MODULES, f"{folder.relative_to(ROOT)} holds {len(modules)} modules: give it wings"


def test_every_folder_says_what_belongs_there_and_what_does_not() -> None:
    for package in PACKAGES:
        for path in (ROOT / package).rglob("__init__.py"):
            said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            assert said.count(".") >= 2, f"{path.relative_to(ROOT)}: two sentences say what belongs here and what does not"


MAX_PARAMETERS = 7
"""Parameters of a public function: of more, some travel together and want a name."""
AS_OTHERS_WANT = ("components", "pipelines", "feature_repo/asof.py", "console/cli.py")
"""Steps and graphs have a parameter for each artifact, an offline store those that Feast calls it with, a command one for each
option, as Typer reads them."""
BY_COLUMN = "perennial/ledger"
"""What is entered is named by its columns, each by keyword."""


def is_listed_by_keyword(function: ast.FunctionDef) -> bool:
    """Whether a function has hardly a parameter that a caller could mistake for another."""
    return len(function.args.args) <= 2


def test_public_functions_have_few_parameters() -> None:
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            place = path.relative_to(ROOT).as_posix()
            if place.startswith(AS_OTHERS_WANT):
                continue
            for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(function, ast.FunctionDef) or function.name.startswith("_"):
                    continue
                if place.startswith(BY_COLUMN) and is_listed_by_keyword(function):
                    continue
                names = [one.arg for one in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
                count = len([name for name in names if name not in ("self", "cls")])
                assert count <= MAX_PARAMETERS, f"{place}: {function.name} has {count} parameters: name what travels together"


def parts_of_settings(function: ast.FunctionDef) -> set[str] | None:
    """The attributes of its settings that a function reads; None where it has no settings or hands them on whole."""
    arguments = (*function.args.args, *function.args.kwonlyargs)
    names = {one.arg for one in arguments if one.annotation is not None and ast.unparse(one.annotation).strip("'") == "Settings"}
    uses = [node for node in ast.walk(function) if isinstance(node, ast.Name) and node.id in names]
    read = [node for node in ast.walk(function) if isinstance(node, ast.Attribute) and node.value in uses]
    return {node.attr for node in read} if names and uses and len(read) == len(uses) else None


def test_a_function_that_reads_one_part_of_the_settings_takes_that_part() -> None:
    for package in set(PACKAGES) - {"console"}:  # the console is where the settings are read and handed on
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.parent.name == "preflight":  # its checks are called alike
                continue
            for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(function, ast.FunctionDef):
                    parts = parts_of_settings(function)
                    # `source` finds the file of a source: a place to look in, not a value.
                    is_leaf = parts is not None and len(parts) == 1 and parts != {"source"}
                    assert not is_leaf, f"{path.relative_to(ROOT)}: {function.name} reads {parts} only: give it that"


def test_a_leaf_that_takes_all_settings_is_seen() -> None:
    leaf = "def f(settings: Settings):\n    return settings.ledger\n"
    other = "def f(settings: Settings):\n    return g(settings)\n"
    functions = [node for text in (leaf, other) for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    assert [parts_of_settings(function) for function in functions] == [{"ledger"}, None]


def public_classes(text: str) -> list[str]:
    """Names of the classes that a module offers."""
    return [node.name for node in ast.parse(text).body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]


def test_one_class_name_means_one_thing() -> None:
    homes: dict[str, list[str]] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for name in public_classes(path.read_text(encoding="utf-8")):
                homes.setdefault(name, []).append(str(path.relative_to(ROOT)))
    assert len(homes) > 200
    assert {name: places for name, places in homes.items() if len(places) > 1} == {}


def test_a_second_class_of_a_name_is_seen() -> None:
    assert public_classes("class Row:\n    pass\nclass _Hidden:\n    pass\ndef row():\n    class Inner:\n        pass\n") == [
        "Row"
    ]
