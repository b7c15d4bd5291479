"""JSON of a request: parsed strictly, and values as a message shows them. What they mean is decided in `inputs`, `v1`, `v2`."""

import json

import orjson

from serving.runtime.protocol.failure import RequestFailure, mistake

SHOWN = 60
"""Most characters of a value in a message: it may be megabytes."""


def read_object(body: bytes) -> dict[str, object]:
    """The object in a request's body.

    Raises:
        RequestFailure: the body is empty, no JSON, or no object.
    """
    if not body:
        raise RequestFailure(400, "the body is empty; expected a JSON object")
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # orjson has no type for it, and two sentences: one where its limit is reached, one where its memory for nesting ends.
        is_deep = "depth limit" in error.msg or "allocate memory" in error.msg
        reason = "it is nested too deeply" if is_deep else str(error)
        raise RequestFailure(400, f"the body is not valid JSON: {reason}") from error
    if payload.__class__ is not dict:
        raise mistake("the body", shown(payload), "a JSON object")
    return dict[str, object](payload)


def check_repeats(body: bytes, pairs: int) -> None:
    """No object of the body has a key twice; a parser would silently drop the first value.

    Every pair has one colon outside strings. As many colons as parsed pairs: nothing was dropped, at the price of a byte count.
    Only when strings hold colons, or something was dropped, is the body parsed once more, slowly.

    Args:
        body: the request's body.
        pairs: keys of all its objects, as parsed.

    Raises:
        RequestFailure: names the key.

    >>> check_repeats(b'{"a": 1, "b": "x:y"}', 2)
    >>> check_repeats(b'{"a": 1, "a": 2}', 1)
    Traceback (most recent call last):
        ...
    serving.runtime.protocol.failure.RequestFailure: "a": given twice in one object; allowed: once
    """
    if body.count(b":") == pairs:
        return
    try:
        json.loads(body, object_pairs_hook=_refuse_repeats)
    except RecursionError as error:
        raise RequestFailure(400, "the body is not valid JSON: it is nested too deeply") from error


def _refuse_repeats(pairs: list[tuple[str, object]]) -> None:
    names = set()
    for name, _ in pairs:
        if name in names:
            raise RequestFailure(400, f"{shown(name)}: given twice in one object; allowed: once")
        names.add(name)


def shown(value: object) -> str:
    """A value as a message shows it.

    >>> shown("EWR"), shown([1]), shown(None), shown({}), shown(True), shown("x" * 100)[-8:]
    ('"EWR"', 'an array', 'null', 'an object', 'true', 'xxxxxxx…')
    """
    if isinstance(value, list):
        return "an array"
    if isinstance(value, dict):
        return "an object"
    text = value if isinstance(value, str) else None
    if text is not None and len(text) > SHOWN:
        return f'"{text[:SHOWN]}…'
    return orjson.dumps(value).decode()
