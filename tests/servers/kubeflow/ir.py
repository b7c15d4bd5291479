"""The compiled pipeline as the API server reads it: what it refuses, and what a run may be given."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format  # type: ignore[import-untyped] # no stubs in the lock
from kfp.pipeline_spec import pipeline_spec_pb2

Tree = dict[str, Any]

INVALID_ARGUMENT, NOT_FOUND, ABORTED, UNIMPLEMENTED, INTERNAL = 3, 5, 10, 12, 13
"""Codes of gRPC, as the API's errors carry them."""
PLATFORM_KEYS = {
    "secretAsEnv",
    "configMapAsEnv",
    "fieldPathAsEnv",
    "podMetadata",
    "imagePullPolicy",
    "imagePullSecret",
    "nodeAffinity",
    "nodeSelector",
    "podAffinity",
    "tolerations",
    "activeDeadlineSeconds",
    "securityContext",
    "emptyDirMounts",
}
"""Parts of an executor's platform config that the stand-in takes, though pulling and scheduling mean nothing here."""


class RefusalError(Exception):
    """An answer that is an error: HTTP status, gRPC code, sentence."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def as_protobuf(value: Any) -> Any:
    """A value as it comes back from a protobuf Struct: a number has no kind, so 2.0 is 2."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: as_protobuf(one) for key, one in value.items()}
    if isinstance(value, list):
        return [as_protobuf(one) for one in value]
    return value


@dataclass(frozen=True)
class Pipeline:
    """A pipeline's IR, checked, and the config of its executors on Kubernetes."""

    spec: Tree
    platform: Tree

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return str(self.spec["pipelineInfo"]["name"])

    @property
    def root(self) -> Tree:
        """The component that is the whole."""
        return dict(self.spec["root"])

    def component(self, task: Tree) -> Tree:
        """What a task is made of."""
        return dict(self.spec["components"][task["componentRef"]["name"]])

    def container(self, component: Tree) -> Tree:
        """The container of an executor."""
        return dict(self.spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"])

    def on_kubernetes(self, component: Tree) -> Tree:
        """What the platform config says of an executor."""
        return dict(self.platform.get(component["executorLabel"], {}))


def invalid(why: object) -> RefusalError:
    """What the API server says of a pipeline spec that it cannot use."""
    return RefusalError(
        500, INTERNAL, f"InternalServerError: Failed to create a run: Invalid input error: Invalid pipeline spec: {why}"
    )


def read_pipeline(body: Tree) -> Pipeline:
    """The pipeline of a POST, from a spec alone or from a spec with its platform spec."""
    spec = body.get("pipeline_spec", body)
    platform = body.get("platform_spec", {}) if "pipeline_spec" in body else {}
    try:
        message = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
        json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
    except json_format.ParseError as error:
        raise invalid(error) from error
    if message.schema_version != "2.1.0" or not message.pipeline_info.name or not message.root.dag.tasks:
        raise invalid("schema version 2.1.0, a name and a root with tasks are needed")
    executors = platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
    pipeline = Pipeline(as_protobuf(json_format.MessageToDict(message)), as_protobuf(executors))
    for component in [pipeline.root, *pipeline.spec.get("components", {}).values()]:
        check_component(pipeline, component)
    return pipeline


def check_component(pipeline: Pipeline, component: Tree) -> None:
    """Refuse what is no graph, and what the stand-in does not execute."""
    if "dag" not in component:
        label = component["executorLabel"]
        if "container" not in pipeline.spec.get("deploymentSpec", {}).get("executors", {}).get(label, {}):
            raise RefusalError(501, UNIMPLEMENTED, f"executor {label}: the stand-in runs containers only, no importers")
        if unknown := pipeline.on_kubernetes(component).keys() - PLATFORM_KEYS:
            raise RefusalError(501, UNIMPLEMENTED, f"executor {label}: the stand-in does not imitate {sorted(unknown)}")
        return
    tasks = component["dag"]["tasks"]
    for name, task in tasks.items():
        if task["componentRef"]["name"] not in pipeline.spec["components"] or set(task.get("dependentTasks", [])) - tasks.keys():
            raise invalid(f"task {name} names a component or a task that does not exist")
        if task.keys() & {"parameterIterator", "artifactIterator"}:
            raise RefusalError(501, UNIMPLEMENTED, f"task {name}: the stand-in runs no loops")
        if any("taskFinalStatus" in source for source in task.get("inputs", {}).get("parameters", {}).values()):
            raise RefusalError(501, UNIMPLEMENTED, f"task {name}: the stand-in hands no final status to exit handlers")
    in_order(tasks)


def in_order(tasks: Mapping[str, Tree]) -> list[str]:
    """The names of tasks, each after those that it depends on."""
    ordered: list[str] = []
    while len(ordered) < len(tasks):
        ready = [name for name in tasks if name not in ordered and set(tasks[name].get("dependentTasks", [])) <= set(ordered)]
        if not ready:
            raise invalid(f"tasks depend on each other in a circle: {sorted(set(tasks) - set(ordered))}")
        ordered += ready
    return ordered


KINDS: dict[str, tuple[type, ...]] = {
    "NUMBER_DOUBLE": (int, float),
    "NUMBER_INTEGER": (int, float),
    "STRING": (str,),
    "BOOLEAN": (bool,),
    "LIST": (list,),
    "STRUCT": (dict,),
}


def parameters_of(pipeline: Pipeline, given: Tree) -> Tree:
    """The parameters of a run with the defaults of the pipeline; unknown, missing and wrongly typed ones are refused."""
    wanted = pipeline.root.get("inputDefinitions", {}).get("parameters", {})

    def refused(why: str) -> RefusalError:
        return RefusalError(
            400, INVALID_ARGUMENT, f"Failed to create a run: invalid pipeline job inputs: Invalid input error: {why}"
        )

    for name, definition in wanted.items():
        if name not in given:
            if not definition.get("isOptional") and "defaultValue" not in definition:
                raise refused(f"parameter {name} is not optional, yet has neither default value nor user provided value")
            continue
        kind = definition["parameterType"]
        is_bool = isinstance(given[name], bool)
        if not isinstance(given[name], KINDS[kind]) or is_bool != (kind == "BOOLEAN"):
            raise refused(f"input parameter {name} requires type {kind}, but the parameter value is {json.dumps(given[name])}")
    if unknown := given.keys() - wanted.keys():
        raise refused(f"parameter(s) provided are not required by pipeline: {', '.join(sorted(unknown))}")
    defaults = {name: one["defaultValue"] for name, one in wanted.items() if "defaultValue" in one}
    return {**defaults, **given}
