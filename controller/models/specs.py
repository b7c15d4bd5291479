"""Objects become files of the project: read by the function that reads files, and written only when they have no mistake.

All that comes after (bundle, pipelines, console) reads the file, so that the last good spec goes on while a wrong one is mended.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from cluster.client import Object
from controller.models.object_status import SpecReading
from perennial.spec.examination import examine

HEAD = "# Written by the controller from the object "
"""Begin of each file that is written here: a file that begins otherwise is a person's, and never removed."""


@dataclass(frozen=True)
class Followed:
    """A Model of the cluster, and what came of its spec."""

    object: Object
    """As the API server wrote it."""
    reading: SpecReading
    """What came of its spec."""

    @property
    def name(self) -> str:
        """The model's name."""
        return str(self.object["metadata"]["name"])


def text_of(found: Object) -> str:
    """The spec of an object as the text of a file: without what an API server and `kubectl` add.

    >>> found = {"apiVersion": "v", "kind": "Model", "metadata": {"name": "a", "uid": "1"}, "spec": {"owner": "us"}}
    >>> print(text_of(found), end="")
    # Written by the controller from the object Model a: change that, not this file.
    apiVersion: v
    kind: Model
    metadata:
      name: a
    spec:
      owner: us
    """
    metadata = {key: found["metadata"][key] for key in ("name", "labels") if key in found["metadata"]}
    content = {"apiVersion": found["apiVersion"], "kind": found["kind"], "metadata": metadata, "spec": found.get("spec", {})}
    head = f"{HEAD}Model {metadata['name']}: change that, not this file.\n"
    return head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=130)


def take_in(objects: Sequence[Object], models: Path) -> tuple[Followed, ...]:
    """Each good spec stands in its file; a wrong one changes nothing. Files of objects that are gone are removed.

    Args:
        objects: every Model of the namespace.
        models: folder of the specs; made when it is absent.
    """
    models.mkdir(parents=True, exist_ok=True)
    followed = tuple(_followed(found, models) for found in objects)
    names = {one.name for one in followed}
    for path in models.glob("*.yaml"):
        if path.stem not in names and path.read_text(encoding="utf-8", errors="replace").startswith(HEAD):
            path.unlink()
    return followed


def _followed(found: Object, models: Path) -> Followed:
    name, text = str(found["metadata"]["name"]), text_of(found)
    model, problems = examine(text.encode(), name, name)
    mistakes = tuple(str(problem).removeprefix(f"{problem.file}:{problem.line}: ") for problem in problems)
    if model is not None:
        _write(models / f"{name}.yaml", text)
    return Followed(found, SpecReading(found["metadata"].get("generation", 0), mistakes))


def _write(path: Path, text: str) -> None:
    """The file has this text; whoever reads it meanwhile finds the old one or the new one, whole."""
    if path.exists() and path.read_text(encoding="utf-8", errors="replace") == text:
        return
    partial = path.with_name(f".{path.name}.new")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
