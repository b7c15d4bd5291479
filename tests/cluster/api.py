"""A stand-in for an API server: it keeps objects, counts resource versions, and refuses what a real one would refuse.

Strict: a path, method, query or content type that it does not know is an error, not an empty answer. Of who owns which field it
knows no more than what each of them wrote; what server-side apply makes of an object that several owners write is shown on a
real one by tests/cluster/test_real.py.
"""

import copy
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml

from cluster.apply import METADATA_ONLY
from cluster.client import Client, Object
from tests.servers.http import listening

TOKEN = "token-of-the-test"
KINDS: dict[str, dict[str, tuple[str, bool]]] = {
    "v1": {
        "Namespace": ("namespaces", False),
        "Node": ("nodes", False),
        "Pod": ("pods", True),
        "Event": ("events", True),
        "ConfigMap": ("configmaps", True),
        "Secret": ("secrets", True),
        "Service": ("services", True),
        "ServiceAccount": ("serviceaccounts", True),
    },
    "apps/v1": {"Deployment": ("deployments", True), "ReplicaSet": ("replicasets", True), "DaemonSet": ("daemonsets", True)},
    "networking.k8s.io/v1": {"NetworkPolicy": ("networkpolicies", True)},
}
"""What the server knows, by version and kind: its plural, and whether it lives in a namespace."""

KSERVE: dict[str, dict[str, tuple[str, bool]]] = {
    "serving.kserve.io/v1beta1": {"InferenceService": ("inferenceservices", True)},
    "serving.kserve.io/v1alpha1": {
        "ServingRuntime": ("servingruntimes", True),
        "ClusterStorageContainer": ("clusterstoragecontainers", False),
    },
    "policy/v1": {"PodDisruptionBudget": ("poddisruptionbudgets", True)},
}
"""What a server knows besides that has KServe."""

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


class RefusalError(Exception):
    """An answer that is none of success."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _leave(stored: Object) -> None:
    """A webhook that changes nothing."""


class Api:
    """What the stand-in holds and how it behaves; tests change it."""

    def __init__(self, kinds: dict[str, dict[str, tuple[str, bool]]] | None = None) -> None:
        """Kinds are known besides the ordinary ones."""
        self.kinds = copy.deepcopy(KINDS | (kinds or {}))
        self.webhook: Callable[[Object], None] = _leave
        self.objects: dict[str, Object] = {}
        self.denied: set[str] = set()
        self.refused: dict[tuple[str, str], int] = {}
        self.version = "v1.34.4"
        self.time: datetime | None = None
        self.asked: list[str] = []
        self.secrets_read = 0
        self.page = 500
        self.deletes = True
        self._lock = threading.Lock()
        self._count = 0

    def keep(self, stored: Object) -> Object:
        """An object is there."""
        metadata = stored["metadata"]
        resource, namespaced = self.kinds[stored["apiVersion"]][stored["kind"]]
        root = f"/api{'s' if '/' in stored['apiVersion'] else ''}/{stored['apiVersion']}"
        path = f"{root}/namespaces/{metadata['namespace']}/{resource}" if namespaced else f"{root}/{resource}"
        return self._store(f"{path}/{metadata['name']}", copy.deepcopy(stored))

    def change(self, stored: Object, manager: str, at: str, **spec: Any) -> Object:
        """An object with parts of its `spec` that somebody wrote at this time, as `kubectl patch` would."""
        changed = _merge(stored, {"spec": spec})
        entry = {"manager": manager, "operation": "Update", "time": at, "fieldsV1": {"f:spec": _fields(spec)}}
        changed["metadata"]["managedFields"] = [*stored["metadata"].get("managedFields", []), entry]
        return self.keep(changed)

    def answer(self, method: str, path: str, query: dict[str, str], content_type: str, body: Any, accept: str) -> Object:
        """What a request is answered with."""
        found = self._answer(method, path, query, content_type, body)
        if method == "GET" and accept == METADATA_ONLY:
            return {"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": found["metadata"]}
        self.secrets_read += "/secrets" in path and method == "GET"
        return found

    def _answer(self, method: str, path: str, query: dict[str, str], content_type: str, body: Any) -> Object:
        with self._lock:
            self.asked.append(f"{method} {path}")
            if (method, path) in self.refused:
                raise RefusalError(self.refused[method, path], "refused by the test")
            if path == "/version":
                return {"gitVersion": self.version} if self.version else {"title": "a shop"}
            if path == REVIEWS and method == "POST":
                return self._review(body)
            for api_version, kinds in self.kinds.items():
                root = f"/api{'s' if '/' in api_version else ''}/{api_version}"
                if path == root:
                    listed = [{"kind": kind, "name": name, "namespaced": spaced} for kind, (name, spaced) in kinds.items()]
                    return {
                        "kind": "APIResourceList",
                        "resources": [*listed, {"kind": "Scale", "name": "x/scale", "namespaced": True}],
                    }
                if path.startswith(f"{root}/"):
                    return self._object(method, root, path, query, content_type, body)
            raise RefusalError(404, "404 page not found")

    def _review(self, body: Object) -> Object:
        asked = body["spec"]["resourceAttributes"]
        resource = "/".join(filter(None, (asked["resource"], asked.get("subresource"))))
        right = f"{asked['verb']} {resource}" + (f".{asked['group']}" if asked.get("group") else "")
        right += f" {asked['name']}" if asked.get("name") else ""
        return body | {"status": {"allowed": right not in self.denied}}

    def _object(self, method: str, root: str, path: str, query: dict[str, str], content_type: str, body: Any) -> Object:
        rest = path.removeprefix(f"{root}/").split("/")
        namespace = rest[1] if rest[0] == "namespaces" and len(rest) > 2 else None
        rest = rest[2:] if namespace else rest
        if rest[0] not in {name for name, _ in self.kinds[root.removeprefix("/apis/").removeprefix("/api/")].values()}:
            raise RefusalError(404, "404 page not found")
        if len(rest) == 1 and method == "GET":
            return self._list(root, namespace, rest[0], query)
        if len(rest) == 1 and method == "POST":
            name = body["metadata"].get("name") or f"{body['metadata']['generateName']}{self._count}"
            if f"{path}/{name}" in self.objects:
                raise RefusalError(409, f'{rest[0]} "{name}" already exists')
            body["metadata"] = {**body["metadata"], "name": name}
            return self._store(f"{path}/{name}", body)
        if len(rest) == 3 and rest[2] == "status" and method == "PATCH":
            return self._apply_status(path.removesuffix("/status"), query, content_type, body)
        if len(rest) != 2:
            raise RefusalError(405, f"the server does not allow {method} of {path}")
        if method == "PATCH" and content_type == "application/apply-patch+yaml":
            return self._apply(path, query, body)
        if method == "PATCH" and content_type == "application/json-patch+json":
            return self._patch(path, query, body)
        if method == "PATCH" and content_type != "application/merge-patch+json":
            raise RefusalError(415, f"a patch by {content_type} with {query}")
        stored = self.objects.get(path)
        if stored is None:
            raise RefusalError(404, f'{rest[0]} "{rest[1]}" not found')
        if method == "PATCH":
            if body["metadata"].get("resourceVersion", stored["metadata"]["resourceVersion"]) != _version(stored):
                raise RefusalError(409, "the object has been modified; please apply your changes to the latest version")
            return self._store(path, _without_nulls(_merge(stored, body)))
        if method == "GET":
            return stored
        if method == "PUT":
            if body["metadata"].get("resourceVersion") != stored["metadata"]["resourceVersion"]:
                raise RefusalError(409, "the object has been modified; please apply your changes to the latest version")
            return self._store(path, body)
        if method == "DELETE":
            if body["propagationPolicy"] != "Foreground" or body["preconditions"]["uid"] != stored["metadata"]["uid"]:
                raise RefusalError(409, "precondition failed: uid")
            if self.deletes:
                del self.objects[path]
            return stored
        raise RefusalError(405, f"the server does not allow {method}")

    def _apply(self, path: str, query: dict[str, str], body: Object) -> Object:
        expected = {"fieldManager": "perennial", "force": "true", "fieldValidation": "Strict"}
        if query | {"dryRun": "All"} != expected | {"dryRun": "All"}:
            raise RefusalError(400, f"an apply with {query}")
        stored = self.objects.get(path)
        merged: Object = _merge(stored or {}, body)
        for entry in merged["metadata"].get("managedFields", []):
            if entry["operation"] == "Apply":
                _drop(merged, entry["fieldsV1"], body)
        ours = {"manager": "perennial", "operation": "Apply", "fieldsV1": {"f:spec": _fields(body.get("spec", {}))}}
        others = [entry for entry in merged["metadata"].get("managedFields", []) if entry["operation"] != "Apply"]
        merged["metadata"]["managedFields"] = [ours, *others]
        self.webhook(merged)
        if "dryRun" in query or merged == stored:
            return merged
        return self._store(path, merged)

    def _patch(self, path: str, query: dict[str, str], body: list[Object]) -> Object:
        if query | {"dryRun": "All"} != {"fieldManager": "perennial", "dryRun": "All"}:
            raise RefusalError(400, f"a patch with {query}")
        if path not in self.objects:
            raise RefusalError(404, "not found")
        patched = _stepped(self.objects[path], body)
        self.webhook(patched)
        return patched if "dryRun" in query else self._store(path, patched)

    def _apply_status(self, path: str, query: dict[str, str], content_type: str, body: Object) -> Object:
        """One owner writes it: what is not named any more is gone."""
        expected = {"fieldManager": "perennial", "force": "true", "fieldValidation": "Strict"}
        if content_type != "application/apply-patch+yaml" or query != expected:
            raise RefusalError(415, f"an apply by {content_type} with {query}")
        stored = self.objects.get(path)
        if stored is None:
            raise RefusalError(404, f"{path}: not found")
        return self._store(path, {**stored, "status": copy.deepcopy(body["status"])})

    def _list(self, root: str, namespace: str | None, resource: str, query: dict[str, str]) -> Object:
        prefix = f"{root}/namespaces/{namespace}/{resource}/" if namespace else f"{root}/"
        found = [each for path, each in self.objects.items() if path.startswith(prefix) and path.split("/")[-2] == resource]
        for condition in filter(None, query.get("labelSelector", "").split(",")):
            name, value = condition.split("=")
            found = [each for each in found if each["metadata"].get("labels", {}).get(name) == value]
        for condition in filter(None, query.get("fieldSelector", "").split(",")):
            name, value = condition.split("=")
            found = [each for each in found if _field(each, name) == value]
        first, last = int(query.get("continue", "0")), int(query.get("continue", "0")) + min(self.page, int(query["limit"]))
        items = [
            {name: value for name, value in each.items() if name not in ("kind", "apiVersion")} for each in found[first:last]
        ]
        return {"items": items, "metadata": {"continue": str(last)} if last < len(found) else {}}

    def _store(self, path: str, stored: Object) -> Object:
        self._count += 1
        before = self.objects.get(path, {"metadata": {}})["metadata"]
        stored["metadata"] = {"uid": f"uid-{self._count}", **before, **stored["metadata"], "resourceVersion": str(self._count)}
        self.objects[path] = stored
        return stored


def _merge(below: Any, above: Any) -> Any:
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return copy.deepcopy(above)
    return {**copy.deepcopy(below), **{name: _merge(below.get(name), value) for name, value in above.items()}}


def _drop(stored: Any, before: Object, body: Any) -> None:
    """What was applied before and is not any more is removed."""
    for key, below in before.items():
        name = key.removeprefix("f:")
        if isinstance(stored, dict) and name in stored:
            if not isinstance(body, dict) or name not in body:
                del stored[name]
            else:
                _drop(stored[name], below, body[name])


def _fields(written: Any) -> Object:
    """What somebody wrote, as `fieldsV1` names it; a list by the names of its items, where they have some."""
    if isinstance(written, dict):
        return {f"f:{name}": _fields(value) for name, value in written.items()}
    if isinstance(written, list) and all(isinstance(item, dict) and "name" in item for item in written):
        return {f'k:{{"name":"{item["name"]}"}}': _fields(item) for item in written}
    return {}


def _version(stored: Object) -> object:
    return stored["metadata"]["resourceVersion"]


def _stepped(stored: Object, steps: list[Object]) -> Object:
    """What a JSON patch makes of an object: each step that is known here, or a refusal."""
    made = copy.deepcopy(stored)
    for step in steps:
        *above, last = [part.replace("~1", "/").replace("~0", "~") for part in step["path"].lstrip("/").split("/")]
        place: Any = made
        for part in above:
            place = place.get(part, {})
        if last not in place or (step["op"] == "test" and place[last] != step["value"]):
            raise RefusalError(422, "the server rejected our request due to an error in our request")
        if step["op"] == "remove":
            del place[last]
        elif step["op"] != "test":
            place[last] = step["value"]
    return made


def _without_nulls(value: Any) -> Any:
    """What a merge patch makes of null: the key is gone."""
    if not isinstance(value, dict):
        return value
    return {name: _without_nulls(below) for name, below in value.items() if below is not None}


def _field(stored: Object, name: str) -> object:
    value: Any = stored
    for part in name.split("."):
        value = value.get(part, {})
    return value


class _Handler(BaseHTTPRequestHandler):
    api: Api
    protocol_version = "HTTP/1.1"
    wbufsize = 65536  # one segment for head and body: two would wait for each other

    def _do(self) -> None:
        api = self.api
        split = urlsplit(self.path)
        length = int(self.headers.get("Content-Length", "0"))
        body = json.loads(self.rfile.read(length)) if length else None
        content_type, accept = self.headers.get("Content-Type", ""), self.headers.get("Accept", "")
        try:
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                raise RefusalError(401, "Unauthorized")
            status, answer = 200, api.answer(self.command, split.path, dict(parse_qsl(split.query)), content_type, body, accept)
        except RefusalError as refusal:
            status, answer = refusal.status, {"kind": "Status", "message": str(refusal), "reason": "Refused"}
        plain = answer.get("message") == "404 page not found"
        content = b"404 page not found\n" if plain else json.dumps(answer).encode()
        self.send_response_only(status)
        self.send_header("Date", format_datetime(api.time or datetime.now(UTC), usegmt=True))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _do  # noqa: N815 # names of the library

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""


@contextmanager
def running(api: Api) -> Iterator[str]:
    """The stand-in listens; its address."""
    with listening(type("Handler", (_Handler,), {"api": api})) as address:
        yield address


def kubeconfig(file: Path, address: str, token: str = TOKEN) -> Path:
    """A kubeconfig that names the stand-in."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": address}}],
        "users": [{"name": "test", "user": {"token": token}}],
    }
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


@contextmanager
def opened(api: Api, folder: Path) -> Iterator[Client]:
    """A client of the stand-in."""
    with running(api) as address, Client.open({"KUBECONFIG": str(kubeconfig(folder / "kubeconfig", address))}) as client:
        yield client
