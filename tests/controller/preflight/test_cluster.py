"""Each row about the cluster is shown missing once and there once, on a stand-in for the API server."""

import copy
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cluster.client import Client, Object
from controller.preflight import PreflightRow, clocks, cluster
from controller.preflight.cluster import GOOD_TO_HAVE, OUTSIDE, QUESTIONS
from controller.preflight.preflight import preflight
from controller.preflight.row import SEE, asked
from perennial.settings import Settings
from tests.cluster.api import REVIEWS, Api, kubeconfig, opened, running

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SETTINGS = Settings.from_environment({"PERENNIAL_PROJECT": "/team", "PERENNIAL_NAMESPACE": "team"})
KSERVE_KINDS = {
    "serving.kserve.io/v1beta1": {"InferenceService": ("inferenceservices", True)},
    "serving.kserve.io/v1alpha1": {
        "ServingRuntime": ("servingruntimes", True),
        "ClusterStorageContainer": ("clusterstoragecontainers", False),
    },
}
IMAGE = "registry.example.org/perennial/serving:1"


def whole() -> Api:
    """A cluster on which nothing is missing."""
    api = Api()
    api.kinds |= copy.deepcopy(KSERVE_KINDS)
    api.kinds["metrics.k8s.io/v1beta1"] = {"PodMetrics": ("pods", True)}
    api.kinds["gateway.networking.k8s.io/v1"] = {"Gateway": ("gateways", True)}
    deploy = json.dumps({"defaultDeploymentMode": "Standard"})
    for stored in (
        named("v1", "Namespace", "team", None, metadata={"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}),
        named("v1", "ConfigMap", "inferenceservice-config", "kserve", data={"deploy": deploy}),
        named(
            "apps/v1",
            "Deployment",
            "kserve-controller-manager",
            "kserve",
            spec={"template": {"spec": {"containers": [{"image": "docker.io/kserve/kserve-controller:v0.20.0"}]}}},
            status={"readyReplicas": 1},
        ),
        named("serving.kserve.io/v1alpha1", "ServingRuntime", "perennial", "team", spec={"containers": [{"image": IMAGE}]}),
        named("serving.kserve.io/v1alpha1", "ClusterStorageContainer", "perennial", None, spec={"container": {"image": IMAGE}}),
        named("v1", "ServiceAccount", "perennial-serving", "team"),
        named("v1", "ConfigMap", "perennial-settings", "team"),
        named("v1", "Secret", "perennial-s3", "team"),
        named("v1", "Secret", "perennial-redis", "team"),
        named("v1", "Secret", "perennial-postgresql", "team"),
        named("v1", "Node", "one", None, status={"images": [{"names": [IMAGE]}]}),
        named("v1", "Node", "two", None),
        named("apps/v1", "DaemonSet", "calico-node", "kube-system"),
        named("gateway.networking.k8s.io/v1", "Gateway", "front", "kserve"),
    ):
        api.keep(stored)
    return api


def named(
    api_version: str, kind: str, name: str, namespace: str | None, metadata: Object | None = None, **rest: Object
) -> Object:
    place = {"namespace": namespace} if namespace else {}
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, **place, **(metadata or {})}, **rest}


def row(api: Api, name: str, folder: Path, settings: Settings = SETTINGS) -> PreflightRow:
    with opened(api, folder) as client:
        (found,) = [each for each in cluster.rows(client, settings) if each.name == name]
        return found


def rows(api: Api, folder: Path) -> dict[str, PreflightRow]:
    with running(api) as address:
        environment = {"KUBECONFIG": str(kubeconfig(folder / "kubeconfig", address)), "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
        return {each.name: each for each in preflight(SETTINGS, environment, lambda: api.time or NOW)}


def forget(api: Api, path: str) -> None:
    del api.objects[path]


def kserve_mode(api: Api, mode: str) -> None:
    api.objects["/api/v1/namespaces/kserve/configmaps/inferenceservice-config"]["data"]["deploy"] = mode


def unready(api: Api) -> None:
    api.objects["/apis/apps/v1/namespaces/kserve/deployments/kserve-controller-manager"]["status"] = {}


def of_version(api: Api, tag: str) -> None:
    pod = api.objects["/apis/apps/v1/namespaces/kserve/deployments/kserve-controller-manager"]["spec"]["template"]["spec"]
    pod["containers"][0]["image"] = f"docker.io/kserve/kserve-controller:{tag}"


def other_image(api: Api) -> None:
    kept = api.objects["/apis/serving.kserve.io/v1alpha1/clusterstoragecontainers/perennial"]
    kept["spec"]["container"]["image"] = f"{IMAGE}1"


def deny(api: Api) -> None:
    api.denied = {"patch inferenceservices.serving.kserve.io", "create events", "delete pods"}


CONFIG = "/api/v1/namespaces/kserve/configmaps/inferenceservice-config"
MANAGER = "/apis/apps/v1/namespaces/kserve/deployments/kserve-controller-manager"
RUNTIME = "/apis/serving.kserve.io/v1alpha1/namespaces/team/servingruntimes/perennial"
TEAM = "/api/v1/namespaces/team"
MISSING: tuple[tuple[str, Callable[[Api], object], str], ...] = (
    ("KServe's definitions", lambda api: api.kinds.pop("serving.kserve.io/v1beta1"), "does not know serving.kserve.io/v1beta1"),
    (
        "KServe's definitions",
        lambda api: api.kinds["serving.kserve.io/v1alpha1"].pop("ServingRuntime"),
        "has no kind ServingRuntime",
    ),
    ("KServe's controller", lambda api: forget(api, CONFIG), "no ConfigMap inferenceservice-config in kserve or kubeflow"),
    ("KServe's controller", lambda api: forget(api, MANAGER), "no Deployment kserve-controller-manager in kserve"),
    (
        "KServe's controller",
        lambda api: of_version(api, "v0.9.3"),
        "kserve-controller:v0.9.3 in kserve is too old; needed: 0.18 or newer; "
        "it lacks storage containers (since 0.11), the mode Standard (since 0.16)",
    ),
    ("KServe's controller", lambda api: of_version(api, "v0.17.0"), "needed: 0.18 or newer; nobody checked its definitions"),
    ("KServe's controller", unready, "kserve-controller:v0.20.0 in kserve is not ready"),
    (
        "KServe's mode",
        lambda api: kserve_mode(api, '{"defaultDeploymentMode": "Mesh"}'),
        "is Mesh; allowed: Standard, RawDeployment, Knative, Serverless",
    ),
    ("KServe's mode", lambda api: kserve_mode(api, "{}"), "is absent; allowed: Standard, "),
    ("KServe's mode", lambda api: kserve_mode(api, "{"), "is no JSON"),
    ("namespace", lambda api: forget(api, TEAM), "there is no namespace team"),
    ("objects", lambda api: forget(api, f"{TEAM}/secrets/perennial-s3"), "not in team: Secret perennial-s3"),
    (
        "objects",
        lambda api: forget(api, "/apis/serving.kserve.io/v1alpha1/clusterstoragecontainers/perennial"),
        "not in team: ClusterStorageContainer perennial",
    ),
    ("objects", lambda api: forget(api, f"{TEAM}/secrets/perennial-postgresql"), "not in team: Secret perennial-postgresql"),
    ("images", lambda api: forget(api, RUNTIME), "no image is named"),
    ("images", other_image, "serving and fetching are of different releases"),
    ("rights", deny, "may not in team: create events, patch inferenceservices.serving.kserve.io"),
)
REFUSED = (
    ("KServe's definitions", "GET /apis/serving.kserve.io/v1beta1"),
    ("KServe's controller", f"GET {CONFIG}"),
    ("KServe's controller", f"GET {MANAGER}"),
    ("KServe's mode", f"GET {CONFIG}"),
    ("namespace", f"GET {TEAM}"),
    ("objects", f"GET {TEAM}/serviceaccounts/perennial-serving"),
    ("objects", f"GET {TEAM}/configmaps/perennial-settings"),
    ("objects", f"GET {TEAM}/secrets/perennial-postgresql"),
    ("objects", "GET /apis/serving.kserve.io/v1alpha1/clusterstoragecontainers/perennial"),
    ("images", f"GET {RUNTIME}"),
    ("rights", f"POST {REVIEWS}"),
)
"""Rows that are needed, and what they ask."""
METRICS = "/apis/metrics.k8s.io/v1beta1"
DAEMON_SETS = "/apis/apps/v1/daemonsets"
GATEWAYS = "/apis/gateway.networking.k8s.io/v1/gateways"
NOT_SHOWN: tuple[tuple[str, Callable[[Api], object], str], ...] = (
    ("metrics", lambda api: api.kinds.pop("metrics.k8s.io/v1beta1"), "there is no metrics API"),
    ("metrics", lambda api: api.refused.update({("GET", METRICS): 503}), "refused with 503"),
    ("network policies", lambda api: api.refused.update({("GET", DAEMON_SETS): 403}), "who asks may not see it"),
    ("gateway", lambda api: api.refused.update({("GET", GATEWAYS): 403}), "who asks may not see it"),
    (
        "network policies",
        lambda api: forget(api, "/apis/apps/v1/namespaces/kube-system/daemonsets/calico-node"),
        "they may have no effect",
    ),
    ("gateway", lambda api: api.kinds.pop("gateway.networking.k8s.io/v1"), "there is no Gateway API"),
    (
        "gateway",
        lambda api: forget(api, "/apis/gateway.networking.k8s.io/v1/namespaces/kserve/gateways/front"),
        "there is no Gateway:",
    ),
)


@pytest.mark.parametrize(("name", "spoil", "said"), MISSING)
def test_what_is_missing_is_named_with_how_to_get_it(
    name: str, spoil: Callable[[Api], object], said: str, tmp_path: Path
) -> None:
    api = whole()
    spoil(api)
    found = row(api, name, tmp_path)
    assert found.state == "missing" and said in found.found
    assert found.remedy


@pytest.mark.parametrize(("name", "spoil", "said"), NOT_SHOWN)
def test_what_is_only_good_to_have_is_no_failure(name: str, spoil: Callable[[Api], object], said: str, tmp_path: Path) -> None:
    api = whole()
    spoil(api)
    found = row(api, name, tmp_path)
    assert found.state == "not shown" and said in found.found and not found.remedy and not found.is_lacking


@pytest.mark.parametrize(("name", "call"), REFUSED)
def test_what_is_needed_and_may_not_be_seen_is_a_failure_that_says_who_may(name: str, call: str, tmp_path: Path) -> None:
    method, _, path = call.partition(" ")
    api = whole()
    api.refused = {(method, path): 403}
    found = row(api, name, tmp_path)
    assert found.state == "not shown" and found.is_lacking and found.remedy == SEE
    assert found.found == "who asks may not see it: refused by the test"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda api: forget(api, "/api/v1/nodes/one"), f"{IMAGE}: none of 1 nodes has it yet: it is pulled with the first pod"),
        (
            lambda api: api.refused.update({("GET", "/api/v1/nodes"): 403}),
            f"{IMAGE}; you may not list nodes, so it is unknown which ones have the image",
        ),
    ],
)
def test_an_image_may_be_on_no_node_or_on_nodes_that_are_not_seen(
    spoil: Callable[[Api], object], said: str, tmp_path: Path
) -> None:
    api = whole()
    spoil(api)
    found = row(api, "images", tmp_path)
    assert (found.state, found.found) == ("ok", said)


def test_on_a_whole_cluster_nothing_of_it_is_missing(tmp_path: Path) -> None:
    found = {name: each for name, each in rows(whole(), tmp_path).items() if name in {name for name, _, _ in QUESTIONS}}
    assert len(found) == len(QUESTIONS)
    assert {name: each.state for name, each in found.items()} == dict.fromkeys(found, "ok")
    assert found["images"].found == f"{IMAGE}: on 1 of 2 nodes"
    assert found["namespace"].found == "team; Pod Security restricted"
    assert found["KServe's controller"].found == "kserve-controller:v0.20.0 in kserve: run here"
    assert found["KServe's mode"].found == "Standard"


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ("v0.18.0", "kserve-controller:v0.18.0 in kserve: its definitions were checked, it was not run here"),
        ("v0.19.3", "kserve-controller:v0.19.3 in kserve: its definitions were checked, it was not run here"),
        ("v0.20.0-rc1", "kserve-controller:v0.20.0-rc1 in kserve: run here"),
        ("0.21", "kserve-controller:0.21 in kserve: its definitions were checked, it was not run here"),
        ("v0.22.0", "kserve-controller:v0.22.0 in kserve: newer than what was tried (0.18 to 0.21)"),
        ("v1.0.0", "kserve-controller:v1.0.0 in kserve: newer than what was tried (0.18 to 0.21)"),
        ("latest", "kserve-controller:latest in kserve; its tag is no version: whether it is 0.18 or newer was not seen"),
    ],
)
def test_what_is_known_of_a_version_is_said_and_no_refusal(tag: str, said: str, tmp_path: Path) -> None:
    api = whole()
    of_version(api, tag)
    found = row(api, "KServe's controller", tmp_path)
    assert (found.state, found.found) == ("ok", said)


@pytest.mark.parametrize("mode", ["Knative", "Serverless"])
def test_a_default_of_another_mode_is_said_and_no_refusal(mode: str, tmp_path: Path) -> None:
    api = whole()
    kserve_mode(api, json.dumps({"defaultDeploymentMode": mode}))
    found = row(api, "KServe's mode", tmp_path)
    assert (found.state, found.found) == ("ok", f"{mode} by default; InferenceServices of ours ask for Standard themselves")


TENANT = SETTINGS.model_copy(update={"fetch": "init-container"})


def of_a_tenant() -> Api:
    """A cluster on which a team without any right on the whole of it lacks nothing."""
    api = whole()
    forget(api, "/apis/serving.kserve.io/v1alpha1/clusterstoragecontainers/perennial")
    api.refused = {("GET", path): 403 for path in (CONFIG, "/api/v1/nodes", DAEMON_SETS, GATEWAYS)}
    return api


def test_a_tenant_lacks_nothing_without_objects_of_the_whole_cluster(tmp_path: Path) -> None:
    with opened(of_a_tenant(), tmp_path) as client:
        found = {each.name: each for each in cluster.rows(client, TENANT)}
    assert not any(each.is_lacking for each in found.values())
    assert {name for name, each in found.items() if each.state != "ok"} == {*OUTSIDE, "network policies", "gateway"}
    assert found["KServe's definitions"].found == "InferenceService v1beta1, ServingRuntime v1alpha1"
    assert found["objects"].found.startswith("ServingRuntime, perennial-serving, ")
    assert found["images"].found.startswith(f"{IMAGE}; you may not list nodes")
    assert found["rights"].found == "all 14 in team"


def test_whoever_fetches_by_a_storage_container_lacks_all_of_that(tmp_path: Path) -> None:
    with opened(of_a_tenant(), tmp_path) as client:
        found = {each.name: each for each in cluster.rows(client, SETTINGS)}
    assert {name for name, each in found.items() if each.is_lacking} == {*OUTSIDE, "objects", "images"}
    assert found["rights"].found == "all 13 in team"


@pytest.mark.parametrize(
    ("name", "spoil", "said"),
    [
        ("KServe's controller", lambda api: of_version(api, "v0.15.0"), "too old; needed: 0.18 or newer"),
        ("objects", lambda api: forget(api, RUNTIME), "not in team: ServingRuntime perennial"),
        ("images", lambda api: forget(api, RUNTIME), "no image is named: the ServingRuntime is missing"),
        (
            "rights",
            lambda api: api.denied.add("get servingruntimes.serving.kserve.io perennial"),
            "may not in team: get servingruntimes.serving.kserve.io perennial",
        ),
    ],
)
def test_what_a_tenant_lacks_is_named(name: str, spoil: Callable[[Api], object], said: str, tmp_path: Path) -> None:
    api = whole()
    spoil(api)
    found = row(api, name, tmp_path, TENANT)
    assert found.state == "missing" and said in found.found and found.is_lacking


def test_the_definition_of_models_is_asked_for_where_models_are_objects(tmp_path: Path) -> None:
    api, followed = whole(), SETTINGS.model_copy(update={"models_from": "cluster"})
    assert not row(api, "objects", tmp_path).is_lacking
    found = row(api, "objects", tmp_path, followed)
    assert found.is_lacking and "the definition of Model (perennial.dev/v1alpha1)" in found.found
    api.kinds["perennial.dev/v1alpha1"] = {"Model": ("models", True)}
    assert not row(api, "objects", tmp_path, followed).is_lacking
    api.denied = {"list models.perennial.dev"}
    assert not row(api, "rights", tmp_path).is_lacking
    assert "list models.perennial.dev" in row(api, "rights", tmp_path, followed).found


def test_no_secret_is_read(tmp_path: Path) -> None:
    api = whole()
    for name in ("perennial-s3", "perennial-redis"):
        api.objects[f"/api/v1/namespaces/team/secrets/{name}"]["data"] = {"KEY": "Y2FuYXJ5"}
    assert row(api, "objects", tmp_path).state == "ok"
    assert api.secrets_read == 0
    with opened(api, tmp_path) as client:
        client.call("GET", "/api/v1/namespaces/team/secrets/perennial-s3")
    assert api.secrets_read == 1


def test_every_table_covers_every_row() -> None:
    needed = {name for name, _, _ in QUESTIONS} - set(GOOD_TO_HAVE)
    assert {name for name, _, _ in MISSING} == {name for name, _ in REFUSED} == needed
    assert {name for name, _, _ in NOT_SHOWN} == set(GOOD_TO_HAVE)
    assert len(needed) + len(GOOD_TO_HAVE) == len(QUESTIONS)


def test_without_a_namespace_what_needs_one_is_missing(tmp_path: Path) -> None:
    settings = Settings.from_environment({"PERENNIAL_PROJECT": "/team"})
    for name in ("namespace", "objects", "images", "rights"):
        found = row(whole(), name, tmp_path, settings)
        assert (found.state, found.found) == ("missing", "PERENNIAL_NAMESPACE is not set")


def test_a_cluster_that_does_not_answer_is_one_missing_row(tmp_path: Path) -> None:
    with running(whole()) as address:
        file = kubeconfig(tmp_path / "kubeconfig", address)
    for environment in ({"KUBECONFIG": str(file)}, {"KUBECONFIG": str(tmp_path / "absent")}):
        found = preflight(SETTINGS, environment | {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, lambda: NOW)
        assert found[0].name == "API server" and found[0].state == "missing" and "KUBECONFIG" in found[0].remedy
        silent = found[1 : len(QUESTIONS) + 2]
        assert {each.found for each in silent} == {"the API server does not answer"} and silent[-1].name == "clock of the cluster"


@pytest.mark.parametrize(("seconds", "said"), [(60, "is 60 s ahead of ours"), (-60, "is 59 s behind ours")])
def test_a_clock_that_is_wrong_is_named(seconds: int, said: str, client: Client, api: Api) -> None:
    api.time = NOW + timedelta(seconds=seconds)
    found = asked("clock of the cluster", lambda: clocks.of_cluster(client, lambda: NOW), clocks.SET)
    assert found.state == "missing" and said in found.found and "NTP" in found.remedy
    api.time = NOW
    assert asked("clock of the cluster", lambda: clocks.of_cluster(client, lambda: NOW), clocks.SET).state == "ok"


@pytest.fixture
def api() -> Api:
    return whole()


@pytest.fixture
def client(api: Api, tmp_path: Path) -> Iterator[Client]:
    with opened(api, tmp_path) as made:
        yield made
