"""What the controller may do on a cluster, verb by verb."""

from cluster.rights import Right

NEEDED: dict[tuple[str, str], tuple[str, ...]] = {
    ("serving.kserve.io", "inferenceservices"): ("create", "delete", "get", "list", "patch"),
    ("policy", "poddisruptionbudgets"): ("create", "get", "patch"),
    ("apps", "deployments"): ("get",),
    ("apps", "replicasets"): ("list",),
    ("", "events"): ("create", "list"),
    ("", "pods"): ("list",),
}
"""What it does in its namespace, by group and resource. Its Role allows this, and to read what the preflight looks at."""


def controller_rights() -> tuple[Right, ...]:
    """The rights of the controller, one by one, sorted."""
    return tuple(sorted(Right(group, resource, verb) for (group, resource), verbs in NEEDED.items() for verb in verbs))
