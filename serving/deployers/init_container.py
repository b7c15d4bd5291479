"""The fetch of a version as an init container of its InferenceService, where no ClusterStorageContainer may be made.

KServe takes a predictor whose model has no `storageUri` for one of many models, and puts an agent beside it. So the URI stays, as
the folder in which the files will be: KServe lets a path pass, and adds nothing where an init container has the name of its own.
By that name it also reports why a fetch failed.
"""

import copy
from typing import Any

Object = dict[str, Any]

NAME = "storage-initializer"
"""KServe's name for the container that fetches."""
FOLDER = "/mnt/models"
"""Where the files of a version are in both containers; `k8s/` tells the server to read there."""
VOLUME = "version"
VOLUME_SIZE = "2Gi"
"""Room for a version's files; the fetch may not write more to its disk either."""


def with_init_container(service: Object, image: str) -> Object:
    """An InferenceService that fetches the version by itself; what it was made from is not changed.

    Args:
        service: as `inference_service` makes it, with the version's name for its `storageUri`.
        image: the serving image.

    >>> model = {"storageUri": "perennial://m/1/ab"}
    >>> changed = with_init_container({"spec": {"predictor": {"model": model}}}, "serving:1")["spec"]["predictor"]
    >>> changed["model"]["storageUri"], changed["initContainers"][0]["args"]
    ('/mnt/models', ['perennial://m/1/ab', '/mnt/models'])
    """
    changed = copy.deepcopy(service)
    predictor = changed["spec"]["predictor"]
    model = predictor["model"]
    predictor["initContainers"] = [init_container(model["storageUri"], image)]
    predictor["volumes"] = [{"name": VOLUME, "emptyDir": {"sizeLimit": VOLUME_SIZE}}]
    model["storageUri"] = FOLDER
    model["volumeMounts"] = [{"name": VOLUME, "mountPath": FOLDER, "readOnly": True}]
    return changed


def init_container(uri: str, image: str) -> Object:
    """What `k8s/base/serving/storage-container.yaml` says, as a container of the pod itself.

    Args:
        uri: the version's name, `perennial://<model>/<number>/<digest>`.
        image: the serving image.
    """
    return {
        "name": NAME,
        "image": image,
        "command": ["python", "-m", "serving.runtime.fetch"],
        "args": [uri, FOLDER],
        "envFrom": [{"configMapRef": {"name": "perennial-settings"}}, {"secretRef": {"name": "perennial-s3"}}],
        "volumeMounts": [{"name": VOLUME, "mountPath": FOLDER}],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "resources": {
            "requests": {"cpu": "50m", "memory": "128Mi", "ephemeral-storage": "64Mi"},
            "limits": {"cpu": "1", "memory": "512Mi", "ephemeral-storage": "2Gi"},
        },
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
