"""Who may connect to whom, by the policies alone: the lab accepts them and does not enforce them."""

import pytest

from tests.k8s.reachable import reaches
from tests.k8s.rendered import component, overlay, pods

SERVING = {"app.kubernetes.io/component": "serving", "app.kubernetes.io/name": "perennial"}
WORKBENCH = {"app.kubernetes.io/component": "controller", "app.kubernetes.io/name": "workbench"}
CONTROLLER = {"app.kubernetes.io/component": "controller", "app.kubernetes.io/name": "controller"}
STEP, CALLER = {"app.kubernetes.io/component": "step"}, {"app": "some-caller"}
REDIS, POSTGRESQL, S3, MLFLOW = (
    {"app.kubernetes.io/name": name, "app.kubernetes.io/component": part}
    for name, part in (("redis", "store"), ("postgresql", "store"), ("s3", "store"), ("mlflow", "tracking"))
)


@pytest.mark.parametrize(
    ("source", "target", "port", "is_allowed"),
    [
        (CALLER, SERVING, 8080, True),
        (SERVING, REDIS, 6379, True),
        (SERVING, S3, 9000, True),
        (SERVING, POSTGRESQL, 5432, False),
        (SERVING, None, 443, False),
        (SERVING, REDIS, 22, False),
        (STEP, POSTGRESQL, 5432, True),
        (STEP, S3, 9000, True),
        (MLFLOW, POSTGRESQL, 5432, True),
        (CALLER, REDIS, 6379, False),
        (CALLER, POSTGRESQL, 5432, False),
        (CALLER, None, 443, False),
        (REDIS, S3, 9000, False),
        (REDIS, None, 443, False),
        (WORKBENCH, None, 6443, True),
        (WORKBENCH, POSTGRESQL, 5432, True),
        (WORKBENCH, REDIS, 6379, True),
        (WORKBENCH, S3, 9000, True),
        (CALLER, WORKBENCH, 8080, False),
        (CONTROLLER, None, 6443, True),
        (CONTROLLER, POSTGRESQL, 5432, True),
        (CONTROLLER, SERVING, 8080, True),
        (CALLER, CONTROLLER, 8080, False),
    ],
)
def test_ways_through_the_lab(source: dict[str, str], target: dict[str, str] | None, port: int, is_allowed: bool) -> None:
    assert reaches(overlay("lab"), source, target, port) is is_allowed


def test_ways_to_mlflow() -> None:
    objects = component("mlflow")
    assert reaches(objects, STEP, MLFLOW, 5000)
    assert not reaches(objects, SERVING, MLFLOW, 5000)


def test_without_policies_every_way_is_open() -> None:
    assert reaches((), CALLER, REDIS, 6379)


def test_labels_of_the_policies_are_labels_of_pods() -> None:
    found = {name: template["metadata"]["labels"] for name, template in pods(overlay("lab")).items()}
    assert SERVING.items() <= found["ServingRuntime/perennial"].items()
    for name, labels in (("redis", REDIS), ("postgresql", POSTGRESQL), ("s3", S3)):
        assert labels.items() <= found[f"StatefulSet/{name}"].items()
    assert WORKBENCH.items() <= found["Deployment/workbench"].items()
    assert CONTROLLER.items() <= found["Deployment/controller"].items()
    mlflow = pods(component("mlflow"))["Deployment/mlflow"]["metadata"]["labels"]
    assert MLFLOW.items() <= mlflow.items()


def test_production_reaches_its_stores_by_port() -> None:
    objects = overlay("production")
    assert reaches(objects, SERVING, None, 6379)
    assert reaches(objects, STEP, None, 5432)
    assert not reaches(objects, SERVING, None, 5432)
    assert not reaches(objects, CALLER, None, 443)
