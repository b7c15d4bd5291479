"""A version's life on KServe: trained, served, called, compared, rolled and rolled back under traffic, repaired, ended."""

import functools
import itertools
import json
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from cluster import apply, events
from perennial.errors import NotFoundError
from serving.deployers.inference_service import GROUP
from tests.end_to_end.conftest import ROWS, Story
from tests.end_to_end.installation import STEPS, Calls, Object, until
from tests.second_project import NAME
from tests.soak import IS_SOAK

pytestmark = pytest.mark.cluster

RATE = 200
CYCLES = 10 if IS_SOAK else 3
MAX_AGAIN = 5
"""Requests of all cycles that may meet a kept connection in the very moment in which the server ends it."""
GOOD_TO_HAVE = {"metrics", "network policies", "gateway"}
"""Rows of the preflight that a cluster need not have: what they stand for is not shown there."""

MADE = (
    ("v1", "Pod"),
    ("v1", "Service"),
    ("v1", "ConfigMap"),
    ("discovery.k8s.io/v1", "EndpointSlice"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "ReplicaSet"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("policy/v1", "PodDisruptionBudget"),
    ("networking.k8s.io/v1", "Ingress"),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"),
)
"""Kinds that we, KServe and Kubernetes make of an InferenceService."""

DEPLOY = """
import sys
from datetime import UTC, datetime
from perennial.ledger import Ledger
from perennial.settings import Settings
from perennial.spec.read import read
from serving.deployers import open_deployer
settings = Settings.from_environment()
name, deployer = sys.argv[1], open_deployer(settings)
with Ledger.open(settings.ledger) as ledger:
    for line in sys.stdin:
        version = ledger.version(name, int(line))
        run = ledger.run(version.run_id)
        change = deployer.deploy(read(settings.models / f"{name}.yaml"), version, run, datetime.now(UTC))
        print("nothing" if change is None else change.sentence, flush=True)
"""
"""Deploys the version of each number that it is given, and says what was done."""
TICK = ("perennial", "tick")


def test_the_preflight_finds_what_is_needed(story: Story) -> None:
    said = json.loads(story.installation.operator("perennial", "cluster", "check", "--json"))
    assert said["complete"]
    other = {row["name"]: f"{row['state']}: {row['found']}" for row in said["rows"] if row["state"] != "ok"}
    assert set(other) <= GOOD_TO_HAVE, other
    assert {"rights", "images", "object store", "clock of S3"} <= {row["name"] for row in said["rows"]}
    for row in said["rows"]:
        if row["name"] in other:
            print(f"not shown: {row['name']}: {row['found']}")
    if len(apply.list_by_label(story.installation.client, "v1", "Node")) == 1:
        print("not shown: several nodes (there is 1)")


def test_a_pod_leads_to_its_version_run_and_dataset(story: Story) -> None:
    pods = story.installation.serving_pods(NAME)
    assert len(pods) == 2
    runs = {run["run_id"]: run for run in json.loads(story.installation.operator("perennial", "runs", NAME, "--json"))}
    listed = json.loads(story.installation.operator("perennial", "decisions", NAME, "--json"))
    decisions = {decision["number"]: decision for decision in listed["decisions"]}
    for pod in pods:
        labels, annotations = pod["metadata"]["labels"], pod["metadata"]["annotations"]
        assert labels[f"{GROUP}/version"] == "1"
        assert annotations[f"{GROUP}/version-digest"] == story.versions[1]
        run = runs[labels[f"{GROUP}/run"]]
        assert (annotations[f"{GROUP}/run-key"], annotations[f"{GROUP}/dataset-digest"]) == (run["run_key"], run["dataset"])
        # A person asked for the training, which is a decision like any other.
        assert labels[f"{GROUP}/decision"] == str(run["decision"])
        assert decisions[run["decision"]]["reason"] == "manual"


def test_what_was_served_is_what_training_would_have_used(story: Story) -> None:
    with story.installation.calls(NAME, story.rows, rate=RATE, seconds=10) as calls:
        pass
    assert not calls.failed
    assert not calls.mixed(story.expected)
    time.sleep(7)  # sealed at 5 s, shipped after
    said = json.loads(story.installation.operator("perennial", "features", "parity", NAME, "--json"))
    print(f"parity: {said['values'] - said['differing']} of {said['values']} values of {said['rows']} requests agree")
    assert said["rows"] >= len(calls.answers)
    assert said["differing"] == 0


def test_the_next_version_takes_over(story: Story, first_day: datetime) -> None:
    story.train(first_day + timedelta(days=103))
    until(180, "version 2 serves", lambda: story.is_serving(2), pause=2)
    story.learn(2)
    differing = [abs(story.expected[story.versions[1], row] - story.expected[story.versions[2], row]) for row in range(ROWS)]
    # So that a mixed answer would be seen.
    assert sum(each > 1e-6 for each in differing) > ROWS / 2, differing


def test_versions_roll_and_roll_back_without_a_failed_or_mixed_answer(story: Story) -> None:
    answers: list[Object] = []
    with story.installation.asking(DEPLOY, NAME) as deploy:
        for cycle, number in itertools.product(range(CYCLES), (1, 2)):
            with story.installation.calls(NAME, story.rows, RATE) as calls:
                begin = time.monotonic()
                assert deploy(str(number)) == f"version {number} takes over"
                until(150, f"version {number} serves", functools.partial(story.is_serving, number))
                print(f"cycle {cycle + 1}: version {number} serves after {time.monotonic() - begin:.0f} s")
                time.sleep(8)  # the old pods end under the same load
            answers += calls.answers
    calls = Calls(answers)
    again = sum("again" in answer for answer in answers)
    print(f"{len(answers)} requests, {again} asked again, {len(calls.failed)} failed: {calls.failed[:3]}")
    assert {answer["version"] for answer in answers if answer["status"] == 200} == set(story.versions.values())
    assert calls.failed == []
    assert calls.mixed(story.expected) == []
    assert again <= MAX_AGAIN


def test_a_rollback_by_a_person_gives_the_traffic_back(story: Story) -> None:
    with story.installation.calls(NAME, story.rows, RATE) as calls:
        time.sleep(3)
        story.installation.operator("perennial", "rollback", NAME, "--reason", "rehearsal")
        until(150, "version 1 serves", lambda: story.is_serving(1), pause=1)
    assert not calls.failed
    assert not calls.mixed(story.expected)


def test_foreign_fields_survive_and_ours_return_within_a_tick_with_one_event(story: Story) -> None:
    kubectl = story.installation.kubectl
    kubectl("annotate", "inferenceservice", NAME, "team.example.com/note=ours")
    patch = '{"spec": {"predictor": {"minReplicas": 1}}}'
    kubectl("patch", "inferenceservice", NAME, "--type=merge", "--field-manager=somebody", "-p", patch)
    before = repairs(story)
    story.installation.operator(*TICK)
    service = apply.get(
        story.installation.client, "serving.kserve.io/v1beta1", "InferenceService", NAME, story.installation.namespace
    )
    assert service is not None
    assert service["spec"]["predictor"]["minReplicas"] == 2
    assert service["metadata"]["annotations"]["team.example.com/note"] == "ours"
    assert repairs(story) == before + 1
    story.installation.operator(*TICK)
    assert repairs(story) == before + 1


def test_a_foreign_image_is_named_and_goes_within_a_tick_with_an_event_that_says_who(story: Story) -> None:
    where, kubectl = story.installation, story.installation.kubectl
    until(150, "all is calm", lambda: story.standing()[0] == "serving", pause=1)
    before, number = repairs(story), champion(story)
    foreign = {"image": STEPS, "env": [{"name": "WHO", "value": "canary-of-somebody"}]}
    patch = json.dumps({"spec": {"predictor": {"model": foreign}}})
    kubectl("patch", "inferenceservice", NAME, "--type=merge", "--field-manager=somebody", "-p", patch)
    state, sentence = story.standing()
    assert state == "foreign"
    assert f"spec.predictor.model.image '{STEPS}' (set by somebody on " in sentence
    assert "spec.predictor.model.env WHO (set by somebody on " in sentence and "canary-of-somebody" not in sentence
    with suppress(AssertionError):  # pods of the foreign template may not come: the tick ends with 75 and says so
        where.operator(*TICK)
    service = apply.get(where.client, "serving.kserve.io/v1beta1", "InferenceService", NAME, where.namespace)
    assert service is not None
    assert not {"image", "env"} & set(service["spec"]["predictor"]["model"])
    (event,) = [event for event in events.of(where.client, service) if event["reason"] == "Repaired"][before:]
    assert "(set by somebody on " in event["message"] and "canary-of-somebody" not in event["message"]
    assert abs(datetime.now(UTC) - datetime.fromisoformat(events.time_of(event))) < timedelta(minutes=2)
    until(150, "the champion serves again", lambda: story.is_serving(number), pause=1)
    where.operator(*TICK)
    assert repairs(story) == before + 1


def champion(story: Story) -> int:
    """Number of the version that is wanted."""
    where = story.installation
    service = apply.get(where.client, "serving.kserve.io/v1beta1", "InferenceService", NAME, where.namespace)
    assert service is not None
    return int(service["metadata"]["labels"][f"{GROUP}/version"])


def repairs(story: Story) -> int:
    """How many repairs were told of."""
    where = story.installation
    service = apply.get(where.client, "serving.kserve.io/v1beta1", "InferenceService", NAME, where.namespace)
    assert service is not None
    return sum(event["reason"] == "Repaired" for event in events.of(where.client, service))


def of_the_model(story: Story) -> set[str]:
    """What the namespace holds of the model, as `kind/name`: known by KServe's label, by its name in theirs, or by their owner's.

    Pods that are being deleted are told too; kinds that the cluster does not know are left out.
    """
    where, found = story.installation, set[str]()
    for version, kind in MADE:
        listed: list[Object] = []
        with suppress(NotFoundError):
            listed = apply.list_by_label(where.client, version, kind, where.namespace)
        for each in listed:
            metadata = each["metadata"]
            label = metadata.get("labels", {}).get("serving.kserve.io/inferenceservice")
            owners = [owner["name"] for owner in metadata.get("ownerReferences", [])]
            if label == NAME or any(NAME in name for name in (metadata["name"], *owners)):
                found.add(f"{kind}/{metadata['name']}")
    return found


def test_what_is_deleted_ends_leaves_nothing_and_returns_with_a_tick(story: Story) -> None:
    where = story.installation
    there = {name.partition("/")[0] for name in of_the_model(story)}
    assert {"Pod", "Service", "EndpointSlice", "Deployment", "ReplicaSet", "PodDisruptionBudget"} <= there, there
    assert apply.delete(where.client, "serving.kserve.io/v1beta1", "InferenceService", NAME, where.namespace, wait_seconds=120)
    end = time.monotonic() + 200
    while left := of_the_model(story):
        assert time.monotonic() < end, f"still there: {sorted(left)}"
        time.sleep(1)
    where.operator(*TICK)
    until(180, "version 1 serves again", lambda: story.is_serving(1), pause=2)
    assert apply.get(where.client, "policy/v1", "PodDisruptionBudget", NAME, where.namespace) is not None
