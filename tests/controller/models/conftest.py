"""The small installation in a namespace of a stand-in API server that knows Models."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cluster.client import Object
from controller.models.definition import API_VERSION, KIND, PLURAL
from perennial.ledger import Ledger
from perennial.settings import Settings
from tests.cluster.api import Api, kubeconfig, running
from tests.controller.world import NAME, write_world

PATH = f"/apis/{API_VERSION}/namespaces/team/{PLURAL}/{NAME}"
"""Of the one Model."""


@pytest.fixture
def api() -> Api:
    """A cluster with KServe and Models."""
    made = Api()
    made.kinds["serving.kserve.io/v1beta1"] = {"InferenceService": ("inferenceservices", True)}
    made.kinds["policy/v1"] = {"PodDisruptionBudget": ("poddisruptionbudgets", True)}
    made.kinds[API_VERSION] = {KIND: (PLURAL, True)}
    return made


@pytest.fixture
def settings(api: Api, tmp_path: Path, quick_rollouts: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """The installation; its model is an object, and no file any more."""
    folder = tmp_path / "project"
    write_world(folder)
    path = folder / "models" / f"{NAME}.yaml"
    api.keep(as_object(path.read_text(encoding="utf-8")))
    path.unlink()
    with running(api) as address:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "kubeconfig", address)))
        environment = {"PERENNIAL_PROJECT": str(folder), "PERENNIAL_NAMESPACE": "team", "PERENNIAL_MODELS_FROM": "cluster"}
        yield Settings.from_environment(environment)


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    """Its ledger."""
    with Ledger.open(settings.ledger) as opened:
        yield opened


def as_object(text: str, generation: int = 1) -> Object:
    """A spec as it is stored in a namespace."""
    made: Object = yaml.safe_load(text)
    made["metadata"] |= {"namespace": "team", "generation": generation}
    return made
