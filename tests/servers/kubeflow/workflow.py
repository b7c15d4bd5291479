"""A run's workflow as Argo and Kubeflow's driver execute it: pods, nodes, conditions, outputs, repeats.

Independent tasks run one after another, in the order of their dependencies; one that fails leaves those that do not need it.
"""

import itertools
import json
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from typing import TYPE_CHECKING

from tests.servers.kubeflow.condition import holds
from tests.servers.kubeflow.container import USER, Container
from tests.servers.kubeflow.ir import Pipeline, Tree, in_order
from tests.servers.kubeflow.launcher import Launcher, Outputs, StepError, executor_input, filled_in
from tests.servers.kubeflow.run import FAILED, OMITTED, PENDING, RUNNING, SKIPPED, SUCCEEDED, Node, Pod, Run

if TYPE_CHECKING:
    from tests.servers.kubeflow.fixture import Kubeflow

KILLED = "Pod was deleted"
REPEATS = 2
"""How often Argo makes a pod again that was killed or deleted: Kubeflow's manifests say `retryStrategy` {limit 2, OnError}."""
ALWAYS = "ALL_UPSTREAM_TASKS_COMPLETED"


class TerminatedError(Exception):
    """The run was told to end."""


class DriverError(Exception):
    """A driver's pod fails."""


class Workflow:
    """One workflow of a run; a run has more than one where its id was posted again."""

    def __init__(self, kubeflow: "Kubeflow", run: Run, pipeline: Pipeline, name: str) -> None:
        """Take what is to be executed; `start` begins.

        Args:
            kubeflow: whose state it reports to.
            run: the row that it overwrites.
            pipeline: the IR.
            name: the workflow's name.
        """
        self.kubeflow, self.run, self.pipeline, self.name = kubeflow, run, pipeline, name
        self.phase, self.cancelled, self.exiting = PENDING, threading.Event(), False
        self.pods: list[Pod] = []
        self.nodes: dict[str, Node] = {}
        self.logs: dict[str, bytes] = {}
        self.messages: dict[str, Tree] = {}
        self.kept: dict[str, Outputs] = {}
        self.driven: set[str] = set()
        self.numbers = itertools.count(1)
        self.thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, or begin again with what failed."""
        self.cancelled.clear()
        self.exiting = False
        self.thread = threading.Thread(target=self._execute, name=self.name, daemon=True)
        self.thread.start()

    def cancel(self) -> None:
        """End every executor and start none but those of exit handlers."""
        self.cancelled.set()
        for pod in self.pods:
            if pod.container is not None:
                pod.container.kill()

    @property
    def is_ending(self) -> bool:
        """Whether nothing may start any more; exit handlers do all the same."""
        return self.cancelled.is_set() and not self.exiting

    def report(self, phase: str) -> None:
        """Tell the API server how this workflow is; the run's row says what the last reporter said."""
        self.phase = phase
        with self.kubeflow.lock:
            if self.run.cancelling and phase == RUNNING:
                return
            self.run.move(phase)

    def _execute(self) -> None:
        try:
            self.kubeflow.pause()
            self.report(RUNNING)
            self.opened("", self.name)
            inputs = Outputs(dict(self.run.parameters))
            try:
                self.pod("root", "driver", "root-driver")
                ended = self.graph("root", self.pipeline.root, inputs) is not None
            except (TerminatedError, DriverError):
                ended = False
            self.report(SUCCEEDED if ended and not self.cancelled.is_set() else FAILED)
        except Exception as error:
            if not self.kubeflow.closed:
                self.kubeflow.broken.append(error)
                self.report(FAILED)

    def opened(self, path: str, display_name: str) -> None:
        """Two nodes of a graph: Argo's repeats of it, and its first attempt."""
        for suffix in ("", "(0)"):
            node = self.nodes.setdefault(f"{path}{suffix}", self.node(display_name + suffix, is_pod=False))
            node.move(RUNNING)

    def node(self, display_name: str, *, is_pod: bool) -> Node:
        """A node with a number of its own."""
        number = int(sha256(f"{self.name}{next(self.numbers)}".encode()).hexdigest()[:8], 16)
        return Node(f"{self.name}-{number}", display_name, is_pod, PENDING)

    # Pods

    def pod(self, path: str, kind: str, display_name: str, labels: dict[str, str] | None = None) -> Pod:
        """A pod that has started: what stands in its way keeps the workflow here until the run is terminated."""
        attempt = len([one for one in self.nodes if one.startswith(f"{path}/{kind}(")])
        self.nodes.setdefault(f"{path}/{kind}", self.node(display_name, is_pod=True))
        node = self.nodes.setdefault(f"{path}/{kind}({attempt})", self.node(f"{display_name}({attempt})", is_pod=True))
        node.move(PENDING)
        template = "system-container-impl" if kind == "executor" else "system-container-driver"
        name = f"{self.name}-{template}-{node.identity.rpartition('-')[2]}"
        pod = Pod(name, self.run.run_id, self.name, path.rpartition("/")[2], kind, labels=labels or {})
        self.pods.append(pod)
        self.kubeflow.pause()
        if self.run.stuck:
            self.wait_for_ever(pod, "Unschedulable", self.run.stuck)
        if kind == "driver":
            self.ended(pod, path, SUCCEEDED)
        return pod

    def ended(self, pod: Pod, path: str, state: str) -> None:
        """A pod's end, in the pod, its nodes and the run's row."""
        pod.phase = "Succeeded" if state == SUCCEEDED else "Failed"
        attempts = [key for key in self.nodes if key.startswith(f"{path}/{pod.kind}(")]
        for key in (f"{path}/{pod.kind}", attempts[-1]):
            self.nodes[key].move(state)
        self.report(RUNNING)

    def wait_for_ever(self, pod: Pod, reason: str, message: str) -> None:
        """What Kubernetes never gives up: nothing but a termination ends it."""
        pod.waiting = (reason, message)
        self.kubeflow.tell(pod, reason, message)
        self.cancelled.wait()
        pod.phase = "Failed"
        raise TerminatedError(message)

    # Graphs

    def graph(self, path: str, component: Tree, inputs: Outputs) -> Outputs | None:
        """Execute the tasks of a graph; its outputs, or nothing where one failed."""
        self.opened(path, path.rpartition("/")[2])
        tasks = component["dag"]["tasks"]
        states: dict[str, str] = {}
        done: dict[str, Outputs] = {}
        for name in in_order(tasks):
            needs = [states[one] for one in tasks[name].get("dependentTasks", [])]
            always = tasks[name].get("triggerPolicy", {}).get("strategy") == ALWAYS
            if not always and (self.is_ending or any(state != SUCCEEDED for state in needs)):
                states[name] = OMITTED
                continue
            self.exiting = self.exiting or always
            states[name], done[name] = self.task(f"{path}/{name}", tasks[name], inputs, done)
        if FAILED in states.values() or self.cancelled.is_set():
            return None
        return graph_outputs(component, done)

    def task(self, path: str, task: Tree, inputs: Outputs, done: dict[str, Outputs]) -> tuple[str, Outputs]:
        """One task: its driver, and what the driver lets run."""
        component, name = self.pipeline.component(task), path.rpartition("/")[2]
        if path in self.kept:
            return SUCCEEDED, self.kept[path]
        try:
            if path not in self.driven:
                self.pod(path, "driver", f"{name}-driver")
                self.driven.add(path)
            resolved = self.resolve(path, task, component, inputs, done)
            condition = task.get("triggerPolicy", {}).get("condition")
            if condition and not holds(condition, resolved.parameters):
                self.nodes[path] = self.node(name, is_pod=False)
                self.nodes[path].move(SKIPPED)
                return SKIPPED, Outputs()
            outputs = (
                self.graph(path, component, resolved) if "dag" in component else self.executor(path, task, component, resolved)
            )
        except (TerminatedError, DriverError, StepError):
            return FAILED, Outputs()
        if outputs is None:
            return FAILED, Outputs()
        if "dag" not in component:
            self.kept[path] = outputs
        return SUCCEEDED, outputs

    def resolve(self, path: str, task: Tree, component: Tree, inputs: Outputs, done: dict[str, Outputs]) -> Outputs:
        """The inputs of a task. Metadata is kept by run: a producer that two workflows have executed is found twice."""
        resolved = Outputs()
        given = task.get("inputs", {})
        definitions = component.get("inputDefinitions", {})
        for name, source in given.get("parameters", {}).items():
            if "componentInputParameter" in source:
                if source["componentInputParameter"] in inputs.parameters:
                    resolved.parameters[name] = inputs.parameters[source["componentInputParameter"]]
            elif "taskOutputParameter" in source:
                origin = source["taskOutputParameter"]
                produced = self.produced(path, origin["producerTask"], done)
                resolved.parameters[name] = produced.parameters[origin["outputParameterKey"]]
            else:
                constant = source["runtimeValue"]["constant"]
                resolved.parameters[name] = filled_in(self.placeholders(path).get(str(constant), constant), inputs.parameters)
        for name, source in given.get("artifacts", {}).items():
            if "taskOutputArtifact" in source:
                origin = source["taskOutputArtifact"]
                resolved.artifacts[name] = self.produced(path, origin["producerTask"], done).artifacts[
                    origin["outputArtifactKey"]
                ]
            elif source["componentInputArtifact"] in inputs.artifacts:
                resolved.artifacts[name] = inputs.artifacts[source["componentInputArtifact"]]
        if unknown := resolved.parameters.keys() - definitions.get("parameters", {}).keys():
            raise DriverError(f"component has no parameters {sorted(unknown)}")
        return resolved

    def produced(self, path: str, producer: str, done: dict[str, Outputs]) -> Outputs:
        """The outputs of a task of the same graph."""
        key = f"{path.rpartition('/')[0]}/{producer}"
        if len(self.run.executions.get(key, set())) > 1:
            raise DriverError(f'two tasks have the same task name "{producer}"')
        return done[producer]

    def placeholders(self, path: str) -> Tree:
        """What a constant of a task's input may be, as a whole: within a text or a command they are left as they are."""
        return {
            "{{$.pipeline_job_name}}": self.run.display_name,
            "{{$.pipeline_job_resource_name}}": self.name,
            "{{$.pipeline_job_uuid}}": self.run.run_id,
            "{{$.pipeline_task_name}}": path.rpartition("/")[2],
            "{{$.pipeline_task_uuid}}": str(list(self.nodes).index(path.rpartition("/")[0]) + 1),
        }

    # Executors

    def executor(self, path: str, task: Tree, component: Tree, inputs: Outputs) -> Outputs:
        """Run an executor, from the cache where it may; repeat it as Argo does."""
        name, spec = path.rpartition("/")[2], self.pipeline.container(component)
        self.run.executions.setdefault(path, set()).add(self.name)
        self.opened(path, name)
        root = f"{self.kubeflow.bucket}/{self.pipeline.name}/{self.run.run_id}/{name}"
        message = executor_input(inputs, component, f"{root}/{self.kubeflow.unique()}")
        self.messages[name] = message
        key = self.fingerprint(task, component, message, spec)
        if key in self.kubeflow.cache:
            self.nodes[f"{path}/executor"] = self.node("executor", is_pod=True)
            self.nodes[f"{path}/executor"].move(SKIPPED)
            return self.kubeflow.cache[key]
        for outputs in self.attempts(path, task, component, message):
            if outputs is not None:
                for artifact in outputs.artifacts.values():
                    artifact["name"] = self.kubeflow.unique()
                if key:
                    self.kubeflow.cache[key] = outputs
                return outputs
        raise StepError(f"{name} failed")

    def fingerprint(self, task: Tree, component: Tree, message: Tree, spec: Tree) -> str:
        """The key of the cache, of what the driver's key is made of; empty where the task is not cached."""
        if not task.get("cachingOptions", {}).get("enableCache"):
            return ""
        made_of = {
            "pipeline": self.pipeline.name,
            "parameters": message["inputs"]["parameterValues"],
            "artifacts": {name: one["artifacts"][0]["name"] for name, one in message["inputs"]["artifacts"].items()},
            "outputs": component.get("outputDefinitions", {}),
            "container": [spec.get("image"), spec.get("command"), spec.get("args"), spec.get("env")],
            "key": task["cachingOptions"].get("cacheKey", ""),
        }
        return sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()

    def attempts(self, path: str, task: Tree, component: Tree, message: Tree) -> Iterator[Outputs | None]:
        """Each attempt of an executor: again after a kill, and after a failure as often as the task's own policy says."""
        kills, failures = REPEATS, int(task.get("retryPolicy", {}).get("maxRetryCount", 0))
        while True:
            outputs, was_killed = self.attempt(path, component, message)
            yield outputs
            if was_killed and kills:
                kills -= 1
            elif not was_killed and failures:
                failures -= 1
            else:
                return

    def attempt(self, path: str, component: Tree, message: Tree) -> tuple[Outputs | None, bool]:
        """One pod of an executor: its outputs if it succeeded, and whether it was killed from outside."""
        config, spec = self.pipeline.on_kubernetes(component), self.pipeline.container(component)
        pod = self.pod(path, "executor", "executor", config.get("podMetadata", {}).get("labels"))
        image = self.kubeflow.images.get(spec["image"])
        if image is None:
            self.wait_for_ever(pod, "ImagePullBackOff", f'Back-off pulling image "{spec["image"]}"')
            raise AssertionError
        env = {**image.environment(), **self.environment(pod, spec, config)}
        container = Container(
            self.kubeflow.folder / pod.name, image, int(config.get("securityContext", {}).get("runAsUser", USER))
        )
        for one in config.get("emptyDirMounts", []):
            container.folder(one["mountPath"])
        launcher = Launcher(container, message, component, self.kubeflow.objects)
        pod.container = container
        outputs = None
        try:
            launcher.prepare()
            code = self.run_container(pod, launcher.command(spec), env, config.get("activeDeadlineSeconds"))
            outputs = launcher.collect() if code == 0 else None
        except StepError as error:
            code = 1
            with container.log.open("a") as file:
                file.write(f"{error}\n")
        log = container.log.read_bytes() if container.log.exists() else b""
        self.logs[pod.task] = self.logs.get(pod.task, b"") + log
        self.kubeflow.objects[launcher.artifacts("outputs")["executor-logs"]["uri"]] = log
        self.ended(pod, path, SUCCEEDED if outputs else FAILED)
        if self.is_ending:
            raise TerminatedError(path)
        return outputs, pod.message == KILLED

    def run_container(self, pod: Pod, command: list[str], env: dict[str, str], deadline: float | None) -> int:
        """Wait for the command's end: its exit code."""
        assert pod.container is not None
        with self.kubeflow.lock:
            if self.is_ending:
                return 137
            process = pod.container.start(command, env)
            pod.phase = "Running"
        self.nodes[next(key for key in reversed(self.nodes) if "/executor(" in key)].move(RUNNING)
        until = time.monotonic() + float(deadline) if deadline else None
        while process.poll() is None:
            if until and time.monotonic() > until:
                pod.message = "Pod was active on the node longer than the specified deadline"
                pod.container.kill()
            time.sleep(0.005)
        return process.returncode

    def environment(self, pod: Pod, spec: Tree, config: Tree) -> dict[str, str]:
        """What the pod adds to the image's environment; a name that does not exist keeps it waiting for ever."""
        env = {"_KFP_RUNTIME": "true", "KFP_POD_NAME": pod.name, "KFP_POD_UID": pod.name, "NAMESPACE": "kubeflow"}
        env |= {one["name"]: one.get("value", "") for one in spec.get("env", [])}
        fields = {"metadata.name": pod.name, "metadata.namespace": "kubeflow", "metadata.uid": pod.name}
        env |= {one["name"]: fields[one["fieldPath"]] for one in config.get("fieldPathAsEnv", [])}
        kinds = (
            ("secret", "secretAsEnv", "secretName", "secretKey", self.kubeflow.secrets),
            ("configmap", "configMapAsEnv", "configMapName", "configMapKey", self.kubeflow.config_maps),
        )
        for word, part, name_key, key_key, known in kinds:
            for one in config.get(part, []):
                name = one.get(name_key) or one[f"{name_key}Parameter"]["runtimeValue"]["constant"]
                for pair in one["keyToEnv"]:
                    key = pair[key_key]
                    if key in known.get(name, {}):
                        env[pair["envVar"]] = known[name][key]
                    elif not one.get("optional"):
                        missing = (
                            f'{word} "{name}" not found' if name not in known else f"couldn't find key {key} in {word} {name}"
                        )
                        self.wait_for_ever(pod, "CreateContainerConfigError", missing)
        return env


def graph_outputs(component: Tree, done: dict[str, Outputs]) -> Outputs:
    """The outputs of a graph from those of its tasks; of several that may have run, the one that did."""
    outputs = Outputs()
    for name, source in component["dag"].get("outputs", {}).get("parameters", {}).items():
        selectors = (
            [source["valueFromParameter"]] if "valueFromParameter" in source else source["valueFromOneof"]["parameterSelectors"]
        )
        for one in selectors:
            if one["outputParameterKey"] in (values := done.get(one["producerSubtask"], Outputs()).parameters):
                outputs.parameters[name] = values[one["outputParameterKey"]]
    for name, source in component["dag"].get("outputs", {}).get("artifacts", {}).items():
        for one in source["artifactSelectors"]:
            if one["outputArtifactKey"] in (artifacts := done.get(one["producerSubtask"], Outputs()).artifacts):
                outputs.artifacts[name] = artifacts[one["outputArtifactKey"]]
    return outputs
