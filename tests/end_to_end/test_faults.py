"""Stores that are away, and versions that will not come: each is named within a minute, and what serves goes on."""

import copy
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cluster import apply
from perennial.loop.standing import Standing
from serving.deployers.on_kserve import KServeDeployer
from tests.end_to_end.conftest import Story
from tests.end_to_end.installation import until
from tests.second_project import NAME

pytestmark = pytest.mark.cluster

RATE = 200
WITHIN_SECONDS = 60

TAMPER = """
import json, sys
import obstore
from perennial.stores.bucket import Bucket
from perennial.settings import Settings
bucket = Bucket(Settings.from_environment().bucket)
source, target = f"versions/chargeback/{sys.argv[1]}/", f"versions/{sys.argv[2]}/{sys.argv[1]}/"
for key in bucket.keys(source):
    content = bucket.get(key)
    name = key.removeprefix(source)
    bucket.put(target + name, content + b" " if name.startswith("contract") else content)
print(json.dumps(True))
"""


def test_redis_away_is_told_to_callers_and_back_by_itself(story: Story) -> None:
    before = story.installation.serving_containers(NAME)
    assert len(before) == 2
    with story.installation.calls(NAME, story.rows, rate=50, seconds=30) as calls:
        time.sleep(5)
        story.installation.kubectl("scale", "statefulset/redis", "--replicas=0")
        story.installation.kubectl("wait", "pod/redis-0", "--for=delete", "--timeout=60s")
        time.sleep(10)
        story.installation.kubectl("scale", "statefulset/redis", "--replicas=1")
        story.installation.kubectl("rollout", "status", "statefulset/redis", "--timeout=60s")
        time.sleep(10)
    assert {answer["status"] for answer in calls.answers} == {200, 503}
    assert all("online store does not answer" in answer["error"] for answer in calls.failed)
    assert not calls.mixed(story.expected)
    assert calls.answers[-1]["status"] == 200
    assert story.installation.serving_containers(NAME) == before


def test_s3_away_fails_no_caller_and_its_log_comes_later(story: Story) -> None:
    from tests.end_to_end.test_log import missing

    before = story.installation.serving_containers(NAME)
    assert len(before) == 2
    with story.installation.calls(NAME, story.rows, RATE, seconds=30) as calls:
        time.sleep(5)
        story.installation.kubectl("scale", "statefulset/s3", "--replicas=0")
        story.installation.kubectl("wait", "pod/s3-0", "--for=delete", "--timeout=90s")
        time.sleep(10)
        story.installation.kubectl("scale", "statefulset/s3", "--replicas=1")
        story.installation.kubectl("rollout", "status", "statefulset/s3", "--timeout=90s")
    assert calls.failed == []
    assert not calls.mixed(story.expected)
    time.sleep(20)  # the next attempts
    assert missing(story, calls) == set()
    assert story.installation.serving_containers(NAME) == before


@pytest.fixture
def broken(story: Story) -> Iterator[Callable[..., Standing]]:
    """Deploys a changed copy of the InferenceService under another name; says what is stuck, within a minute."""
    where = story.installation
    made: list[str] = []

    def deploy(name: str, digest: str | None = None, **model: Any) -> Standing:
        version, kind = "serving.kserve.io/v1beta1", "InferenceService"
        stored = apply.get(where.client, version, kind, NAME, where.namespace)
        assert stored is not None
        labels, annotations = stored["metadata"]["labels"], stored["metadata"]["annotations"]
        service: dict[str, Any] = {
            "apiVersion": version,
            "kind": kind,
            "metadata": {"name": name, "namespace": where.namespace, "labels": labels, "annotations": annotations},
            "spec": copy.deepcopy(stored["spec"]),
        }
        predictor = service["spec"]["predictor"]
        predictor["minReplicas"] = 1
        predictor["model"] |= model
        if digest is not None:
            predictor["model"]["storageUri"] = f"perennial://{name}/1/{digest}"
        made.append(name)
        apply.apply(where.client, service)
        deployer = KServeDeployer(where.client, where.namespace)
        found: list[Standing] = []

        def is_stuck() -> bool:
            found[:] = [deployer.standing(name)]
            return found[0].state == "stuck"

        until(WITHIN_SECONDS, f"{name} is named", is_stuck, pause=1)
        return found[0]

    yield deploy
    for name in made:
        apply.delete(where.client, "serving.kserve.io/v1beta1", "InferenceService", name, where.namespace, wait_seconds=60)


def test_a_wrong_image_is_named(broken: Callable[..., Standing]) -> None:
    standing = broken("wrong-image", image="localhost/perennial/nothing:1")
    assert "localhost/perennial/nothing:1" in standing.sentence


def test_an_unschedulable_pod_is_named(broken: Callable[..., Standing]) -> None:
    resources = {"requests": {"cpu": "100"}, "limits": {"cpu": "100"}}
    assert "Insufficient cpu" in broken("unschedulable", resources=resources).sentence


def test_a_missing_secret_is_named(broken: Callable[..., Standing]) -> None:
    variable = {"name": "X", "valueFrom": {"secretKeyRef": {"name": "not-there", "key": "x"}}}
    assert 'secret "not-there" not found' in broken("missing-secret", env=[variable]).sentence


def test_a_crash_is_named_with_what_it_said(broken: Callable[..., Standing]) -> None:
    standing = broken("crash", args=["--port=none"])
    assert "invalid int value" in standing.sentence


def test_a_quota_is_named(story: Story, broken: Callable[..., Standing]) -> None:
    where = story.installation
    pods = len(apply.list_by_label(where.client, "v1", "Pod", where.namespace))
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "full", "namespace": where.namespace},
        "spec": {"hard": {"pods": str(pods)}},
    }
    apply.apply(where.client, quota)
    try:
        until(
            30,
            "the quota counts",
            lambda: (apply.get(where.client, "v1", "ResourceQuota", "full", where.namespace) or {}).get("status"),
        )
        assert "exceeded quota: full" in broken("quota").sentence
    finally:
        apply.delete(where.client, "v1", "ResourceQuota", "full", where.namespace)


def test_a_digest_that_does_not_fit_is_named_and_kserve_says_so_too(story: Story, broken: Callable[..., Standing]) -> None:
    where, digest = story.installation, story.versions[1]
    assert where.python(TAMPER, digest, "tampered")
    standing = broken("tampered", digest=digest)
    assert "contract" in standing.sentence
    assert "the manifest says" in standing.sentence

    def told() -> str | None:
        service = apply.get(where.client, "serving.kserve.io/v1beta1", "InferenceService", "tampered", where.namespace)
        status = (service or {}).get("status", {}).get("modelStatus", {})
        message: str | None = status.get("lastFailureInfo", {}).get("message")
        return message

    assert "the manifest says" in until(60, "KServe's lastFailureInfo", told)


def test_a_broken_version_leaves_the_one_that_serves_alone(story: Story) -> None:
    """The next version's image cannot be had: the old pods go on, and the standing says why the new one does not come."""
    where = story.installation
    wrong = '{"spec": {"predictor": {"model": {"image": "localhost/perennial/nothing:1"}}}}'
    with where.calls(NAME, story.rows, RATE) as calls:
        where.kubectl("patch", "inferenceservice", NAME, "--type=merge", "--field-manager=somebody", "-p", wrong)
        until(WITHIN_SECONDS, "it is stuck", lambda: story.standing()[0] == "stuck", pause=1)
    back = '[{"op": "remove", "path": "/spec/predictor/model/image"}]'
    where.kubectl("patch", "inferenceservice", NAME, "--type=json", "--field-manager=somebody", "-p", back)
    until(120, "version 1 serves", lambda: story.is_serving(1), pause=1)
    assert calls.failed == []
    assert not calls.mixed(story.expected)
