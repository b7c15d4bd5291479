"""What a stand-in API server was asked, as the rights that a real one would demand for it."""

from typing import NamedTuple

from tests.cluster.api import REVIEWS, Api


class Call(NamedTuple):
    """One verb on one resource; `name` is empty where no single object is meant, `namespace` outside of one."""

    verb: str
    group: str
    resource: str
    name: str
    namespace: str


def calls(api: Api) -> set[Call]:
    """What was asked; that kinds are looked up, and rights asked for, needs no right."""
    found = set()
    for method, path in (each.split(" ") for each in api.asked if not each.endswith((REVIEWS, " /version"))):
        parts = path.strip("/").split("/")
        group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1], parts[3:])
        if not rest:
            continue
        namespace = rest[1] if rest[0] == "namespaces" and len(rest) > 1 else ""
        resource, *name = rest[2:] if len(rest) > 2 and namespace else rest
        found |= {Call(verb, group, resource, "".join(name), namespace) for verb in _verbs(method, bool(name))}
    return found


def _verbs(method: str, has_name: bool) -> tuple[str, ...]:
    if method == "GET":
        return ("get",) if has_name else ("list",)
    # Server-side apply of an object that is not there needs both.
    return {"POST": ("create",), "PATCH": ("create", "patch"), "DELETE": ("delete",)}[method]
