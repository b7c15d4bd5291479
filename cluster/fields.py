"""Fields of an object that others wrote beside ours: which they are, who wrote them, and how they go again.

Server-side apply owns what is applied and leaves the rest alone. What else stands in the `spec` is either a default that the
cluster gives to every such object, or foreign. The cluster itself says which: a dry run stores our fields alone, with what its
webhooks make of them. So nothing here lists the defaults of a release.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.apply import OWNER, path_of
from cluster.client import Client, Object

JSON_PATCH = "application/json-patch+json"
SHOWN = ("image",)
"""Fields whose values may be shown: those of others can hold a secret."""


@dataclass(frozen=True)
class ForeignField:
    """A field of an object's `spec` that is not as its owner applied it, and no default."""

    path: tuple[str, ...]
    """Names from `spec` on; a list is one field."""
    found: Any
    """Its value."""
    wanted: Any
    """What it would be without the foreign hand; None where it would not be there."""
    writers: tuple[str, ...]
    """Who wrote it and when, in words; empty where the API server does not know."""

    def __str__(self) -> str:
        """The field, its value where that is no secret, and who wrote it.

        >>> str(ForeignField(("spec", "model", "image"), "a:1", None, ("kubectl-patch on 2026-01-02 03:04",)))
        "spec.model.image 'a:1' (set by kubectl-patch on 2026-01-02 03:04)"
        >>> str(ForeignField(("spec", "containers"), [{"name": "b", "image": "c:1"}], None, ()))
        "spec.containers b 'c:1' (who set it is not recorded)"
        """
        who = f"set by {', '.join(self.writers)}" if self.writers else "who set it is not recorded"
        return f"{'.'.join(self.path)}{_shown(self.path[-1], self.found)} ({who})"


def foreign_fields(stored: Object, expected: Object) -> tuple[ForeignField, ...]:
    """Fields of the `spec` that are foreign: not there without others, or changed by others.

    A default that the cluster gives otherwise today than when the object was stored is not foreign: nobody wrote it.

    Args:
        stored: as it is stored.
        expected: as it would be stored if nobody but us had written its `spec`.
    """
    found = []
    for path, value, wanted in _beyond(stored.get("spec", {}), expected.get("spec", {}), ("spec",)):
        who = writers(stored, [f"f:{name}" for name in path])
        if who or (wanted is None and value not in ("", None, [], {})):
            found.append(ForeignField(path, value, wanted, who))
    return tuple(found)


def writers(stored: Object, keys: Sequence[str]) -> tuple[str, ...]:
    """Who but us wrote a field or something below it, and when; the newest first.

    Args:
        stored: as it is stored, with its `managedFields`.
        keys: of `fieldsV1`, from the top: `f:spec`, `k:{"name":"main"}`.
    """
    entries = [
        entry
        for entry in stored["metadata"].get("managedFields") or []
        if not _is_ours(entry) and _holds(entry.get("fieldsV1") or {}, keys)
    ]
    return tuple(_who(entry) for entry in sorted(entries, key=lambda entry: str(entry.get("time", "")), reverse=True))


def applied_spec(stored: Object) -> Object:
    """What of an object's `spec` we applied last, as the API server remembers it; empty where it does not.

    A list of which we own a part is taken whole.
    """
    entries = [entry for entry in stored["metadata"].get("managedFields") or [] if _is_ours(entry)]
    owned = (entry.get("fieldsV1", {}).get("f:spec", {}) for entry in entries)
    found: Object = _part(stored.get("spec", {}), next(owned, {".": {}}))
    return found


def expected(client: Client, stored: Object, spec: Object) -> Object:
    """The object as the API server would store it with this `spec` alone and its own defaults; nothing is changed.

    Args:
        client: of the cluster.
        stored: as it is stored.
        spec: what we apply of it.

    Raises:
        RefusedError: the API server, or a webhook, refuses.
        PlatformError: it does not answer.
    """
    patch = [{"op": "replace", "path": "/spec", "value": spec}]
    return client.call("PATCH", path_of(client, stored), {"fieldManager": OWNER, "dryRun": "All"}, patch, JSON_PATCH)


def undo(client: Client, stored: Object, fields: Sequence[ForeignField]) -> Object:
    """Remove foreign fields, or give them back the value of the cluster's default; returns the object as it is stored then.

    Raises:
        RefusedError: the API server refuses; a field that somebody else removed meanwhile is one reason.
        PlatformError: it does not answer.
    """
    patch = [_operation(field) for field in fields]
    return client.call("PATCH", path_of(client, stored), {"fieldManager": OWNER}, patch, JSON_PATCH)


def _operation(field: ForeignField) -> Object:
    path = "".join(f"/{name.replace('~', '~0').replace('/', '~1')}" for name in field.path)
    if field.wanted is None:
        return {"op": "remove", "path": path}
    return {"op": "replace", "path": path, "value": field.wanted}


def _beyond(found: Object, wanted: Object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Path, value and wanted value of what is there and not wanted so."""
    for name, value in found.items():
        other = wanted.get(name)
        if isinstance(value, dict) and isinstance(other, dict):
            yield from _beyond(value, other, (*path, name))
        elif value != other:
            yield (*path, name), value, other


def _is_ours(entry: Object) -> bool:
    return entry.get("manager") == OWNER and entry.get("operation") == "Apply"


def _holds(fields: Mapping[str, Any], keys: Sequence[str]) -> bool:
    """Whether somebody's fields have one with these keys."""
    below: Any = fields
    for key in keys:
        if key not in below:
            return False
        below = below[key]
    return True


def _part(value: Any, fields: Mapping[str, Any]) -> Any:
    names = [key.removeprefix("f:") for key in fields if key.startswith("f:")]
    if not isinstance(value, dict) or not names:
        return {} if isinstance(value, dict) and "." in fields else value
    return {name: _part(value[name], fields[f"f:{name}"]) for name in names if name in value}


def _who(entry: Object) -> str:
    time = str(entry.get("time", ""))[:16].replace("T", " ")
    return f"{entry.get('manager', 'somebody')}{' on ' if time else ''}{time}"


def _shown(name: str, value: Any) -> str:
    """What may be shown of a value, with a space before it; empty where that is nothing."""
    if name in SHOWN and isinstance(value, str):
        return f" '{value}'"
    if isinstance(value, list) and value and all(isinstance(item, dict) and "name" in item for item in value):
        return " " + ", ".join(f"{item['name']}{_shown('image', item.get('image'))}" for item in value)
    return ""
