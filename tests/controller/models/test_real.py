"""What a real API server makes of Models: it takes ours, adds the defaults of the spec, and refuses what the rules refuse."""

import copy
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.apply import apply, differ, get
from cluster.client import Client, RefusedError
from controller.models.definition import API_VERSION, KIND, definition
from perennial.errors import NotFoundError
from perennial.spec.read import digest, read, read_text
from tests.cluster.accounts import own_namespace
from tests.controller.models import wrong

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
