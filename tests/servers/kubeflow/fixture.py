"""A strict stand-in of Kubeflow Pipelines 2.17: its REST API, and the compiled pipelines executed as processes.

Tests ask for `kubeflow`, say which images, config maps and secrets there are, and speak to `kubeflow.url` as to the API server.
Answers have the shape of a real server's (`recorded.json` beside this file), errors its codes. What is executed gets what a pod
gets and no more (`container.py`): with root and `unshare` a root directory, a `/tmp`, a user and processes of its own.

It does not imitate:
- loops, importers, the final status in exit handlers, volumes of claims, secrets and config maps: refused with 501;
- tasks at the same time: independent tasks run one after another;
- time: what takes Argo 10 s takes `pod_seconds`; a termination that took 41 s is as fast as its kill; no state is late;
- firing of recurring runs: they are created, listed, disabled;
- namespaces, users, rights, Pod Security, resources, network policies, names of services: the loopback is the machine's;
- read-only root directories, and the launcher's processes: a container's first process is a shell that waits for the command;
- SIGTERM: the launcher passes none on, so an executor is killed at once here, and after a pod's grace there;
- the Workflow object (its size, `compressedNodes`), MLMD, the MLflow plugin, the v1 API and its route to logs (`logs()` here);
- deletion, archiving, filters but equality, sorting by keys that the row has not.
It is stricter than the real one in one thing: an unknown query parameter is refused.
"""

import itertools
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.servers.http import running
from tests.servers.kubeflow.answers import Answers
from tests.servers.kubeflow.container import Image
from tests.servers.kubeflow.ir import ABORTED, INTERNAL, INVALID_ARGUMENT, NOT_FOUND, RefusalError, Tree
from tests.servers.kubeflow.launcher import Objects, Outputs
from tests.servers.kubeflow.run import FAILED, NAMESPACE, PENDING, RUNNING, UNSCHEDULABLE, Pod, Run
from tests.servers.kubeflow.workflow import KILLED, Workflow
from tests.servers.port import free_port

WAIT_SECONDS = 150.0


class Kubeflow:
    """The stand-in: what it was given, what it keeps, and the faults that a test asks for."""

    bucket = "minio://mlpipeline/v2/artifacts"

    def __init__(self, folder: Path, pod_seconds: float = 0.05) -> None:
        """An installation without images, config maps and secrets.

        Args:
            folder: where containers have their root directories.
            pod_seconds: what Argo's ten seconds between two pods are here.
        """
        self.folder, self.pod_seconds = folder, pod_seconds
        self.images: dict[str, Image] = {}
        self.config_maps: dict[str, Mapping[str, str]] = {}
        self.secrets: dict[str, Mapping[str, str]] = {}
        self.objects: Objects = {}
        self.cache: dict[str, Outputs] = {}
        self.runs: dict[str, Run] = {}
        self.lock = threading.RLock()
        self.broken: list[Exception] = []
        """What went wrong in the stand-in itself; the fixture raises it."""
        self.answers = Answers(self)
        self._numbers = itertools.count(1)
        self._events: list[Tree] = []
        self._lost_answers, self._lost_rows, self._deliveries, self._broken_until = 0, 0, 1, 0.0
        self._without_row: list[Run] = []
        self._listening = ExitStack()
        self.port = 0

    @property
    def url(self) -> str:
        """The address of the API, as `kfp.Client(host=...)` wants it."""
        return f"http://127.0.0.1:{self.port}"

    def unique(self) -> str:
        """A number that nothing else here has."""
        return str(next(self._numbers))

    def pause(self) -> None:
        """The time between two pods; a test may hold what comes by a large `pod_seconds`, and let it go by a small one."""
        start = time.monotonic()
        while time.monotonic() - start < self.pod_seconds:
            time.sleep(0.005)

    # The server

    def come_back(self) -> None:
        """The API server answers, on the port that it had."""
        self.port = self.port or free_port()
        server = self.answers.server(self.port)
        self._listening.enter_context(running(server))

    def go_away(self) -> None:
        """Nobody listens; workflows go on."""
        self._listening.close()

    def close(self) -> None:
        """End everything that it started."""
        self.go_away()
        self.pod_seconds = 0.0
        workflows = [workflow for run in self._every_run() for workflow in run.workflows]
        for workflow in workflows:
            workflow.cancel()
        for workflow in workflows:
            if workflow.thread is not None:
                workflow.thread.join(WAIT_SECONDS)

    # Runs

    def create(self, run: Run) -> Run:
        """Start a workflow of a run, then insert its row: in this order, as the real server does."""
        with self.lock:
            first = self.runs.get(run.run_id)
            row = first or run
            deliveries, self._deliveries = self._deliveries, 1
            started = [Workflow(self, row, run.pipeline, run.parameters) for _ in range(deliveries)]
            row.workflows += started
            self._lost_rows, loses_row = max(0, self._lost_rows - 1), self._lost_rows > 0
            if loses_row:
                self._without_row.append(run)
            elif first is None:
                run.move(PENDING)
                self.runs[run.run_id] = run
            for workflow in started:
                workflow.start()
            if first is not None or loses_row:
                why = f"Duplicate entry '{run.run_id}' for key 'PRIMARY'" if first is not None else "invalid connection"
                raise RefusalError(500, INTERNAL, f"InternalServerError: Failed to store run {run.display_name} to table: {why}")
            return run

    def _every_run(self) -> list[Run]:
        """Every run, also those without a row."""
        return [*self.runs.values(), *self._without_row]

    def run(self, run_id: str) -> Run:
        """A run by its id."""
        if run_id not in self.runs:
            raise RefusalError(404, NOT_FOUND, f"Failed to get a run: ResourceNotFoundError: Run {run_id} not found.")
        return self.runs[run_id]

    def wait(self, run_id: str, seconds: float = WAIT_SECONDS) -> str:
        """The state of a run once no workflow of it runs any more."""
        until = time.monotonic() + seconds
        for workflow in self.run(run_id).workflows:
            assert workflow.thread is not None
            workflow.thread.join(max(0.0, until - time.monotonic()))
            assert not workflow.thread.is_alive(), f"{run_id} still runs after {seconds} s: {self.pods_of(run_id)}"
        return self.run(run_id).state

    # What a cluster shows

    def pods_of(self, run_id: str) -> list[Tree]:
        """Every pod that a run had, as Kubernetes shows it."""
        return [pod.as_kubernetes() for workflow in self.run(run_id).workflows for pod in list(workflow.pods)]

    def pods(self) -> list[Tree]:
        """Every pod of every run, also of those without a row."""
        workflows = [workflow for run in self._every_run() for workflow in run.workflows]
        return [pod.as_kubernetes() for workflow in workflows for pod in list(workflow.pods)]

    def nodes_of(self, run_id: str) -> int:
        """The number of Argo's nodes of a run; some hundred make a Workflow of a megabyte."""
        return sum(len(workflow.nodes) for workflow in self.run(run_id).workflows)

    def events(self) -> list[Tree]:
        """What Kubernetes said of pods that do not start."""
        return list(self._events)

    def tell(self, pod: Pod, reason: str, message: str) -> None:
        """Say a pod's trouble in an event, which has reasons of its own."""
        told = {UNSCHEDULABLE: "FailedScheduling", "ImagePullBackOff": "BackOff", "CreateContainerConfigError": "Failed"}[reason]
        involved = {"kind": "Pod", "name": pod.name, "namespace": NAMESPACE}
        self._events.append({"type": "Warning", "reason": told, "message": message, "involvedObject": involved})

    def executors_of(self, run_id: str, task: str = "") -> list[Pod]:
        """The pods of a run's executors, or of one task's, that have begun; each attempt has its own."""
        pods = [pod for workflow in self.run(run_id).workflows for pod in list(workflow.pods)]
        return [pod for pod in pods if pod.container is not None and task in ("", pod.task)]

    def logs(self, run_id: str, task: str) -> str:
        """What every attempt of a task has written so far."""
        logs = [pod.container.log for pod in self.executors_of(run_id, task) if pod.container is not None]
        return "".join(log.read_text(encoding="utf-8", errors="replace") for log in logs if log.exists())

    def executor_input(self, run_id: str, task: str) -> Tree:
        """What the driver handed to a task's executor last."""
        messages = {path: one for workflow in self.run(run_id).workflows for path, one in workflow.messages.items()}
        return next(message for path, message in messages.items() if path.endswith(f"/{task}"))

    # Faults on command

    def lose_answer_of_next_post(self) -> None:
        """The next POST of a run is carried out; its connection is closed without an answer."""
        self._lost_answers += 1

    def loses_answer(self) -> bool:
        """Whether this answer is lost."""
        with self.lock:
            self._lost_answers, was = max(0, self._lost_answers - 1), self._lost_answers
        return was > 0

    def lose_row_of_next_post(self) -> None:
        """The next POST of a run starts its workflow and fails before the row is there: 500, then 404, and it executes."""
        self._lost_rows += 1

    def answer_500(self, seconds: float) -> None:
        """Every request is answered by 500, code 13, as while the database is away; workflows go on."""
        self._broken_until = time.monotonic() + seconds

    def is_broken(self) -> bool:
        """Whether the database is away."""
        return time.monotonic() < self._broken_until

    def deliver_twice(self) -> None:
        """The next POST makes two workflows of its run."""
        self._deliveries = 2

    def stick(self, run_id: str, reason: str) -> None:
        """The next pod of the run is never scheduled, for this reason; the run stays RUNNING until it is terminated."""
        self.run(run_id).stuck = reason

    def wait_until_running(self, run_id: str, task: str = "", seconds: float = WAIT_SECONDS) -> Pod:
        """The pod of an executor that runs, of this task or of any, once there is one."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for pod in self.executors_of(run_id, task):
                if pod.phase == "Running" and not pod.message:
                    return pod
            time.sleep(0.005)
        raise AssertionError(f"no executor of {run_id} runs: {self.run(run_id).state}, {self.pods_of(run_id)}")

    def kill_executor(self, run_id: str, task: str = "") -> None:
        """Delete the pod of an executor by force, waiting for one that runs; Argo makes it again, twice at most."""
        pod = self.wait_until_running(run_id, task)
        pod.message = KILLED
        assert pod.container is not None
        pod.container.kill()

    def terminate(self, run_id: str) -> None:
        """CANCELING, then, when everything has ended, FAILED."""
        with self.lock:
            run = self.run(run_id)
            if run.state not in (PENDING, RUNNING):
                raise RefusalError(
                    400, INVALID_ARGUMENT, f"Failed to terminate a run: Invalid input error: Run {run_id} is already {run.state}"
                )
            run.cancelling = True
            run.move("CANCELING")
            for workflow in run.workflows:
                workflow.cancel()

    def retry(self, run_id: str) -> None:
        """Start what failed again, under the same id."""
        with self.lock:
            run = self.run(run_id)
            workflow = run.workflows[-1]
            if run.state != FAILED or workflow.phase != FAILED:
                raise RefusalError(409, ABORTED, "Failed to retry a run: Workflow must be Failed/Error to retry")
            run.stuck = ""
            run.move(RUNNING)
            workflow.start()


@pytest.fixture
def kubeflow(tmp_path: Path) -> Iterator[Kubeflow]:
    """The stand-in, answering; what it executes ends with the test."""
    server = Kubeflow(tmp_path / "kubeflow")
    server.come_back()
    try:
        yield server
    finally:
        server.close()
    if server.broken:
        raise server.broken[0]
