"""The definition of a Model: current, structural, and of the same mind as the spec's models."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.models.conditions import ModelCondition
from controller.models.definition import COLUMNS, definition, definition_text
from controller.models.rules import KEYS, RULES, SETS
from controller.models.structural import structural
from perennial.errors import SpecError
from perennial.spec.read import read_text
from tests.controller.models import wrong

ROOT = Path(__file__).parents[3]
VERSION: dict[str, Any] = definition()["spec"]["versions"][0]
SCHEMA: dict[str, Any] = VERSION["schema"]["openAPIV3Schema"]
LOGIC = ("anyOf", "oneOf", "allOf", "not", "$ref", "nullable", "const", "x-kubernetes-preserve-unknown-fields")


def parts(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every part of a schema with its path; items of lists without positions."""
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from parts(field, f"{path}.{name}".lstrip("."))
    if "items" in schema:
        yield from parts(schema["items"], path)


def at(path: str) -> list[dict[str, Any]]:
    return [part for where, part in parts(SCHEMA) if where == path]


def test_the_file_is_current() -> None:
    text = (ROOT / "k8s" / "base" / "model" / "crd.yaml").read_text(encoding="utf-8")
    assert text == definition_text(), "run python -m controller.models.definition"
    assert yaml.safe_load(text) == definition()


def test_it_is_structural() -> None:
    for path, part in parts(SCHEMA):
        assert part["type"] in ("object", "array", "string", "integer", "number", "boolean"), path
        assert not set(LOGIC) & set(part), path
        assert "additionalProperties" not in part, path
        assert ("items" in part) == (part["type"] == "array"), path
        assert part.get("exclusiveMinimum", True) is True and part.get("exclusiveMaximum", True) is True, path


def test_every_field_of_the_spec_is_described_but_by_no_one_anew() -> None:
    for path, part in parts(SCHEMA["properties"]["spec"], "spec"):
        for name, field in part.get("properties", {}).items():
            assert field.get("description"), f"{path}.{name}"
    assert at("spec.owner")[0]["description"].startswith("Who answers for the model")


def test_a_keyword_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match=r"spec\.a: multipleOf: no structural schema says this yet"):
        structural({"type": "object", "properties": {"a": {"type": "integer", "multipleOf": 2}}})


def test_arms_that_one_object_cannot_hold_are_refused() -> None:
    def arm(kind: str, inner: str) -> dict[str, Any]:
        return {"properties": {"kind": {"const": kind, "type": "string"}, "a": {"type": inner}}, "required": ["kind"]}

    with pytest.raises(ValueError, match=r"spec\.a: of kind y it differs"):
        structural({"oneOf": [arm("x", "string"), arm("y", "integer")]})


def test_each_rule_and_each_list_has_its_part() -> None:
    for path in RULES:
        assert any("x-kubernetes-validations" in part for part in at(path)), path
    for path in (*KEYS, *SETS):
        assert [part["x-kubernetes-list-type"] for part in at(path) if part["type"] == "array"] != [], path


@pytest.mark.parametrize("name", [*wrong.RULES, *wrong.PYTHON_ONLY])
def test_what_the_api_server_refuses_the_spec_refuses(name: str) -> None:
    assert read_text(yaml.safe_dump(wrong.content())).name == "chargeback"
    steps, value, _ = {**wrong.RULES, **wrong.PYTHON_ONLY}[name]
    with pytest.raises(SpecError):
        read_text(yaml.safe_dump(wrong.changed(steps, value)))


def test_each_rule_is_broken_by_one_of_them() -> None:
    messages = [rule.message for rules in RULES.values() for rule in rules]
    said = [text for _, _, text in wrong.RULES.values()]
    assert [message for message in messages if not any(text in message for text in said)] == []


def test_the_columns_are_fields_of_the_status() -> None:
    for _, kind, path, _ in COLUMNS:
        if path.startswith(".status"):
            (found,) = at(path.removeprefix("."))
            assert found["type"] == kind, path
    (condition,) = (part for part in at("status.conditions") if part["type"] == "object")
    assert condition["properties"]["type"]["enum"] == [kind.value for kind in ModelCondition]
