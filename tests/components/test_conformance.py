"""What every component must be: documented, thin, self-contained, in our image, installing nothing, importing what it needs."""

import ast
import inspect
import json
import subprocess
import sys
import textwrap
from typing import Any

import pytest

import components
from components.step import IMAGE

by_name = pytest.mark.parametrize("component", components.ALL, ids=lambda component: component.name)

HEAVY = ("feast", "duckdb", "evidently", "mlflow", "sklearn", "pandas", "pandera", "sqlalchemy", "matplotlib", "skops", "kfp")
"""Libraries whose import costs a step seconds or memory."""

MAY_IMPORT = {
    "build-dataset": {"feast", "duckdb", "pandas", "sqlalchemy"},
    "validate-data": {"evidently", "pandas", "pandera", "sklearn"},
    "train": {"pandas", "sklearn", "skops"},
    "evaluate": {"pandas", "sklearn", "skops", "matplotlib"},
    "gate": set[str](),
    "refit": {"pandas", "sklearn", "skops"},
    "check": {"pandas", "sklearn", "skops"},
    "record": {"mlflow", "sqlalchemy", "pandas", "matplotlib"},
}
"""What each step imports of these, and nothing else."""


def source_of(component: Any) -> ast.FunctionDef:
    tree = ast.parse(textwrap.dedent(inspect.getsource(component.python_func)))
    function = tree.body[0]
    assert isinstance(function, ast.FunctionDef)
    return function


def test_the_catalogue_is_complete() -> None:
    assert {component.name for component in components.ALL} == MAY_IMPORT.keys()


@by_name
def test_documents_every_parameter(component: Any) -> None:
    documentation = inspect.getdoc(component.python_func) or ""
    for name in inspect.signature(component.python_func).parameters:
        assert f"\n    {name}: " in documentation, f"{component.name} does not document {name}"
    if component.python_func.__annotations__.get("return") is str:
        assert "Returns:" in documentation


@by_name
def test_runs_in_our_image_and_installs_nothing(component: Any) -> None:
    executor = component.pipeline_spec.deployment_spec["executors"]
    for container in (entry["container"] for entry in executor.values()):
        assert container["image"] == IMAGE
        assert "pip install" not in json.dumps(container)


@by_name
def test_body_is_self_contained(component: Any) -> None:
    function = component.python_func
    names = inspect.getclosurevars(function)
    assert not names.nonlocals
    assert not names.globals, f"the shipped step would not find {sorted(names.globals)}"


@by_name
def test_body_is_thin(component: Any) -> None:
    body = [
        node for node in source_of(component).body if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant)
    ]
    assert len(body) <= 12
    for node in ast.walk(source_of(component)):
        assert not isinstance(node, ast.If | ast.For | ast.While | ast.Try), (
            f"{component.name} decides: move that into the function it calls"
        )


@by_name
def test_imports_only_what_it_needs(component: Any) -> None:
    imports = [ast.unparse(node) for node in source_of(component).body if isinstance(node, ast.Import | ast.ImportFrom)]
    program = "\n".join([*imports, "import sys", f"print(*[name for name in {HEAVY!r} if name in sys.modules])"])
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(run.stdout.split()) == MAY_IMPORT[component.name]
