"""What KServe makes of an InferenceService, by its sources of 0.20: the Deployment with every default, and pods of it."""

import copy
from pathlib import Path
from typing import Any

import yaml

from cluster.client import Object

SERVING = Path(__file__).parents[3] / "k8s" / "base" / "serving"
WRITTEN = "2026-01-02T03:00:00Z"


def runtime(namespace: str) -> Object:
    """The ServingRuntime of `k8s/`."""
    return _placed("serving-runtime.yaml", namespace)


def storage_container() -> Object:
    """The ClusterStorageContainer of `k8s/`."""
    found = _placed("storage-container.yaml", None)
    found["metadata"]["managedFields"] = [{"manager": "platform", "operation": "Apply", "time": WRITTEN, "fieldsV1": {}}]
    return found


def defaults(stored: Object) -> None:
    """KServe's webhook: what it adds to an InferenceService that does not say otherwise."""
    predictor = stored.get("spec", {}).get("predictor")
    if predictor is not None and "model" in predictor:
        predictor["model"].setdefault("resources", {"limits": {"cpu": "1", "memory": "2Gi"}, "requests": {"cpu": "1"}})
        predictor["model"].setdefault("protocolVersion", "v1")


def deployment(service: Object) -> Object:
    """The Deployment that KServe makes of an InferenceService, and the API server stores."""
    name, predictor = service["metadata"]["name"], service["spec"]["predictor"]
    labels = service["metadata"]["labels"] | {"serving.kserve.io/inferenceservice": name, "component": "predictor"}
    (container,) = copy.deepcopy(runtime("any")["spec"]["containers"])
    told = {field: value for field, value in predictor["model"].items() if field in ("image", "command", "env", "resources")}
    container |= told
    container["args"] = [arg.replace("{{.Name}}", name) for arg in container["args"]] + predictor["model"].get("args", [])
    container |= {"terminationMessagePath": "/dev/termination-log", "imagePullPolicy": "IfNotPresent"}
    container["env"] = [*container.get("env", []), {"name": "INFERENCE_SERVICE_NAME", "value": name}]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        container[probe] |= {"successThreshold": 1}
    others = [copy.deepcopy(other) for other in predictor.get("containers", [])]
    pod = {
        "containers": [container, *others],
        "volumes": runtime("any")["spec"]["volumes"],
        "dnsPolicy": "ClusterFirst",
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "serviceAccountName": predictor["serviceAccountName"],
    }
    if "initContainers" in predictor:
        pod["initContainers"] = copy.deepcopy(predictor["initContainers"])
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": f"{name}-predictor",
            "namespace": service["metadata"]["namespace"],
            "labels": labels,
            "generation": 1,
            "managedFields": [{"manager": "manager", "operation": "Update", "time": WRITTEN, "fieldsV1": {}}],
        },
        "spec": {"replicas": 2, "template": {"metadata": {"labels": labels}, "spec": pod}},
        "status": {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2},
    }


def pods(made: Object) -> list[Object]:
    """Two pods of a Deployment that are ready, with what KServe's webhook for pods, and a mesh, put beside."""
    return [_pod(made, number) for number in (1, 2)]


def _pod(made: Object, number: int) -> Object:
    template = made["spec"]["template"]
    spec = copy.deepcopy(template["spec"])
    fetcher: Any = copy.deepcopy(storage_container()["spec"]["container"])
    fetcher |= {"args": ["perennial://chargeback/1/digest", "/mnt/models"], "env": [{"name": "CA_BUNDLE", "value": "x"}]}
    spec["initContainers"] = [*spec.get("initContainers", []), fetcher, {"name": "mesh-init", "image": "mesh/init:1"}]
    statuses = [
        {"name": container["name"], "imageID": f"docker.io/{container['image']}@sha256:{'a' * 64}", "ready": True}
        for container in spec["containers"]
    ]
    spec["containers"].append({"name": "mesh-proxy", "image": "mesh/proxy:1", "env": [{"name": "POD", "value": "x"}]})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"pod-{number}",
            "namespace": made["metadata"]["namespace"],
            "labels": template["metadata"]["labels"],
            "creationTimestamp": "2026-01-02T03:01:00Z",
        },
        "spec": spec,
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": statuses},
    }


def _placed(file: str, namespace: str | None) -> Object:
    found: Object = yaml.safe_load((SERVING / file).read_text(encoding="utf-8"))
    if namespace is not None:
        found["metadata"]["namespace"] = namespace
    return found
