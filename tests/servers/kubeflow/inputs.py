"""What the driver resolves: the inputs of a task from its graph, the outputs of a graph from its tasks, the key of the cache."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from tests.servers.kubeflow.ir import Tree
from tests.servers.kubeflow.launcher import Outputs, as_text


class DriverError(Exception):
    """A driver's pod fails."""


@dataclass(frozen=True)
class Scope:
    """What a task's inputs may come from."""

    inputs: Outputs
    """Those of the graph."""
    done: Mapping[str, Outputs]
    """Outputs of the graph's tasks so far."""
    doubled: str
    """A task of the graph that two workflows of the run have executed, if there is one: metadata is kept by run."""
    placeholders: Tree
    """What a constant may be as a whole; within a text, or in a command, these are left as they are."""

    def produced(self, task: str) -> Outputs:
        """The outputs of a task of the graph."""
        if self.doubled:
            raise DriverError(f'two tasks have the same task name "{self.doubled}"')
        if task not in self.done:
            raise DriverError(f"producer task, {task}, not in tasks")
        return self.done[task]


def resolve(task: Tree, scope: Scope) -> Outputs:
    """The inputs of a task."""
    resolved, given = Outputs(), task.get("inputs", {})
    for name, source in given.get("parameters", {}).items():
        if "taskOutputParameter" in source:
            origin = source["taskOutputParameter"]
            resolved.parameters[name] = scope.produced(origin["producerTask"]).parameters[origin["outputParameterKey"]]
        elif "runtimeValue" in source:
            resolved.parameters[name] = constant(source["runtimeValue"]["constant"], scope)
        elif source["componentInputParameter"] in scope.inputs.parameters:
            resolved.parameters[name] = scope.inputs.parameters[source["componentInputParameter"]]
    for name, source in given.get("artifacts", {}).items():
        if "taskOutputArtifact" in source:
            origin = source["taskOutputArtifact"]
            resolved.artifacts[name] = scope.produced(origin["producerTask"]).artifacts[origin["outputArtifactKey"]]
        elif source["componentInputArtifact"] in scope.inputs.artifacts:
            resolved.artifacts[name] = scope.inputs.artifacts[source["componentInputArtifact"]]
    return resolved


def constant(value: Any, scope: Scope) -> Any:
    """A constant, or the placeholder that it is; parameters of the graph may stand within a text, as f-strings put them."""
    if not isinstance(value, str):
        return value
    value = scope.placeholders.get(value, value)
    for name, one in scope.inputs.parameters.items():
        value = value.replace(f"{{{{$.inputs.parameters['{name}']}}}}", as_text(one))
    return value


def graph_outputs(component: Tree, done: Mapping[str, Outputs]) -> Outputs:
    """The outputs of a graph from those of its tasks; of several that may have run, the one that did."""
    outputs, wanted = Outputs(), component["dag"].get("outputs", {})
    for name, source in wanted.get("parameters", {}).items():
        sources = (
            [source["valueFromParameter"]] if "valueFromParameter" in source else source["valueFromOneof"]["parameterSelectors"]
        )
        for one in sources:
            parameters = done.get(one["producerSubtask"], Outputs()).parameters
            if one["outputParameterKey"] in parameters:
                outputs.parameters[name] = parameters[one["outputParameterKey"]]
    for name, source in wanted.get("artifacts", {}).items():
        for one in source["artifactSelectors"]:
            artifacts = done.get(one["producerSubtask"], Outputs()).artifacts
            if one["outputArtifactKey"] in artifacts:
                outputs.artifacts[name] = artifacts[one["outputArtifactKey"]]
    return outputs


def fingerprint(pipeline: str, task: Tree, component: Tree, container: Tree, message: Tree) -> str:
    """The key of the cache, of what the driver's key is made of; empty where the task is not cached.

    Values of secrets and config maps are not in it; an input artifact is known by its number in the metadata, not by its content.
    """
    options = task.get("cachingOptions", {})
    if not options.get("enableCache"):
        return ""
    made_of = {
        "pipeline": pipeline,
        "parameters": message["inputs"]["parameterValues"],
        "artifacts": {name: one["artifacts"][0]["name"] for name, one in message["inputs"]["artifacts"].items()},
        "outputs": component.get("outputDefinitions", {}),
        "container": [container.get(part) for part in ("image", "command", "args", "env")],
        "key": options.get("cacheKey", ""),
    }
    return sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
