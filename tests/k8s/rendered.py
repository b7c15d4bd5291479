"""What kustomize makes of `k8s/`, and the parts of objects that tests ask for."""

import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.deployers.init_container import VOLUME, VOLUME_SIZE, init_container

Object = dict[str, Any]

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
OVERLAYS = tuple(sorted(path.parent.name for path in K8S.glob("overlays/*/kustomization.yaml")))
COMPONENTS = tuple(sorted(path.parent.name for path in K8S.glob("components/*/kustomization.yaml")))
IMAGES = ("perennial/serving", "perennial/steps")
"""Images of ours, as the base names them: an overlay gives them a tag or a digest."""


def kubectl() -> str:
    """The program, from the PATH; the test is skipped where there is none."""
    found = shutil.which("kubectl")
    if found is None:
        pytest.skip("kubectl is not on the PATH: manifests cannot be rendered")
    return found


@functools.cache
def overlay(name: str) -> tuple[Object, ...]:
    """The objects of an overlay."""
    return render(K8S / "overlays" / name)


@functools.cache
def component(name: str) -> tuple[Object, ...]:
    """The objects of the base with one component on top, ours with a tag."""
    with tempfile.TemporaryDirectory() as folder:
        there = os.path.relpath(K8S, Path(folder).resolve())
        kustomization = {
            "resources": [f"{there}/base"],
            "components": [f"{there}/components/{name}"],
            "namespace": "perennial",
            "images": [{"name": image, "newTag": "1"} for image in IMAGES],
            "transformers": [f"{there}/transformers"],
        }
        (Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), encoding="utf-8")
        return render(Path(folder))


def render(folder: Path) -> tuple[Object, ...]:
    """The objects of a kustomization."""
    ended = subprocess.run([kubectl(), "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return tuple(yaml.safe_load_all(ended.stdout))


def of_kind(objects: tuple[Object, ...], kind: str) -> dict[str, Object]:
    """Objects of one kind, by name."""
    return {found["metadata"]["name"]: found for found in objects if found["kind"] == kind}


def pods(objects: tuple[Object, ...]) -> dict[str, Object]:
    """Every pod template (`metadata`, `spec`) among objects, by kind and name; that of KServe with the fetch in it."""
    found = {
        f"{each['kind']}/{each['metadata']['name']}": each["spec"]["template"]
        for each in objects
        if each["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job")
    }
    for name, runtime in of_kind(objects, "ServingRuntime").items():
        spec = runtime["spec"]
        fetch, volume = _fetch(objects, name)
        found[f"ServingRuntime/{name}"] = {
            "metadata": {"labels": spec["labels"]},
            "spec": {
                "serviceAccountName": "perennial-serving",
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "initContainers": [fetch],
                "containers": spec["containers"],
                "volumes": [*spec["volumes"], volume],
            },
        }
    return found


def _fetch(objects: tuple[Object, ...], name: str) -> tuple[Object, Object]:
    """The container that fetches, and its volume: KServe's injection, or our own where there is no ClusterStorageContainer."""
    storage = of_kind(objects, "ClusterStorageContainer").get(name)
    if storage is None:
        image = of_kind(objects, "ServingRuntime")[name]["spec"]["containers"][0]["image"]
        return init_container("perennial://m/1/ab", image), {"name": VOLUME, "emptyDir": {"sizeLimit": VOLUME_SIZE}}
    container: Object = storage["spec"]["container"]
    return container, {"name": "kserve-provision-location", "emptyDir": {"sizeLimit": "2Gi"}}


def containers(pod: Object) -> list[Object]:
    """All containers of a pod template, init containers first."""
    spec = pod["spec"]
    return [*spec.get("initContainers", []), *spec["containers"], *spec.get("ephemeralContainers", [])]
