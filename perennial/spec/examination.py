"""The examination of a spec's text: a `Model`, or every mistake with its place.

What is allowed is decided by the models; here pydantic's errors get a line, a field and words. A rule between fields is
looked at by its part only once all fields of that part are right, so such a mistake may show after others are mended.
"""

import difflib
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, JsonValue, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from perennial.spec.model import Model
from perennial.spec.part import Breach, RuleError
from perennial.spec.problem import Place, Problem
from perennial.spec.shape import Shape, field_shape, fields, kinds, matching, shape
from perennial.spec.source import Node, Source, decode, parse

Steps = tuple[str | int, ...]
"""A path through a spec: keys, and positions in lists."""

Words = Mapping[tuple[str, ...], Mapping[str, str]]
"""Words to replace, by the path of the field that holds them; positions in lists play no part."""

OLD_WORDS: Words = {("spec", "retraining", "reasons"): {"hurt": "degraded"}}
"""Words of an older release, each with the one of today. They are read for one version, with a warning: docs/upgrading.md."""


def examine(data: bytes, file: str, stem: str | None) -> tuple[Model | None, tuple[Problem, ...]]:
    """The model of a text, or every mistake in it by line.

    Args:
        data: the text in UTF-8, YAML or JSON.
        file: what problems call it.
        stem: the name that the model must have; any when absent.
    """
    text = decode(data, file)
    if isinstance(text, Problem):
        return None, (text,)
    source = parse(text, file)
    if source.root is None:
        return None, ordered(source.problems)
    _warn(source)
    model: Model | None = None
    try:
        model = Model.model_validate_json(json.dumps(reworded(source.root.value)))
    except ValidationError as error:
        source.problems += [problem for detail in error.errors(include_url=False) for problem in _problems(source, detail)]
    if stem is not None:
        source.problems += _misnamed(source, stem)
    return (None if source.problems else model), ordered(source.problems)


def reworded(value: JsonValue, words: Words = OLD_WORDS, path: tuple[str, ...] = ()) -> JsonValue:
    """A document whose old words are those of today; everything else is as it was.

    >>> reworded({"spec": {"retraining": {"reasons": ["hurt", "manual"]}, "owner": "hurt"}})
    {'spec': {'retraining': {'reasons': ['degraded', 'manual']}, 'owner': 'hurt'}}

    Args:
        value: the document, or what stands in it at `path`.
        words: what is replaced by what.
        path: keys that lead to the value.
    """
    if isinstance(value, dict):
        return {key: reworded(item, words, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [reworded(item, words, path) for item in value]
    return words.get(path, {}).get(value, value) if isinstance(value, str) else value


def former(value: JsonValue) -> JsonValue:
    """A document in the words of before: what a digest is made of, so that a new word changes no digest.

    >>> former({"spec": {"retraining": {"reasons": ["degraded", "manual"]}}})
    {'spec': {'retraining': {'reasons': ['hurt', 'manual']}}}
    """
    return reworded(value, {path: {new: old for old, new in words.items()} for path, words in OLD_WORDS.items()})


def ordered(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """The problems by place, each once."""
    return tuple(sorted(dict.fromkeys(problems), key=lambda problem: (problem.line, problem.column, problem.field)))


def breach_problem(source: Source, base: Steps, breach: Breach) -> Problem:
    """The problem of a broken rule, at the field that has to change."""
    spot = locate(source, (*base, *breach.place))
    value = spot.node.value if spot.exact else None
    suggestion = nearest(value, breach.words) if isinstance(value, str) else ""
    return spot.problem(source, breach.message, allowed=breach.allowed, suggestion=suggestion)


@dataclass(frozen=True)
class Spot:
    """Where a path through the models leads in the text."""

    path: Steps
    """The path without the words by which pydantic names the model of a union."""
    node: Node
    """The value there; the last one on the way where there is none."""
    key: Place
    """Where the key of that value stands, the item of a list begins."""
    exact: bool
    """Whether the value itself was found."""
    shape: Shape | None
    """What the field accepts; none for an unknown one."""
    owner: type[BaseModel] | None
    """The model that has the field."""
    union: Shape | None
    """The union to which the owner belongs."""
    field: FieldInfo | None
    """The field."""

    def problem(
        self, source: Source, message: str, *, found: str = "", allowed: str = "", suggestion: str = "", below: str = ""
    ) -> Problem:
        """A problem here, or in the field `below`."""
        place = self.node.place if self.exact and not self.node.children else self.key
        path = (*self.path, below) if below else self.path
        return Problem(source.file, place.line, place.column, ".".join(map(str, path)), found, allowed, suggestion, message)


def locate(source: Source, steps: Sequence[str | int]) -> Spot:
    """Follow the steps of an error through the models and the text together."""
    node = source.root or Node(None, Place(0, 0))
    key, exact, path = node.place, source.root is not None, list[str | int]()
    here: Shape | None = shape(Model)
    owner: type[BaseModel] | None = None
    field: FieldInfo | None = None
    union: Shape | None = None
    for step in steps:
        if here is not None and here.kind == "union" and step in kinds(here):
            union, here = here, Shape("part", parts=(kinds(here)[str(step)],))
            continue
        owner = here.parts[0] if here is not None and here.kind == "part" else None
        union = union if owner is not None and union is not None and owner in union.parts else None
        field = owner.model_fields.get(str(step)) if owner is not None else None
        here = field_shape(field) if field is not None else here.item if here is not None and here.kind == "list" else None
        if here is None and owner is None:
            here = Shape("scalar", core=str)
        path.append(step)
        child = node.children.get(step) if exact else None
        exact = child is not None
        if child is not None:
            key, node = node.keys.get(str(step), child.place), child
    return Spot(tuple(path), node, key, exact, here, owner, union, field)


def nearest(word: str, words: Iterable[str]) -> str:
    """The word that was probably meant; empty when none is near.

    >>> nearest("maxAgeDays", ["mode", "max_age_days"])
    'max_age_days'
    >>> nearest("colour", ["mode", "max_age_days"])
    ''
    """
    plain = {candidate.lower().replace("-", "").replace("_", ""): candidate for candidate in words}
    bare = word.lower().replace("-", "").replace("_", "")
    close = difflib.get_close_matches(bare, plain, 1, 0.6)
    return plain[close[0]] if close else ""


def _warn(source: Source) -> None:
    """Warn of each old word in a text, with its file, its line and the word of today."""
    for path, words in OLD_WORDS.items():
        node = locate(source, path).node
        for item in node.children.values() or [node]:
            if isinstance(item.value, str) and item.value in words:
                message = (
                    f"{source.file}:{item.place.line}: {'.'.join(path)}: {item.value!r} is an old word; "
                    f"write {words[item.value]!r}: the next version does not read {item.value!r}"
                )
                warnings.warn(message, FutureWarning, stacklevel=4)


def _problems(source: Source, error: ErrorDetails) -> Iterator[Problem]:
    """The problems of one error of pydantic."""
    spot = locate(source, error["loc"])
    if spot.node.spoiled:
        return
    kind, broken = error["type"], error.get("ctx", {}).get("error")
    value_text = spot.node.found if spot.exact else ""
    expected = spot.shape.expected if spot.shape is not None else ""
    if isinstance(broken, RuleError):
        yield from (breach_problem(source, tuple(error["loc"]), breach) for breach in broken.breaches)
    elif kind == "extra_forbidden":
        yield _unknown_key(source, spot)
    elif kind == "missing":
        yield spot.problem(source, "missing", allowed=expected)
    elif kind in ("union_tag_not_found", "union_tag_invalid"):
        yield _wrong_kind(source, spot)
    elif kind == "too_short" and spot.node.children:
        return  # items of the list are wrong themselves, and each has its problem
    elif kind in ("too_short", "string_too_short"):
        yield spot.problem(source, "empty", found=value_text, allowed=expected)
    elif kind == "string_pattern_mismatch":
        bent = matching(str(spot.node.value), spot.field) if spot.field is not None else ""
        yield spot.problem(source, "wrong form", found=value_text, allowed=expected, suggestion=bent)
    elif kind == "literal_error" and isinstance(spot.node.value, str) and spot.shape is not None:
        near = nearest(spot.node.value, spot.shape.words)
        yield spot.problem(source, "unknown word", found=value_text, allowed=expected, suggestion=near)
    elif kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        yield spot.problem(source, "out of range", found=value_text, allowed=expected)
    elif kind.endswith("_type") or kind in ("int_from_float", "literal_error"):
        message, value_text = ("no value", "") if spot.exact and spot.node.value is None else ("wrong type", value_text)
        quoted = spot.shape is not None and spot.shape.core in (int, float, bool) and _unquoted(spot.node.value)
        allowed = f"{expected}; without quotes" if quoted else expected
        yield spot.problem(source, message, found=value_text, allowed=allowed, suggestion=_as_kind(spot))
    else:
        yield spot.problem(source, error["msg"], found=value_text, allowed=expected)


def _unknown_key(source: Source, spot: Spot) -> Problem:
    key, owner = str(spot.path[-1]), spot.owner or Model
    place = spot.key
    where = ".".join(map(str, spot.path))
    allowed = ", ".join(owner.model_fields)
    arms = kinds(spot.union) if spot.union is not None else {}
    others = [kind for kind, arm in arms.items() if key in arm.model_fields]
    if others:
        kind_of_owner = next(kind for kind, arm in arms.items() if arm is owner)
        message = f"a key of kind {' or '.join(map(repr, others))}, but the kind is {kind_of_owner!r}"
        return Problem(source.file, place.line, place.column, where, key, allowed, "", message)
    near = nearest(key, owner.model_fields) or _elsewhere(key)
    return Problem(source.file, place.line, place.column, where, key, allowed, near, "unknown key")


def _elsewhere(key: str) -> str:
    """The one path of the spec that ends in `key`; empty when there are several or none."""
    paths = {".".join(path) for path, _, name, _ in fields(Model) if name == key}
    return paths.pop() if len(paths) == 1 else ""


def _wrong_kind(source: Source, spot: Spot) -> Problem:
    allowed = list(kinds(spot.shape)) if spot.shape is not None else []
    kind_node = spot.node.children.get("kind")
    choices = f"one of {', '.join(allowed)}"
    if kind_node is None:
        return spot.problem(source, "missing", allowed=choices, below="kind")
    near = nearest(kind_node.value, allowed) if isinstance(kind_node.value, str) else ""
    place, where = kind_node.place, ".".join(map(str, (*spot.path, "kind")))
    return Problem(source.file, place.line, place.column, where, kind_node.found, choices, near, "unknown kind")


def _unquoted(value: JsonValue) -> bool:
    """Whether a value is a text that would be a number, or true or false, without its quotes."""
    try:
        return isinstance(value, str) and isinstance(json.loads(value), (int, float))
    except ValueError:
        return False


def _as_kind(spot: Spot) -> str:
    """What was meant by a word that stands where a part with that `kind` belongs; empty otherwise."""
    if spot.shape is None or spot.shape.kind != "union" or not isinstance(spot.node.value, str):
        return ""
    near = nearest(spot.node.value, kinds(spot.shape))
    return f"{{kind: {near}}}" if near else ""


def _misnamed(source: Source, stem: str) -> Iterator[Problem]:
    """The problem that the model's name is not that of its file."""
    spot = locate(source, ("metadata", "name"))
    if not spot.exact or not isinstance(spot.node.value, str) or spot.node.value == stem:
        return
    if any(problem.field == "metadata.name" for problem in source.problems):
        return
    yield spot.problem(source, "not the name of the file", found=spot.node.found, allowed=stem, suggestion=stem)
