"""The CustomResourceDefinition of a Model, made from the models of its spec.

`python -m controller.models.definition` writes it to `k8s/base/model/crd.yaml`. A later version is added beside this one with
the same fields, so that objects need no conversion: what is renamed is read under both names for one version, as in files
(docs/upgrading.md).
"""

from pathlib import Path
from typing import get_args

import yaml

from cluster.client import Object
from controller.models.conditions import ModelCondition
from controller.models.structural import structural
from perennial.spec.model import Model
from perennial.spec.schema import editor_schema

PATH = Path("k8s") / "base" / "model" / "crd.yaml"
API_VERSION = str(get_args(Model.model_fields["apiVersion"].annotation)[0])
GROUP, VERSION = API_VERSION.split("/")
KIND, PLURAL = "Model", "models"
HEAD = "# Made from the models in perennial/spec/ by `python -m controller.models.definition`: change the documentation there.\n"

TEXT: Object = {"type": "string"}
TIME: Object = {"type": "string", "format": "date-time"}
COLUMNS = (
    ("Champion", "integer", ".status.champion.version", "Number of the version that has the traffic."),
    ("State", "string", ".status.state", "What matters most of it: docs/status.md lists the states."),
    ("Score", "string", ".status.score.value", "The score of its task in the newest judged window; of a classifier, the AUC."),
    ("Decision", "string", ".status.decision.title", "What was decided last."),
    ("Next", "string", ".status.next.when", "When something is due next, UTC."),
    ("Age", "date", ".metadata.creationTimestamp", "Since when the object is there."),
)
"""What `kubectl get models` shows: heading, type, where it is found, and what it means."""


def definition() -> Object:
    """The definition: structural, with defaults, rules, status and columns."""
    schema = editor_schema()
    properties = schema["properties"]
    assert isinstance(properties, dict)
    metadata, spec = properties["metadata"], properties["spec"]
    assert isinstance(metadata, dict) and isinstance(spec, dict)
    name: Object = metadata["properties"]["name"]  # type: ignore[index,call-overload,assignment]
    plain = {"type": "string", "pattern": name["pattern"], "maxLength": 63}
    whole = {
        "description": "A model: what it is for, how it is made, judged, served, watched and trained again.",
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": TEXT,
            "kind": TEXT,
            "metadata": {"type": "object", "properties": {"name": plain}},
            "spec": structural(spec),
            "status": status_schema(),
        },
    }
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": whole},
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            {"name": name, "type": kind, "jsonPath": path, "description": words} for name, kind, path, words in COLUMNS
        ],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"kind": KIND, "listKind": f"{KIND}List", "plural": PLURAL, "singular": "model", "shortNames": ["mdl"]},
            "conversion": {"strategy": "None"},
            "versions": [version],
        },
    }


def status_schema() -> Object:
    """The schema of `.status`, which the controller alone writes."""
    version = _object("A version, by its number and the digest of its files.", version={"type": "integer"}, digest=TEXT)
    decision = _object("What was decided last.", number={"type": "integer"}, title=TEXT, sentence=TEXT, state=TEXT, made=TIME)
    return _object(
        "How the model stands. The controller writes it at the end of a tick, when something changed.",
        observedGeneration={"type": "integer", "format": "int64", "description": "Of the spec that was read last."},
        state={"type": "string", "description": "Reason of what matters most; docs/status.md lists them."},
        champion=version | {"description": "The version that has the traffic."},
        challenger=version | {"description": "The version that asks for traffic."},
        score=_object("Its score in the newest judged window.", metric=TEXT, value=TEXT, window=TIME),
        decision=decision,
        next=_object("What is due next.", when=TIME, what=TEXT),
        conditions={
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
            "items": _condition(),
        },
    )


def _condition() -> Object:
    fields: Object = {
        "type": {"type": "string", "enum": [kind.value for kind in ModelCondition]},
        "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
        "reason": {"type": "string", "pattern": "^[A-Z][A-Za-z]*$"},
        "message": {"type": "string", "maxLength": 32768},
        "lastTransitionTime": TIME,
        "observedGeneration": {"type": "integer", "format": "int64"},
    }
    needed = ["type", "status", "reason", "message", "lastTransitionTime"]
    return {"type": "object", "required": needed, "properties": fields}


def _object(description: str, **fields: Object) -> Object:
    return {"description": description, "type": "object", "properties": fields}


def definition_text() -> str:
    """The definition as the text of its file."""
    return HEAD + yaml.dump(definition(), Dumper=_Plain, sort_keys=False, width=130, allow_unicode=True)


class _Plain(yaml.SafeDumper):
    """Writes an object that occurs twice twice, without anchors."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the library's signature
        return True


if __name__ == "__main__":
    PATH.write_text(definition_text(), encoding="utf-8")
