"""The prediction log when containers, pods and stores end: what callers were answered is compared with what the bucket holds."""

import json
import subprocess
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
SLACK_SECONDS = 1
"""What a busy machine adds to that."""

COLLECT = """
import json
from datetime import UTC, datetime
from monitoring.log.collect import collect_model, load
from perennial.settings import Settings
settings = Settings.from_environment()
collected = collect_model(settings, "chargeback", datetime.now(UTC))
rows = load(settings.prediction_tables("chargeback"))
ids = rows["prediction_id"]
writers = dict(zip(ids.str.partition("-")[0], rows["boot_id"]))
vanished = {end.boot_id: end.next_sequence for end in collected.vanished}
damaged = len(collected.damaged) + len(collected.unreadable)
said = {"ids": ids.tolist(), "writers": writers, "lost": collected.lost, "vanished": vanished, "damaged": damaged}
print(json.dumps(said))
"""
"""The log's rows; of each process, which the ids of its predictions begin with, the log's name for it; what is missing."""
KILL = """
import json, resource, time
print(json.dumps({"time": time.time()}), flush=True)
resource.prlimit(1, resource.RLIMIT_CPU, (1, 1))
"""
WATCH = """
import json, os, time
from contextlib import suppress
from pathlib import Path
from perennial.stores.bucket import Bucket
from perennial.prediction_log.segment import HEADER_BYTES, OPEN, SEALED, parse_header
from perennial.prediction_log.shipped import boot_key, read_announcement, segment_key

folder, bucket = Path("/var/lib/perennial/predictions"), Bucket(os.environ["PERENNIAL_BUCKET"])

def begun(other):
    # The segment that is being written, once that is not the other one.
    while True:
        for path in folder.glob(f"*{OPEN}"):
            with suppress(FileNotFoundError):  # it was sealed just now
                header = path.read_bytes()[:HEADER_BYTES]
                if path.stem != other and len(header) == HEADER_BYTES:
                    return path.stem, *parse_header(header)
        time.sleep(0.02)

def is_here(name):
    return any((folder / f"{name}{ending}").exists() for ending in (OPEN, SEALED))

idle = begun(None)[0]  # perhaps since before the first request: of that, none of the times below may be counted
before, _, _, opened_before = begun(idle)
name, process, first, opened = begun(before)
while is_here(before):
    time.sleep(0.02)
shipped_after = time.time() - opened_before
assert bucket.get(segment_key("chargeback", before))
time.sleep(max(0.0, opened + 2.5 - time.time()))
announced = read_announcement(bucket.get(boot_key("chargeback", process)), process).next_sequence
assert (folder / f"{name}{OPEN}").exists()
print(json.dumps({"process": process, "first": first, "announced": announced, "shipped_after": shipped_after}), flush=True)
"""
"""In a serving pod: waits for the shipping of a segment, and then until the middle of the next one."""


def collected(story: Story) -> dict[str, Any]:
    """What the bucket holds of the log."""
    found: dict[str, Any] = story.installation.python(COLLECT)
    return found


def kill_container(story: Story, pod: str, first: str = "") -> dict[str, Any]:
    """The kernel kills the container's first process, which has used more than a second of CPU: no signal handler runs.

    Args:
        story: the installation.
        pod: its name.
        first: Python that is run in the container before; what both print, as JSON, is returned.
    """
    where = story.installation
    command = ["kubectl", "-n", where.namespace, "exec", "-i", pod, "-c", "kserve-container", "--", "python", "-"]
    # With the first process all others of the container end, this one too: its exit code says nothing.
    ended = subprocess.run(command, input=first + KILL, capture_output=True, text=True, timeout=60, check=False)
    found: dict[str, Any] = {}
    for line in ended.stdout.splitlines():
        found |= json.loads(line)
    assert "time" in found, f"{ended.stdout}\n{ended.stderr}"
    return found


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
    assert (after["lost"], set(after["vanished"])) == (before["lost"], set(before["vanished"]))


def test_a_pod_that_vanishes_loses_at_most_one_interval_and_it_is_counted(story: Story) -> None:
    where = story.installation
    pod = where.serving_pods(NAME)[0]["metadata"]["name"]
    path = where.client.path("v1", "Pod", where.namespace, pod)
    before = collected(story)
    with where.calls(NAME, story.rows, RATE, seconds=40) as calls:
        killed = kill_container(story, pod, WATCH)  # so that no SIGTERM lets it ship, as when its node is lost
        where.client.call("DELETE", path, body={"gracePeriodSeconds": 0})  # at once: a new container would ship what is left
    until(120, "both pods answer again", lambda: story.is_serving(1), pause=1)
    assert not calls.mixed(story.expected)
    assert killed["shipped_after"] <= SHIP_SECONDS + SLACK_SECONDS, killed

    lost = missing(story, calls)
    due = [killed["time"] - answer["due"] for answer in calls.answers if answer.get("id") in lost]
    assert due, "the moment was chosen such that rows are lost"
    assert -SLACK_SECONDS <= min(due) <= max(due) <= SHIP_SECONDS, (min(due), max(due))
    time.sleep(60)  # a process that says nothing for a minute is over
    after = collected(story)
    assert {after["writers"][name.partition("-")[0]] for name in lost} == {killed["process"]}
    counted = after["lost"] - before["lost"]
    print(
        f"vanished: {len(lost)} answered rows of {max(due):.1f} s are lost, {counted} are counted; a segment was shipped "
        f"{killed['shipped_after']:.1f} s after it was begun; {len(calls.failed)} requests failed"
    )
    assert set(after["vanished"]) - set(before["vanished"]) == {killed["process"]}
    # A process says each second how many rows it numbered: what it answered after that is lost and not counted.
    assert counted == after["vanished"][killed["process"]] - killed["first"]
    assert 0 < killed["announced"] - killed["first"] <= counted
    assert abs(counted - len(lost)) <= RATE  # one pod has about half of the requests
