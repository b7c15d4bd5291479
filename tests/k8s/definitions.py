"""Which fields KServe's definitions know, version by version, and which of ours they do not.

The API server refuses a field that a definition does not know. `tests/k8s/kserve/<version>.json` holds the names of all fields
beside those that our objects set, version by version. `python -m tests.k8s.definitions FILE` prints such a record from KServe's
own `install/v<version>/kserve-crds.yaml`. That of 0.21.0 is made by hand: KServe's own types
are from the models of its Python package, and what Kubernetes defines (containers, volumes, a strategy) is that of 0.20.0, since
Kubernetes takes no field of these away.
"""

import functools
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from perennial.spec.read import read
from serving.deployers.inference_service import inference_service
from serving.deployers.init_container import with_init_container
from tests.k8s.rendered import Object, of_kind, overlay
from tests.second_project import SPEC
from tests.serving.deployers.test_on_kserve import run, scaled, version

FOLDER = Path(__file__).parent / "kserve"
KINDS = ("InferenceService", "ServingRuntime", "ClusterStorageContainer")
FREE = ["*"]
"""In place of names: any name is a field, as in labels and limits."""

Record = Mapping[str, Mapping[str, list[str]]]
"""Names of fields by kind, and by the path of the object that has them: `spec.predictor.initContainers[]`."""


def recorded(release: str) -> Record:
    """What is known of a release, for example `0.18.0`."""
    fields: Record = json.loads((FOLDER / f"{release}.json").read_text(encoding="utf-8"))["fields"]
    return fields


@functools.cache
def ours() -> tuple[Object, ...]:
    """Every object of KServe that we make: both ways of fetching, with and without scaling, and the manifests'."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "chargeback.yaml"
        file.write_text(SPEC, encoding="utf-8")
        model = read(file)
    services = [inference_service(each, version(3), run(3), "payments") for each in (model, scaled(model))]
    manifests = [each for kind in KINDS[1:] for each in of_kind(overlay("production"), kind).values()]
    return (*services, *(with_init_container(each, "serving:1") for each in services), *manifests)


def set_fields(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """The path and the name of each field that an object sets, but for what every kind has alike."""
    if isinstance(value, list):
        for each in value:
            yield from set_fields(each, f"{path}[]")
    if isinstance(value, dict):
        for name, below in value.items():
            if path or name not in ("apiVersion", "kind", "metadata"):
                yield path, name
                yield from set_fields(below, f"{path}.{name}".lstrip("."))


def unknown(made: Object, fields: Record) -> list[str]:
    """Fields of an object that a version does not know, each by its path."""
    known = fields[made["kind"]]
    free = [path for path, names in known.items() if names == FREE]
    return sorted(
        {f"{path}.{name}".lstrip(".") for path, name in set_fields(made) if path not in free and name not in known.get(path, ())}
    )


def record(definitions: list[Object]) -> dict[str, dict[str, list[str]]]:
    """The names beside those that our objects set, from KServe's definitions."""
    found: dict[str, dict[str, list[str]]] = {kind: {} for kind in KINDS}
    for made in ours():
        kind, api_version = made["kind"], made["apiVersion"].partition("/")[2]
        (spec,) = (each["spec"] for each in definitions if each["spec"]["names"]["kind"] == kind)
        (root,) = (each["schema"]["openAPIV3Schema"] for each in spec["versions"] if each["name"] == api_version)
        for path, _ in set_fields(made):
            found[kind][path] = _names(_below(root, path))
    return {kind: dict(sorted(paths.items())) for kind, paths in found.items()}


def _below(schema: Object, path: str) -> Object:
    for part in filter(None, path.replace("[]", ".[]").split(".")):
        schema = schema["items"] if part == "[]" else schema["properties"][part]
    return schema


def _names(schema: Object) -> list[str]:
    return FREE if "additionalProperties" in schema else sorted(schema["properties"])


def _text(fields: Mapping[str, Mapping[str, list[str]]], source: str) -> str:
    """A record as JSON: one line for each path."""
    kinds = []
    for kind, paths in fields.items():
        lines = ",\n".join(f"   {json.dumps(path)}: {json.dumps(names)}" for path, names in paths.items())
        kinds.append(f'  "{kind}": {{\n{lines}\n  }}')
    return '{{\n "source": {},\n "fields": {{\n{}\n }}\n}}\n'.format(json.dumps(source), ",\n".join(kinds))


if __name__ == "__main__":
    file = Path(sys.argv[1])
    read_definitions = [each for each in yaml.safe_load_all(file.read_text(encoding="utf-8")) if each]
    sys.stdout.write(_text(record(read_definitions), "/".join(file.parts[-3:])))
