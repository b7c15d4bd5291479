"""The fetch as an init container: the object, beside the ClusterStorageContainer, and the deployer of both ways."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import apply
from cluster.client import Client
from perennial.errors import PlatformError
from perennial.settings import Settings
from perennial.spec.model import Model
from perennial.spec.read import read
from perennial.versions.store import name_of
from serving.deployers import open_deployer
from serving.deployers.deployer import Change
from serving.deployers.inference_service import inference_service
from serving.deployers.init_container import FOLDER, VOLUME, init_container, with_init_container
from serving.deployers.on_kserve import SERVICES, KServeDeployer
from tests.cluster.accounts import own_namespace
from tests.cluster.api import Api, kubeconfig, opened, running
from tests.k8s.rendered import K8S
from tests.second_project import SPEC
from tests.serving.deployers.test_on_kserve import NAMESPACE, NOW, run, version

IMAGE = "registry.example.org/perennial/serving:1"
RUNTIME = {
    "apiVersion": "serving.kserve.io/v1alpha1",
    "kind": "ServingRuntime",
    "metadata": {"name": "perennial", "namespace": NAMESPACE},
    "spec": {"containers": [{"name": "kserve-container", "image": IMAGE}]},
}


@pytest.fixture
def model(tmp_path: Path) -> Model:
    (tmp_path / "chargeback.yaml").write_text(SPEC)
    return read(tmp_path / "chargeback.yaml")


@pytest.fixture
def api() -> Api:
    made = Api()
    made.kinds["serving.kserve.io/v1beta1"] = {"InferenceService": ("inferenceservices", True)}
    made.kinds["serving.kserve.io/v1alpha1"] = {"ServingRuntime": ("servingruntimes", True)}
    made.kinds["policy/v1"] = {"PodDisruptionBudget": ("poddisruptionbudgets", True)}
    made.keep(RUNTIME)
    return made


@pytest.fixture
def client(api: Api, tmp_path: Path) -> Iterator[Client]:
    with opened(api, tmp_path) as made:
        yield made


def manifest(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((K8S / "base" / "serving" / name).read_text(encoding="utf-8"))
    return found


def stored(client: Client, model: Model) -> dict[str, Any]:
    found = apply.get(client, *SERVICES, model.name, NAMESPACE)
    assert found is not None
    predictor: dict[str, Any] = found["spec"]["predictor"]
    return predictor


def test_the_init_container_is_the_storage_container_with_a_place_to_write_to() -> None:
    of_cluster = manifest("storage-container.yaml")["spec"]["container"]
    made = init_container("perennial://m/1/ab", of_cluster["image"])
    # KServe adds both to a storage container.
    assert made.pop("args") == ["perennial://m/1/ab", "/mnt/models"]
    assert made.pop("volumeMounts") == [{"name": VOLUME, "mountPath": "/mnt/models"}]
    assert made == of_cluster


def test_what_is_fetched_is_where_the_server_looks(model: Model) -> None:
    runtime = manifest("serving-runtime.yaml")["spec"]
    assert f"--current={FOLDER}/current" in runtime["containers"][0]["args"]
    assert VOLUME not in {volume["name"] for volume in runtime["volumes"]}
    predictor = with_init_container(inference_service(model, version(1), run(1), NAMESPACE), IMAGE)["spec"]["predictor"]
    assert [volume["name"] for volume in predictor["volumes"]] == [VOLUME]
    (mount,) = predictor["model"]["volumeMounts"]
    assert mount == {"name": VOLUME, "mountPath": FOLDER, "readOnly": True}


def test_all_else_of_the_object_stays(model: Model) -> None:
    plain = inference_service(model, version(1), run(1), NAMESPACE)
    before = copy.deepcopy(plain)
    made = with_init_container(plain, IMAGE)
    assert plain == before
    predictor = made["spec"]["predictor"]
    assert {predictor.pop(name) is None for name in ("initContainers", "volumes")} == {False}
    del predictor["model"]["volumeMounts"]
    # With none at all KServe takes the predictor for one of many models, and puts its agent beside it.
    assert predictor["model"].pop("storageUri") == FOLDER
    assert before["spec"]["predictor"]["model"].pop("storageUri") == name_of("chargeback", 1, version(1).digest)
    assert made == before


def said_by(change: Change | None) -> str:
    return "" if change is None else change.sentence


def test_the_deployer_fetches_by_the_image_that_serves(client: Client, api: Api, model: Model) -> None:
    deployer = KServeDeployer(client, NAMESPACE, "init-container")
    assert said_by(deployer.deploy(model, version(1), run(1), NOW)) == "version 1 was deployed"
    (container,) = stored(client, model)["initContainers"]
    assert (container["image"], container["args"][0]) == (IMAGE, name_of("chargeback", 1, version(1).digest))
    assert deployer.deploy(model, version(1), run(1), NOW) is None
    assert said_by(deployer.deploy(model, version(2), run(2), NOW)) == "version 2 takes over"
    assert deployer.deployed(model.name) == version(2).digest
    (container,) = stored(client, model)["initContainers"]
    assert container["args"][0] == name_of("chargeback", 2, version(2).digest)
    newer = copy.deepcopy(RUNTIME)
    newer["spec"]["containers"][0]["image"] = f"{IMAGE}1"  # type: ignore[index]
    api.keep(newer)
    said = deployer.deploy(model, version(2), run(2), NOW)
    assert said is not None and stored(client, model)["initContainers"][0]["image"] == f"{IMAGE}1"


def test_a_storage_container_fetches_unless_the_settings_say_otherwise(client: Client, model: Model) -> None:
    KServeDeployer(client, NAMESPACE).deploy(model, version(1), run(1), NOW)
    predictor = stored(client, model)
    assert predictor["model"]["storageUri"] == name_of("chargeback", 1, version(1).digest)
    assert not {"initContainers", "volumes"} & set(predictor) and "volumeMounts" not in predictor["model"]


def test_the_settings_choose_how_it_is_fetched(api: Api, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = {"PERENNIAL_STATE": str(tmp_path), "PERENNIAL_NAMESPACE": NAMESPACE}
    with running(api) as address:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "kubeconfig", address)))
        for fetch, name in (("storage-container", "one"), ("init-container", "two")):
            deployer = open_deployer(Settings.from_environment(here | {"PERENNIAL_FETCH": fetch}))
            deployer.deploy(model, version(1).model_copy(update={"model": name}), run(1), NOW)
    path = f"/apis/serving.kserve.io/v1beta1/namespaces/{NAMESPACE}/inferenceservices"
    assert "initContainers" not in api.objects[f"{path}/one"]["spec"]["predictor"]
    assert "initContainers" in api.objects[f"{path}/two"]["spec"]["predictor"]


def test_without_a_serving_runtime_there_is_no_image(client: Client, api: Api, model: Model) -> None:
    del api.objects[f"/apis/serving.kserve.io/v1alpha1/namespaces/{NAMESPACE}/servingruntimes/perennial"]
    with pytest.raises(PlatformError, match=r"no ServingRuntime perennial in payments.*`perennial cluster check` says"):
        KServeDeployer(client, NAMESPACE, "init-container").deploy(model, version(1), run(1), NOW)
    assert said_by(KServeDeployer(client, NAMESPACE).deploy(model, version(1), run(1), NOW)) == "version 1 was deployed"


@pytest.mark.cluster
def test_a_real_api_server_takes_the_object(model: Model) -> None:
    with Client.open() as client, own_namespace(client) as namespace:
        service = with_init_container(inference_service(model, version(3), run(3), namespace), IMAGE)
        taken = apply.apply(client, service, dry_run=True).object["spec"]["predictor"]
        assert taken["initContainers"][0]["args"] == service["spec"]["predictor"]["initContainers"][0]["args"]
        assert taken["model"]["storageUri"] == FOLDER
