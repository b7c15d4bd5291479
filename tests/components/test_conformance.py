"""What every component must be: documented, thin, self-contained, in our image, installing nothing.

What each imports while it runs is held in `tests/pipelines/test_training.py`.
"""

import ast
import builtins
import dis
import inspect
import textwrap
from types import CodeType
from typing import Any

import pytest

import components
from components.step import IMAGE

by_name = pytest.mark.parametrize("component", components.ALL, ids=lambda component: component.name)


def source_of(component: Any) -> ast.FunctionDef:
    tree = ast.parse(textwrap.dedent(inspect.getsource(component.python_func)))
    function = tree.body[0]
    assert isinstance(function, ast.FunctionDef)
    return function


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
        assert "pip install" not in str(container)


@by_name
def test_body_is_self_contained(component: Any) -> None:
    code = component.python_func.__code__
    pending, names = [code], set[str]()
    while pending:
        current = pending.pop()
        names |= {found.argval for found in dis.get_instructions(current) if found.opname == "LOAD_GLOBAL"}
        pending += [constant for constant in current.co_consts if isinstance(constant, CodeType)]
    missing = {name for name in names if not hasattr(builtins, name)}
    assert not missing, f"the shipped step would not find {sorted(missing)}"


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
