"""The shape of a spec's fields: what the models' annotations accept, in words, and where a path through them leads.

Used by what explains a spec: problems and the reference page. What is accepted is decided by the models alone.
"""

import re
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

SCALARS: dict[object, str] = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


@dataclass(frozen=True)
class Shape:
    """What a field accepts."""

    kind: Literal["scalar", "words", "list", "mapping", "part", "union"]
    """`words`: one of a few texts; `part`: a model; `union`: one of several models, told apart by `kind`."""
    core: object = None
    """The Python type of a scalar."""
    words: tuple[str, ...] = ()
    """What `words` allows."""
    parts: tuple[type[BaseModel], ...] = ()
    """The model of a part, the models of a union."""
    item: "Shape | None" = None
    """What each item of a list is."""
    limits: tuple[str, ...] = ()
    """Bounds in words."""
    optional: bool = False
    """Whether null, meaning *not given*, is accepted."""

    @property
    def expected(self) -> str:
        """What is accepted, in words."""
        match self.kind:
            case "words":
                description = " or ".join(self.words) if len(self.words) < 3 else f"one of {', '.join(self.words)}"
            case "list":
                description = f"a list; each item: {self.item.expected if self.item else ''}"
            case "mapping":
                description = "a mapping of texts to texts"
            case "part":
                description = f"a mapping with {', '.join(self.parts[0].model_fields)}"
            case "union":
                description = f"a mapping with kind: {', '.join(kinds(self))}"
            case "scalar":
                description = SCALARS[self.core]
        return (
            ", ".join((description, *self.limits))
            if self.kind != "list"
            else f"{description}{''.join(f'; {limit}' for limit in self.limits)}"
        )


def shape(annotation: object, metadata: Sequence[object] = ()) -> Shape:
    """The shape of an annotation with the constraints that stand beside it.

    >>> shape(int, [annotated_types.Ge(7)]).expected
    'a whole number, at least 7'
    >>> shape(tuple[Literal["a", "b", "c"], ...]).expected
    'a list; each item: one of a, b, c'
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = [part for extra in arguments[1:] for part in (extra.metadata if isinstance(extra, FieldInfo) else [extra])]
        return shape(arguments[0], [*metadata, *inner])
    if origin in (Union, types.UnionType):
        arms = [argument for argument in arguments if argument is not type(None)]
        if len(arms) == 1:
            arm = shape(arms[0], metadata)
            return Shape(arm.kind, arm.core, arm.words, arm.parts, arm.item, arm.limits, optional=True)
        return Shape("union", parts=tuple(arms))
    limits = tuple(limits_of(metadata))
    if origin is Literal:
        return Shape("words", words=tuple(str(word) for word in arguments))
    if origin is tuple:
        return Shape("list", item=shape(arguments[0]), limits=tuple(f"{limit} of them" for limit in limits))
    if origin is dict:
        return Shape("mapping")
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return Shape("part", parts=(annotation,))
    return Shape("scalar", core=annotation, limits=limits)


def limits_of(metadata: Sequence[object]) -> Iterator[str]:
    """Constraints in words."""
    for constraint in metadata:
        match constraint:
            case annotated_types.Gt(gt=bound):
                yield f"more than {bound}"
            case annotated_types.Ge(ge=bound):
                yield f"at least {bound}"
            case annotated_types.Lt(lt=bound):
                yield f"less than {bound}"
            case annotated_types.Le(le=bound):
                yield f"at most {bound}"
            case annotated_types.MinLen(min_length=1):
                yield "at least one"
            case _:
                pattern = getattr(constraint, "pattern", None)
                if pattern is not None:
                    yield f"matching {pattern}"


def field_shape(field: FieldInfo) -> Shape:
    """The shape of a model's field."""
    annotation_shape = shape(field.annotation, field.metadata)
    if annotation_shape.kind == "scalar" and annotation_shape.core is str:
        limits = tuple("not empty" if limit == "at least one" else limit for limit in annotation_shape.limits)
        return Shape("scalar", str, limits=limits, optional=annotation_shape.optional)
    return annotation_shape


def kinds(union: Shape) -> dict[str, type[BaseModel]]:
    """The models of a union by the word that chooses them."""
    return {str(get_args(part.model_fields["kind"].annotation)[0]): part for part in union.parts}


def fields(
    model: type[BaseModel], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], type[BaseModel], str, FieldInfo]]:
    """Every field below a model, outside first: its path (items of lists without their positions), owner, name and field."""
    for name, field in model.model_fields.items():
        yield (*path, name), model, name, field
    for name, field in model.model_fields.items():
        shape_of_field = field_shape(field)
        for part in (shape_of_field.item or shape_of_field).parts:
            yield from fields(part, (*path, name))


def matching(text: str, field: FieldInfo) -> str:
    """`text` bent to the field's pattern, or empty when small changes do not do it.

    >>> from perennial.spec.model import Metadata
    >>> matching("Credit_Risk", Metadata.model_fields["name"])
    'credit-risk'
    >>> matching("123", Metadata.model_fields["name"])
    ''
    """
    patterns: list[Any] = [pattern for part in field.metadata if (pattern := getattr(part, "pattern", None)) is not None]
    for separator in ("-", "_"):
        bent = re.sub(r"[^a-z0-9]+", separator, text.lower()).strip(separator)
        if bent != text and patterns and all(re.search(str(pattern), bent) for pattern in patterns):
            return bent
    return ""
