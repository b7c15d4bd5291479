"""Why pods are not ready, in one sentence each: from their conditions, their containers' states and what events say.

Reasons are pure functions of objects. *Failing* means that the cluster itself says that something is wrong and that waiting
alone will hardly help; a pod that is only starting is not ready and not failing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cluster.apply import list_at, list_by_label
from cluster.client import Client, Object
from cluster.events import time_of

STARTING = ("ContainerCreating", "PodInitializing", "")
"""Why a container may wait without anything being wrong."""

TAIL = 300
"""Characters of a message that are kept, from its end; of a crash the last line says why."""


@dataclass(frozen=True)
class PodReason:
    """Why something is not ready."""

    name: str
    """Of the pod, or of the ReplicaSet that cannot make one."""
    code: str
    """Kubernetes' word, for example ImagePullBackOff, Unschedulable, FailedMount, FailedCreate, Error, OOMKilled."""
    sentence: str
    """For people, on one line."""
    is_failing: bool
    """Whether the cluster says that something is wrong; else it is only starting or ending."""


def reasons(client: Client, namespace: str, labels: Mapping[str, str]) -> tuple[PodReason, ...]:
    """Why pods with these labels are not ready, or cannot be made; failing ones first, empty when all are ready.

    Pods, ReplicaSets and events of the namespace are read.

    Args:
        client: of the cluster.
        namespace: theirs.
        labels: values by name, of the pods and of their ReplicaSets.

    Raises:
        PlatformError: the API server does not answer or refuses.
    """
    pods = list_by_label(client, "v1", "Pod", namespace, labels)
    replica_sets = list_by_label(client, "apps/v1", "ReplicaSet", namespace, labels)
    events: dict[str, list[Object]] = {}
    for event in sorted(list_at(client, "v1", "Event", namespace, {"fieldSelector": "type=Warning"}), key=time_of):
        events.setdefault(event["involvedObject"].get("uid", ""), []).append(event)
    candidates = [creation_reason(replica_set, events.get(replica_set["metadata"]["uid"], [])) for replica_set in replica_sets]
    candidates += [pod_reason(pod, events.get(pod["metadata"]["uid"], [])) for pod in pods]
    return tuple(sorted((reason for reason in candidates if reason), key=lambda reason: not reason.is_failing))


def is_ready(pod: Object) -> bool:
    """Whether a pod takes traffic: ready, and not being deleted."""
    return "deletionTimestamp" not in pod["metadata"] and _condition(pod, "Ready").get("status") == "True"


def pod_reason(pod: Object, warnings: Sequence[Object]) -> PodReason | None:
    """Why a pod is not ready; None when it is, or has done its work.

    Args:
        pod: as stored.
        warnings: its events of type Warning, the oldest first.
    """
    name, status = pod["metadata"]["name"], pod.get("status", {})
    if is_ready(pod) or status.get("phase") == "Succeeded":
        return None
    if "deletionTimestamp" in pod["metadata"]:
        return PodReason(name, "Terminating", f"pod {name}: is being deleted", False)
    if status.get("phase") == "Failed" and status.get("reason"):
        # Evicted, or its node went down: what makes pods has made another one, which says itself why it does not come.
        return PodReason(name, status["reason"], f"pod {name}: {status['reason']}: {_line(status.get('message', ''))}", False)
    condition = _condition(pod, "PodScheduled")
    if condition.get("status") == "False":
        return _failing(name, f"pod {name}", condition.get("reason", "Unschedulable"), condition.get("message", ""))
    warnings = [event for event in warnings if event.get("reason") != "FailedScheduling"]  # it has a node by now
    containers = [
        *(("init container", state) for state in status.get("initContainerStatuses", [])),
        *(("container", state) for state in status.get("containerStatuses", [])),
    ]
    for what, container in containers:
        reason = _container_reason(name, f"{what} {container['name']}", container, warnings)
        if reason:
            return reason
    if warnings and not any("running" in container.get("state", {}) for _, container in containers):
        # Of a failed pull the kubelet tells twice; the second event, `Error: ErrImagePull`, only repeats the code.
        telling = [event for event in warnings if not event.get("message", "").startswith("Error: Err")] or warnings
        return _failing(name, f"pod {name}", telling[-1].get("reason", ""), telling[-1].get("message", ""))
    return PodReason(name, "Starting", f"pod {name}: is starting: {_what_runs(containers)}", False)


def creation_reason(replica_set: Object, warnings: Sequence[Object]) -> PodReason | None:
    """Why a ReplicaSet has fewer pods than it should; None when it has them all.

    Args:
        replica_set: as stored.
        warnings: its events of type Warning, the oldest first.
    """
    name = replica_set["metadata"]["name"]
    if replica_set.get("status", {}).get("replicas", 0) >= replica_set.get("spec", {}).get("replicas", 1):
        return None
    where, failure = f"ReplicaSet {name}: cannot make a pod", _condition(replica_set, "ReplicaFailure")
    if failure.get("status") == "True":
        return _failing(name, where, failure.get("reason", "FailedCreate"), failure.get("message", ""))
    refusals = [event for event in warnings if event.get("reason") == "FailedCreate"]
    if refusals:
        return _failing(name, where, "FailedCreate", refusals[-1].get("message", ""))
    return PodReason(name, "Creating", f"ReplicaSet {name}: is making its pods", False)


def _container_reason(pod: str, what: str, container: Object, warnings: Sequence[Object]) -> PodReason | None:
    """What is wrong with a container; None when nothing is, as far as its state says."""
    state = container.get("state", {})
    waiting, termination = state.get("waiting"), state.get("terminated")
    last = container.get("lastState", {}).get("terminated")
    starts = (waiting or {}).get("reason", "") in (*STARTING, "CrashLoopBackOff")
    if not termination and starts and not container.get("ready") and last and last.get("exitCode", 0) != 0:
        termination = last  # it waits for another start, or runs again: how it ended before says more
    if termination and termination.get("exitCode", 0) != 0:
        count = container.get("restartCount", 0)
        again = f" (restarted {count} time{'' if count == 1 else 's'})" if count else ""
        message = ": ".join(filter(None, (f"ended with exit code {termination['exitCode']}{again}", termination.get("message"))))
        return _failing(pod, f"pod {pod}: {what}", termination.get("reason", "Error"), message)
    if waiting and not starts:
        image = f": image {container['image']}" if "Image" in waiting["reason"] else ""
        return _failing(pod, f"pod {pod}: {what}{image}", waiting["reason"], waiting.get("message", "no message"))
    unhealthy = [event for event in warnings if event.get("reason") == "Unhealthy"]
    if "running" in state and not container.get("ready") and unhealthy:
        sentence = f"pod {pod}: {what} runs and is not ready: {_line(unhealthy[-1].get('message', ''))}"
        return PodReason(pod, "Unhealthy", sentence, False)
    return None


def _what_runs(containers: Iterable[tuple[str, Object]]) -> str:
    """The container for which a starting pod waits."""
    for what, container in containers:
        state = container.get("state", {})
        is_done = "terminated" in state if what == "init container" else container.get("ready")
        if not is_done:
            how = "runs" if "running" in state else "waits"
            return f"{what} {container['name']} {how}"
    return "nothing of it was made yet"


def _failing(name: str, where: str, code: str, message: str) -> PodReason:
    return PodReason(name, code, f"{where}: {code}: {_line(message)}", True)


def _line(message: str) -> str:
    r"""The end of a message on one line.

    >>> _line("Traceback:\n  x\nKeyError: 'a'")
    "Traceback: x KeyError: 'a'"
    """
    whole = " ".join(message.split())
    return whole if len(whole) <= TAIL else f"…{whole[-TAIL:]}"


def _condition(stored: Object, kind: str) -> Object:
    conditions: list[Object] = [
        condition for condition in stored.get("status", {}).get("conditions") or [] if condition["type"] == kind
    ]
    return conditions[0] if conditions else {}
