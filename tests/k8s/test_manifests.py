"""The objects that `k8s/` renders: references, images, rights, secrets, bounds."""

import copy
import os
import re
import tempfile
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from controller.preflight.rights import FOLLOWING, NEEDED
from perennial.errors import SpecError
from perennial.settings import PREFIX, STORES, Settings
from tests.k8s.rendered import COMPONENTS, K8S, OVERLAYS, ROOT, Object, component, containers, of_kind, overlay, pods, render

SECRETS = {
    "perennial-s3": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    "perennial-redis": ("REDISCLI_AUTH",),
    "perennial-postgresql": ("PGPASSWORD",),
}
"""What an installation needs and the tree does not hold: made before, as `k8s/README.md` says."""
PROJECT = ("perennial-project-models", "perennial-project-definitions")
"""ConfigMaps with a team's project, likewise."""
CONTROLLERS = ("Deployment/controller", "Deployment/workbench")
"""Pods with a controller's rights: one ticks, in the other people type."""
CLUSTER_SCOPED = {"Namespace", "ClusterStorageContainer", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
KINDS_OF_SECRETS = re.compile(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY|AUTH\b")


def rendered(name: str) -> tuple[Object, ...]:
    """Objects of `overlays/<name>` or `components/<name>`."""
    kind, _, rest = name.partition("/")
    return overlay(rest) if kind == "overlays" else component(rest)


ALL = [*(f"overlays/{name}" for name in OVERLAYS), *(f"components/{name}" for name in COMPONENTS)]
TENANT = "components/tenant"
"""The one that holds nothing of the whole cluster."""
WHOLE = [name for name in ALL if name != TENANT]


def test_the_tree_holds_what_it_should() -> None:
    assert OVERLAYS == ("lab", "production")
    parts = ("controller", "grafana", "kubeflow", "mlflow", "models", "monitoring", "tenant", "workbench")
    assert tuple(sorted((*parts, "postgresql", "redis", "s3"))) == COMPONENTS


@pytest.mark.parametrize("name", ALL)
def test_one_namespace_is_the_whole_installation(name: str) -> None:
    objects = rendered(name)
    namespace = of_kind(objects, "ConfigMap")["perennial-settings"]["data"]["PERENNIAL_NAMESPACE"]
    for each in objects:
        inside = each["metadata"].get("namespace")
        assert inside == (None if each["kind"] in CLUSTER_SCOPED else namespace), each["metadata"]
        assert each["metadata"]["labels"]["app.kubernetes.io/part-of"] == "perennial"


@pytest.mark.parametrize("name", WHOLE)
def test_the_namespace_is_restricted(name: str) -> None:
    objects = rendered(name)
    (namespace,) = of_kind(objects, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert of_kind(objects, "ConfigMap")["perennial-settings"]["data"]["PERENNIAL_NAMESPACE"] == namespace["metadata"]["name"]


def for_a_tenant() -> tuple[Object, ...]:
    """The overlay that `k8s/README.md` shows a team without rights on the whole cluster, beside the others."""
    text = (K8S / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^cat >k8s/overlays/payments/kustomization.yaml <<END\n(.*?)^END$", text, re.MULTILINE | re.DOTALL)
    with tempfile.TemporaryDirectory() as folder:
        there = os.path.relpath(K8S, Path(folder).resolve())
        written = re.sub(r"\.\./(\.\./)?(?=components|transformers|production)", lambda _: f"{there}/", shown)
        written = written.replace(f"{there}/production", f"{there}/overlays/production")
        (Path(folder) / "kustomization.yaml").write_text(written, encoding="utf-8")
        return render(Path(folder))


def test_a_tenant_makes_objects_in_the_namespace_only() -> None:
    for objects, namespace in ((rendered(TENANT), "perennial"), (for_a_tenant(), "payments")):
        assert not {each["kind"] for each in objects} & CLUSTER_SCOPED
        assert {each["metadata"]["namespace"] for each in objects} == {namespace}
        data = of_kind(objects, "ConfigMap")["perennial-settings"]["data"]
        assert (data["PERENNIAL_FETCH"], data["PERENNIAL_NAMESPACE"]) == ("init-container", namespace)
        (binding,) = of_kind(objects, "RoleBinding").values()
        assert binding["subjects"][0]["namespace"] == namespace
        assert "perennial.dev" not in str(of_kind(objects, "Role")), "who applies it has no right on Models to hand on"


@pytest.mark.parametrize("name", WHOLE)
def test_the_others_fetch_by_a_storage_container(name: str) -> None:
    objects = rendered(name)
    assert "PERENNIAL_FETCH" not in of_kind(objects, "ConfigMap")["perennial-settings"]["data"]
    assert set(of_kind(objects, "ClusterStorageContainer")) == {"perennial"}


@pytest.mark.parametrize("name", ALL)
def test_no_object_is_there_twice(name: str) -> None:
    counted = Counter((each["kind"], each["metadata"]["name"]) for each in rendered(name))
    assert max(counted.values()) == 1, counted.most_common(1)


def unnamed(image: str) -> str | None:
    """What is wrong with an image's name; None when it says which image is meant."""
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    if digest:
        return None if re.fullmatch(r"sha256:[0-9a-f]{64}", digest) else "is no digest"
    return "has neither tag nor digest" if not tag else "is latest" if tag == "latest" else None


def test_a_name_that_means_no_image_is_found() -> None:
    assert [unnamed(name) for name in ("a/b", "r:5000/a", "a:latest", "a@sha256:12")] == [
        "has neither tag nor digest",
        "has neither tag nor digest",
        "is latest",
        "is no digest",
    ]
    assert [unnamed(name) for name in ("a/b:1", "a@sha256:" + "0" * 64, "r:5000/a:1")] == [None, None, None]


@pytest.mark.parametrize("name", ALL)
def test_images_are_named(name: str) -> None:
    for pod, template in pods(rendered(name)).items():
        for container in containers(template):
            assert unnamed(container["image"]) is None, f"{pod}: {container['image']}"
            assert container.get("imagePullPolicy", "IfNotPresent") == "IfNotPresent"


def test_public_images_are_pinned_by_digest_in_components_only() -> None:
    for file in K8S.glob("**/*.yaml"):
        for image in re.findall(r"^\s*-? *image: *(\S+)", file.read_text(encoding="utf-8"), re.MULTILINE):
            assert image in ("perennial/serving", "perennial/steps") or "@sha256:" in image, f"{file}: {image}"


@pytest.mark.parametrize("name", OVERLAYS)
def test_one_serving_image_fetches_and_serves(name: str) -> None:
    template = pods(overlay(name))["ServingRuntime/perennial"]
    assert len({container["image"] for container in containers(template)}) == 1


@pytest.mark.parametrize("pod", ["ServingRuntime/perennial", *CONTROLLERS])
def test_production_runs_the_release_of_this_tree(pod: str) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert pods(overlay("production"))[pod]["spec"]["containers"][0]["image"].endswith(f":{version}")


def dangling(objects: tuple[Object, ...]) -> list[str]:
    """What pod templates and bindings refer to and is neither among the objects nor a prerequisite."""
    maps, found = of_kind(objects, "ConfigMap"), []
    accounts, claims = of_kind(objects, "ServiceAccount"), of_kind(objects, "PersistentVolumeClaim")
    for pod, template in pods(objects).items():
        spec = template["spec"]
        if spec.get("serviceAccountName", "default") not in {"default", *accounts}:
            found.append(f"{pod}: ServiceAccount {spec['serviceAccountName']}")
        for volume in spec.get("volumes", []):
            if "configMap" in volume and volume["configMap"]["name"] not in {*maps, *PROJECT}:
                found.append(f"{pod}: ConfigMap {volume['configMap']['name']}")
            if "persistentVolumeClaim" in volume and volume["persistentVolumeClaim"]["claimName"] not in claims:
                found.append(f"{pod}: claim {volume['persistentVolumeClaim']['claimName']}")
            if "secret" in volume:
                found.append(f"{pod}: a secret as a volume")
        for container in containers(template):
            found += [f"{pod}: {missing}" for missing in _dangling_variables(container, maps)]
    return found


def _dangling_variables(container: Object, maps: dict[str, Object]) -> list[str]:
    found = []
    for source in container.get("envFrom", []):
        if "configMapRef" in source and source["configMapRef"]["name"] not in maps:
            found.append(f"ConfigMap {source['configMapRef']['name']}")
        if "secretRef" in source and source["secretRef"]["name"] not in SECRETS:
            found.append(f"Secret {source['secretRef']['name']}")
    for variable in container.get("env", []):
        key = variable.get("valueFrom", {}).get("configMapKeyRef")
        if key and key["key"] not in maps.get(key["name"], {}).get("data", {}):
            found.append(f"key {key['key']} of ConfigMap {key['name']}")
        if "secretKeyRef" in variable.get("valueFrom", {}):
            found.append(f"{variable['name']}: secrets are given whole, by envFrom")
    return found


@pytest.mark.parametrize("name", ALL)
def test_whatever_is_referred_to_is_there(name: str) -> None:
    assert dangling(rendered(name)) == []


def test_a_reference_to_nothing_is_found() -> None:
    objects = tuple(each for each in overlay("lab") if each["metadata"]["name"] not in ("s3-start", "perennial-settings"))
    assert "StatefulSet/s3: ConfigMap s3-start" in dangling(objects)
    assert "StatefulSet/s3: key PERENNIAL_BUCKET of ConfigMap perennial-settings" in dangling(objects)
    assert "ServingRuntime/perennial: ConfigMap perennial-settings" in dangling(objects)


def exposed(objects: tuple[Object, ...]) -> list[str]:
    """Secrets that stand among the objects instead of being referred to."""
    found = [f"Secret {name}" for name in of_kind(objects, "Secret")]
    for name, each in of_kind(objects, "ConfigMap").items():
        found += [f"ConfigMap {name}: {key}" for key in each["data"] if KINDS_OF_SECRETS.search(key.upper())]
    for pod, template in pods(objects).items():
        for container in containers(template):
            names = [variable["name"] for variable in container.get("env", []) if "value" in variable]
            found += [f"{pod}: {name}" for name in names if KINDS_OF_SECRETS.search(name)]
    return found


@pytest.mark.parametrize("name", ALL)
def test_secrets_are_references(name: str) -> None:
    assert exposed(rendered(name)) == []


def test_a_secret_in_the_open_is_found() -> None:
    objects = copy.deepcopy(overlay("lab"))
    of_kind(objects, "ConfigMap")["perennial-settings"]["data"]["PGPASSWORD"] = "x"
    containers(pods(objects)["StatefulSet/s3"])[0]["env"].append({"name": "AWS_SECRET_ACCESS_KEY", "value": "x"})
    assert exposed(objects) == ["ConfigMap perennial-settings: PGPASSWORD", "StatefulSet/s3: AWS_SECRET_ACCESS_KEY"]


def test_the_readme_says_how_each_secret_is_made() -> None:
    text = (K8S / "README.md").read_text(encoding="utf-8")
    for name, keys in SECRETS.items():
        assert all(f"{name}" in text and key in text for key in keys), name
    assert all(f"create configmap {name}" in text for name in PROJECT)


@pytest.mark.parametrize("name", OVERLAYS)
def test_settings_are_taken_by_the_program(name: str) -> None:
    data = of_kind(overlay(name), "ConfigMap")["perennial-settings"]["data"]
    settings = Settings.from_environment({key: value for key, value in data.items() if key.startswith(PREFIX)})
    assert settings.namespace == "perennial"
    assert settings.bucket is not None
    assert settings.online_store.startswith("redis")
    assert settings.ledger.startswith("postgresql+psycopg://")
    assert settings.feature_registry != settings.ledger


def stage(name: str) -> dict[str, str]:
    """Our variables that a stage of the Containerfile sets itself."""
    text = (ROOT / "Containerfile").read_text(encoding="utf-8")
    (body,) = re.findall(rf"^FROM \S+ AS {name}\n(.*?)(?=^FROM |\Z)", text, re.MULTILINE | re.DOTALL)
    return dict(re.findall(rf"\b({PREFIX}\w+)=(\S+)", body))


def test_the_steps_image_alone_refuses_embedded_stores() -> None:
    assert stage("steps") == {"PERENNIAL_EMBEDDED": "never"}
    assert stage("serving") == {}


@pytest.mark.parametrize("pod", CONTROLLERS)
@pytest.mark.parametrize("name", OVERLAYS)
def test_controller_and_workbench_have_a_setting_for_every_store(name: str, pod: str) -> None:
    objects = overlay(name)
    (container,) = containers(pods(objects)[pod])
    assert {"configMapRef": {"name": "perennial-settings"}} in container["envFrom"]
    own = {variable["name"]: variable["value"] for variable in container["env"]}
    data = of_kind(objects, "ConfigMap")["perennial-settings"]["data"]
    there = stage("steps") | {key: value for key, value in data.items() if key.startswith(PREFIX)} | own
    assert Settings.from_environment(there).embedded == "never"
    for store in STORES:
        variable = PREFIX + store.upper()
        with pytest.raises(SpecError, match=f"not set: {variable};"):
            Settings.from_environment({key: value for key, value in there.items() if key != variable})


def granted(role: Object) -> dict[tuple[str, str], tuple[str, ...]]:
    """Verbs of a Role by group and resource, but for the rules that name one object."""
    return {
        (group, resource): tuple(sorted(rule["verbs"]))
        for rule in role["rules"]
        if not is_named(rule)
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def is_named(rule: Object) -> bool:
    return "resourceNames" in rule or rule["resources"] == ["namespaces"]


@pytest.mark.parametrize("name", ALL)
def test_rights_are_exactly_what_the_controller_does(name: str) -> None:
    objects = rendered(name)
    roles, bindings = of_kind(objects, "Role"), of_kind(objects, "RoleBinding")
    assert granted(roles["perennial-controller"]) == {key: tuple(sorted(verbs)) for key, verbs in NEEDED.items()}
    if name != TENANT:
        assert granted(roles["perennial-models"]) == {key: tuple(sorted(verbs)) for key, verbs in FOLLOWING.items()}
    rules = [rule for role in roles.values() for rule in role["rules"]]
    assert all(rule["verbs"] == ["get"] for rule in rules if is_named(rule))
    assert not any("*" in value for rule in rules for values in rule.values() for value in values)
    assert {binding: found["roleRef"]["name"] for binding, found in bindings.items()} == {role: role for role in roles}
    subjects = [subject["name"] for found in bindings.values() for subject in found["subjects"]]
    assert set(subjects) == {"perennial-controller"}


def test_who_reads_models_of_the_cluster_can_write_their_files() -> None:
    """A ConfigMap's folder cannot be written; the component puts another volume in its place."""
    with tempfile.TemporaryDirectory() as folder:
        there = os.path.relpath(K8S, Path(folder).resolve())
        lines = [f"resources: [{there}/overlays/lab]", f"components: [{there}/components/models]"]
        (Path(folder) / "kustomization.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
        objects = render(Path(folder))
    assert of_kind(objects, "ConfigMap")["perennial-settings"]["data"]["PERENNIAL_MODELS_FROM"] == "cluster"
    pod = of_kind(objects, "Deployment")["controller"]["spec"]["template"]["spec"]
    (mount,) = (one for one in pod["containers"][0]["volumeMounts"] if one["name"] == "models")
    (volume,) = (one for one in pod["volumes"] if one["name"] == "models")
    assert (mount["mountPath"], mount.get("readOnly", False), set(volume)) == ("/project/models", False, {"name", "emptyDir"})


@pytest.mark.parametrize("name", WHOLE)
def test_outside_the_namespace_only_named_objects_are_read(name: str) -> None:
    roles = of_kind(rendered(name), "ClusterRole")
    assert set(roles) == {"perennial-preflight", "perennial-view", "perennial-edit"}
    for rule in roles["perennial-preflight"]["rules"]:
        assert rule["verbs"] == ["get"] and rule["resourceNames"]
        assert not any("*" in value for values in rule.values() for value in values)


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize(
    ("role", "verbs"), [("view", ["get", "list", "watch"]), ("edit", ["create", "delete", "patch", "update"])]
)
def test_who_may_view_or_edit_a_namespace_may_do_so_with_its_models(name: str, role: str, verbs: list[str]) -> None:
    found = of_kind(rendered(name), "ClusterRole")[f"perennial-{role}"]
    assert found["rules"] == [{"apiGroups": ["perennial.dev"], "resources": ["models"], "verbs": verbs}]
    aggregated = {key for key, value in found["metadata"]["labels"].items() if value == "true"}
    assert aggregated == {
        f"rbac.authorization.k8s.io/aggregate-to-{role}",
        f"rbac.authorization.kubeflow.org/aggregate-to-kubeflow-{role}",
    }


def test_what_is_of_the_whole_cluster_is_the_same_for_each_installation() -> None:
    kinds = ("ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition")
    first, *others = [[of_kind(rendered(name), kind) for kind in kinds] for name in WHOLE]
    assert all(other == first for other in others)
    with tempfile.TemporaryDirectory() as folder:
        there = os.path.relpath(K8S, Path(folder).resolve())
        text = f"namespace: another\nresources: [{there}/base]\ntransformers: [{there}/transformers]\n"
        (Path(folder) / "kustomization.yaml").write_text(text, encoding="utf-8")
        assert [of_kind(render(Path(folder)), kind) for kind in kinds] == first
    (binding,) = first[1].values()
    assert binding["roleRef"]["kind"] == "ClusterRole" and binding["roleRef"]["name"] in first[0]
    assert [(each["kind"], each["name"]) for each in binding["subjects"]] == [("Group", "system:serviceaccounts")]


@pytest.mark.parametrize("name", ALL)
def test_no_pod_but_controller_and_workbench_has_a_token(name: str) -> None:
    objects = rendered(name)
    assert all(each["automountServiceAccountToken"] is False for each in of_kind(objects, "ServiceAccount").values())
    for pod, template in pods(objects).items():
        assert template["spec"]["automountServiceAccountToken"] is (pod in CONTROLLERS), pod
        # Kubernetes would make a variable of every service's name, and ours begin with PERENNIAL_.
        assert template["spec"]["enableServiceLinks"] is False, pod


@pytest.mark.parametrize("name", ALL)
def test_pods_write_to_volumes_of_bounded_size_only(name: str) -> None:
    for pod, template in pods(rendered(name)).items():
        for container in containers(template):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, pod
            user = container["securityContext"].get("runAsUser", template["spec"].get("securityContext", {}).get("runAsUser"))
            assert user in (10001, 999), pod
            assert {"cpu", "memory", "ephemeral-storage"} == set(container["resources"]["requests"]), pod
            assert {"cpu", "memory", "ephemeral-storage"} == set(container["resources"]["limits"]), pod
        for volume in template["spec"]["volumes"]:
            assert "emptyDir" not in volume or "sizeLimit" in volume["emptyDir"], f"{pod}: {volume['name']}"


@pytest.mark.parametrize("name", ALL)
def test_ports_have_names_and_probes_go_by_them(name: str) -> None:
    for pod, template in pods(rendered(name)).items():
        if pod == "Deployment/workbench":
            assert not {"ports", "readinessProbe", "livenessProbe"} & set(template["spec"]["containers"][0])  # it only waits
            continue
        for container in template["spec"]["containers"]:
            ports = {port["name"] for port in container["ports"]}
            assert {"startupProbe", "readinessProbe", "livenessProbe"} - set(container) <= {"startupProbe"}, pod
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                call = container.get(probe, {})
                assert {call[way]["port"] for way in ("httpGet", "tcpSocket") if way in call} <= ports, f"{pod}: {probe}"


def outcommented(text: str) -> list[str]:
    """Lines of a manifest or Containerfile that are out of use: comments that would be YAML or an instruction."""
    comments = re.findall(r"^\s*#+ ?(.*)$|\s#+ ?(.*)$", text, re.MULTILINE)
    found = [whole or tail for whole, tail in comments]
    return [line for line in found if re.match(r"- |[\w./-]+:( |$)|[{\[]|(RUN|COPY|FROM|ENV|USER) ", line)]


def test_nothing_is_commented_out() -> None:
    files = [*K8S.rglob("*.yaml"), *K8S.rglob("Containerfile")]
    assert len(files) > 40
    assert {str(file): found for file in files if (found := outcommented(file.read_text(encoding="utf-8")))} == {}


def test_what_is_commented_out_is_found() -> None:
    assert outcommented("a: 1\n# b: 2\n  # - c\n#RUN make\n# d: says why") == ["b: 2", "- c", "RUN make", "d: says why"]
    assert outcommented("# One sentence: and its reason.\na: 1 # tail of a line") == []
