"""What a run is to its readers: its row in the API, its pods, the nodes of its workflows."""

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tests.servers.kubeflow.container import Container
from tests.servers.kubeflow.ir import Pipeline, Tree

if TYPE_CHECKING:
    from tests.servers.kubeflow.workflow import Workflow

SUCCEEDED, FAILED, SKIPPED, OMITTED, RUNNING, PENDING = "SUCCEEDED", "FAILED", "SKIPPED", "OMITTED", "RUNNING", "PENDING"
TOO_LONG = "Pod was active on the node longer than the specified deadline"
UNSCHEDULABLE, NAMESPACE = "Unschedulable", "kubeflow"
ENDED = (SUCCEEDED, FAILED)
ALIVE = "1970-01-01T00:00:00Z"
"""When a run ended that has not."""
NEVER = "0001-01-01T00:00:00Z"
"""When a task ended that has not."""


def stamp() -> str:
    """The time as the API writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Node:
    """A node of the workflow, and the entry that the API's `task_details` makes of it."""

    identity: str
    display_name: str
    state: str = PENDING
    children: list[str] = field(default_factory=list)
    created: str = field(default_factory=stamp)
    ended: str = NEVER
    history: list[Tree] = field(default_factory=list)

    def move(self, state: str) -> None:
        """Another state; that of a graph is RUNNING to the last, as was seen of a run that had long succeeded."""
        self.state = state
        self.history.append({"update_time": stamp(), "state": state})
        if state not in (RUNNING, PENDING):
            self.ended = stamp()

    def entry(self, run: "Run") -> Tree:
        """The node in `task_details`; it says neither which pod it is nor what went wrong."""
        return {
            "run_id": run.run_id,
            "task_id": str(uuid.uuid5(uuid.NAMESPACE_OID, self.identity)),
            "display_name": self.display_name,
            "create_time": run.created_at,
            "start_time": self.created,
            "end_time": self.ended,
            "state": self.state,
            "state_history": list(self.history),
            **({"child_tasks": [{"pod_name": child} for child in self.children]} if self.children else {}),
        }


@dataclass
class Pod:
    """A pod of a workflow, as far as a reader of pods can see it."""

    name: str
    run_id: str
    workflow: str
    task: str
    nodes: list[Node]
    """Argo's repeats of the pod, and this attempt."""
    phase: str = "Pending"
    waiting: tuple[str, str] | None = None
    """Why it does not start: reason and message, in Kubernetes' words."""
    labels: dict[str, str] = field(default_factory=dict)
    container: Container | None = None
    """That of an executor; a driver has none here."""
    message: str = ""

    def end(self, phase: str) -> None:
        """It is over: `Succeeded` or `Failed`."""
        self.phase = phase
        for node in self.nodes:
            node.move(phase.upper())

    def as_kubernetes(self) -> Tree:
        """The parts of the object that say how the pod is; the launcher hides with which code a step ended."""
        status: Tree = {"phase": self.phase, "conditions": [], "containerStatuses": []}
        if self.waiting and self.waiting[0] == UNSCHEDULABLE and self.phase == "Pending":
            reason, message = self.waiting
            status["conditions"] = [{"type": "PodScheduled", "status": "False", "reason": reason, "message": message}]
        elif self.waiting or self.phase != "Pending":
            status["containerStatuses"] = [{"name": "main", "state": self.state()}]
        if self.message:
            status |= {"reason": "DeadlineExceeded" if self.message == TOO_LONG else "Error", "message": self.message}
        labels = {"pipeline/runid": self.run_id, "workflows.argoproj.io/workflow": self.workflow, **self.labels}
        return {"metadata": {"name": self.name, "namespace": NAMESPACE, "labels": labels}, "status": status}

    def state(self) -> Tree:
        """The state of the pod's container `main`."""
        if self.phase == "Running":
            return {"running": {}}
        if self.phase == "Pending" and self.waiting:
            return {"waiting": {"reason": self.waiting[0], "message": self.waiting[1]}}
        is_good = self.phase == "Succeeded"
        return {"terminated": {"exitCode": 0 if is_good else 1, "reason": "Completed" if is_good else "Error"}}


@dataclass
class Run:
    """A run's row."""

    run_id: str
    display_name: str
    pipeline: Pipeline
    parameters: Tree
    """With the defaults of the pipeline; `body` has what was given."""
    body: Tree
    state: str = ""
    finished_at: str = ALIVE
    history: list[Tree] = field(default_factory=list)
    created_at: str = field(default_factory=stamp)
    workflows: list["Workflow"] = field(default_factory=list)
    executions: dict[str, set[str]] = field(default_factory=dict)
    """Workflows by the task that they executed, as metadata is kept by run."""
    cancelling: bool = False
    stuck: str = ""

    def move(self, state: str) -> None:
        """What the last reporter said."""
        if state in ENDED:
            self.cancelling = False
        self.finished_at = stamp() if state in ENDED else ALIVE
        if state != self.state:
            self.state = state
            self.history.append({"update_time": stamp(), "state": state})

    def answer(self) -> Tree:
        """The run as the API tells it; of what went wrong it says nothing."""
        entries = [node.entry(self) for workflow in self.workflows for node in list(workflow.nodes.values())]
        return {
            **self.body,
            "storage_state": "AVAILABLE",
            "created_at": self.created_at,
            "scheduled_at": self.created_at,
            "finished_at": self.finished_at,
            "state": self.state,
            **({"run_details": {"task_details": entries}} if entries else {}),
            "state_history": list(self.history),
        }
