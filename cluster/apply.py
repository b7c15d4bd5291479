"""Objects of any kind: made and changed by server-side apply with one field owner, read, listed, deleted.

What others wrote into an object stays; what is applied here returns when it was changed by others.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cluster.client import Client, Object, RefusedError
from perennial.errors import NotFoundError, PlatformError

OWNER = "perennial"
"""Field manager of everything that is applied."""

METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
"""Asks for an object without its content."""

PAUSE_SECONDS = 0.2
"""Between two looks at whether an object is gone."""


@dataclass(frozen=True)
class AppliedObject:
    """What came of an apply."""

    object: Object
    """As it is stored now, with what the API server and others added."""
    before: Object | None
    """As it was stored; None when there was none."""

    @property
    def change(self) -> Literal["created", "changed", "unchanged"]:
        """Whether the call changed it; a status that others wrote in between is no change."""
        if self.before is None:
            return "created"
        return "changed" if differ(self.before, self.object) else "unchanged"


def apply(client: Client, wanted: Object, dry_run: bool = False) -> AppliedObject:
    """The object is in the cluster as it is wanted; fields that are not named stay as others wrote them.

    Args:
        client: of the cluster.
        wanted: `apiVersion`, `kind`, `metadata.name` and what is to be; a field that was applied before and is not named any more
            is removed. One that another owner holds is taken from it.
        dry_run: whether the API server only says what would come of it.

    Raises:
        NotFoundError: the API server has no such kind, or the namespace is not there.
        RefusedError: the API server refuses: an unknown field, a webhook, a right.
        PlatformError: it does not answer.
    """
    path = path_of(client, wanted)
    before = _get(client, path)
    query = {"fieldManager": OWNER, "force": "true", "fieldValidation": "Strict"} | ({"dryRun": "All"} if dry_run else {})
    return AppliedObject(client.call("PATCH", path, query, wanted, "application/apply-patch+yaml"), before)


def apply_status(client: Client, named: Object, status: Object) -> Object:
    """The status of an object is as given, as far as this field owner wrote it; the object as stored.

    Args:
        client: of the cluster.
        named: an object that is there: its `apiVersion`, `kind`, name and namespace are read.
        status: all of it; a field that was applied before and is not named any more is removed.

    Raises:
        NotFoundError: there is no such object.
        PlatformError: the API server refuses or does not answer.
    """
    metadata = {name: named["metadata"][name] for name in ("name", "namespace")}
    wanted = {"apiVersion": named["apiVersion"], "kind": named["kind"], "metadata": metadata, "status": status}
    query = {"fieldManager": OWNER, "force": "true", "fieldValidation": "Strict"}
    return client.call("PATCH", f"{path_of(client, named)}/status", query, wanted, "application/apply-patch+yaml")


def strike_annotation(client: Client, stored: Object, name: str) -> bool:
    """An annotation is gone, whatever else of the object was changed since; whether it still was as it was read.

    Args:
        client: of the cluster.
        stored: the object as it was read.
        name: of the annotation.

    Raises:
        NotFoundError: there is no such object.
        PlatformError: the API server refuses or does not answer.
    """
    path = f"/metadata/annotations/{name.replace('~', '~0').replace('/', '~1')}"
    same = {"op": "test", "path": path, "value": stored["metadata"]["annotations"][name]}
    steps = [same, {"op": "remove", "path": path}]
    try:
        client.call("PATCH", path_of(client, stored), {"fieldManager": OWNER}, steps, "application/json-patch+json")
    except RefusedError as error:
        if error.status != 422:
            raise
        return False
    return True


def own(client: Client, owned: Object, owner: Object) -> bool:
    """An object goes with its owner, by the cluster's own garbage collection; whether that had to be written.

    An owner that is gone already takes the object with it. Other owners stay; one of this kind and name that was made anew is
    replaced.

    Args:
        client: of the cluster.
        owned: an object as it was read.
        owner: an object of the same namespace, as it was read.

    Raises:
        NotFoundError: the owned object is gone.
        RefusedError: it was changed since it was read (409), or the API server refuses.
        PlatformError: it does not answer.
    """
    metadata = owner["metadata"]
    reference = {name: owner[name] for name in ("apiVersion", "kind")} | {name: metadata[name] for name in ("name", "uid")}
    there = owned["metadata"].get("ownerReferences", [])
    others = [one for one in there if (one["kind"], one["name"]) != (owner["kind"], metadata["name"])]
    if [*others, reference] == [*others, *(one for one in there if one not in others)]:
        return False
    changed = {"resourceVersion": owned["metadata"]["resourceVersion"], "ownerReferences": [*others, reference]}
    query = {"fieldManager": OWNER}
    client.call("PATCH", path_of(client, owned), query, {"metadata": changed}, "application/merge-patch+json")
    return True


def get(client: Client, api_version: str, kind: str, name: str, namespace: str | None = None) -> Object | None:
    """An object as it is stored; None when there is none.

    Args:
        client: of the cluster.
        api_version: `v1`, or `<group>/<version>`.
        kind: for example `Pod`.
        name: of the object.
        namespace: None for a kind that has none.

    Raises:
        NotFoundError: the API server has no such kind.
        PlatformError: it does not answer or refuses.
    """
    return _get(client, client.path(api_version, kind, namespace, name))


def exists(client: Client, api_version: str, kind: str, name: str, namespace: str | None = None) -> bool:
    """Whether there is such an object; only its metadata is asked for, never what a Secret holds.

    Args:
        client: of the cluster.
        api_version: `v1`, or `<group>/<version>`.
        kind: for example `Secret`.
        name: of the object.
        namespace: None for a kind that has none.

    Raises:
        NotFoundError: the API server has no such kind.
        PlatformError: it does not answer or refuses.
    """
    return _get(client, client.path(api_version, kind, namespace, name), METADATA_ONLY) is not None


def list_by_label(
    client: Client, api_version: str, kind: str, namespace: str | None = None, labels: Mapping[str, str] | None = None
) -> list[Object]:
    """Objects of a kind that have all of these labels; `apiVersion` and `kind` are in each.

    Args:
        client: of the cluster.
        api_version: `v1`, or `<group>/<version>`.
        kind: for example `Pod`.
        namespace: None asks for those of every namespace.
        labels: values by name; all objects when absent.

    Raises:
        NotFoundError: the API server has no such kind.
        PlatformError: it does not answer or refuses.
    """
    query = {"labelSelector": ",".join(f"{name}={value}" for name, value in (labels or {}).items())} if labels else {}
    return list_at(client, api_version, kind, namespace, query)


def list_at(client: Client, api_version: str, kind: str, namespace: str | None, query: Mapping[str, str]) -> list[Object]:
    """Objects of a kind by a query of the API (`labelSelector`, `fieldSelector`), page by page; see `list_by_label`."""
    objects: list[Object] = []
    more: dict[str, str] = {"limit": "500"}
    while more:
        page = client.call("GET", client.path(api_version, kind, namespace), {**query, **more})
        objects += [{"apiVersion": api_version, "kind": kind, **item} for item in page.get("items") or []]
        rest = page.get("metadata", {}).get("continue")
        more = {**more, "continue": rest} if rest else {}
    return objects


def delete(
    client: Client, api_version: str, kind: str, name: str, namespace: str | None = None, wait_seconds: float = 60.0
) -> bool:
    """The object and all that it owns are gone; whether it was there.

    Args:
        client: of the cluster.
        api_version: `v1`, or `<group>/<version>`.
        kind: for example `Pod`.
        name: of the object.
        namespace: None for a kind that has none.
        wait_seconds: how long its end is waited for; 0 only asks for it.

    Raises:
        NotFoundError: the API server has no such kind.
        PlatformError: it does not answer, refuses, or the object is still there: the finalizers that hold it are named.
    """
    path = client.path(api_version, kind, namespace, name)
    live_object = _get(client, path)
    if live_object is None:
        return False
    uid = live_object["metadata"]["uid"]
    try:
        client.call("DELETE", path, body={"propagationPolicy": "Foreground", "preconditions": {"uid": uid}})
    except NotFoundError:
        return True
    until = time.monotonic() + wait_seconds
    while wait_seconds:
        live_object = _get(client, path)
        if live_object is None or live_object["metadata"]["uid"] != uid:
            break
        if time.monotonic() > until:
            finalizers = ", ".join(live_object["metadata"].get("finalizers", [])) or "nothing that it names"
            raise PlatformError(
                f"{kind} {name}: was deleted and is still there after {wait_seconds:g} s; it is held by {finalizers}"
            )
        time.sleep(PAUSE_SECONDS)
    return True


def path_of(client: Client, named: Object) -> str:
    """Path of an object that says its kind, name and namespace."""
    metadata = named["metadata"]
    return client.path(named["apiVersion"], named["kind"], metadata.get("namespace"), metadata["name"])


def differ(before: Object, after: Object) -> bool:
    """Whether an object was changed in more than its status.

    >>> stored = {"metadata": {"name": "a", "resourceVersion": "1", "generation": 1}, "spec": {"replicas": 1}, "status": {}}
    >>> differ(stored, stored | {"metadata": {"name": "a", "resourceVersion": "2", "generation": 1}, "status": {"ready": 1}})
    False
    >>> differ(stored, stored | {"metadata": {"name": "a", "resourceVersion": "2", "labels": {"b": "c"}, "generation": 1}})
    True
    """
    return _content(before) != _content(after)


def _content(stored: Object) -> Object:
    metadata = {name: value for name, value in stored["metadata"].items() if name not in ("resourceVersion", "managedFields")}
    return {name: value for name, value in stored.items() if name != "status"} | {"metadata": metadata}


def _get(client: Client, path: str, accept: str = "application/json") -> Object | None:
    try:
        return client.call("GET", path, accept=accept)
    except NotFoundError:
        return None
