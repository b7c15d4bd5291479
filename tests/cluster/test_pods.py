"""Why pods are not ready, on what a real cluster (Kubernetes 1.34) said of the workloads in faults.py: recorded.json."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from cluster.client import Client, Object
from cluster.pods import PodReason, creation_reason, is_ready, pod_reason, reasons
from tests.cluster.api import Api

RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "recorded.json").read_text(encoding="utf-8"))
SAID = {
    "wrong-image": (
        "ImagePullBackOff",
        'container main: image localhost/perennial/absent:1: ImagePullBackOff: …rennial/absent:1": ErrImagePull: failed to pull',
    ),
    "unschedulable": ("Unschedulable", "Unschedulable: 0/1 nodes are available: 1 Insufficient cpu."),
    "secret-variable": (
        "CreateContainerConfigError",
        'container main: CreateContainerConfigError: secret "perennial-s3" not found',
    ),
    "secret-volume": ("FailedMount", 'FailedMount: MountVolume.SetUp failed for volume "keys" : secret "perennial-s3" not found'),
    "crash": ("Error", "container main: Error: ended with exit code 1 (restarted 3 times): features.json: no such file"),
    "init-crash": (
        "Error",
        "init container fetch: Error: ended with exit code 1 (restarted 3 times): features.json: no such file",
    ),
    "quota": (
        "FailedCreate",
        'cannot make a pod: FailedCreate: pods "quota-7bd957b68c-92pfd" is forbidden: exceeded quota: none',
    ),
}
"""Each fault's code, and what its sentence must say."""


def pod(name: str) -> Object:
    made: Object = copy.deepcopy(RECORDED[name]["pods"][0])
    return made


def reason_of(name: str, changed: Object | None = None) -> PodReason | None:
    return pod_reason(changed or pod(name), RECORDED[name]["warnings"])


def recorded(name: str) -> list[PodReason | None]:
    found = RECORDED[name]
    made = [creation_reason(each, found["warnings"]) for each in found["replica_sets"] if not found["pods"]]
    return made + [pod_reason(each, found["warnings"]) for each in found["pods"]]


@pytest.mark.parametrize("name", SAID)
def test_names_what_is_wrong(name: str) -> None:
    (reason,) = recorded(name)
    code, said = SAID[name]
    assert reason and reason.is_failing
    assert reason.code == code and said in reason.sentence
    assert "\n" not in reason.sentence and reason.name in reason.sentence and len(reason.sentence) < 500


def test_nothing_is_said_of_a_pod_that_is_ready() -> None:
    assert recorded("healthy") == [None]
    assert is_ready(pod("healthy")) and not is_ready(pod("crash"))
    assert creation_reason(RECORDED["healthy"]["replica_sets"][0], []) is None


def test_a_pod_that_is_only_starting_is_not_failing() -> None:
    (starting,) = recorded("starting")
    assert starting and not starting.is_failing and starting.sentence.endswith("is starting: init container fetch runs")
    (unhealthy,) = recorded("unhealthy")
    assert unhealthy and not unhealthy.is_failing
    assert unhealthy.sentence.endswith("container main runs and is not ready: Readiness probe failed:")


def test_a_pod_that_was_given_nothing_yet_is_starting() -> None:
    reason = pod_reason({"metadata": {"name": "a"}}, [])
    assert reason == PodReason("a", "Starting", "pod a: is starting: nothing of it was made yet", False)


def test_a_pod_that_runs_again_after_a_crash_is_failing_until_it_is_ready() -> None:
    crashed = pod("crash")
    (container,) = crashed["status"]["containerStatuses"]
    container["state"] = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
    reason = reason_of("crash", crashed)
    assert reason and reason.is_failing and "ended with exit code 1" in reason.sentence
    container["ready"], crashed["status"]["conditions"] = True, [{"type": "Ready", "status": "True"}]
    assert reason_of("crash", crashed) is None


def test_what_keeps_it_from_starting_again_is_said_before_how_it_ended() -> None:
    crashed = pod("crash")
    crashed["status"]["containerStatuses"][0]["state"] = pod("secret-variable")["status"]["containerStatuses"][0]["state"]
    reason = reason_of("crash", crashed)
    assert reason and reason.code == "CreateContainerConfigError"


def test_an_old_warning_is_not_held_against_a_pod_that_runs() -> None:
    warnings = RECORDED["secret-volume"]["warnings"]
    reason = pod_reason(pod("starting"), warnings)
    assert reason and not reason.is_failing
    failing = pod_reason(pod("secret-volume"), warnings)
    assert failing and failing.is_failing
    quiet = pod_reason(pod("secret-volume"), [])
    assert quiet and not quiet.is_failing


def test_a_pod_that_has_a_node_by_now_is_not_unschedulable() -> None:
    placed = {"metadata": {"name": "a"}, "status": {"conditions": [{"type": "PodScheduled", "status": "True"}]}}
    before = {"reason": "FailedScheduling", "message": "0/1 nodes are available"}
    since = {"reason": "FailedMount", "message": "no such volume"}
    reason = pod_reason(placed, [before])
    assert reason and not reason.is_failing
    reason = pod_reason(placed, [before, since])
    assert reason and reason.is_failing and "no such volume" in reason.sentence


def test_a_pod_that_is_being_deleted_or_has_ended_is_told_apart() -> None:
    ending = pod("healthy")
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    reason = pod_reason(ending, [])
    assert reason and reason.code == "Terminating" and not reason.is_failing
    evicted = {
        "metadata": {"name": "a"},
        "status": {"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory."},
    }
    assert pod_reason(evicted, []) == PodReason("a", "Evicted", "pod a: Evicted: The node was low on memory.", False)
    assert pod_reason({"metadata": {"name": "a"}, "status": {"phase": "Succeeded"}}, []) is None


def test_a_refused_pod_is_named_by_event_where_the_condition_is_not_there_yet() -> None:
    refused = copy.deepcopy(RECORDED["quota"]["replica_sets"][0])
    refused["status"] = {"replicas": 0}
    reason = creation_reason(refused, RECORDED["quota"]["warnings"])
    assert reason and reason.code == "FailedCreate" and "exceeded quota" in reason.sentence
    quiet = creation_reason(refused, [])
    assert quiet and quiet.code == "Creating" and not quiet.is_failing


def test_all_that_a_cluster_says_is_put_together_failing_ones_first(api: Api, client: Client) -> None:
    for name in ("healthy", "starting", "secret-volume", "quota"):
        found = RECORDED[name]
        for kind, api_version, objects in (("Pod", "v1", found["pods"]), ("ReplicaSet", "apps/v1", found["replica_sets"])):
            for each in copy.deepcopy(objects):
                each["metadata"] |= {"namespace": "team", "labels": {"of": "us"}}
                api.keep({**each, "apiVersion": api_version, "kind": kind})
        for number, event in enumerate(copy.deepcopy(found["warnings"])):
            event["metadata"] |= {"name": f"{name}.{number}", "namespace": "team"}
            api.keep({**event, "apiVersion": "v1", "kind": "Event", "type": "Warning"})
    found_reasons = reasons(client, "team", {"of": "us"})
    assert [reason.code for reason in found_reasons] == ["FailedCreate", "FailedMount", "Starting"]
    assert reasons(client, "team", {"of": "them"}) == ()


def test_of_a_failed_pull_the_event_that_names_the_image_is_told() -> None:
    pod = {
        "metadata": {"name": "p"},
        "status": {"containerStatuses": [{"name": "c", "state": {"waiting": {"reason": "PodInitializing"}}}]},
    }
    pull = {"reason": "Failed", "message": 'Failed to pull image "shop:1": not found'}
    again = {"reason": "Failed", "message": "Error: ErrImagePull"}
    reason = pod_reason(pod, [pull, again])
    assert reason is not None and "shop:1" in reason.sentence
    alone = pod_reason(pod, [again])
    assert alone is not None and "ErrImagePull" in alone.sentence
