"""What the controller may do on a cluster, verb by verb."""

from cluster.rights import Right
from perennial.settings import Fetch
from serving.deployers.inference_service import RUNTIME

NEEDED: dict[tuple[str, str], tuple[str, ...]] = {
    ("serving.kserve.io", "inferenceservices"): ("create", "delete", "get", "list", "patch"),
    ("policy", "poddisruptionbudgets"): ("create", "get", "patch"),
    ("apps", "deployments"): ("get",),
    ("apps", "replicasets"): ("list",),
    ("", "events"): ("create", "list"),
    ("", "pods"): ("list",),
}
"""What it does in its namespace, by group and resource. Its Role allows this, and to read what the preflight looks at."""
FETCHING = Right("serving.kserve.io", "servingruntimes", "get", RUNTIME)
"""What it does besides where the fetch is an init container: its image is the one that serves."""


def controller_rights(fetch: Fetch = "storage-container") -> tuple[Right, ...]:
    """The rights of the controller, one by one, sorted.

    Args:
        fetch: how a version's files come to a pod, as the settings say.
    """
    always = {Right(group, resource, verb) for (group, resource), verbs in NEEDED.items() for verb in verbs}
    return tuple(sorted(always if fetch == "storage-container" else always | {FETCHING}))
