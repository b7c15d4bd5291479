"""Our objects set fields that every supported version of KServe knows, and a field that one of them lacks is found."""

import copy

import pytest

from controller.preflight.versions import KSERVE
from tests.k8s.definitions import FOLDER, KINDS, ours, recorded, unknown
from tests.k8s.rendered import Object

RELEASES = tuple(sorted(file.stem for file in FOLDER.glob("*.json")))


def test_each_supported_version_is_recorded() -> None:
    assert [release.rpartition(".")[0] for release in RELEASES] == [version.name for version in KSERVE]


@pytest.mark.parametrize("release", RELEASES)
def test_every_field_that_is_set_is_known(release: str) -> None:
    assert {made["kind"] for made in ours()} == set(KINDS)
    fields = recorded(release)
    assert {made["kind"]: found for made in ours() if (found := unknown(made, fields))} == {}


def service(**predictor: object) -> Object:
    made = copy.deepcopy(ours()[0])
    made["spec"]["predictor"].update(predictor)
    return made


@pytest.mark.parametrize(
    ("field", "since"), [("storageContainerName", "0.20.0"), ("name", "0.20.0"), ("schedulingGroup", "0.21.0"), ("colour", "9")]
)
def test_a_field_that_came_later_is_found_in_the_versions_before(field: str, since: str) -> None:
    found = {release: unknown(service(**{field: "x"}), recorded(release)) for release in RELEASES}
    assert found == {release: [] if release >= since else [f"spec.predictor.{field}"] for release in RELEASES}


def test_a_field_below_a_list_and_one_that_nobody_recorded_are_found() -> None:
    (made,) = [copy.deepcopy(each) for each in ours() if each["kind"] == "ServingRuntime"]
    made["spec"]["containers"][0]["securityContext"]["sudo"] = False
    made["spec"]["tolerations"] = [{"key": "gpu"}]
    assert unknown(made, recorded("0.18.0")) == ["spec.containers[].securityContext.sudo", "spec.tolerations[].key"]


def test_any_label_is_a_field() -> None:
    assert unknown(service(labels={"of-ours": "x"}), recorded("0.18.0")) == []
