"""What a real API server makes of Models: it takes ours, adds the defaults of the spec, and refuses what the rules refuse."""

import copy
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.apply import apply, apply_status, differ, exists, get, own, strike_annotation
from cluster.client import Client, RefusedError
from controller.models.annotations import asked_of
from controller.models.definition import API_VERSION, KIND, definition
from controller.models.object_status import object_status
from perennial.errors import NotFoundError
from perennial.spec.read import digest, read, read_text
from perennial.status.model_status import status_of
from tests.cluster.accounts import own_namespace
from tests.controller.models import wrong
from tests.controller.models.test_object_status import NOW, RIGHT, WALL, champion, decision, window
from tests.k8s.rendered import kubectl

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[3]
SHIPPED = [ROOT / "models" / "flight-delay.yaml", ROOT / "examples" / "chargeback" / "models" / "chargeback.yaml"]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """A client of a cluster that knows Models."""
    with Client.open() as made:
        apply(made, definition())
        for _ in range(100):
            try:
                made.path(API_VERSION, KIND)
                break
            except NotFoundError:
                time.sleep(0.2)
        yield made


@pytest.fixture(scope="module")
def namespace(client: Client) -> Iterator[str]:
    with own_namespace(client) as name:
        yield name


def model(content: dict[str, Any], namespace: str) -> dict[str, Any]:
    made = copy.deepcopy(content)
    made["metadata"]["namespace"] = namespace
    return made


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_spec_means_the_same_after_it_was_stored(client: Client, namespace: str, path: Path) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    apply(client, model(content, namespace))
    stored = get(client, API_VERSION, KIND, path.stem, namespace)
    assert stored is not None and differ(stored, stored | {"spec": content["spec"]})  # the defaults stand in it
    kept = {key: stored[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": {"name": path.stem}}
    assert digest(read_text(yaml.safe_dump(kept))) == digest(read(path))


@pytest.mark.parametrize("name", wrong.RULES)
def test_what_breaks_a_rule_is_refused_and_says_which(client: Client, namespace: str, name: str) -> None:
    steps, value, said = wrong.RULES[name]
    with pytest.raises(RefusedError) as refused:
        apply(client, model(wrong.changed(steps, value), namespace))
    assert said in refused.value.said


@pytest.mark.parametrize("name", wrong.PYTHON_ONLY)
def test_the_rest_is_left_to_the_controller(client: Client, namespace: str, name: str) -> None:
    steps, value, _ = wrong.PYTHON_ONLY[name]
    assert apply(client, model(wrong.changed(steps, value), namespace), dry_run=True).object["spec"]


def test_a_key_that_is_unknown_is_refused(client: Client, namespace: str) -> None:
    made = model(wrong.content(), namespace)
    made["spec"]["colour"] = "red"
    with pytest.raises(RefusedError, match="colour"):
        apply(client, made)


def run_kubectl(namespace: str, *arguments: str) -> str:
    ended = subprocess.run([kubectl(), "-n", namespace, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_kubectl_waits_for_and_shows_what_the_status_says(client: Client, namespace: str) -> None:
    made = apply(client, model(wrong.content(), namespace)).object
    stored = replace(champion(), windows=(window(False),), decisions=(decision("done"),))
    on_its_way = stored.rollout.model_copy(update={"number": 2, "state": "checked"}) if stored.rollout else None
    before = object_status(status_of(stored, True, NOW), replace(stored, rollout=on_its_way), RIGHT, {}, WALL)
    assert apply_status(client, made, before)["status"] == before  # told again, it differs in nothing
    status = object_status(status_of(stored, True, NOW), stored, RIGHT, before, WALL)
    assert "challenger" in before and "challenger" not in status
    changed = apply_status(client, made, status)
    assert changed["status"] == status and changed["metadata"]["generation"] == made["metadata"]["generation"]
    run_kubectl(namespace, "wait", "--for=condition=Serving", "model/chargeback", "--timeout=5s")
    heading, row = run_kubectl(namespace, "get", "models", "chargeback").splitlines()
    assert heading.split()[:6] == ["NAME", "CHAMPION", "STATE", "SCORE", "DECISION", "NEXT"]
    assert row.split()[:2] == ["chargeback", "1"] and "0.712" in row and "retrain: degraded" in row
    assert "Healthy" in run_kubectl(namespace, "describe", "model", "chargeback")


def test_an_annotation_of_kubectl_says_who_and_is_struck_out_once(client: Client, namespace: str) -> None:
    apply(client, model(wrong.content(), namespace))
    run_kubectl(namespace, "annotate", "model", "chargeback", "perennial.dev/retrain=now", "team=a")
    stored = get(client, API_VERSION, KIND, "chargeback", namespace)
    assert stored is not None
    (asked,) = asked_of(stored)
    assert asked.who.startswith("by kubectl-annotate at 2") and asked.value == "now"
    run_kubectl(namespace, "annotate", "model", "chargeback", "perennial.dev/approve=2")  # what else was changed does not matter
    assert strike_annotation(client, stored, asked.name)
    after = get(client, API_VERSION, KIND, "chargeback", namespace)
    assert after is not None and after["metadata"]["annotations"] == {"team": "a", "perennial.dev/approve": "2"}
    run_kubectl(namespace, "annotate", "--overwrite", "model", "chargeback", "perennial.dev/approve=3")
    (new,) = asked_of(after)
    assert not strike_annotation(client, stored, asked.name)  # it is gone
    assert not strike_annotation(client, after, new.name)  # it says something else now


def test_what_is_owned_goes_with_its_model(client: Client, namespace: str) -> None:
    """A ConfigMap stands for an InferenceService; server-side apply by the deployer leaves the owner as it is."""
    made = apply(client, model(wrong.content(), namespace)).object
    served = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "served", "namespace": namespace}, "data": {"a": "1"}}
    assert own(client, apply(client, served).object, made)
    again = apply(client, served)
    assert again.change == "unchanged" and not own(client, again.object, made)
    run_kubectl(namespace, "delete", "model", "chargeback", "--timeout=10s")
    assert is_gone_soon(client, namespace)
    assert own(client, apply(client, served).object, made)  # its owner is gone already
    assert is_gone_soon(client, namespace)


def is_gone_soon(client: Client, namespace: str) -> bool:
    for _ in range(300):
        if not exists(client, "v1", "ConfigMap", "served", namespace):
            return True
        time.sleep(0.2)
    return False
