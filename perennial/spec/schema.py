"""The JSON schema of a spec for editors: completion, hover texts and red lines while one types.

`python -m perennial.spec.schema` writes it to `models/model.schema.json`; a spec names it in its first line. Rules between
fields are not in it: `perennial validate` checks them. References are resolved, because editors drop what stands beside one,
and a Kubernetes CRD, which may be made from the same schema, knows none.
"""

import json
import re
from pathlib import Path

from pydantic import JsonValue

from perennial.spec.model import Model

PATH = Path("models") / "model.schema.json"
HEAD: dict[str, JsonValue] = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Perennial model spec"}


def editor_schema() -> dict[str, JsonValue]:
    """The schema: every field described, no references, unions as `oneOf` over `kind`."""
    raw: dict[str, JsonValue] = Model.model_json_schema()
    definitions = raw.pop("$defs")
    assert isinstance(definitions, dict)
    plain = _plain(raw, definitions)
    assert isinstance(plain, dict)
    return {**HEAD, **plain}


def _plain(value: JsonValue, definitions: dict[str, JsonValue]) -> JsonValue:
    """A part of a schema with references resolved and pydantic's titles left out."""
    if isinstance(value, list):
        return [_plain(item, definitions) for item in value]
    if not isinstance(value, dict):
        return value
    if isinstance(reference := value.get("$ref"), str):
        target = definitions[reference.rpartition("/")[2]]
        assert isinstance(target, dict)
        beside = {key: part for key, part in value.items() if key != "$ref"}
        return _plain({**target, **beside}, definitions)
    plain: dict[str, JsonValue] = {}
    for key, part in value.items():
        if key == "properties" and isinstance(part, dict):
            plain[key] = {name: _plain(field, definitions) for name, field in part.items()}
        elif key == "description" and isinstance(part, str):
            plain[key] = re.sub(r"\s+", " ", part)
        elif key not in ("title", "discriminator"):
            plain[key] = part if key == "default" else _plain(part, definitions)
    return plain


def schema_text() -> str:
    """The schema as the text of its file."""
    return json.dumps(editor_schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PATH.write_text(schema_text(), encoding="utf-8")
