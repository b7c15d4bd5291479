"""The controller's Deployment says what the program does: arguments, probes, the project's place, one replica at work."""

import re
import shutil
from contextlib import ExitStack
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from typer.main import get_command

from console.cli import app
from controller.health import Health, served
from controller.ticked import Ticked
from perennial.settings import PREFIX, Settings
from perennial.spec.read import read
from tests.controller.world import NOW
from tests.k8s.rendered import K8S, OVERLAYS, Object, component, containers, of_kind, overlay, pods, render
from tests.second_project import SPEC


@pytest.fixture(params=OVERLAYS)
def objects(request: pytest.FixtureRequest) -> tuple[Object, ...]:
    return overlay(request.param)


def container_of(objects: tuple[Object, ...]) -> Object:
    (found,) = containers(pods(objects)["Deployment/controller"])
    return found


def test_its_arguments_are_those_of_a_command_that_listens_where_the_probes_ask(objects: tuple[Object, ...]) -> None:
    container = container_of(objects)
    assert "command" not in container, "the image's own"
    name, *options = container["args"]
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    context = command.make_context(name, list(options))
    (port,) = container["ports"]
    assert context.params["http"] == port["containerPort"]


def test_each_probe_asks_what_the_program_answers(objects: tuple[Object, ...]) -> None:
    container, health = container_of(objects), Health("a/1")
    health.ticked(Ticked(now=NOW))
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/healthz",
        "readiness": "/readyz",
        "liveness": "/healthz",
    }
    with served(0, health, lambda: b"") as port, ExitStack() as stack:
        for path in {*(probe["path"] for probe in probes.values()), *paths_of_monitors()}:
            assert stack.enter_context(urlopen(f"http://127.0.0.1:{port}{path}")).status == 200
        with pytest.raises(HTTPError) as refused:
            urlopen(f"http://127.0.0.1:{port}/ready")
        refused.value.close()


def paths_of_monitors() -> list[str]:
    monitor = of_kind(component("monitoring"), "PodMonitor")["perennial-controller"]["spec"]
    return [endpoint["path"] for endpoint in monitor["podMetricsEndpoints"]]


def test_prometheus_finds_its_pods() -> None:
    objects = overlay("production")
    monitor = of_kind(objects, "PodMonitor")["perennial-controller"]["spec"]
    template = pods(objects)["Deployment/controller"]
    assert monitor["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    assert not monitor["selector"]["matchLabels"].items() <= pods(objects)["Deployment/workbench"]["metadata"]["labels"].items()
    assert monitor["podMetricsEndpoints"][0]["port"] in {port["name"] for port in container_of(objects)["ports"]}
    policy = of_kind(objects, "NetworkPolicy")["monitoring-controller"]["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    assert policy["ingress"][0]["ports"][0]["port"] == container_of(objects)["ports"][0]["containerPort"]


def test_the_project_is_mounted_where_the_settings_look_for_it(objects: tuple[Object, ...], tmp_path: Path) -> None:
    container, template = container_of(objects), pods(objects)["Deployment/controller"]
    own = {variable["name"]: variable["value"] for variable in container["env"]}
    data = of_kind(objects, "ConfigMap")["perennial-settings"]["data"]
    settings = Settings.from_environment(own | {key: value for key, value in data.items() if key.startswith(PREFIX)})
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert (mounts["models"], mounts["definitions"]) == (str(settings.models), str(settings.definitions))
    assert mounts["state"] == str(settings.state)
    volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
    assert {name for name, volume in volumes.items() if "configMap" in volume} == {"models", "definitions"}
    assert (settings.log, settings.workers) == ("json", int(container["resources"]["limits"]["cpu"]))


def test_an_overlay_may_hold_the_project_as_the_readme_says_and_a_change_rolls_the_pods(tmp_path: Path) -> None:
    (snippet,) = re.findall(r"```yaml\n(configMapGenerator:.*?)```", (K8S / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    shutil.copytree(K8S, tmp_path / "k8s")
    team = tmp_path / "k8s" / "overlays" / "team"
    lines = "namespace: team\nresources: [../lab]\ntransformers: [../../transformers]\n"
    for file in re.findall(r"files: \[(.*?)\]", snippet):
        (team / file).parent.mkdir(parents=True, exist_ok=True)
        (team / file).write_text("of the team\n")
    (team / "kustomization.yaml").write_text(lines + snippet)
    named = []
    for text in ("of the team\n", "changed\n"):
        (team / "project" / "models" / "churn.yaml").write_text(text)
        objects = render(team)
        volumes = pods(objects)["Deployment/controller"]["spec"]["volumes"]
        names = {volume["name"]: volume["configMap"]["name"] for volume in volumes if "configMap" in volume}
        assert set(names.values()) <= set(of_kind(objects, "ConfigMap"))
        named.append(names)
    assert named[0]["models"] != named[1]["models"] and named[0]["definitions"] == named[1]["definitions"]


def test_a_spec_in_a_mounted_config_map_is_read_once(tmp_path: Path) -> None:
    """Kubernetes mounts a dated folder, a link to it, and a link to each file through that."""
    dated = tmp_path / "models" / "..2026_11_28"
    dated.mkdir(parents=True)
    (dated / "chargeback.yaml").write_text(SPEC)
    (tmp_path / "models" / "..data").symlink_to("..2026_11_28")
    (tmp_path / "models" / "chargeback.yaml").symlink_to("..data/chargeback.yaml")
    (spec,) = Settings.from_environment({"PERENNIAL_PROJECT": str(tmp_path)}).specs
    assert read(spec).name == "chargeback"


def test_one_of_two_replicas_stays_when_a_node_is_drained(objects: tuple[Object, ...]) -> None:
    deployment = of_kind(objects, "Deployment")["controller"]["spec"]
    budget = of_kind(objects, "PodDisruptionBudget")["controller"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["replicas"] == 2 and budget["minAvailable"] == 1
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    (term,) = deployment["template"]["spec"]["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert term["podAffinityTerm"]["labelSelector"]["matchLabels"].items() <= labels.items()


def test_a_training_fits_into_it_as_into_the_workbench(objects: tuple[Object, ...]) -> None:
    (workbench,) = containers(pods(objects)["Deployment/workbench"])
    assert container_of(objects)["resources"]["limits"]["memory"] == workbench["resources"]["limits"]["memory"]
    template = pods(objects)["Deployment/controller"]["spec"]
    sizes = [volume["emptyDir"]["sizeLimit"] for volume in template["volumes"] if "emptyDir" in volume]
    most = container_of(objects)["resources"]["limits"]["ephemeral-storage"]
    assert sum(int(size.removesuffix("Gi")) for size in sizes) < int(most.removesuffix("Gi")), "or the pod would be evicted"
