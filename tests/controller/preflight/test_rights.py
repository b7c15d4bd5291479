"""The rights that are given are those that are used: what is called on a stand-in API server, and what the manifests allow."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.client import Client
from controller.preflight import cluster
from controller.preflight.rights import NEEDED, controller_rights
from perennial.errors import NotFoundError
from perennial.settings import Fetch
from perennial.spec.read import read
from serving.deployers.on_kserve import KServeDeployer
from tests.cluster.api import KSERVE, Api, opened
from tests.controller.preflight.calls import Call, calls
from tests.controller.preflight.test_cluster import CONFIG, MANAGER, SETTINGS, TENANT, whole
from tests.k8s.rendered import K8S
from tests.second_project import SPEC
from tests.serving.deployers import made
from tests.serving.deployers.test_on_kserve import run, version

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
GOOD_TO_SEE = {("", "nodes"), ("apps", "daemonsets"), ("gateway.networking.k8s.io", "gateways")}
"""What the preflight lists and nobody is given a right to: rows that are not needed, and which nodes have the image."""


CLUSTER_WIDE = ("/api/v1/nodes", "/apis/apps/v1/daemonsets", "/apis/gateway.networking.k8s.io/v1/gateways", CONFIG, MANAGER)
"""What a team with rights in its namespace only is refused."""


def rules(file: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((K8S / "base" / "controller" / file).read_text(encoding="utf-8"))["rules"]
    return found


def grants(file: str) -> set[tuple[str, str, str, str]]:
    """Verb, group, resource and name (empty: any) of each rule."""
    return {
        (verb, group, resource, name)
        for rule in rules(file)
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
    }


def of_controller() -> set[tuple[str, str, str, str]]:
    return {(right.verb, right.group, right.resource, "") for right in controller_rights()}


RUNTIME = {
    "apiVersion": "serving.kserve.io/v1alpha1",
    "kind": "ServingRuntime",
    "metadata": {"name": "perennial", "namespace": "team"},
    "spec": {"containers": [{"image": "serving:1"}]},
}


def test_no_right_is_a_wildcard() -> None:
    assert all("*" not in str(right) for right in controller_rights())


def used(fetch: Fetch, folder: Path) -> set[Call]:
    """What the deployer asks of a cluster from a first version to its end."""
    (folder / "chargeback.yaml").write_text(SPEC)
    model = read(folder / "chargeback.yaml")
    api = Api(KSERVE)
    api.keep(made.runtime("team"))
    api.keep(made.storage_container())
    with opened(api, folder) as client:
        deployer = KServeDeployer(client, "team", fetch)
        deployer.deploy(model, version(1), run(1), NOW)
        (service,) = (stored for path, stored in api.objects.items() if "/inferenceservices/" in path)
        api.keep(made.deployment(service))
        deployer.models()
        deployer.deployed(model.name)
        assert deployer.standing(model.name).state == "serving"
        deployer.retire(model.name, "replaced", NOW)
    return calls(api)


def test_the_deployer_uses_every_right_and_no_other(tmp_path: Path) -> None:
    found = used("storage-container", tmp_path)
    compared = {call for call in found if call.resource in ("servingruntimes", "clusterstoragecontainers")}
    assert {call[:4] for call in compared} <= grants("role.yaml") | grants("cluster-role.yaml") and len(compared) == 2
    found -= compared  # read by name, as the preflight does
    assert {call.namespace for call in found} == {"team"}
    by_resource: dict[tuple[str, str], set[str]] = {}
    for call in found:
        by_resource.setdefault((call.group, call.resource), set()).add(call.verb)
    assert by_resource == {key: set(verbs) for key, verbs in NEEDED.items()}


def test_an_init_container_needs_the_runtime_s_image_and_nothing_of_the_whole_cluster(tmp_path: Path) -> None:
    more = {Call("get", "serving.kserve.io", "servingruntimes", "perennial", "team")}
    found, usual = used("init-container", tmp_path), used("storage-container", tmp_path)
    assert more <= found <= usual
    assert {call.resource for call in usual - found} == {"clusterstoragecontainers"}
    (right,) = set(controller_rights("init-container")) - set(controller_rights())
    assert {Call(right.verb, right.group, right.resource, right.name, "team")} == more
    assert (right.verb, right.group, right.resource, right.name) in grants("role.yaml")


def reads(client: Client, api: Api) -> set[Call]:
    cluster.rows(client, SETTINGS)
    return {call for call in calls(api) if (call.group, call.resource) not in GOOD_TO_SEE}


def test_role_and_cluster_role_allow_what_is_done_and_read_and_nothing_else(tmp_path: Path) -> None:
    api = whole()
    with opened(api, tmp_path) as client:
        found = reads(client, api)
    # A Namespace is named by the place of the Role itself: kustomize cannot repeat that in a rule.
    inside = {(*call[:3], "" if call.resource == "namespaces" else call.name) for call in found if call.namespace == "team"}
    assert grants("role.yaml") == of_controller() | inside
    assert grants("cluster-role.yaml") == {call[:4] for call in found if call.namespace != "team"}


def test_a_tenant_reads_no_more_than_the_role_allows(tmp_path: Path) -> None:
    api = whole()
    api.refused = {("GET", path): 403 for path in CLUSTER_WIDE}
    with opened(api, tmp_path) as client:
        assert not any(row.is_lacking for row in cluster.rows(client, TENANT))
        inside = {call for call in calls(api) if call.namespace == "team"}
    granted = {grant[:4] for grant in grants("role.yaml")}
    assert {(*call[:3], "" if call.resource == "namespaces" else call.name) for call in inside} <= granted
    assert not [call for call in calls(api) if call.resource == "clusterstoragecontainers"]


def test_a_read_that_nobody_was_given_is_found(tmp_path: Path) -> None:
    api = whole()
    with opened(api, tmp_path) as client:
        before = reads(client, api)
        client.call("GET", "/api/v1/namespaces/team/secrets/perennial-redis")
        assert reads(client, api) == before
        with pytest.raises(NotFoundError):
            client.call("GET", "/api/v1/namespaces/team/secrets/another")
        assert reads(client, api) - before == {Call("get", "", "secrets", "another", "team")}


def test_with_the_rights_of_the_manifests_nothing_that_is_needed_is_hidden(tmp_path: Path) -> None:
    api = whole()
    api.refused = {("GET", path): 403 for path in ("/api/v1/nodes", "/apis/apps/v1/daemonsets")}
    api.refused["GET", "/apis/gateway.networking.k8s.io/v1/gateways"] = 403
    with opened(api, tmp_path) as client:
        found = {row.name: row for row in cluster.rows(client, SETTINGS)}
    assert {name for name, row in found.items() if row.state != "ok"} == {"network policies", "gateway"}
    assert not any(row.is_lacking for row in found.values())
