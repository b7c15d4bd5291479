"""What the controller may do on a cluster, verb by verb."""

from cluster.rights import Right
from perennial.settings import Fetch, ModelsFrom
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
FOLLOWING: dict[tuple[str, str], tuple[str, ...]] = {
    ("perennial.dev", "models"): ("list", "patch"),
    ("perennial.dev", "models/status"): ("patch",),
}
"""What it does besides where models are objects of the namespace."""
FETCHING = Right("serving.kserve.io", "servingruntimes", "get", RUNTIME)
"""What it does besides where the fetch is an init container: its image is the one that serves."""


def controller_rights(fetch: Fetch = "storage-container", models_from: ModelsFrom = "files") -> tuple[Right, ...]:
    """The rights of the controller, one by one, sorted.

    Args:
        fetch: how a version's files come to a pod, as the settings say.
        models_from: where specs come from, as the settings say.
    """
    needed = NEEDED if models_from == "files" else NEEDED | FOLLOWING
    always = {Right(group, resource, verb) for (group, resource), verbs in needed.items() for verb in verbs}
    return tuple(sorted(always if fetch == "storage-container" else always | {FETCHING}))
