"""Rows about the cluster: KServe, the installation's own objects, rights, and what would be good to have."""

import json
import re
from collections.abc import Callable
from functools import partial

from cluster.apply import exists, get, list_by_label
from cluster.client import Client, Object, RefusedError
from cluster.rights import missing
from controller.models.definition import API_VERSION, KIND
from controller.preflight.rights import controller_rights
from controller.preflight.row import NotShownError, PreflightRow, asked
from controller.preflight.versions import KSERVE, kserve_is
from perennial.errors import DataError, NotFoundError, SpecError
from perennial.settings import Settings
from serving.deployers.inference_service import RUNTIME, SERVICE_ACCOUNT
from serving.deployers.on_kserve import SERVICES

REACH = "set KUBECONFIG to the kubeconfig of a cluster that runs; `kubectl version` must answer with it"
APPLY = "apply an overlay: kubectl apply --server-side -k k8s/overlays/OVERLAY (k8s/README.md)"
INSTALL = (
    f"install KServe {KSERVE[0].name} to {KSERVE[-1].name} (https://kserve.github.io/website), its definitions by"
    " server-side apply; docs/support.md says which versions were run"
)

DEFINITIONS = {
    "InferenceService": SERVICES[0],
    "ServingRuntime": "serving.kserve.io/v1alpha1",
    "ClusterStorageContainer": "serving.kserve.io/v1alpha1",
}
KSERVE_NAMESPACES = ("kserve", "kubeflow")
"""Where KServe's controller is looked for."""
STANDARD = ("Standard", "RawDeployment")
"""The mode's name, and the name that it had."""
KNATIVE = ("Knative", "Serverless")
"""The other mode's names; it is the default in Kubeflow's distribution. An InferenceService's annotation goes before it."""
NEEDED_OBJECTS = (
    ("ServiceAccount", SERVICE_ACCOUNT),
    ("ConfigMap", "perennial-settings"),
    ("Secret", "perennial-s3"),
    ("Secret", "perennial-redis"),
    ("Secret", "perennial-postgresql"),
)
"""What pods refer to."""
ENFORCERS = ("antrea-agent", "calico-node", "canal", "cilium", "kube-ovn-cni", "kube-router", "ovnkube-node", "weave-net")
"""DaemonSets of network plugins that enforce NetworkPolicies."""


def namespace(client: Client, settings: Settings) -> str:
    """That the namespace is there, and what it demands of pods."""
    manifest = get(client, "v1", "Namespace", _namespace(settings.namespace))
    if manifest is None:
        raise NotFoundError(f"there is no namespace {settings.namespace}")
    enforced = manifest["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce")
    return f"{settings.namespace}; Pod Security {enforced}" if enforced else f"{settings.namespace}; Pod Security is not enforced"


def definitions(client: Client, settings: Settings) -> str:
    """That the API server knows KServe's kinds, in the versions that are written here."""
    needed = {kind: api_version for kind, api_version in DEFINITIONS.items() if kind not in _left_out(settings)}
    for kind, api_version in needed.items():
        client.path(api_version, kind)
    return ", ".join(f"{kind} {api_version.rpartition('/')[2]}" for kind, api_version in needed.items())


def kserve(client: Client, settings: Settings) -> str:  # noqa: ARG001 # all questions are asked alike
    """That KServe's controller runs, and what is known of its version where its image's tag is one."""
    kserve_namespace, _ = _kserve_config(client)
    deployment = get(client, "apps/v1", "Deployment", "kserve-controller-manager", kserve_namespace)
    if deployment is None:
        raise NotFoundError(f"there is no Deployment kserve-controller-manager in {kserve_namespace}")
    image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    if not deployment.get("status", {}).get("readyReplicas"):
        raise DataError(f"{image} in {kserve_namespace} is not ready: kubectl -n {kserve_namespace} describe pods says why")
    found = f"{image.rpartition('/')[2]} in {kserve_namespace}"
    version = re.search(r":v?(\d+)\.(\d+)", image)
    if version is None:
        return f"{found}; its tag is no version: whether it is {KSERVE[0].name} or newer was not seen"
    try:
        return f"{found}: {kserve_is((int(version[1]), int(version[2])))}"
    except DataError as error:
        raise DataError(f"{found} {error}") from error


def mode(client: Client, settings: Settings) -> str:  # noqa: ARG001
    """That KServe's configuration names a mode; ours ask for Standard whatever it is."""
    kserve_namespace, config = _kserve_config(client)
    try:
        deployment_mode = json.loads(config.get("data", {}).get("deploy", "{}")).get("defaultDeploymentMode", "absent")
    except ValueError as error:
        raise DataError(f"{kserve_namespace}/inferenceservice-config: deploy: is no JSON: {error}") from error
    if deployment_mode in KNATIVE:
        return f"{deployment_mode} by default; InferenceServices of ours ask for Standard themselves"
    if deployment_mode not in STANDARD:
        raise DataError(
            f"{kserve_namespace}/inferenceservice-config: deploy.defaultDeploymentMode is {deployment_mode};"
            f" allowed: {', '.join((*STANDARD, *KNATIVE))}"
        )
    return f"{deployment_mode}"


def objects(client: Client, settings: Settings) -> str:
    """That what pods refer to is there; a secret's content is not asked for."""
    space = _namespace(settings.namespace)
    absent = [f"{kind} {name}" for kind, name in NEEDED_OBJECTS if not exists(client, "v1", kind, name, space)]
    places = {"ServingRuntime": space, "ClusterStorageContainer": None}
    kinds = [kind for kind in places if kind not in _left_out(settings)]
    absent += [f"{kind} {RUNTIME}" for kind in kinds if not exists(client, DEFINITIONS[kind], kind, RUNTIME, places[kind])]
    if settings.models_from == "cluster" and not _knows_models(client):
        absent.append(f"the definition of {KIND} ({API_VERSION})")
    if absent:
        raise NotFoundError(f"not in {space}: {', '.join(absent)}")
    return ", ".join((*kinds, *(name for _, name in NEEDED_OBJECTS)))


def _knows_models(client: Client) -> bool:
    """Whether the API server has our kind; a tenant's installation does not bring it."""
    try:
        client.path(API_VERSION, KIND)
    except NotFoundError:
        return False
    return True


def images(client: Client, settings: Settings) -> str:
    """That what serves and what fetches have one image, and whether a node has it already."""
    named = _images(client, settings)
    if len(named) > 1:
        raise DataError(f"serving and fetching are of different releases: {', '.join(sorted(named))}")
    (image,) = named
    try:
        nodes = list_by_label(client, "v1", "Node")
    except RefusedError as error:
        if error.status != 403:
            raise
        return f"{image}; you may not list nodes, so it is unknown which ones have the image"
    having = sum(_has_image(node, image) for node in nodes)
    if not having:
        return f"{image}: none of {len(nodes)} nodes has it yet: it is pulled with the first pod"
    return f"{image}: on {having} of {len(nodes)} nodes"


def rights(client: Client, settings: Settings) -> str:
    """That who asks may do what the controller does, verb by verb."""
    required_rights = controller_rights(settings.fetch, settings.models_from)
    denied = missing(client, _namespace(settings.namespace), required_rights)
    if denied:
        raise DataError(f"may not in {settings.namespace}: {', '.join(map(str, denied))}")
    return f"all {len(required_rights)} in {settings.namespace}"


def metrics(client: Client, settings: Settings) -> str:  # noqa: ARG001
    """Whether pods are measured."""
    try:
        client.path("metrics.k8s.io/v1beta1", "PodMetrics")
    except NotFoundError as error:
        raise NotShownError("there is no metrics API: autoscaling by CPU has nothing to go by") from error
    return "metrics.k8s.io/v1beta1"


def network_policies(client: Client, settings: Settings) -> str:  # noqa: ARG001
    """Whether a network plugin is there that is known to enforce them; whether it does is not tried."""
    daemon_sets = {each["metadata"]["name"] for each in list_by_label(client, "apps/v1", "DaemonSet")}
    enforcers = sorted(daemon_sets & set(ENFORCERS))
    if not enforcers:
        raise NotShownError("no network plugin that is known to enforce NetworkPolicies is seen: they may have no effect")
    return f"{', '.join(enforcers)} is there; enforcement itself was not tried"


def gateway(client: Client, settings: Settings) -> str:  # noqa: ARG001
    """Whether there is a gateway to callers outside the cluster."""
    try:
        gateways = list_by_label(client, "gateway.networking.k8s.io/v1", "Gateway")
    except NotFoundError as error:
        raise NotShownError("there is no Gateway API: models are called inside the cluster only") from error
    if not gateways:
        raise NotShownError("there is no Gateway: models are called inside the cluster only")
    return ", ".join(f"{each['metadata']['namespace']}/{each['metadata']['name']}" for each in gateways)


QUESTIONS: tuple[tuple[str, Callable[[Client, Settings], str], str], ...] = (
    ("KServe's definitions", definitions, INSTALL),
    ("KServe's controller", kserve, INSTALL),
    ("KServe's mode", mode, 'set deploy: {"defaultDeploymentMode": "Standard"} there, and restart its controller'),
    ("namespace", namespace, f"set PERENNIAL_NAMESPACE; {APPLY}"),
    ("objects", objects, f"{APPLY}; secrets are made by who holds them: k8s/README.md lists their keys"),
    ("images", images, APPLY),
    ("rights", rights, "bind the Role perennial-controller to who asks; an overlay brings it"),
    ("metrics", metrics, ""),
    ("network policies", network_policies, ""),
    ("gateway", gateway, ""),
)
"""What is asked of a cluster that answers: the row's name, the question, how to get what is missing."""
GOOD_TO_HAVE = ("metrics", "network policies", "gateway")
"""Rows without which all works: that they are not shown is no failure."""
OUTSIDE = ("KServe's controller", "KServe's mode")
"""Rows about objects outside of the namespace. Where the fetch is an init container, who asks need not see them."""


def rows(client: Client, settings: Settings) -> tuple[PreflightRow, ...]:
    """What a cluster that answers says.

    Args:
        client: of the cluster.
        settings: of the installation.
    """
    optional = GOOD_TO_HAVE if settings.fetch == "storage-container" else (*GOOD_TO_HAVE, *OUTSIDE)
    return tuple(
        asked(name, partial(ask, client, settings), remedy, is_needed=name not in optional) for name, ask, remedy in QUESTIONS
    )


def _namespace(namespace: str | None) -> str:
    if namespace is None:
        raise SpecError("PERENNIAL_NAMESPACE is not set")
    return namespace


def _left_out(settings: Settings) -> tuple[str, ...]:
    """Kinds that an installation does without."""
    return () if settings.fetch == "storage-container" else ("ClusterStorageContainer",)


def _images(client: Client, settings: Settings) -> set[str]:
    """The images that serve and fetch."""
    runtime = get(client, DEFINITIONS["ServingRuntime"], "ServingRuntime", RUNTIME, _namespace(settings.namespace))
    if runtime is None:
        raise NotFoundError("no image is named: the ServingRuntime is missing")
    named = {runtime["spec"]["containers"][0]["image"]}
    if "ClusterStorageContainer" in _left_out(settings):
        return named
    storage = get(client, DEFINITIONS["ClusterStorageContainer"], "ClusterStorageContainer", RUNTIME)
    if storage is None:
        raise NotFoundError("no image is named: the ClusterStorageContainer is missing")
    return named | {storage["spec"]["container"]["image"]}


def _kserve_config(client: Client) -> tuple[str, Object]:
    """KServe's namespace and its configuration."""
    for kserve_namespace in KSERVE_NAMESPACES:
        config_map = get(client, "v1", "ConfigMap", "inferenceservice-config", kserve_namespace)
        if config_map is not None:
            return kserve_namespace, config_map
    raise NotFoundError(f"there is no ConfigMap inferenceservice-config in {' or '.join(KSERVE_NAMESPACES)}")


def _has_image(node: Object, image: str) -> bool:
    named = {name for each in node.get("status", {}).get("images") or [] for name in each.get("names") or []}
    return bool(named & {image, f"docker.io/library/{image}", f"docker.io/{image}"})
