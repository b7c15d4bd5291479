"""What a real API server says: to each overlay by `--dry-run=server`, to pods beside our own reading of *restricted*.

Nothing lasts but for the time of the tests: a namespace of their own, enforced as the installation's is.
"""

import copy
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from tests.k8s.broken import CASES, CHANGES, broken
from tests.k8s.rendered import COMPONENTS, OVERLAYS, Object, component, kubectl, of_kind, overlay, pods
from tests.k8s.restricted import violations

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("k8s")]

NOT_OURS = {"PodMonitor", "PrometheusRule"}
"""Kinds of the Prometheus operator, which a cluster need not have."""

NEVER_VALID = {"host process", "privileged", "proc mount"}
"""Rules that no pod with the rest of our settings can break: the API server finds it contradictory before admission."""


def ask(*arguments: str, told: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([kubectl(), *arguments], input=told, capture_output=True, text=True, check=False)


def dry_run(objects: list[Object]) -> str:
    """What the API server has against objects; empty when it would take them all."""
    told = yaml.safe_dump_all(objects)
    ended = ask("apply", "--server-side", "--force-conflicts", "--field-manager=test", "--dry-run=server", "-f", "-", told=told)
    return "" if ended.returncode == 0 else ended.stderr


@pytest.fixture(scope="module")
def kinds() -> set[str]:
    """Kinds that the cluster serves."""
    ended = ask("api-resources", "--no-headers")
    assert ended.returncode == 0, ended.stderr
    return {line.split()[-1] for line in ended.stdout.splitlines()}


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    """A namespace that enforces what the installation's does."""
    name = f"perennial-test-{os.getpid()}"
    (labels,) = (each["metadata"]["labels"] for each in of_kind(overlay("lab"), "Namespace").values())
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    ended = ask("create", "-f", "-", told=json.dumps(made))
    assert ended.returncode == 0, ended.stderr
    yield name
    ask("delete", "namespace", name, "--wait=false")


def moved(objects: tuple[Object, ...], namespace: str) -> list[Object]:
    """Copies in another namespace; the Namespace itself is left out."""
    found = [copy.deepcopy(each) for each in objects if each["kind"] != "Namespace"]
    for each in found:
        if "namespace" in each["metadata"]:
            each["metadata"]["namespace"] = namespace
    return found


@pytest.mark.parametrize(
    ("rendered", "name"), [*((overlay, name) for name in OVERLAYS), *((component, name) for name in COMPONENTS)]
)
def test_the_api_server_takes_it(
    rendered: Callable[[str], tuple[Object, ...]], name: str, kinds: set[str], namespace: str
) -> None:
    objects = rendered(name)
    missing = {each["kind"] for each in objects} - kinds
    assert missing <= NOT_OURS, f"the cluster lacks {missing}: is KServe installed?"
    taken = [each for each in moved(objects, namespace) if each["kind"] in kinds]
    assert dry_run(taken) == ""
    namespaces = [each for each in objects if each["kind"] == "Namespace"]
    assert not namespaces or dry_run(namespaces) == ""
    if missing:
        pytest.skip(f"{len(taken)} objects were taken; not shown: {', '.join(sorted(missing))}, which this cluster does not know")


def test_the_api_server_finds_what_is_wrong(namespace: str) -> None:
    objects = moved(overlay("lab"), namespace)
    runtime = next(each for each in objects if each["kind"] == "ServingRuntime")
    runtime["spec"]["containers"][0]["ports"][0]["containerPort"] = "many"
    assert "containerPort" in dry_run(objects)


def refusal(pod: Object, namespace: str) -> str:
    """What admission says to a pod made from a template; empty when it would take it."""
    spec: dict[str, Any] = {**copy.deepcopy(pod["spec"]), "serviceAccountName": "default", "restartPolicy": "Always"}
    for container in (*spec.get("initContainers", []), *spec["containers"]):
        container["volumeMounts"] = []
        for probe in ("startupProbe", "readinessProbe"):
            container.pop(probe, None)
    metadata = {"name": "template", "namespace": namespace, "annotations": pod["metadata"].get("annotations", {})}
    return dry_run([{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}])


def test_admission_takes_our_pods(namespace: str) -> None:
    templates = pods(overlay("lab"))
    assert {"ServingRuntime/perennial", "Deployment/workbench", "Deployment/mlflow", "StatefulSet/redis"} <= set(templates)
    said = {name: refusal(template, namespace) for name, template in templates.items()}
    assert {name: refused for name, refused in said.items() if refused} == {}


@pytest.mark.parametrize(("rule", "number"), CASES)
def test_admission_refuses_what_we_call_a_violation(rule: str, number: int, namespace: str) -> None:
    template = broken(pods(overlay("lab"))["StatefulSet/redis"], CHANGES[rule][number])
    assert violations(template)
    said = refusal(template, namespace)
    assert "is invalid" in said if rule in NEVER_VALID else 'violates PodSecurity "restricted:latest"' in said
