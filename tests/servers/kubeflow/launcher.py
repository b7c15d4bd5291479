"""What the driver hands to an executor, and what the launcher does around it: inputs, placeholders, outputs, artifacts."""

import json
from dataclasses import dataclass, field
from typing import Any

from tests.servers.kubeflow.container import Container
from tests.servers.kubeflow.ir import Tree, as_protobuf

OUTPUT_FILE = "/tmp/kfp_outputs/output_metadata.json"
LOCAL = {"minio://": "/minio/", "s3://": "/s3/", "gs://": "/gcs/"}
Objects = dict[str, bytes]
"""The object store: content by URI."""


@dataclass
class Outputs:
    """What a task left: values of parameters, and its artifacts by name."""

    parameters: Tree = field(default_factory=dict)
    artifacts: dict[str, Tree] = field(default_factory=dict)


class StepError(Exception):
    """The launcher cannot go on; the step ends as if its command had failed."""


def executor_input(inputs: Outputs, component: Tree, prefix: str) -> Tree:
    """The message that the driver makes of resolved inputs.

    Args:
        inputs: parameters and artifacts by the names of the component.
        component: what is executed.
        prefix: URI below which its artifacts go.
    """
    definitions = component.get("outputDefinitions", {})
    kinds = {name: one["artifactType"] for name, one in definitions.get("artifacts", {}).items()}
    kinds["executor-logs"] = {"schemaTitle": "system.Artifact", "schemaVersion": "0.0.1"}
    produced = {name: {"artifacts": [{"type": kind, "uri": f"{prefix}/{name}", "metadata": {}}]} for name, kind in kinds.items()}
    files = {name: {"outputFile": f"/tmp/kfp/outputs/{name}"} for name in definitions.get("parameters", {})}
    artifacts = {name: {"artifacts": [artifact]} for name, artifact in inputs.artifacts.items()}
    return {
        "inputs": {"parameterValues": as_protobuf(inputs.parameters), "artifacts": artifacts},
        "outputs": {"parameters": files, "artifacts": produced, "outputFile": OUTPUT_FILE},
    }


def local_path(uri: str) -> str:
    """Where the launcher keeps an artifact in the container."""
    for scheme, folder in LOCAL.items():
        if uri.startswith(scheme):
            return folder + uri.removeprefix(scheme)
    raise StepError(f"failed to generate local path for URI {uri}: unsupported storage scheme")


def as_text(value: Any) -> str:
    """A parameter's value on a command line."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


class Launcher:
    """Runs the command of one executor in its container."""

    def __init__(self, container: Container, message: Tree, component: Tree, objects: Objects) -> None:
        """Take the driver's message; give it the container's own paths and the component's defaults.

        Args:
            container: where it runs.
            message: what `executor_input` made.
            component: what is executed.
            objects: where its artifacts come from and go to.
        """
        self.container, self.component, self.objects = container, component, objects
        self.message: Tree = json.loads(json.dumps(message))
        definitions = component.get("inputDefinitions", {}).get("parameters", {})
        values = self.message["inputs"]["parameterValues"]
        for name, definition in definitions.items():
            if "defaultValue" in definition:
                values.setdefault(name, definition["defaultValue"])
        outputs = self.message["outputs"]
        outputs["outputFile"] = container.inside(outputs["outputFile"])
        for file in outputs["parameters"].values():
            file["outputFile"] = container.inside(file["outputFile"])

    def artifacts(self, way: str) -> dict[str, Tree]:
        """The artifacts of `inputs` or `outputs`, by name."""
        return {name: one["artifacts"][0] for name, one in self.message[way]["artifacts"].items()}

    def prepare(self) -> None:
        """Download the inputs and make the folders of the outputs."""
        for artifact in self.artifacts("inputs").values():
            uri, found = artifact["uri"], False
            for name in [name for name in self.objects if name == uri or name.startswith(f"{uri}/")]:
                self.container.write(local_path(uri) + name.removeprefix(uri), self.objects[name])
                found = True
            if not found:
                raise StepError(f"failed to download input artifact from remote storage URI {uri}: not found")
        for artifact in self.artifacts("outputs").values():
            self.container.folder(local_path(artifact["uri"]).rpartition("/")[0])
        for folder in ("/tmp/kfp", "/tmp/kfp/outputs", "/tmp/kfp_outputs"):
            self.container.folder(folder)

    def as_seen(self) -> Tree:
        """The message as the container gets it: without a root directory of its own, URIs are paths of this machine."""
        seen: Tree = json.loads(json.dumps(self.message))
        if self.container.inside("/") == "/":
            return seen
        for way in ("inputs", "outputs"):
            for one in seen[way]["artifacts"].values():
                one["artifacts"][0]["uri"] = self.container.inside(local_path(one["artifacts"][0]["uri"]))
        return seen

    def command(self, container: Tree) -> list[str]:
        """The container's command and arguments with their placeholders filled in."""
        words = [*container.get("command", []), *container.get("args", [])]
        present = {*self.message["inputs"]["parameterValues"], *self.message["inputs"]["artifacts"]}
        texts = [text for word in words for text in unfolded(word, present)]
        places = self.placeholders()
        filled = []
        for text in texts:
            for placeholder, value in places.items():
                text = text.replace(placeholder, value)
            filled.append(text)
        return filled

    def placeholders(self) -> dict[str, str]:
        """What the launcher fills in; it knows no `pipeline_job_...`: those are for the inputs of tasks only."""
        seen = self.as_seen()
        places = {"{{$}}": json.dumps(seen), "{{$.outputs.output_file}}": seen["outputs"]["outputFile"]}
        for name, value in seen["inputs"]["parameterValues"].items():
            places[f"{{{{$.inputs.parameters['{name}']}}}}"] = as_text(value)
        for name, file in seen["outputs"]["parameters"].items():
            places[f"{{{{$.outputs.parameters['{name}'].output_file}}}}"] = file["outputFile"]
        for way in ("inputs", "outputs"):
            for name, artifact in self.artifacts(way).items():
                places[f"{{{{$.{way}.artifacts['{name}'].uri}}}}"] = artifact["uri"]
                places[f"{{{{$.{way}.artifacts['{name}'].path}}}}"] = self.container.inside(local_path(artifact["uri"]))
        return places

    def collect(self) -> Outputs:
        """What the step left behind: parameters from the executor's message or their files, artifacts uploaded."""
        file = self.container.local(OUTPUT_FILE)
        told = json.loads(file.read_text()) if file.exists() else {}
        parameters: Tree = dict(told.get("parameterValues", {}))
        kinds = self.component.get("outputDefinitions", {}).get("parameters", {})
        for name, kind in kinds.items():
            if name not in parameters:
                parameters[name] = self._read_parameter(name, kind["parameterType"])
        artifacts = self.artifacts("outputs")
        for name, artifact in artifacts.items():
            for one in told.get("artifacts", {}).get(name, {}).get("artifacts", []):
                artifact["metadata"].update(one.get("metadata", {}))
            self._upload(artifact["uri"])
        return Outputs(as_protobuf(parameters), as_protobuf(artifacts))

    def publish_log(self) -> None:
        """Upload what the step wrote, however it ended."""
        log = self.container.log
        self.objects[self.artifacts("outputs")["executor-logs"]["uri"]] = log.read_bytes() if log.exists() else b""

    def _read_parameter(self, name: str, kind: str) -> Any:
        """An output parameter from the file that the step wrote."""
        file = self.container.local(f"/tmp/kfp/outputs/{name}")
        if not file.is_file():
            raise StepError(f"failed to read output parameter name={name!r} type={kind}: no such file or directory")
        text = file.read_text()
        if kind == "STRING":
            return text
        try:
            return json.loads(text)
        except ValueError as error:
            raise StepError(f"failed to read output parameter name={name!r} type={kind}: {text!r}") from error

    def _upload(self, uri: str) -> None:
        """Keep a file, or every file of a folder; a step may leave out an output."""
        place = self.container.local(local_path(uri))
        for file in [place] if place.is_file() else [one for one in place.rglob("*") if one.is_file()]:
            self.objects[uri + str(file).removeprefix(str(place))] = file.read_bytes()


def unfolded(word: str, present: set[str]) -> list[str]:
    """The words that a `Concat` or `IfPresent` of a container stands for."""
    if not word.startswith(('{"Concat": ', '{"IfPresent": ')):
        return [word]
    return structure(json.loads(word), present)


def structure(tree: Any, present: set[str]) -> list[str]:
    """A placeholder's tree as words."""
    if isinstance(tree, str):
        return [tree]
    if isinstance(tree, list):
        return [word for one in tree for word in structure(one, present)]
    if "Concat" in tree:
        return ["".join(structure(tree["Concat"], present))]
    choice = tree["IfPresent"]
    return structure(choice["Then"] if choice["InputName"] in present else choice.get("Else", []), present)
