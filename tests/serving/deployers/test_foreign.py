"""What others add to what runs is seen, named with who did it, and undone; what KServe and a mesh add is not."""

import copy
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cluster import apply
from cluster.client import Client, Object
from cluster.fields import applied_spec, foreign_fields
from perennial.loop.standing import Standing
from perennial.spec.model import Model
from perennial.spec.read import read
from serving.deployers.deployer import Change
from serving.deployers.on_kserve import SERVICES, KServeDeployer
from serving.deployers.running import foreign_in_deployment, foreign_in_pods
from tests.cluster.api import KSERVE, Api, opened
from tests.second_project import SPEC
from tests.serving.deployers import made
from tests.serving.deployers.test_on_kserve import NAMESPACE, NOW, events_of, run, version

AT = "2026-01-02T03:04:00Z"
LATER = NOW + timedelta(minutes=1)
SIDECAR = {"name": "miner", "image": "evil/miner:1"}
MODEL_FIELDS: dict[str, dict[str, Any]] = {
    "an image that works": {"image": "localhost/perennial/steps:lab"},
    "an image that does not exist": {"image": "localhost/perennial/absent:1"},
    "a command": {"command": ["python", "-c", "secret-in-a-command"]},
    "arguments": {"args": ["--online=secret-in-an-argument"]},
    "a variable": {"env": [{"name": "PYTHONPATH", "value": "secret-in-a-variable"}]},
}
FOREIGN: dict[str, dict[str, Any]] = {
    **{name: {"predictor": {"model": fields}} for name, fields in MODEL_FIELDS.items()},
    "a second container": {"predictor": {"containers": [SIDECAR]}},
    "an init container": {"predictor": {"initContainers": [SIDECAR]}},
    "another default": {"predictor": {"model": {"protocolVersion": "v2"}}},
    "a transformer": {"transformer": {"containers": [SIDECAR]}},
}
"""Parts of a `spec` that somebody writes beside ours."""


@pytest.fixture
def model(tmp_path: Path) -> Model:
    (tmp_path / "chargeback.yaml").write_text(SPEC)
    return read(tmp_path / "chargeback.yaml")


@pytest.fixture
def api() -> Api:
    kept = Api(KSERVE)
    kept.webhook = made.defaults
    kept.keep(made.runtime(NAMESPACE))
    kept.keep(made.storage_container())
    return kept


@pytest.fixture
def client(api: Api, tmp_path: Path) -> Iterator[Client]:
    with opened(api, tmp_path) as client:
        yield client


@pytest.fixture
def deployer(client: Client) -> KServeDeployer:
    return KServeDeployer(client, NAMESPACE)


@pytest.fixture
def deployed(api: Api, deployer: KServeDeployer, model: Model) -> Object:
    """The InferenceService of version 1, with all that KServe makes of it."""
    assert deployer.deploy(model, version(1), run(1), NOW) is not None
    return reconciled(api)


def service_of(api: Api) -> Object:
    return copy.deepcopy(next(stored for path, stored in api.objects.items() if "/inferenceservices/" in path))


def reconciled(api: Api) -> Object:
    """KServe has seen the InferenceService: Deployment and pods are as it says."""
    service = service_of(api)
    deployment = api.keep(made.deployment(service))
    for pod in made.pods(deployment):
        api.keep(pod)
    return service


def again(deployer: KServeDeployer, model: Model) -> Change | None:
    return deployer.deploy(model, version(1), run(1), LATER)


CALM = Standing(state="serving", sentence="version 1: 2 of 2 pods answer")


def test_kserves_defaults_and_a_mesh_beside_every_pod_are_not_foreign(
    api: Api, deployer: KServeDeployer, deployed: Object, model: Model
) -> None:
    assert deployed["spec"]["predictor"]["model"]["protocolVersion"] == "v1", "the webhook gave a default"
    assert again(deployer, model) is None
    assert deployer.standing(model.name) == CALM
    assert events_of(api) == ["Deployed"]


def test_a_default_that_changed_since_is_not_foreign(api: Api, deployer: KServeDeployer, deployed: Object, model: Model) -> None:
    del deployed

    def newer(stored: Object) -> None:
        model = stored.get("spec", {}).get("predictor", {}).get("model", {})
        if model:
            model.setdefault("protocolVersion", "v2")
            model.setdefault("aNewDefault", 1)
            made.defaults(stored)

    api.webhook = newer
    change = again(deployer, model)
    assert change is None or "removed" not in change.sentence
    assert service_of(api)["spec"]["predictor"]["model"]["protocolVersion"] == "v1", "nobody wrote it"
    assert deployer.standing(model.name) == CALM


def test_what_was_restored_with_its_defaults_is_not_foreign(
    api: Api, deployer: KServeDeployer, deployed: Object, model: Model
) -> None:
    deployed["metadata"]["managedFields"] = []
    api.change(deployed, "velero-server", AT, **deployed["spec"])
    assert deployer.standing(model.name) == CALM, "nobody knows yet what of it is ours"
    assert again(deployer, model) is None
    assert deployer.standing(model.name) == CALM


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_field_is_named_with_who_wrote_it_and_removed(
    name: str, api: Api, deployer: KServeDeployer, deployed: Object, model: Model
) -> None:
    before = deployed["spec"]
    api.change(deployed, "kubectl-patch", AT, **FOREIGN[name])
    reconciled(api)
    seen = deployer.standing(model.name)
    assert seen.state == "foreign", "also where every pod answers"
    assert "(set by kubectl-patch on 2026-01-02 03:04) is not Perennial's" in seen.sentence
    assert CALM.sentence in seen.sentence

    change = again(deployer, model)
    assert change is not None and change.kind == "Repaired"
    assert "was changed by others; what is not Perennial's was removed: spec." in change.sentence
    assert "(set by kubectl-patch on 2026-01-02 03:04)" in change.sentence
    assert "secret" not in change.sentence + seen.sentence, "values of others are not shown"
    assert service_of(api)["spec"] == before

    reconciled(api)
    assert deployer.standing(model.name) == CALM
    assert again(deployer, model) is None
    told = [stored for path, stored in api.objects.items() if "/events/" in path]
    assert [(event["reason"], event["type"]) for event in told] == [("Deployed", "Normal"), ("Repaired", "Warning")]
    assert told[1]["message"] == change.sentence and told[1]["lastTimestamp"] == f"{LATER:%Y-%m-%dT%H:%M:%SZ}"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("an image that works", "spec.predictor.model.image 'localhost/perennial/steps:lab' (set by"),
        ("a command", "spec.predictor.model.command (set by"),
        ("a variable", "spec.predictor.model.env PYTHONPATH (set by"),
        ("a second container", "spec.predictor.containers miner 'evil/miner:1' (set by"),
        ("a transformer", "spec.transformer (set by"),
    ],
)
def test_a_foreign_field_is_named_as_people_know_it(
    name: str, said: str, api: Api, deployer: KServeDeployer, deployed: Object, model: Model
) -> None:
    api.change(deployed, "kubectl-edit", AT, **FOREIGN[name])
    assert deployer.standing(model.name).sentence.startswith(said)
    change = again(deployer, model)
    assert change is not None and said in change.sentence


def test_a_field_of_ours_that_was_changed_is_put_back_with_who_changed_it(
    api: Api, deployer: KServeDeployer, deployed: Object, model: Model
) -> None:
    api.change(deployed, "kubectl-patch", AT, predictor={"minReplicas": 1})
    change = again(deployer, model)
    assert change is not None
    assert "put back: spec.predictor.minReplicas (set by kubectl-patch on 2026-01-02 03:04)" in change.sentence


def test_a_foreign_field_whose_writer_nobody_recorded_goes_too(
    api: Api, deployer: KServeDeployer, deployed: Object, model: Model
) -> None:
    deployed["spec"]["predictor"]["model"]["image"] = "a:1"
    api.keep(deployed)
    change = again(deployer, model)
    assert change is not None and "spec.predictor.model.image 'a:1' (who set it is not recorded)" in change.sentence
    assert "image" not in service_of(api)["spec"]["predictor"]["model"]


def test_what_is_stuck_says_what_foreign_thing_it_is_stuck_on(
    api: Api, deployer: KServeDeployer, deployed: Object, model: Model
) -> None:
    api.change(deployed, "kubectl-patch", AT, **FOREIGN["an image that does not exist"])
    deployment = made.deployment(service_of(api))
    deployment["status"] = {"observedGeneration": 1, "replicas": 3, "updatedReplicas": 1, "availableReplicas": 2}
    api.keep(deployment)
    pod = made.pods(deployment)[0]
    waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
    pod["status"] = {"containerStatuses": [{"name": "kserve-container", "image": "i", "state": {"waiting": waiting}}]}
    api.keep(pod)
    seen = deployer.standing(model.name)
    assert seen.state == "stuck" and "ImagePullBackOff: no such image" in seen.sentence
    assert seen.sentence.startswith("spec.predictor.model.image 'localhost/perennial/absent:1' (set by kubectl-patch")


def test_labels_and_annotations_of_others_stay(api: Api, deployer: KServeDeployer, deployed: Object, model: Model) -> None:
    deployed["metadata"]["labels"]["team"] = "a"
    deployed["metadata"]["annotations"]["note"] = "b"
    api.keep(deployed)
    assert again(deployer, model) is None
    assert deployer.standing(model.name) == CALM
    assert service_of(api)["metadata"]["labels"]["team"] == "a"


def first(spec: Object) -> Object:
    container: Object = spec["containers"][0]
    return container


TEMPLATES: dict[str, tuple[Callable[[Object], None], str]] = {
    "image": (
        lambda spec: first(spec).update(image="evil:1"),
        "container kserve-container: its image is 'evil:1', the ServingRuntime says 'perennial/serving'",
    ),
    "command": (lambda spec: first(spec).update(command=["sh"]), "its command is not the ServingRuntime's"),
    "args": (lambda spec: first(spec)["args"].append("--x"), "its args are not the ServingRuntime's"),
    "variable": (
        lambda spec: first(spec)["env"].append({"name": "PYTHONPATH", "value": "secret"}),
        "variable PYTHONPATH is not in the ServingRuntime",
    ),
    "variables": (
        lambda spec: first(spec)["envFrom"].append({"secretRef": {"name": "theirs"}}),
        "variables from secret theirs are not in the ServingRuntime",
    ),
    "container": (
        lambda spec: spec["containers"].append(SIDECAR),
        "container miner 'evil/miner:1' is not in the ServingRuntime",
    ),
    "init container": (
        lambda spec: spec.update(initContainers=[SIDECAR]),
        "init container miner 'evil/miner:1' is not KServe's",
    ),
    "no container": (
        lambda spec: first(spec).update(name="other"),
        "container kserve-container is missing",
    ),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_what_a_deployment_runs_beyond_the_runtime_is_named(
    name: str, api: Api, deployer: KServeDeployer, deployed: Object, model: Model
) -> None:
    change, said = TEMPLATES[name]
    deployment = made.deployment(deployed)
    change(deployment["spec"]["template"]["spec"])
    written: Object = {"f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"kserve-container"}': {"f:image": {}}}}}}}
    entry = {"manager": "kubectl-edit", "operation": "Update", "time": AT, "fieldsV1": written}
    deployment["metadata"]["managedFields"].append(entry)
    api.keep(deployment)
    seen = deployer.standing(model.name)
    assert seen.state == "foreign" and seen.sentence.startswith("Deployment chargeback-predictor: ")
    assert said in seen.sentence and "secret'" not in seen.sentence
    assert ("(set by kubectl-edit on 2026-01-02 03:04)" in seen.sentence) == (name in ("image", "no container"))


def test_what_only_kserve_wrote_is_on_its_way(api: Api, deployer: KServeDeployer, deployed: Object, model: Model) -> None:
    deployment = made.deployment(deployed)
    first(deployment["spec"]["template"]["spec"])["image"] = "before:1"
    container: Object = {'k:{"name":"kserve-container"}': {"f:image": {}}}
    written: Object = {"f:spec": {"f:template": {"f:spec": {"f:containers": container}}}}
    deployment["metadata"]["managedFields"][0]["fieldsV1"] = written
    api.keep(deployment)
    seen = deployer.standing(model.name)
    assert seen.state == "rolling"
    assert seen.sentence.startswith(
        "KServe has not followed yet: Deployment chargeback-predictor: container kserve-container: its image"
    )
    deployment["metadata"]["managedFields"].append(
        {"manager": "kubectl-edit", "operation": "Update", "time": AT, "fieldsV1": written}
    )
    api.keep(deployment)
    assert deployer.standing(model.name).state == "foreign", "somebody else wrote it too"


def test_pods_that_do_not_come_are_stuck_though_kserve_alone_wrote_what_they_run(
    api: Api, deployer: KServeDeployer, deployed: Object, model: Model
) -> None:
    deployment = made.deployment(deployed)
    first(deployment["spec"]["template"]["spec"])["image"] = "absent:1"
    container: Object = {'k:{"name":"kserve-container"}': {"f:image": {}}}
    written: Object = {"f:spec": {"f:template": {"f:spec": {"f:containers": container}}}}
    deployment["metadata"]["managedFields"][0]["fieldsV1"] = written
    deployment["status"] = {"observedGeneration": 1, "replicas": 3, "updatedReplicas": 1, "availableReplicas": 2}
    api.keep(deployment)
    pod = made.pods(deployment)[0]
    waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
    pod["status"] = {"containerStatuses": [{"name": "kserve-container", "image": "i", "state": {"waiting": waiting}}]}
    api.keep(pod)
    seen = deployer.standing(model.name)
    assert seen.state == "stuck" and "ImagePullBackOff: no such image" in seen.sentence
    assert "KServe has not followed yet" in seen.sentence


def test_what_a_real_kserve_makes_is_not_foreign() -> None:
    real = json.loads(Path(__file__).with_name("recorded.json").read_text(encoding="utf-8"))
    service, deployment = real["service"], real["deployment"]
    assert foreign_fields(service, real["expected"]) == ()
    assert service["spec"] != applied_spec(service), "its webhook gave defaults"
    runtime, storage = made.runtime("any"), real["storage"]
    runtime["spec"]["containers"][0]["image"] = storage["spec"]["container"]["image"]
    assert foreign_in_deployment(deployment, runtime) == ()
    assert foreign_in_pods(deployment, real["pods"], storage) == ()
    first(deployment["spec"]["template"]["spec"])["image"] = "a:1"
    (difference,) = foreign_in_deployment(deployment, runtime)
    assert difference.is_kserves, "its manager is known by this name"


def test_a_deployment_of_another_version_is_not_compared(
    api: Api, deployer: KServeDeployer, deployed: Object, model: Model
) -> None:
    deployment = made.deployment(deployed)
    first(deployment["spec"]["template"]["spec"])["image"] = "older:1"
    api.keep(deployment)
    deployer.deploy(model, version(2), run(2), LATER)
    assert deployer.standing(model.name) == Standing(state="rolling", sentence="version 2: no pod of it yet")


def test_what_fetches_the_version_is_compared_with_the_storage_container(
    api: Api, deployer: KServeDeployer, deployed: Object, model: Model
) -> None:
    pod = made.pods(made.deployment(deployed))[0]
    pod["spec"]["initContainers"][0] |= {"image": "evil/fetch:1", "command": ["sh"]}
    api.keep(pod)
    seen = deployer.standing(model.name)
    assert seen.state == "foreign"
    assert (
        "pod pod-1: init container storage-initializer: its image is not the storage container's 'evil/fetch:1'" in seen.sentence
    )
    assert "its command is not the storage container's" in seen.sentence
    storage = made.storage_container()
    storage["metadata"]["managedFields"][0]["time"] = "2026-01-02T03:02:00Z"
    api.keep(storage)
    assert deployer.standing(model.name) == CALM, "the storage container was changed after the pod was made"


def test_a_mirror_that_rewrites_the_images_of_pods_is_not_foreign(
    api: Api, deployer: KServeDeployer, deployed: Object, model: Model
) -> None:
    for pod in made.pods(made.deployment(deployed)):
        for container in (*pod["spec"]["containers"], *pod["spec"]["initContainers"]):
            container["image"] = f"mirror.example.com/{container['image']}"
        api.keep(pod)
    assert deployer.standing(model.name) == CALM


def test_a_tag_that_was_moved_between_two_starts_is_named(
    api: Api, deployer: KServeDeployer, deployed: Object, model: Model
) -> None:
    pod = made.pods(made.deployment(deployed))[1]
    pod["status"]["containerStatuses"][0]["imageID"] = f"docker.io/perennial/serving@sha256:{'b' * 64}"
    api.keep(pod)
    seen = deployer.standing(model.name)
    assert seen.state == "foreign"
    assert (
        "'perennial/serving' is not one image: sha256:aaaaaaaaaaaa in pod pod-1, sha256:bbbbbbbbbbbb in pod pod-2"
        in seen.sentence
    )


@pytest.mark.parametrize("what", ["servingruntimes/perennial", "inferenceservices/chargeback"])
def test_who_may_not_compare_is_told_so(what: str, api: Api, deployer: KServeDeployer, deployed: Object, model: Model) -> None:
    del deployed
    (path,) = [path for path in api.objects if path.endswith(what)]
    api.refused["GET" if "runtimes" in what else "PATCH", path] = 403
    seen = deployer.standing(model.name)
    assert seen.state == "serving"
    assert seen.sentence == f"{CALM.sentence}; what runs was not compared: refused by the test"


def test_what_was_applied_is_read_back(client: Client, deployed: Object, model: Model, api: Api) -> None:
    from serving.deployers.inference_service import inference_service

    wanted = inference_service(model, version(1), run(1), NAMESPACE)
    stored = apply.get(client, *SERVICES, model.name, NAMESPACE)
    assert stored is not None and applied_spec(stored) == wanted["spec"] != stored["spec"]
    assert foreign_fields(stored, deployed) == ()
    changed = api.change(stored, "kubectl-patch", AT, predictor={"model": {"image": "a"}, "labels": {"x": "y"}})
    assert applied_spec(changed) == wanted["spec"]
    assert {field.path[-1] for field in foreign_fields(changed, deployed)} == {"image", "x"}
