"""On a real cluster: what was applied is kept and repaired, and pods say why they are not ready."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from cluster import events, fields
from cluster.apply import apply, delete, exists, get, list_by_label
from cluster.client import Client, RefusedError
from cluster.pods import PodReason, is_ready, reasons
from cluster.rights import Right, missing
from controller.preflight.rights import controller_rights
from perennial.errors import NotFoundError, PlatformError
from tests.cluster.accounts import as_account, own_namespace, token_of
from tests.cluster.faults import QUOTA, deployment, faulty

pytestmark = pytest.mark.cluster

NAMED_SECONDS = 60.0
"""Within this a fault must be named."""


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client.open() as made:
        yield made


@pytest.fixture(scope="module")
def namespace(client: Client) -> Iterator[str]:
    """A namespace of this module."""
    with own_namespace(client) as name:
        yield name


def eventually(question: Callable[[], bool], seconds: float = NAMED_SECONDS) -> bool:
    until = time.monotonic() + seconds
    while not question():
        if time.monotonic() > until:
            return False
        time.sleep(0.3)
    return True


def config(namespace: str, name: str, **data: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}


def test_says_version_and_clock(client: Client) -> None:
    server = client.server()
    assert server.version.startswith("v1.") and abs(server.time - datetime.now(UTC)) < timedelta(seconds=5)


def test_what_others_wrote_stays_and_ours_returns(client: Client, namespace: str) -> None:
    assert apply(client, config(namespace, "a", ours="1"), dry_run=True).change == "created"
    assert not exists(client, "v1", "ConfigMap", "a", namespace)
    assert apply(client, config(namespace, "a", ours="1")).change == "created"
    path = client.path("v1", "ConfigMap", namespace, "a")
    body = {"data": {"ours": "changed", "theirs": "2"}}
    client.call("PATCH", path, {"fieldManager": "somebody"}, body, "application/merge-patch+json")
    assert apply(client, config(namespace, "a", ours="1")).object["data"] == {"ours": "1", "theirs": "2"}
    assert apply(client, config(namespace, "a", ours="1")).change == "unchanged"
    assert apply(client, config(namespace, "a")).object["data"] == {"theirs": "2"}


def test_what_others_wrote_into_a_spec_is_named_with_who_and_goes_and_defaults_are_not(client: Client, namespace: str) -> None:
    wanted = deployment("foreign", namespace)
    wanted["spec"]["replicas"] = 0
    stored = apply(client, wanted).object
    assert stored["spec"]["progressDeadlineSeconds"] == 600, "the API server gave a default"
    assert fields.foreign_fields(stored, fields.expected(client, stored, wanted["spec"])) == ()
    path = client.path("apps/v1", "Deployment", namespace, "foreign")
    theirs = {"minReadySeconds": 7, "progressDeadlineSeconds": 60, "template": {"spec": {"hostname": "theirs"}}}
    client.call("PATCH", path, {"fieldManager": "somebody"}, {"spec": theirs}, "application/merge-patch+json")
    container = {"name": "second", "image": "a:1"}
    patch = [{"op": "add", "path": "/spec/template/spec/containers/-", "value": container}]
    client.call("PATCH", path, {"fieldManager": "another"}, patch, "application/json-patch+json")
    applied = apply(client, wanted).object
    foreign = fields.foreign_fields(applied, fields.expected(client, applied, wanted["spec"]))
    assert {(".".join(field.path), field.writers[0].partition(" on ")[0]) for field in foreign} == {
        ("spec.minReadySeconds", "somebody"),
        ("spec.progressDeadlineSeconds", "somebody"),
        ("spec.template.spec.hostname", "somebody"),
        ("spec.template.spec.containers", "another"),
    }
    assert fields.undo(client, applied, foreign)["spec"] == stored["spec"]
    assert apply(client, wanted).change == "unchanged"


def test_an_apply_that_changes_nothing_leaves_the_generation(client: Client, namespace: str) -> None:
    wanted = deployment("still", namespace) | {}
    wanted["spec"]["replicas"] = 0
    first = apply(client, wanted)
    assert eventually(lambda: "observedGeneration" in (get(client, "apps/v1", "Deployment", "still", namespace) or {})["status"])
    again = apply(client, wanted)
    assert (first.change, again.change) == ("created", "unchanged")
    assert first.object["metadata"]["generation"] == again.object["metadata"]["generation"]
    wanted["spec"]["template"]["metadata"]["labels"]["more"] = "yes"
    assert apply(client, wanted).change == "changed"


def test_a_field_that_there_is_not_is_refused(client: Client, namespace: str) -> None:
    with pytest.raises(RefusedError, match="dta: field not declared in schema"):
        apply(client, {**config(namespace, "b"), "dta": {}})
    with pytest.raises(NotFoundError, match=r"does not know example\.org/v1"):
        apply(client, {**config(namespace, "b"), "apiVersion": "example.org/v1"})
    with pytest.raises(NotFoundError, match='namespaces "absent-of-all" not found'):
        apply(client, config("absent-of-all", "b"))


def test_an_object_goes_with_all_that_it_owns_or_what_holds_it_is_named(client: Client, namespace: str) -> None:
    apply(client, deployment("gone", namespace))
    assert eventually(lambda: bool(list_by_label(client, "v1", "Pod", namespace, {"app": "gone"})))
    assert delete(client, "apps/v1", "Deployment", "gone", namespace)
    assert list_by_label(client, "apps/v1", "ReplicaSet", namespace, {"app": "gone"}) == []
    assert not delete(client, "apps/v1", "Deployment", "gone", namespace)
    held = config(namespace, "held")
    apply(client, held | {"metadata": {"name": "held", "namespace": namespace, "finalizers": ["example.org/kept"]}})
    with pytest.raises(PlatformError, match=r"still there after 1 s; it is held by example\.org/kept"):
        delete(client, "v1", "ConfigMap", "held", namespace, wait_seconds=1)
    apply(client, held)
    assert eventually(lambda: not exists(client, "v1", "ConfigMap", "held", namespace))


def test_an_event_is_found_again(client: Client, namespace: str) -> None:
    about = apply(client, config(namespace, "told")).object
    events.record(client, about, "Repaired", "it was changed by others", datetime.now(UTC), "Warning")
    assert [(event["reason"], event["type"]) for event in events.of(client, about)] == [("Repaired", "Warning")]


def test_an_administrator_has_all_rights_of_the_controller(client: Client, namespace: str) -> None:
    assert missing(client, namespace, controller_rights()) == ()


def test_a_service_account_has_exactly_the_rights_of_its_role(client: Client, namespace: str, tmp_path: Path) -> None:
    given = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}
    account = {"kind": "ServiceAccount", "name": "few", "namespace": namespace}
    rbac = "rbac.authorization.k8s.io"
    place = {"name": "few", "namespace": namespace}
    apply(client, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": place})
    apply(client, {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": place, "rules": [given]})
    role = {"apiGroup": rbac, "kind": "Role", "name": "few"}
    apply(client, {"apiVersion": f"{rbac}/v1", "kind": "RoleBinding", "metadata": place, "roleRef": role, "subjects": [account]})
    with as_account(client, namespace, "few", tmp_path) as limited:
        wanted = controller_rights()
        assert eventually(lambda: Right("", "pods", "list") not in missing(limited, namespace, wanted), 10)
        assert set(wanted) - set(missing(limited, namespace, wanted)) == {Right("", "pods", "list")}
        with pytest.raises(RefusedError, match="refused with 403") as refused:
            get(limited, "v1", "ConfigMap", "a", namespace)
        assert "perennial cluster check" in str(refused.value)


def test_a_pod_finds_the_cluster_that_it_runs_on(
    client: Client, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = get(client, "v1", "Service", "kubernetes", "default")
    authority = get(client, "v1", "ConfigMap", "kube-root-ca.crt", "default")
    assert service and authority
    apply(client, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "pod", "namespace": namespace}})
    for constant, content in (
        ("SERVICE_TOKEN_FILENAME", token_of(client, namespace, "pod")),
        ("SERVICE_CERT_FILENAME", authority["data"]["ca.crt"]),
    ):
        (tmp_path / constant).write_text(content, encoding="utf-8")
        monkeypatch.setattr(f"kubernetes.config.incluster_config.{constant}", str(tmp_path / constant))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", service["spec"]["clusterIP"])
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.delenv("KUBECONFIG")
    with Client.open() as inside:
        assert inside.address == f"https://{service['spec']['clusterIP']}:443"
        assert inside.server().version == client.server().version
        with pytest.raises(RefusedError, match=f"{namespace}:pod"):
            get(inside, "v1", "ConfigMap", "a", namespace)


CODES = {
    "wrong-image": ({"ErrImagePull", "ImagePullBackOff"}, "localhost/perennial/absent:1"),
    "unschedulable": ({"Unschedulable"}, "Insufficient cpu"),
    "secret-variable": ({"CreateContainerConfigError"}, 'secret "perennial-s3" not found'),
    "secret-volume": ({"FailedMount"}, 'secret "perennial-s3" not found'),
    "crash": ({"Error"}, "ended with exit code 1"),
    "init-crash": ({"Error"}, "init container fetch: Error: ended with exit code 1"),
}


@pytest.fixture(scope="module")
def workloads(client: Client, namespace: str) -> float:
    """Every workload of faults.py was applied; when."""
    for wanted in faulty(namespace).values():
        apply(client, wanted)
    return time.monotonic()


@pytest.mark.parametrize("name", CODES)
def test_a_fault_is_named_within_a_minute(name: str, client: Client, namespace: str, workloads: float) -> None:
    codes, said = CODES[name]

    def named() -> bool:
        found = reasons(client, namespace, {"app": name})
        return len(found) == 1 and found[0].is_failing and found[0].code in codes and said in found[0].sentence

    assert eventually(named, workloads + NAMED_SECONDS - time.monotonic()), reasons(client, namespace, {"app": name})


def test_a_pod_that_comes_up_is_ready_and_one_that_only_starts_is_not_failing(
    client: Client, namespace: str, workloads: float
) -> None:
    assert eventually(lambda: reasons(client, namespace, {"app": "healthy"}) == ())
    assert [is_ready(pod) for pod in list_by_label(client, "v1", "Pod", namespace, {"app": "healthy"})] == [True]
    for name, said in (("starting", "init container fetch runs"), ("unhealthy", "Readiness probe failed")):
        assert eventually(lambda name=name, said=said: told(reasons(client, namespace, {"app": name}), said))  # type: ignore[misc]


def told(found: tuple[PodReason, ...], said: str) -> bool:
    return [reason.is_failing for reason in found] == [False] and said in found[0].sentence


def test_a_quota_is_named_within_a_minute(client: Client) -> None:
    name = f"perennial-test-{uuid4().hex[:8]}"
    apply(client, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    try:
        apply(client, {**QUOTA, "metadata": {"name": "none", "namespace": name}})
        assert eventually(lambda: "hard" in (get(client, "v1", "ResourceQuota", "none", name) or {}).get("status", {}))
        apply(client, deployment("refused", name))

        def named() -> bool:
            found = reasons(client, name, {"app": "refused"})
            return [reason.code for reason in found] == ["FailedCreate"] and "exceeded quota: none" in found[0].sentence

        assert eventually(named), reasons(client, name, {"app": "refused"})
    finally:
        delete(client, "v1", "Namespace", name, wait_seconds=120)
