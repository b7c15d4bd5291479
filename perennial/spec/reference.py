"""The reference page of a spec, made from the models' documentation.

`python -m perennial.spec.reference` writes it to `docs/spec.md`.
"""

import json
import re
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from perennial.spec.model import Model
from perennial.spec.shape import Shape, field_shape, kinds

PATH = Path("docs") / "spec.md"
HEAD = """# The model spec

Made from the models in `perennial/spec/` by `python -m perennial.spec.reference`: change the documentation there.

A model is one file, `models/<name>.yaml`, where `<name>` is its `metadata.name`. Nothing else configures a model; it holds no
URI, secret or environment (those are settings). The files in `models/` are whole ones. `perennial validate` reports every
mistake with file, line, field, what was found and what is allowed. Editors complete and check a spec whose first line is
`# yaml-language-server: $schema=model.schema.json`.

- A key that is not listed here is refused; only `metadata` tolerates what a Kubernetes API server adds to it.
- A field with the default *required* must be given. `null`, where it is allowed, means *not given* and nothing else.
- Where there is a choice of several forms, `kind` says which; the other keys are those of that kind.
- The file is UTF-8 YAML that means the same to every reader: no anchors, merge keys, tags or duplicate keys; words such as
  `no`, `on` or `2024-01-01` in quotes; numbers in decimal digits.
"""


def reference() -> str:
    """The page as Markdown: one table for each part of the spec, in the order of the file."""
    sections: list[str] = []
    _section(sections, Model, "", "The file")
    return HEAD + "".join(sections)


def _section(sections: list[str], model: type[BaseModel], path: str, title: str) -> None:
    """Add the part's table, then those of the parts below it."""
    level = "##" if not path or "." not in path else "###"
    rows = "".join(_row(name, field) for name, field in model.model_fields.items())
    sections.append(
        f"\n{level} {title}\n\n{_line(model.__doc__ or '')}\n\n"
        f"| field | type | default | meaning | allowed |\n| --- | --- | --- | --- | --- |\n{rows}"
    )
    for name, field in model.model_fields.items():
        shape = field_shape(field)
        below = f"{path}.{name}" if path else name
        inner = shape.item or shape
        of_list = "[]" if shape.item else ""
        if inner.kind == "part":
            _section(sections, inner.parts[0], below + of_list, f"`{below}{of_list}`")
        if inner.kind == "union":
            for kind, part in kinds(inner).items():
                _section(sections, part, below + of_list, f"`{below}{of_list}` with `kind: {kind}`")


def _row(name: str, field: FieldInfo) -> str:
    shape = field_shape(field)
    cells = (f"`{name}`", _type(shape), _default(field), _line(field.description or ""), _allowed(shape))
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _type(found: Shape) -> str:
    """A shape as one or two words."""
    if found.item is not None:
        return f"list of {_type(found.item)}"
    names: dict[object, str] = {str: "text", int: "whole number", float: "number", bool: "true/false"}
    others = {"words": "word", "mapping": "texts by text", "part": "part", "union": "part with `kind`"}
    return names[found.core] if found.kind == "scalar" else others[found.kind]


def _allowed(found: Shape) -> str:
    """Words and limits, as code where they are to be typed."""
    inner = found.item or found
    words = [f"`{word}`" for word in (*inner.words, *(kinds(inner) if inner.kind == "union" else ()))]
    limits = [re.sub(r"^matching (.*)$", r"matching `\1`", limit) for limit in inner.limits]
    outer = list(found.limits) if found.item is not None else []
    return ", ".join([*words, *limits, *outer, *(["null"] if found.optional else [])])


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    if field.default is None:
        return "not given"
    if isinstance(field.default, BaseModel):
        return "as below"
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    return f"`{json.dumps(value)}`" if value else "none" if isinstance(value, (list, dict)) else f"`{json.dumps(value)}`"


def _line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


if __name__ == "__main__":
    PATH.write_text(reference(), encoding="utf-8")
