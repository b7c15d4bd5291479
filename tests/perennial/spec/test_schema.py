"""The editor's schema: current, documented, and of a shape that a Kubernetes CRD can take."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from perennial.spec.model import Model
from perennial.spec.schema import editor_schema, schema_text
from perennial.spec.shape import fields

ROOT = Path(__file__).parents[3]
SCHEMA: dict[str, Any] = json.loads(schema_text())
SCALARS = {"string", "integer", "number", "boolean"}


def nodes(schema: dict[str, Any], path: str = "", in_union: bool = False) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Every part of a schema with its path and whether it is in an arm of a union."""
    yield path, schema, in_union
    for name, field in schema.get("properties", {}).items():
        yield from nodes(field, f"{path}.{name}", in_union)
    if isinstance(schema.get("items"), dict):
        yield from nodes(schema["items"], f"{path}[]", in_union)
    for arm in schema.get("anyOf", []):
        yield from nodes(arm, path, in_union)
    for arm in schema.get("oneOf", []):
        yield from nodes(arm, f"{path}({arm['properties']['kind']['const']})", True)


def test_the_file_is_current() -> None:
    text = (ROOT / "models" / "model.schema.json").read_text(encoding="utf-8")
    assert text == schema_text(), "run python -m perennial.spec.schema"


def test_the_shipped_spec_names_it() -> None:
    first = (ROOT / "models" / "flight-delay.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=model.schema.json"


def test_every_field_is_documented() -> None:
    for path, schema, _ in nodes(SCHEMA):
        for name, field in schema.get("properties", {}).items():
            assert field.get("description"), f"{path}.{name}"
    for names, _, _, field in fields(Model):
        assert field.description, names


def test_a_default_is_explained_where_it_is_a_number() -> None:
    for names, _, _, field in fields(Model):
        if isinstance(field.default, (int, float)) and not isinstance(field.default, bool):
            assert "by default" in (field.description or "") or "at most" in (field.description or ""), names


def test_there_are_no_references() -> None:
    assert "$ref" not in schema_text()
    assert "$defs" not in schema_text()
    assert "title" not in {key for path, schema, _ in nodes(SCHEMA) if path for key in schema}


def test_null_is_accepted_only_as_not_given() -> None:
    for path, schema, _ in nodes(SCHEMA):
        if "anyOf" in schema:
            kinds = [arm["type"] for arm in schema["anyOf"]]
            assert len(kinds) == 2, path
            assert kinds[1] == "null", path
            assert schema["default"] is None, path
        assert schema.get("type") != "null" or path, path


def test_no_value_is_of_one_scalar_type_or_another() -> None:
    for path, schema, _ in nodes(SCHEMA):
        assert not isinstance(schema.get("type"), list), path
        for union in ("anyOf", "oneOf"):
            assert len(SCALARS & {arm.get("type") for arm in schema.get(union, [])}) <= 1, path
        assert len({type(word) for word in schema.get("enum", [])}) <= 1, path


def test_unions_are_one_level_deep_and_told_apart_by_kind() -> None:
    found = 0
    for path, schema, in_union in nodes(SCHEMA):
        if "oneOf" not in schema:
            continue
        found += 1
        assert not in_union, path
        words = [arm["properties"]["kind"]["const"] for arm in schema["oneOf"]]
        assert len(set(words)) == len(words), path
        types: dict[str, str] = {}
        for arm in schema["oneOf"]:
            assert "kind" in arm["required"], path
            assert arm["additionalProperties"] is False, path
            for name, field in arm["properties"].items():
                if name != "kind":
                    said = json.dumps([field.get("type"), field.get("items")])
                    assert types.setdefault(name, said) == said, f"{path}.{name} differs between arms"
    assert found == 3


def test_unknown_keys_are_refused_but_in_metadata() -> None:
    for path, schema, _ in nodes(SCHEMA):
        if "properties" in schema:
            assert schema.get("additionalProperties", True) is (path == ".metadata"), path


def test_the_schema_is_plain_json() -> None:
    assert json.loads(json.dumps(editor_schema())) == SCHEMA
