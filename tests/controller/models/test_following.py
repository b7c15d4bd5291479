"""Ticks on Models of a stand-in API server: their specs, their status, their annotations, their events."""

import copy
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cluster.client import Object
from controller.models.annotations import Asked, asked_of
from controller.models.definition import API_VERSION
from controller.preflight.rights import FOLLOWING
from controller.tick import tick
from controller.ticked import Found, Ticked
from perennial.ledger import Ledger
from perennial.settings import Settings
from perennial.spec.read import digest, read
from tests.cluster.api import Api
from tests.controller.models.conftest import PATH
from tests.controller.world import NAME, NOW, REAL, QuickRunner

EVENTS = "/api/v1/namespaces/team/events/"


def ticked(settings: Settings, minutes: int = 0) -> Ticked:
    later = timedelta(minutes=minutes)
    return tick(settings, NOW + later, lambda: REAL + later, runner=QuickRunner(settings))


def until_quiet(settings: Settings, api: Api) -> None:
    """Ticks until one changes nothing in the cluster."""
    for minute in range(20):
        before = len(writes(api))
        ticked(settings, minute)
        if len(writes(api)) == before:
            return
    raise AssertionError("each of twenty ticks wrote something")


def writes(api: Api) -> list[str]:
    """Calls that change a Model or say something; what the deployer applies is looked at elsewhere."""
    return [asked for asked in api.asked if not asked.startswith("GET") and ("/models" in asked or "/events" in asked)]


def change(api: Api, steps: tuple[str, ...], value: Any, generation: int) -> None:
    """A person edits the object."""
    place = api.objects[PATH]["spec"]
    for step in steps[:-1]:
        place = place[step]
    place[steps[-1]] = value
    api.objects[PATH]["metadata"]["generation"] = generation


def annotate(api: Api, name: str, value: str, time: str = "2030-01-01T00:00:00Z") -> None:
    """A person sets an annotation with kubectl."""
    metadata = api.objects[PATH]["metadata"]
    metadata["annotations"] = {**metadata.get("annotations", {}), f"perennial.dev/{name}": value}
    fields: Object = {"f:metadata": {"f:annotations": {f"f:perennial.dev/{name}": {}}}}
    metadata["managedFields"] = [{"manager": "kubectl-annotate", "operation": "Update", "time": time, "fieldsV1": fields}]
    api.keep(api.objects[PATH])


def condition(api: Api, kind: str) -> Object:
    (found,) = (one for one in api.objects[PATH]["status"]["conditions"] if one["type"] == kind)
    assert isinstance(found, dict)
    return found


def said(api: Api) -> list[str]:
    return [each["reason"] for path, each in api.objects.items() if path.startswith(EVENTS) and NAME in path]


def test_an_object_becomes_a_file_and_its_status_says_how_it_stands(settings: Settings, api: Api) -> None:
    ticked(settings)
    assert read(settings.models / f"{NAME}.yaml").name == NAME
    status = api.objects[PATH]["status"]
    assert status["observedGeneration"] == 1 and status["champion"]["version"] == 1
    assert [one["type"] for one in status["conditions"]] == [
        "Accepted",
        "Trained",
        "Serving",
        "Healthy",
        "DataTrusted",
        "RetrainingHeld",
    ]
    assert condition(api, "Accepted")["status"] == "True" and condition(api, "Trained")["reason"] == "ChampionChosen"
    assert "SpecAccepted" in said(api)


def test_an_idle_tick_writes_nothing(settings: Settings, api: Api) -> None:
    until_quiet(settings, api)
    stamp, version = (settings.models / f"{NAME}.yaml").stat().st_mtime_ns, api.objects[PATH]["metadata"]["resourceVersion"]
    count = len(writes(api))
    ticked(settings, 25)
    assert len(writes(api)) == count
    assert api.objects[PATH]["metadata"]["resourceVersion"] == version
    assert (settings.models / f"{NAME}.yaml").stat().st_mtime_ns == stamp


def test_a_wrong_spec_says_every_mistake_and_the_last_good_one_goes_on(settings: Settings, api: Api) -> None:
    until_quiet(settings, api)
    good = digest(read(settings.models / f"{NAME}.yaml"))
    since = condition(api, "Trained")["lastTransitionTime"]
    change(api, ("label", "maturity_hours"), -1, 2)
    change(api, ("owner",), "", 2)
    found = ticked(settings, 30)
    accepted = condition(api, "Accepted")
    assert (accepted["status"], accepted["reason"], accepted["observedGeneration"]) == ("False", "SpecRefused", 2)
    assert "spec.label.maturity_hours: out of range" in accepted["message"] and "spec.owner: empty" in accepted["message"]
    assert api.objects[PATH]["status"]["state"] == "SpecWrong"
    assert digest(read(settings.models / f"{NAME}.yaml")) == good
    assert condition(api, "Trained")["lastTransitionTime"] == since
    assert any("not accepted" in problem.sentence for problem in found.problems)
    assert said(api).count("SpecRefused") == 1
    change(api, ("label", "maturity_hours"), 72, 3)
    change(api, ("owner",), "us", 3)
    ticked(settings, 31)
    assert condition(api, "Accepted")["status"] == "True"
    assert read(settings.models / f"{NAME}.yaml").spec.owner == "us"


def test_a_file_goes_with_its_object_and_a_persons_file_stays(settings: Settings, api: Api) -> None:
    ticked(settings)
    mine = settings.models / "mine.yaml"
    mine.write_text((settings.models / f"{NAME}.yaml").read_text().replace(f"name: {NAME}", "name: mine").partition("\n")[2])
    del api.objects[PATH]
    ticked(settings, 1)
    assert not (settings.models / f"{NAME}.yaml").exists() and mine.exists()


def test_a_cluster_that_is_away_leaves_the_files_as_they_are(settings: Settings, api: Api) -> None:
    ticked(settings)
    api.refused["GET", f"/apis/{API_VERSION}/namespaces/team/models"] = 503
    found = ticked(settings, 1)
    assert any("are not read now" in problem.sentence for problem in found.problems)
    assert (settings.models / f"{NAME}.yaml").exists()


def test_a_cluster_without_the_definition_is_told_what_to_apply(settings: Settings, api: Api) -> None:
    del api.kinds[API_VERSION]
    found = ticked(settings)
    assert any("k8s/base/model/crd.yaml" in problem.sentence for problem in found.problems)


def test_without_kserve_a_model_says_that_nobody_knows_who_serves(settings: Settings, api: Api) -> None:
    del api.kinds["serving.kserve.io/v1beta1"]
    ticked(settings)
    assert condition(api, "Serving")["reason"] == "TrafficUnknown" and condition(api, "Accepted")["status"] == "True"


@pytest.mark.parametrize(
    ("name", "value", "kind"), [("retrain", "now", "train"), ("approve", "1", "rollout"), ("rollback", "true", "rollback")]
)
def test_an_annotation_is_one_request_and_is_struck_out(
    settings: Settings, api: Api, ledger: Ledger, name: str, value: str, kind: str
) -> None:
    ticked(settings)
    annotate(api, name, value)
    ticked(settings, 1)
    request = ledger.request(NAME, 1)
    assert request.wish.kind == kind
    assert getattr(request.wish, "reason", "") == (
        f"annotation perennial.dev/{name}={value}, set by kubectl-annotate at 2030-01-01T00:00:00Z"
    )
    assert not api.objects[PATH]["metadata"]["annotations"]
    assert said(api).count("Requested") == 1
    ticked(settings, 2)
    assert len(ledger.requests(NAME)) == 1


def test_a_crash_before_an_annotation_is_struck_out_asks_for_nothing_twice(settings: Settings, api: Api, ledger: Ledger) -> None:
    ticked(settings)
    annotate(api, "retrain", "now")
    kept = copy.deepcopy(api.objects[PATH])
    ticked(settings, 1)
    api.objects[PATH] = kept
    ticked(settings, 2)
    assert len(ledger.requests(NAME)) == 1 and not api.objects[PATH]["metadata"]["annotations"]
    annotate(api, "retrain", "now", "2030-01-02T00:00:00Z")
    ticked(settings, 3)
    assert len(ledger.requests(NAME)) == 2


def test_an_annotation_that_is_changed_while_it_is_taken_up_is_another_request(
    settings: Settings, api: Api, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticked(settings)
    annotate(api, "approve", "1")

    def meanwhile(found: Object) -> list[Asked]:
        read_before = list(asked_of(found))
        annotate(api, "approve", "2", "2030-01-01T00:00:01Z")
        return read_before

    with monkeypatch.context() as once:
        once.setattr("controller.models.following.asked_of", meanwhile)
        ticked(settings, 1)
    assert api.objects[PATH]["metadata"]["annotations"] == {"perennial.dev/approve": "2"}
    ticked(settings, 2)
    assert [getattr(request.wish, "version", None) for request in ledger.requests(NAME)] == [2, 1]
    assert not api.objects[PATH]["metadata"]["annotations"]


@pytest.mark.parametrize(("name", "value"), [("approve", "the last"), ("pause", "true"), ("retrain", "later")])
def test_what_is_not_understood_is_an_event_and_no_request(
    settings: Settings, api: Api, ledger: Ledger, name: str, value: str
) -> None:
    ticked(settings)
    annotate(api, name, value)
    ticked(settings, 1)
    assert ledger.requests(NAME) == () and said(api).count("RequestRefused") == 1
    assert not api.objects[PATH]["metadata"]["annotations"]


SERVICE = f"/apis/serving.kserve.io/v1beta1/namespaces/team/inferenceservices/{NAME}"


def owners(api: Api) -> list[str]:
    return [one["uid"] for one in api.objects[SERVICE]["metadata"].get("ownerReferences", [])]


def test_what_serves_goes_with_its_model_and_with_one_that_is_made_anew(settings: Settings, api: Api) -> None:
    until_quiet(settings, api)
    assert owners(api) == [api.objects[PATH]["metadata"]["uid"]]
    api.objects[SERVICE]["metadata"]["ownerReferences"].insert(
        0, {"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "u"}
    )
    api.objects[PATH]["metadata"]["uid"] = "anew"
    ticked(settings, 30)
    assert owners(api) == ["u", "anew"]
    before = api.objects[SERVICE]["metadata"]["resourceVersion"]
    ticked(settings, 31)
    assert api.objects[SERVICE]["metadata"]["resourceVersion"] == before


def test_a_model_that_is_deleted_is_not_deployed_again_until_it_is_made_anew(settings: Settings, api: Api) -> None:
    until_quiet(settings, api)
    made, digest_of_champion = api.objects[PATH], api.objects[PATH]["status"]["champion"]["digest"]
    del api.objects[PATH], api.objects[SERVICE]  # as the cluster's garbage collection does
    ticked(settings, 30)
    assert SERVICE not in api.objects
    del made["status"]
    api.keep(made)
    ticked(settings, 31)
    assert api.objects[SERVICE]["metadata"]["annotations"]["perennial.dev/version-digest"] == digest_of_champion


def test_a_model_that_is_deleted_during_a_tick_takes_along_what_that_tick_deployed(
    settings: Settings, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    until_quiet(settings, api)
    uid = api.objects[PATH]["metadata"]["uid"]

    def meanwhile(*_: object) -> Iterator[Found]:
        del api.objects[PATH], api.objects[SERVICE]
        yield from ()

    monkeypatch.setattr("controller.tick.answer", meanwhile)
    ticked(settings, 30)
    assert owners(api) == [uid]  # nobody has this uid any more: the cluster deletes it


def test_models_take_the_rights_that_are_listed_and_no_other(settings: Settings, api: Api) -> None:
    ticked(settings)
    annotate(api, "retrain", "now")
    ticked(settings, 1)
    verbs = {"GET": "list", "PATCH": "patch"}
    used: dict[str, set[str]] = {}
    for method, path in (asked.split(" ") for asked in api.asked):
        if path.startswith(PATH.rpartition("/")[0]):
            used.setdefault("models/status" if path.endswith("/status") else "models", set()).add(verbs[method])
    assert used == {resource: set(verbs) for (_, resource), verbs in FOLLOWING.items()}


def test_with_files_no_model_of_the_cluster_is_looked_at(settings: Settings, api: Api) -> None:
    files = settings.model_copy(update={"models_from": "files"})
    tick(files, NOW, lambda: REAL, runner=QuickRunner(files))
    assert not [asked for asked in api.asked if "/models" in asked]
    assert not Path(settings.models / f"{NAME}.yaml").exists()
