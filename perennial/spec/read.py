"""Reading a spec: from a file or a text to a `Model`, or to every mistake with its place; and back to JSON and a digest.

How mistakes are found and worded stands in `perennial.spec.examination`.
"""

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from pydantic import JsonValue

from perennial import digests
from perennial.errors import NotFoundError, PlatformError, SpecError
from perennial.spec.columns import Column
from perennial.spec.examination import breach_problem, examine, former, ordered, reworded
from perennial.spec.model import Model
from perennial.spec.part import Breach
from perennial.spec.problem import Problem
from perennial.spec.source import Source, decode, parse

__all__ = ["Problem", "check", "check_against", "digest", "read", "read_text", "reread", "to_json"]


def read(path: Path) -> Model:
    """The model whose spec stands in `path`.

    Raises:
        SpecError: the spec is wrong; the message holds every mistake, one a line.
        NotFoundError: there is no such file.
        PlatformError: the file cannot be read.
    """
    return _model_of(*examine(_bytes_of(path), str(path), path.stem))


def reread(path: Path) -> Model:
    """As `read`; a file whose bytes are those of before is not parsed again. For who reads the same specs every minute.

    Raises:
        SpecError: the spec is wrong; the message holds every mistake, one a line.
        NotFoundError: there is no such file.
        PlatformError: the file cannot be read.
    """
    return _parsed(_bytes_of(path), str(path), path.stem)


@lru_cache(maxsize=2048)
def _parsed(content: bytes, place: str, name: str) -> Model:
    return _model_of(*examine(content, place, name))


def check(path: Path) -> tuple[Problem, ...]:
    """Every mistake of the spec in `path`, by line; empty when it is right.

    Raises:
        NotFoundError: there is no such file.
        PlatformError: the file cannot be read.
    """
    return examine(_bytes_of(path), str(path), path.stem)[1]


def read_text(text: str, name: str = "spec") -> Model:
    """The model whose spec is given as JSON or YAML, as a pipeline's parameter is.

    Args:
        text: the spec.
        name: what messages call the text.

    Raises:
        SpecError: the spec is wrong; the message holds every mistake, one a line.
    """
    try:  # JSON that we wrote ourselves needs no places, and YAML cannot hold every character of it
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
        return Model.model_validate_json(json.dumps(reworded(value)))
    except (ValueError, RecursionError):
        return _model_of(*examine(text.encode(errors="replace"), name, None))


def to_json(model: Model) -> str:
    """The spec as one line of JSON: keys sorted, defaults written out, the same text for equal models."""
    return json.dumps(model.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(model: Model) -> str:
    """Digest of what the model is: its name and `spec`. Labels, annotations, the YAML's form and old words do not matter."""
    value = former({"spec": model.spec.model_dump(mode="json")})
    assert isinstance(value, dict)
    return digests.of_json({"name": model.name, **value})


def check_against(
    model: Model, columns: Sequence[Column], views: Iterable[str], join_keys: Iterable[str] = (), path: Path | None = None
) -> tuple[Problem, ...]:
    """Every mistake of a spec that only shows beside its feature service; empty when there is none.

    Args:
        model: the spec.
        columns: the columns of its feature service; request-time fields among them are passed over.
        views: names of the service's views.
        join_keys: join keys of these views.
        path: the spec's file, for the lines; without it, problems are in line 0 of the model's name.
    """
    source = Source(model.name)
    if path is not None:
        text = decode(_bytes_of(path), str(path))
        source = parse("" if isinstance(text, Problem) else text, str(path))
    spec, service, keys, view_names = model.spec, model.spec.features.service, tuple(join_keys), tuple(views)
    features = tuple(column.name for column in columns if column.view is not None)
    request_fields = tuple(field.name for field in spec.requests.fields)
    breaches = [
        Breach(
            ("features", "freshness", at, "view"),
            f"the service {service!r} has no view {limit.view!r}",
            _list(view_names),
            view_names,
        )
        for at, limit in enumerate(spec.features.freshness)
        if limit.view not in view_names
    ]
    breaches += [
        Breach(("objective", "segments", at), f"{name!r} is no feature, request-time field or join key", _list(words), words)
        for words in [(*features, *request_fields, *keys)]
        for at, name in enumerate(spec.objective.segments)
        if name not in words
    ]
    breaches += [
        Breach(("monitoring", "columns", at, "name"), f"{column.name!r} is no feature or request-time field", _list(words), words)
        for words in [(*features, *request_fields, "probability")]
        for at, column in enumerate(spec.monitoring.columns)
        if column.name not in words
    ]
    name_uses = {
        **dict.fromkeys(features, "a feature"),
        **{f"{view}_observed_at": "a view's observation time" for view in view_names},
    }
    breaches += [
        Breach(
            ("requests", "fields", at, "name"), f"{name!r} is also {name_uses[name]} of {service!r}", "names that are not taken"
        )
        for at, name in enumerate(request_fields)
        if name in name_uses
    ]
    return ordered(breach_problem(source, ("spec",), breach) for breach in breaches)


def _list(words: Sequence[str]) -> str:
    return ", ".join(words) if words else "nothing: there is none"


def _model_of(model: Model | None, problems: tuple[Problem, ...]) -> Model:
    if model is None:
        raise SpecError("\n".join(map(str, problems)))
    return model


def _unique(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    if len(mapping := dict(pairs)) < len(pairs):
        raise ValueError("a key is there twice")
    return mapping


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(f"{path}: no such file; a spec is models/<name>.yaml") from error
    except OSError as error:
        raise PlatformError(f"{path}: cannot be read ({error.strerror})") from error
