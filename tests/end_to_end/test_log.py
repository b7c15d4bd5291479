"""The prediction log when containers, pods and stores end: what callers were answered is compared with what the bucket holds."""

import time
from typing import Any

import pytest

from tests.end_to_end.conftest import Story
from tests.end_to_end.installation import Calls, until
from tests.second_project import NAME

pytestmark = pytest.mark.cluster

RATE = 200
SHIP_SECONDS = 5
"""Longest time between two shippings of a pod."""
SLACK_SECONDS = 3
"""What passes until a pod that was force-deleted answers nothing any more, and is taken from the Service."""

COLLECT = """
import json
from datetime import UTC, datetime
from monitoring.log import collect_model, load
from perennial.settings import Settings
settings = Settings.from_environment()
collected = collect_model(settings, "chargeback", datetime.now(UTC))
ids = load(settings.prediction_tables("chargeback"))["prediction_id"].tolist()
print(json.dumps({"ids": ids, "lost": collected.lost, "vanished": len(collected.vanished), "damaged": len(collected.damaged)}))
"""
KILL = """
import json, resource
resource.prlimit(1, resource.RLIMIT_CPU, (1, 1))
print(json.dumps(True))
"""


def collected(story: Story) -> dict[str, Any]:
    """What the bucket holds of the log."""
    found: dict[str, Any] = story.installation.python(COLLECT)
    return found


def kill_container(story: Story, pod: str) -> None:
    """The kernel kills the container's first process, which has used more than a second of CPU: no signal handler runs."""
    story.installation.kubectl("exec", "-i", pod, "-c", "kserve-container", "--", "python", "-", given=KILL)


def missing(story: Story, calls: Calls) -> set[str]:
    """Answered predictions that are not in the log, once it had the time to be shipped."""
    time.sleep(SHIP_SECONDS + 3)
    return calls.ids - set(collected(story)["ids"])


def test_a_killed_container_loses_nothing_that_it_answered(story: Story) -> None:
    pod = story.installation.serving_pods(NAME)[0]["metadata"]["name"]
    with story.installation.calls(NAME, story.rows, RATE, seconds=30) as calls:
        time.sleep(6)
        kill_container(story, pod)
    until(120, "both pods answer again", lambda: story.is_serving(1), pause=1)
    statuses = {
        status["restartCount"]
        for each in story.installation.serving_pods(NAME)
        for status in each["status"]["containerStatuses"]
        if each["metadata"]["name"] == pod
    }
    assert statuses == {1}
    assert missing(story, calls) == set()
    assert not calls.mixed(story.expected)
    # What was under way in the killed process, and what was sent to it until its end was seen.
    assert len(calls.failed) < RATE * 5, calls.failed[:5]


def test_a_pod_deleted_within_its_grace_loses_nothing_and_fails_nobody(story: Story) -> None:
    pod = story.installation.serving_pods(NAME)[0]["metadata"]["name"]
    before = collected(story)
    with story.installation.calls(NAME, story.rows, RATE, seconds=40) as calls:
        time.sleep(4)
        story.installation.kubectl("delete", "pod", pod, "--wait=true", "--timeout=90s")
    until(120, "both pods answer again", lambda: story.is_serving(1), pause=1)
    assert missing(story, calls) == set()
    assert calls.failed == []
    assert not calls.mixed(story.expected)
    after = collected(story)
    assert (after["lost"], after["vanished"]) == (before["lost"], before["vanished"])


def test_a_pod_that_vanishes_loses_at_most_one_interval_and_it_is_counted(story: Story) -> None:
    pod = story.installation.serving_pods(NAME)[0]["metadata"]["name"]
    before = collected(story)
    with story.installation.calls(NAME, story.rows, RATE, seconds=30) as calls:
        time.sleep(8)
        kill_container(story, pod)  # so that no SIGTERM lets it ship, as when its node is lost
        story.installation.kubectl("delete", "pod", pod, "--grace-period=0", "--force")
    until(120, "both pods answer again", lambda: story.is_serving(1), pause=1)
    lost = missing(story, calls)
    assert len(lost) <= RATE * (SHIP_SECONDS + SLACK_SECONDS)
    assert not calls.mixed(story.expected)
    time.sleep(60)  # a process that says nothing for a minute is over
    after = collected(story)
    counted = after["lost"] - before["lost"]
    print(f"vanished: {len(lost)} answered rows are lost, {counted} are counted")
    assert after["vanished"] - before["vanished"] == (1 if counted else 0)
    # A process says each second how many rows it numbered: what it answered after that is lost and not counted.
    assert abs(counted - len(lost)) <= RATE * 1.5
