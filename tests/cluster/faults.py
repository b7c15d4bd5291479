"""Workloads that cannot become ready, each for one reason, as a real cluster is given them."""

from typing import Any

from cluster.client import Object

IMAGE = "localhost/python:3.11-slim-bookworm"
"""An image that the lab has; any with Python does."""

READY = {"exec": {"command": ["true"]}, "periodSeconds": 1}
SLEEP = ["python", "-c", "import time; time.sleep(3600)"]
CRASH = ["python", "-c", "raise SystemExit('features.json: no such file')"]


def deployment(name: str, namespace: str, container: Object | None = None, **pod: Any) -> Object:
    """A Deployment of one replica of a container that sleeps, but for what is given."""
    labels = {"app": name}
    made = {
        "name": "main",
        "image": IMAGE,
        "command": SLEEP,
        "readinessProbe": READY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "resources": {"requests": {"cpu": "5m", "memory": "16Mi"}},
        **(container or {}),
    }
    spec = {"terminationGracePeriodSeconds": 0, "containers": [made], **pod}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": dict(labels)}, "spec": spec},
        },
    }


def init_container(command: list[str]) -> list[Object]:
    """One container that runs before the others."""
    return [{"name": "fetch", "image": IMAGE, "command": command, "terminationMessagePolicy": "FallbackToLogsOnError"}]


SECRET_VARIABLE = {"env": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "perennial-s3", "key": "KEY"}}}]}
SECRET_VOLUME = {"volumes": [{"name": "keys", "secret": {"secretName": "perennial-s3"}}]}


def faulty(namespace: str) -> dict[str, Object]:
    """One workload for each fault, by the fault's name."""
    mounts = [{"name": "keys", "mountPath": "/keys"}]
    made: dict[str, dict[str, Any]] = {
        "healthy": {},
        "wrong-image": {"container": {"image": "localhost/perennial/absent:1"}},
        "unschedulable": {"container": {"resources": {"requests": {"cpu": "100"}}}},
        "secret-variable": {"container": SECRET_VARIABLE},
        "secret-volume": {"container": {"volumeMounts": mounts}, **SECRET_VOLUME},
        "crash": {"container": {"command": CRASH}},
        "init-crash": {"initContainers": init_container(CRASH)},
        "unhealthy": {"container": {"readinessProbe": {"exec": {"command": ["false"]}, "periodSeconds": 1}}},
        "starting": {"initContainers": init_container(SLEEP)},
    }
    return {name: deployment(name, namespace, **given) for name, given in made.items()}


QUOTA: Object = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
"""A namespace with it takes no pod."""
