"""InferenceServices: the objects, what the deployer makes of them on a stand-in API server, and what it reads of their state."""

import copy
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import apply
from cluster.client import Client
from cluster.pods import PodReason
from perennial.errors import PlatformError
from perennial.ledger import Run, Version
from perennial.settings import Settings
from perennial.spec.model import Model
from perennial.spec.read import read
from perennial.training.recipe import Recipe
from serving.deployers import open_deployer
from serving.deployers.deployer import Change
from serving.deployers.inference_service import disruption_budget, inference_service
from serving.deployers.on_kserve import SERVICES, KServeDeployer, standing_of
from tests.cluster.accounts import own_namespace
from tests.cluster.api import KSERVE, Api, opened
from tests.second_project import SPEC

GOLDEN = Path(__file__).with_name("inference_service.yaml")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NAMESPACE = "payments"


def version(number: int) -> Version:
    return Version(
        model="chargeback",
        number=number,
        run_key=f"{number}a" * 32,
        digest=f"{number}b" * 32,
        created=NOW,
        run_id=f"chargeback-20260102-030405-00000{number}",
        recipe=Recipe(kind="logistic", parameters={"c": 1.0}, columns=("amount",)),
        searched_at=NOW,
        trained_until=NOW,
    )


def run(number: int, decision: int | None = 7) -> Run:
    return Run(
        run_id=f"chargeback-20260102-030405-00000{number}",
        model="chargeback",
        mode="search",
        started=NOW,
        finished=NOW,
        state="succeeded",
        outcome="registered",
        run_key=f"{number}a" * 32,
        dataset=f"{number}c" * 32,
        spec="d" * 64,
        now=NOW,
        reason="",
        folder="",
        mlflow_run_id=None,
        decision=decision,
    )


@pytest.fixture
def model(tmp_path: Path) -> Model:
    (tmp_path / "chargeback.yaml").write_text(SPEC)
    return read(tmp_path / "chargeback.yaml")


@pytest.fixture
def api() -> Api:
    return Api(KSERVE)


@pytest.fixture
def client(api: Api, tmp_path: Path) -> Iterator[Client]:
    with opened(api, tmp_path) as made:
        yield made


def test_the_objects_are_these(model: Model) -> None:
    service = inference_service(model, version(3), run(3), NAMESPACE)
    stored = copy.deepcopy(service)
    stored["metadata"]["uid"] = "uid-1"
    assert list(yaml.safe_load_all(GOLDEN.read_text())) == [service, disruption_budget(stored)]


def scaled(model: Model) -> Model:
    serving = model.spec.serving.model_copy(update={"replicas": 3, "max_replicas": 9})
    return model.model_copy(update={"spec": model.spec.model_copy(update={"serving": serving})})


def test_scaling_is_by_the_spec(model: Model) -> None:
    service = inference_service(scaled(model), version(1), run(1), NAMESPACE)
    predictor = service["spec"]["predictor"]
    assert (predictor["minReplicas"], predictor["maxReplicas"], predictor["scaleMetric"]) == (3, 9, "cpu")
    assert service["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] == "hpa"


def test_a_run_by_hand_has_no_label_of_a_decision(model: Model) -> None:
    labels = inference_service(model, version(1), run(1, decision=None), NAMESPACE)["metadata"]["labels"]
    assert "perennial.dev/decision" not in labels
    assert all(len(value) <= 63 for value in labels.values())


def events_of(api: Api) -> list[str]:
    return [str(stored["reason"]) for path, stored in api.objects.items() if "/events/" in path]


def test_each_change_leaves_one_event_and_no_change_none(api: Api, client: Client, model: Model) -> None:
    deployer = KServeDeployer(client, NAMESPACE)
    assert deployer.deployed(model.name) is None
    assert deployer.deploy(model, version(1), run(1), NOW) == Change(kind="Deployed", sentence="version 1 was deployed")
    assert deployer.deploy(model, version(1), run(1), NOW) is None
    assert deployer.deploy(model, version(2), run(2), NOW) == Change(kind="RolledOut", sentence="version 2 takes over")
    assert deployer.deployed(model.name) == version(2).digest
    assert deployer.deploy(model, version(2), run(2), NOW) is None
    assert events_of(api) == ["Deployed", "RolledOut"]


def test_what_others_change_returns_and_what_they_add_stays(api: Api, client: Client, model: Model) -> None:
    deployer = KServeDeployer(client, NAMESPACE)
    deployer.deploy(model, version(1), run(1), NOW)
    stored = apply.get(client, *SERVICES, model.name, NAMESPACE)
    assert stored is not None
    stored["spec"]["predictor"]["minReplicas"] = 1
    stored["metadata"]["annotations"]["team.example.com/note"] = "ours"
    api.keep(stored)
    said = deployer.deploy(model, version(1), run(1), NOW)
    assert said is not None and said.kind == "Repaired"
    assert "the InferenceService of version 1 had drifted from the ledger and was reconciled" in said.sentence
    mended = apply.get(client, *SERVICES, model.name, NAMESPACE)
    assert mended is not None
    assert mended["spec"]["predictor"]["minReplicas"] == 2
    assert mended["metadata"]["annotations"]["team.example.com/note"] == "ours"
    assert events_of(api) == ["Deployed", "Repaired"]


def test_a_lost_budget_is_made_again(api: Api, client: Client, model: Model) -> None:
    deployer = KServeDeployer(client, NAMESPACE)
    deployer.deploy(model, version(1), run(1), NOW)
    assert apply.delete(client, "policy/v1", "PodDisruptionBudget", model.name, NAMESPACE)
    said = deployer.deploy(model, version(1), run(1), NOW)
    assert said is not None and said.sentence.startswith("the PodDisruptionBudget of version 1")


def test_what_pods_of_another_version_lack_is_not_told(api: Api, client: Client, model: Model) -> None:
    deployer = KServeDeployer(client, NAMESPACE)
    deployer.deploy(model, version(2), run(2), NOW)
    for number, state in (("1", "rolling"), ("2", "stuck")):
        labels = {"serving.kserve.io/inferenceservice": model.name, "perennial.dev/version": number}
        waiting = {"name": "m", "image": "i", "state": {"waiting": {"reason": "ErrImagePull", "message": "no"}}}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"p{number}", "namespace": NAMESPACE, "labels": labels}}
        api.keep(pod | {"status": {"containerStatuses": [waiting]}})
        assert deployer.standing(model.name).state == state


def test_what_was_deleted_is_absent(client: Client, model: Model) -> None:
    deployer = KServeDeployer(client, NAMESPACE)
    deployer.deploy(model, version(1), run(1), NOW)
    assert apply.delete(client, *SERVICES, model.name, NAMESPACE)
    assert deployer.standing(model.name).state == "absent"


def test_a_cluster_without_kserve_says_how_to_find_what_it_lacks(api: Api, client: Client, model: Model) -> None:
    del api.kinds["serving.kserve.io/v1beta1"]
    with pytest.raises(PlatformError, match="`perennial cluster check` says what the cluster lacks"):
        KServeDeployer(client, NAMESPACE).deploy(model, version(1), run(1), NOW)


def test_a_namespace_in_the_settings_chooses_the_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    here = {"PERENNIAL_STATE": str(tmp_path)}
    assert type(open_deployer(Settings.from_environment(here))).__name__ == "LocalDeployer"
    with pytest.raises(PlatformError, match="set KUBECONFIG"):
        open_deployer(Settings.from_environment(here | {"PERENNIAL_NAMESPACE": "payments"}))


def deployment(number: str, **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"generation": 2},
        "spec": {"replicas": 2, "template": {"metadata": {"labels": {"perennial.dev/version": number}}}},
        "status": {"observedGeneration": 2} | status,
    }


SERVICE: dict[str, Any] = {"metadata": {"labels": {"perennial.dev/version": "2"}}, "status": {}}
ALL = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}
STARTING = PodReason("p", "ContainerCreating", "pod p: is starting", False)
FAILING = PodReason("p", "ImagePullBackOff", "pod p: no such image", True)


@pytest.mark.parametrize(
    ("found", "reasons", "state", "sentence"),
    [
        (deployment("2", **ALL), (), "serving", "version 2: 2 of 2 pods answer"),
        (deployment("2", **ALL), (FAILING,), "serving", "version 2: 2 of 2 pods answer"),
        (None, (), "rolling", "version 2: no pod of it yet"),
        (deployment("1", **ALL), (), "rolling", "version 2: no pod of it yet"),
        (deployment("2", **(ALL | {"observedGeneration": 1})), (), "rolling", "version 2: 2 of 2 pods answer"),
        (
            deployment("2", replicas=3, updatedReplicas=2, availableReplicas=3),
            (STARTING,),
            "rolling",
            "version 2: 2 of 2 pods answer; pod p: is starting",
        ),
        (
            deployment("2", replicas=3, updatedReplicas=1, availableReplicas=2),
            (FAILING,),
            "stuck",
            "version 2: 0 of 2 pods answer: pod p: no such image",
        ),
    ],
)
def test_how_far_traffic_is(found: dict[str, Any] | None, reasons: tuple[PodReason, ...], state: str, sentence: str) -> None:
    standing = standing_of(SERVICE, found, reasons)
    assert (standing.state, standing.sentence) == (state, sentence)


def test_what_kserve_and_the_deployment_say_is_told() -> None:
    failed = SERVICE | {"status": {"modelStatus": {"lastFailureInfo": {"message": "the digest does not fit"}}}}
    told = standing_of(failed, deployment("2"), (FAILING,))
    assert told.sentence.endswith("pod p: no such image (the digest does not fit)")
    invalid = {"modelStatus": {"transitionStatus": "InvalidSpec", "lastFailureInfo": {"reason": "NoRuntime", "message": "none"}}}
    for found in (None, deployment("1", **ALL)):  # a first version, or the next one
        assert standing_of(SERVICE | {"status": invalid}, found, ()).state == "stuck"
    late = {"type": "Progressing", "reason": "ProgressDeadlineExceeded", "message": "has timed out"}
    stuck = standing_of(SERVICE, deployment("2", conditions=[late]), ())
    assert (stuck.state, stuck.sentence) == (
        "stuck",
        "version 2: 0 of 2 pods answer: ProgressDeadlineExceeded: has timed out",
    )


@pytest.mark.cluster
def test_a_real_api_server_takes_the_objects(model: Model) -> None:
    with Client.open() as client, own_namespace(client) as namespace:
        service = inference_service(model, version(3), run(3), namespace)
        applied = apply.apply(client, service, dry_run=True)
        assert applied.object["spec"]["predictor"]["model"]["storageUri"] == service["spec"]["predictor"]["model"]["storageUri"]
        assert apply.apply(client, disruption_budget(applied.object), dry_run=True).change == "created"
        applied = apply.apply(client, inference_service(scaled(model), version(3), run(3), namespace), dry_run=True)
        assert applied.object["spec"]["predictor"]["maxReplicas"] == 9
