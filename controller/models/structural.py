"""The schema of a spec as Kubernetes wants it: structural, with unions as one object and a rule for each arm.

What JSON Schema can say and a structural schema cannot is said by CEL (`controller.models.rules`); unknown keys are refused by
the client's strict validation, which is kubectl's default.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from cluster.client import Object
from controller.models.rules import KEYS, RULES, SETS, FieldRule

KEPT = ("type", "enum", "pattern", "minLength", "maxLength", "minItems", "maxItems", "minimum", "maximum")
"""What a structural schema says in the same words."""
LEFT = {"description", "default", "properties", "required", "items", "additionalProperties", "const", "oneOf", "anyOf"}
BOUNDS = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}
"""In OpenAPI 3.0 a bound is exclusive by a flag beside it."""


def structural(schema: Object, path: str = "spec", defaults: bool = True) -> Object:
    """A part of the editors' schema as a structural one.

    >>> structural({"type": "number", "exclusiveMinimum": 0, "default": 2.0})
    {'type': 'number', 'minimum': 0, 'exclusiveMinimum': True, 'default': 2.0}
    >>> structural({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}], "default": None, "description": "Days."})
    {'description': 'Days.', 'type': 'integer', 'minimum': 1}

    Args:
        schema: as `perennial.spec.schema` makes it: no references, unions told apart by `kind`.
        path: of the part, items of lists without their positions; rules are found by it.
        defaults: whether defaults are taken over; not within an arm of a union, where they would come into the others.

    Raises:
        ValueError: a keyword is not known here.
    """
    if "anyOf" in schema:
        (arm,) = (arm for arm in schema["anyOf"] if arm != {"type": "null"})
        beside = {key: value for key, value in schema.items() if key != "anyOf" and not (key == "default" and value is None)}
        return structural({**arm, **beside}, path, defaults)
    if "oneOf" in schema:
        return _union(schema, path)
    unknown = set(schema) - LEFT - set(KEPT) - set(BOUNDS)
    if unknown:
        raise ValueError(f"{path}: {', '.join(sorted(unknown))}: no structural schema says this yet; say it in `structural`")
    made: Object = {"description": schema["description"]} if "description" in schema else {}
    made |= {key: schema[key] for key in KEPT if key in schema}
    for bound, plain in BOUNDS.items():
        if bound in schema:
            made |= {plain: schema[bound], bound: True}
    if "const" in schema:
        made["enum"] = [schema["const"]]
    if "properties" in schema:
        made["properties"] = {name: structural(field, f"{path}.{name}", defaults) for name, field in schema["properties"].items()}
        made |= {"required": schema["required"]} if schema.get("required") else {}
    if "items" in schema:
        made["items"] = structural(schema["items"], path, defaults)
        made |= _list_type(path, made["items"])
    if defaults and schema.get("default") is not None:
        made["default"] = _without_nulls(schema["default"])
    if schema["type"] == "object" and RULES.get(path):
        made["x-kubernetes-validations"] = validations(RULES[path])
    return made


def validations(rules: Iterable[FieldRule]) -> list[Object]:
    """Rules as an object of the API."""
    return [
        {"rule": rule.cel, "message": rule.message} | ({"fieldPath": f".{rule.field}"} if rule.field else {}) for rule in rules
    ]


def _union(schema: Object, path: str) -> Object:
    """One object with the fields of every arm, and a rule for each: a field belongs to its arms only."""
    arms: Mapping[str, Object] = {arm["properties"]["kind"]["const"]: arm for arm in schema["oneOf"]}
    fields: dict[str, Any] = {}
    for kind, arm in arms.items():
        for name, field in arm["properties"].items():
            if name == "kind":
                continue
            made = structural(field, f"{path}.{name}", defaults=False)
            if name in fields and _without_words(fields[name]) != _without_words(made):
                raise ValueError(f"{path}.{name}: of kind {kind} it differs from the others: one object cannot hold both")
            fields.setdefault(name, made)
    found = [rule for name in fields for rule in _of_arms(name, arms)]
    kinds = {"description": "Which form it has.", "type": "string", "enum": list(arms)}
    made = {"description": schema["description"]} if "description" in schema else {}
    made |= {"type": "object", "properties": {"kind": kinds, **fields}, "required": ["kind"]}
    return made | ({"x-kubernetes-validations": validations(found)} if found else {})


def _of_arms(name: str, arms: Mapping[str, Object]) -> Iterable[FieldRule]:
    """The rules of a field that some arms of a union have."""
    owners = [kind for kind, arm in arms.items() if name in arm["properties"]]
    if len(owners) < len(arms):
        words = ", ".join(f"'{kind}'" for kind in owners)
        yield FieldRule(f"!has(self.{name}) || self.kind in [{words}]", f"a key of kind {' or '.join(owners)} only", name)
    for kind in owners:
        if name in arms[kind]["required"]:
            yield FieldRule(f"self.kind != '{kind}' || has(self.{name})", f"missing: kind {kind} needs {name}", "")


def _without_nulls(value: Any) -> Any:
    """A default without what is not given: null means nothing else in a spec, and no type of Kubernetes takes it."""
    return {key: item for key, item in value.items() if item is not None} if isinstance(value, dict) else value


def _without_words(schema: Object) -> Object:
    return {key: value for key, value in schema.items() if key != "description"}


def _list_type(path: str, items: Object) -> Object:
    """How items are told apart; a list of which each word may be there once is no longer than there are words."""
    if path in KEYS:
        key = KEYS[path]
        words = items["properties"][key].get("enum")
        return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]} | _no_longer_than(words)
    if path in SETS:
        return {"x-kubernetes-list-type": "set"} | _no_longer_than(items.get("enum"))
    return {"x-kubernetes-list-type": "atomic"}


def _no_longer_than(words: list[str] | None) -> Object:
    return {"maxItems": len(words)} if words else {}
