"""A run's workflow as Argo and Kubeflow's driver execute it: pods, nodes, conditions, repeats.

Independent tasks run one after another, in the order of their dependencies; one that fails leaves those that do not need it.
"""

import itertools
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from typing import TYPE_CHECKING

from tests.servers.kubeflow.condition import holds
from tests.servers.kubeflow.container import USER, Container
from tests.servers.kubeflow.inputs import DriverError, Scope, fingerprint, graph_outputs, resolve
from tests.servers.kubeflow.ir import Pipeline, Tree, in_order
from tests.servers.kubeflow.launcher import Launcher, Outputs, StepError, executor_input
from tests.servers.kubeflow.run import (
    FAILED,
    NAMESPACE,
    OMITTED,
    PENDING,
    RUNNING,
    SKIPPED,
    SUCCEEDED,
    TOO_LONG,
    UNSCHEDULABLE,
    Node,
    Pod,
    Run,
)

if TYPE_CHECKING:
    from tests.servers.kubeflow.fixture import Kubeflow

KILLED = "Pod was deleted"
REPEATS = 2
"""How often Argo makes a pod again that was killed or deleted: Kubeflow's manifests say `retryStrategy` {limit 2, OnError}."""
STORE = '{"Provider":"minio","Params":{"fromEnv":"false"}}'
"""What the metadata of an artifact says of its store, beside its own name and what the step said."""
EXIT_HANDLER = "ALL_UPSTREAM_TASKS_COMPLETED"


class TerminatedError(Exception):
    """The run was told to end."""


class Workflow:
    """One workflow of a run; a run has more than one where its id was posted again."""

    def __init__(self, kubeflow: "Kubeflow", run: Run, pipeline: Pipeline, parameters: Tree) -> None:
        """Take what is to be executed; `start` begins.

        Args:
            kubeflow: whose state it reports to.
            run: the row that it overwrites.
            pipeline: the IR.
            parameters: those of the whole.
        """
        self.kubeflow, self.run, self.pipeline, self.parameters = kubeflow, run, pipeline, parameters
        self.name = f"{pipeline.name}-{sha256(kubeflow.unique().encode()).hexdigest()[:5]}"
        self.phase, self.cancelled, self.exiting = PENDING, threading.Event(), False
        self.pods: list[Pod] = []
        self.nodes: dict[str, Node] = {}
        """By the path of their task: two for a graph, and two for each pod."""
        self.messages: dict[str, Tree] = {}
        """What the driver handed to each executor; one that is started again gets the same."""
        self.kept: dict[str, Outputs] = {}
        """What has succeeded is not executed again."""
        self.driven: set[str] = set()
        self.numbers = itertools.count(1)
        self.thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, or begin again with what failed."""
        self.cancelled.clear()
        self.thread = threading.Thread(target=self._execute, name=self.name, daemon=True)
        self.thread.start()

    def cancel(self) -> None:
        """End every executor and start none but those of exit handlers."""
        with self.kubeflow.lock:
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
        with self.kubeflow.lock:
            self.phase = phase
            if not (self.run.cancelling and phase == RUNNING):
                self.run.move(phase)

    def _execute(self) -> None:
        """The thread of the workflow."""
        try:
            self.kubeflow.pause()
            self.report(RUNNING)
            succeeded = self.whole() and not self.cancelled.is_set()
            if self.cancelled.is_set():
                self.kubeflow.pause()
            self.report(SUCCEEDED if succeeded else FAILED)
        except Exception as error:
            self.kubeflow.broken.append(error)
            self.report(FAILED)

    def whole(self) -> bool:
        """Execute the root; whether all of it went well."""
        self.opened("", self.name)
        try:
            if "root" not in self.driven:
                self.pod("root", "driver", "root-driver").end("Succeeded")
                self.driven.add("root")
            return self.graph("root", self.pipeline.root, Outputs(dict(self.parameters))) is not None
        except TerminatedError:
            return False

    # Nodes and pods

    def node(self, path: str, display_name: str, parent: str) -> Node:
        """The node of a path, made when it is asked for first, with a number as its id."""
        if path not in self.nodes:
            number = int(sha256(f"{self.name}{next(self.numbers)}".encode()).hexdigest()[:8], 16)
            self.nodes[path] = Node(f"{self.name}-{number}", display_name)
            if parent in self.nodes and parent != path:
                self.nodes[parent].children.append(self.nodes[path].identity)
        return self.nodes[path]

    def opened(self, path: str, display_name: str) -> None:
        """The two nodes of a graph: Argo's repeats of it, and its first attempt."""
        self.node(path, display_name, f"{path}/driver(0)").move(RUNNING)
        self.node(f"{path}(0)", f"{display_name}(0)", path).move(RUNNING)

    def pod(self, path: str, kind: str, display_name: str, labels: dict[str, str] | None = None) -> Pod:
        """A pod that may start; what stands in its way keeps the workflow here until the run is terminated.

        Args:
            path: the task's, from the root.
            kind: `driver` or `executor`.
            display_name: of its node.
            labels: its own, beside those of every pod.
        """
        key, graph = f"{path}/{kind}", path if kind == "executor" else path.rpartition("/")[0]
        attempt = len([one for one in self.nodes if one.startswith(f"{key}(")])
        nodes = [
            self.node(key, display_name, f"{graph}(0)"),
            self.node(f"{key}({attempt})", f"{display_name}({attempt})", key),
        ]
        template = "system-container-impl" if kind == "executor" else "system-container-driver"
        name = f"{self.name}-{template}-{nodes[1].identity.rpartition('-')[2]}"
        pod = Pod(name, self.run.run_id, self.name, path.rpartition("/")[2], nodes, labels=labels or {})
        self.pods.append(pod)
        for node in nodes:
            node.move(PENDING)
        self.report(RUNNING)
        self.kubeflow.pause()
        if self.run.stuck:
            self.wait_for_ever(pod, UNSCHEDULABLE, self.run.stuck)
        return pod

    def wait_for_ever(self, pod: Pod, reason: str, message: str) -> None:
        """What Kubernetes never gives up: nothing but a termination ends it."""
        pod.waiting = (reason, message)
        self.kubeflow.tell(pod, reason, message)
        self.cancelled.wait()
        pod.end("Failed")
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
            is_exit = tasks[name].get("triggerPolicy", {}).get("strategy") == EXIT_HANDLER
            if not is_exit and (self.is_ending or any(state != SUCCEEDED for state in needs)):
                states[name] = OMITTED
                continue
            outer, self.exiting = self.exiting, self.exiting or is_exit
            states[name], outputs = self.task(f"{path}/{name}", tasks[name], inputs, done)
            self.exiting = outer
            if outputs is not None:
                done[name] = outputs
        return None if FAILED in states.values() or self.cancelled.is_set() else graph_outputs(component, done)

    def task(self, path: str, task: Tree, inputs: Outputs, done: dict[str, Outputs]) -> tuple[str, Outputs | None]:
        """One task: its driver, and what the driver lets run."""
        if path in self.kept:
            return SUCCEEDED, self.kept[path]
        component, name = self.pipeline.component(task), path.rpartition("/")[2]
        try:
            resolved = self.drive(path, task, Scope(inputs, done, self.doubled(path), self.placeholders(path)))
            condition = task.get("triggerPolicy", {}).get("condition")
            if condition and not holds(condition, resolved.parameters):
                self.node(path, name, f"{path}/driver(0)").move(SKIPPED)
                return SKIPPED, None
            if "dag" in component:
                outputs = self.graph(path, component, resolved)
            else:
                outputs = self.kept[path] = self.execute(path, task, component, resolved)
        except (TerminatedError, DriverError, StepError):
            return FAILED, None
        return SUCCEEDED if outputs is not None else FAILED, outputs

    def drive(self, path: str, task: Tree, scope: Scope) -> Outputs:
        """The pod of a driver, unless it has been: the inputs that it resolves."""
        self.run.executions.setdefault(path, set()).add(self.name)
        if path in self.driven:
            return resolve(task, scope)
        pod = self.pod(path, "driver", f"{path.rpartition('/')[2]}-driver")
        try:
            resolved = resolve(task, scope)
        except DriverError as error:
            pod.message = str(error)
            pod.end("Failed")
            raise
        pod.end("Succeeded")
        self.driven.add(path)
        return resolved

    def doubled(self, path: str) -> str:
        """A task beside this one that two workflows of the run have executed."""
        graph = path.rpartition("/")[0]
        executions = list(self.run.executions.items())
        doubles = [one for one, names in executions if len(names) > 1 and one.rpartition("/")[0] == graph and one != path]
        return doubles[0].rpartition("/")[2] if doubles else ""

    def placeholders(self, path: str) -> Tree:
        """What the driver knows of the run."""
        return {
            "{{$.pipeline_job_name}}": self.run.display_name,
            "{{$.pipeline_job_resource_name}}": self.name,
            "{{$.pipeline_job_uuid}}": self.run.run_id,
            "{{$.pipeline_task_name}}": path.rpartition("/")[2],
            "{{$.pipeline_task_uuid}}": str(1 + list(self.nodes).index(path.rpartition("/")[0])),
        }

    # Executors

    def execute(self, path: str, task: Tree, component: Tree, inputs: Outputs) -> Outputs:
        """Run an executor, from the cache where it may; repeat it as Argo does."""
        name, container = path.rpartition("/")[2], self.pipeline.container(component)
        self.opened(path, name)
        if path not in self.messages:
            root = f"{self.kubeflow.bucket}/{self.pipeline.name}/{self.run.run_id}/{name}"
            self.messages[path] = executor_input(inputs, component, f"{root}/{self.kubeflow.unique()}")
        key = fingerprint(self.pipeline.name, task, component, container, self.messages[path])
        if key in self.kubeflow.cache:
            self.node(f"{path}/executor", "executor", f"{path}(0)").move(SKIPPED)
            return self.kubeflow.cache[key]
        for outputs in self.attempts(path, task, component):
            if outputs is not None:
                for output, artifact in outputs.artifacts.items():
                    artifact["name"] = self.kubeflow.unique()
                    artifact["metadata"] = {"display_name": output, "store_session_info": STORE, **artifact["metadata"]}
                if key:
                    self.kubeflow.cache[key] = outputs
                return outputs
        raise StepError(f"{name} failed")

    def attempts(self, path: str, task: Tree, component: Tree) -> Iterator[Outputs | None]:
        """Each attempt of an executor: again after a kill, and after a failure as often as the task's own policy says."""
        kills, failures = REPEATS, int(task.get("retryPolicy", {}).get("maxRetryCount", 0))
        while kills >= 0 and failures >= 0:
            config = self.pipeline.on_kubernetes(component)
            pod = self.pod(path, "executor", "executor", config.get("podMetadata", {}).get("labels"))
            outputs = self.attempt(pod, path, component)
            pod.end("Failed" if outputs is None else "Succeeded")
            self.report(RUNNING)
            if self.is_ending:
                raise TerminatedError(path)
            yield outputs
            kills, failures = (kills - 1, failures) if pod.message == KILLED else (kills, failures - 1)

    def attempt(self, pod: Pod, path: str, component: Tree) -> Outputs | None:
        """One pod of an executor: its outputs if it succeeded."""
        config, spec = self.pipeline.on_kubernetes(component), self.pipeline.container(component)
        image = self.kubeflow.images.get(spec["image"])
        if image is None:
            self.wait_for_ever(pod, "ImagePullBackOff", f'Back-off pulling image "{spec["image"]}"')
            raise AssertionError
        env = {**image.environment(), **self.environment(pod, spec, config)}
        user = int(config.get("securityContext", {}).get("runAsUser", USER))
        container = Container(self.kubeflow.folder / pod.name, image, user)
        for one in config.get("emptyDirMounts", []):
            container.folder(one["mountPath"])
        launcher = Launcher(container, self.messages[path], component, self.kubeflow.objects)
        try:
            launcher.prepare()
            code = self.run_container(pod, container, launcher.command(spec), env, config.get("activeDeadlineSeconds"))
            return launcher.collect() if code == 0 else None
        except StepError as error:
            with container.log.open("a", encoding="utf-8") as log:
                log.write(f"{error}\n")
            return None
        finally:
            launcher.publish_log()

    def run_container(self, pod: Pod, container: Container, command: list[str], env: dict[str, str], deadline: object) -> int:
        """Wait for the command's end: its exit code, not 0 where it was killed.

        Args:
            pod: it is Running meanwhile.
            container: that of the pod.
            command: with its placeholders filled in.
            env: all of its environment.
            deadline: seconds from its start, as the platform config has them; none without one.
        """
        with self.kubeflow.lock:
            if self.is_ending:
                return 137
            process = container.start(command, env)
            pod.container, pod.phase = container, "Running"
        for node in pod.nodes:
            node.move(RUNNING)
        until = time.monotonic() + float(str(deadline)) if deadline else float("inf")
        while process.poll() is None:
            if time.monotonic() > until:
                pod.message = TOO_LONG
                container.kill()
            time.sleep(0.005)
        return process.returncode

    def environment(self, pod: Pod, spec: Tree, config: Tree) -> dict[str, str]:
        """What the pod adds to the image's environment; a name that does not exist keeps it waiting for ever.

        `_KFP_RUNTIME` is not in it: a Python component's own command sets it, a container component does without.
        """
        env = {"KFP_POD_NAME": pod.name, "KFP_POD_UID": pod.name, "NAMESPACE": NAMESPACE}
        env |= {one["name"]: one.get("value", "") for one in spec.get("env", [])}
        fields = {"metadata.name": pod.name, "metadata.namespace": NAMESPACE, "metadata.uid": pod.name}
        env |= {one["name"]: fields[one["fieldPath"]] for one in config.get("fieldPathAsEnv", [])}
        for part, known in (("secret", self.kubeflow.secrets), ("configMap", self.kubeflow.config_maps)):
            for one in config.get(f"{part}AsEnv", []):
                name = one.get(f"{part}Name") or one[f"{part}NameParameter"]["runtimeValue"]["constant"]
                for pair in one["keyToEnv"]:
                    key, word = pair[f"{part}Key"], part.lower()
                    if key in known.get(name, {}):
                        env[pair["envVar"]] = known[name][key]
                    elif not one.get("optional"):
                        lost = f'{word} "{name}" not found' if name not in known else f"couldn't find key {key} in {word} {name}"
                        self.wait_for_ever(pod, "CreateContainerConfigError", lost)
        return env
