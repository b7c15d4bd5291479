"""The fetch by an init container takes over from the ClusterStorageContainer and gives back, and no caller sees either."""

import json

import pytest

from serving.deployers.init_container import NAME as CONTAINER
from serving.deployers.init_container import VOLUME
from tests.end_to_end.conftest import Story
from tests.end_to_end.installation import until
from tests.second_project import NAME

pytestmark = pytest.mark.cluster

RATE = 200
BY_ITSELF = ("env", "PERENNIAL_FETCH=init-container", "perennial")


def all_fetch_by_themselves(story: Story, expected: bool) -> bool:
    """Whether both pods have our volume, or neither; each has one container that fetches."""
    pods = story.installation.serving_pods(NAME)
    for pod in pods:
        assert [container["name"] for container in pod["spec"]["initContainers"]] == [CONTAINER]
        assert [container["name"] for container in pod["spec"]["containers"]] == ["kserve-container"]
    found = [any(volume["name"] == VOLUME for volume in pod["spec"]["volumes"]) for pod in pods]
    return found == [expected, expected] and story.is_serving(1) is not None


def test_an_init_container_takes_over_and_gives_back_without_a_failed_request(story: Story) -> None:
    where = story.installation
    assert all_fetch_by_themselves(story, expected=False)
    said = json.loads(where.operator(*BY_ITSELF, "cluster", "check", "--json"))
    assert said["complete"]
    assert {row["found"] for row in said["rows"] if row["name"] == "rights"} == {f"all 14 in {where.namespace}"}
    with where.calls(NAME, story.rows, RATE) as calls:
        where.operator(*BY_ITSELF, "tick")
        until(180, "init containers fetch", lambda: all_fetch_by_themselves(story, expected=True), pause=1)
        where.operator("perennial", "tick")
        until(180, "KServe's fetch again", lambda: all_fetch_by_themselves(story, expected=False), pause=1)
    assert calls.failed == []
    assert not calls.mixed(story.expected)
