"""What a Model says of itself, from what is stored."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from controller.models.conditions import MEANS, MESSAGE, Concluded, ModelCondition, ModelReason, concluded
from controller.models.object_status import SpecReading, news, object_status
from perennial.evaluation.estimate import Estimate
from perennial.loop.decision import Decision, Incident
from perennial.loop.rollout import Rollout
from perennial.loop.standing import Standing
from perennial.loop.window import Labels, Loss, Performance, WindowRecord
from perennial.spec.read import read_text
from perennial.status.condition import Reason, condition
from perennial.status.model_status import status_of
from perennial.status.stored import Stored
from tests.controller.world import NAME, measurement
from tests.second_project import SPEC
from tests.serving.deployers.test_on_kserve import run, version

NOW = datetime(2024, 4, 20, tzinfo=UTC)
WALL = datetime(2030, 1, 1, tzinfo=UTC)
MODEL = read_text(SPEC)
RIGHT = SpecReading(generation=3)


def champion() -> Stored:
    """A model whose first version answers."""
    made = version(1)
    rollout = Rollout(
        model=NAME,
        number=1,
        digest=made.digest,
        state="champion",
        previous=None,
        requested=NOW,
        moved=NOW,
        reason="It passed.",
    )
    return Stored(NAME, MODEL, champion=made, run=run(1), rollout=rollout, deployed=made.digest)


def conditions(stored: Stored, mistakes: tuple[str, ...] = ()) -> dict[str, tuple[str, str]]:
    """Status and reason by type."""
    found = concluded(status_of(stored, True, NOW).conditions, stored, mistakes)
    return {one.type.value: (one.status, one.reason.value) for one in found}


def window(degraded: bool) -> WindowRecord:
    """A judged week."""
    loss = Loss(
        value=0.5,
        limit=0.4,
        blocks=9,
        basis="out-of-fold weeks of its training",
        degraded=degraded,
        sentence="The loss is 0.5, above 0.4.",
    )
    judged = Performance(
        labels=Labels(matured_at=NOW, arrived=20, missing=1),
        label_rate=0.1,
        metrics={"auc": Estimate(value=0.71234, low=0.6, high=0.8, standard_error=0.1)},
        loss=loss,
    )
    start = datetime(2024, 4, 8, tzinfo=UTC)
    return WindowRecord(
        model=NAME,
        start=start,
        end=start + timedelta(days=7),
        measured_at=NOW,
        measurement=measurement("a", False),
        performance=judged,
    )


def decision(state: str) -> Decision:
    return Decision.model_validate(
        {
            "model": NAME,
            "number": 4,
            "cause": "c",
            "made": NOW,
            "kind": "retrain",
            "reason": "degraded",
            "sentence": "Train again: it is degraded.",
            "otherwise": "No loss.",
            "facts": (),
            "windows": (),
            "state": state,
            "outcome": "",
        }
    )


def incident() -> Incident:
    return Incident(
        model=NAME,
        number=1,
        decision=4,
        opened=NOW,
        owner="us",
        seen="A tenth of the usual.",
        subjects=("",),
        excluded_from=NOW,
        excluded_until=NOW,
        needed=2,
        clean=0,
        closed=None,
        closing="",
    )


def test_a_model_that_was_never_trained() -> None:
    assert conditions(Stored(NAME, MODEL)) == {
        "Accepted": ("True", "SpecAccepted"),
        "Trained": ("False", "NotTrained"),
        "Serving": ("False", "NotTrained"),
        "Healthy": ("Unknown", "NotTrained"),
        "DataTrusted": ("Unknown", "NotMeasured"),
        "RetrainingHeld": ("False", "NothingHolds"),
    }


def test_a_champion_that_answers() -> None:
    found = conditions(replace(champion(), traffic=Standing(state="serving", sentence="2 of 2 pods answer")))
    assert found["Trained"] == ("True", "ChampionChosen") and found["Serving"] == ("True", "PodsAnswer")
    assert found["Healthy"] == ("True", "NothingWrong")
    assert conditions(champion())["Serving"] == ("True", "ChampionDeployed")


@pytest.mark.parametrize(
    ("stored", "kind", "expected"),
    [
        (replace(champion(), traffic=Standing(state="rolling", sentence="1 of 2")), "Serving", ("False", "PodsRolling")),
        (replace(champion(), traffic=Standing(state="foreign", sentence="an image")), "Serving", ("False", "TrafficForeign")),
        (replace(champion(), traffic=Standing(state="foreign", sentence="an image")), "Healthy", ("False", "TrafficForeign")),
        (replace(champion(), traffic=Standing(state="stuck", sentence="no image")), "Serving", ("False", "TrafficStuck")),
        (replace(champion(), traffic=Standing(state="stuck", sentence="no image")), "Healthy", ("False", "TrafficStuck")),
        (replace(champion(), traffic="no answer"), "Serving", ("Unknown", "TrafficUnknown")),
        (replace(champion(), deployed="other"), "Serving", ("False", "DeploymentDiffers")),
        (replace(champion(), deployed=None), "Serving", ("False", "DeploymentDiffers")),
        (replace(champion(), windows=(window(True),)), "Healthy", ("False", "Degraded")),
        (replace(champion(), windows=(window(False),)), "Healthy", ("True", "NothingWrong")),
        (replace(champion(), windows=(window(False),)), "DataTrusted", ("True", "NoIncident")),
        (replace(champion(), incidents=(incident(),)), "DataTrusted", ("False", "DataBroken")),
        (replace(champion(), incidents=(incident(),)), "RetrainingHeld", ("True", "DataBroken")),
        (replace(champion(), decisions=(decision("waits for a person"),)), "RetrainingHeld", ("True", "WaitsForPerson")),
        (replace(champion(), decisions=(decision("done"),)), "RetrainingHeld", ("False", "NothingHolds")),
        (replace(champion(), decisions=(decision("failed"),)), "Healthy", ("False", "RetrainFailed")),
    ],
)
def test_what_is_stored_shows_in_a_condition(stored: Stored, kind: str, expected: tuple[str, str]) -> None:
    assert conditions(stored)[kind] == expected


def test_a_wrong_spec_shows_and_the_rest_stays() -> None:
    right, wrong = conditions(champion()), conditions(champion(), ("spec.owner: empty",))
    assert wrong.pop("Accepted") == ("False", "SpecRefused") and right.pop("Accepted") == ("True", "SpecAccepted")
    assert wrong == right


def test_a_reason_of_the_status_that_is_also_ours_means_the_same() -> None:
    for (kind, reason), status in MEANS.items():
        if kind == ModelCondition.SERVING and reason.value in list(Reason) and reason != ModelReason.NOT_TRAINED:
            found = condition(Reason(reason.value), "m").status
            assert found == status, reason


def status(stored: Stored, before: dict[str, object], wall: datetime = WALL, reading: SpecReading = RIGHT) -> dict[str, object]:
    return object_status(status_of(stored, True, NOW), stored, reading, before, wall)


def test_columns_find_what_they_show() -> None:
    found = status(replace(champion(), windows=(window(False),), decisions=(decision("done"),)), {})
    assert found["champion"] == {"version": 1, "digest": version(1).digest}
    assert found["score"] == {"metric": "auc", "value": "0.712", "window": "2024-04-08T00:00:00Z"}
    assert isinstance(found["decision"], dict) and found["decision"]["title"] == "retrain: degraded"
    assert isinstance(found["next"], dict) and found["next"]["when"].endswith("Z")
    assert found["observedGeneration"] == 3


def test_the_time_of_a_condition_moves_only_with_its_status() -> None:
    first = status(champion(), {})
    assert status(champion(), first, WALL + timedelta(hours=1)) == first
    later = status(replace(champion(), deployed="other"), first, WALL + timedelta(hours=1))
    moved = {
        old["type"]
        for old, new in zip(first["conditions"], later["conditions"], strict=True)  # type: ignore[call-overload]
        if old["lastTransitionTime"] != new["lastTransitionTime"]
    }
    assert moved == {"Serving", "Healthy"}


def test_a_challenger_is_told_while_it_is_on_its_way() -> None:
    stored = champion()
    assert stored.rollout is not None and "challenger" not in status(stored, {})
    on_its_way = stored.rollout.model_copy(update={"number": 2, "digest": "cd", "state": "checked"})
    assert status(replace(stored, rollout=on_its_way), {})["challenger"] == {"version": 2, "digest": "cd"}


def test_news_are_what_changed_and_nothing_is_said_twice() -> None:
    first, broken = status(champion(), {}), status(replace(champion(), incidents=(incident(),)), {})
    assert [one.reason for one in news({}, first)] == ["RolledOut", "SpecAccepted"]
    found = list(news(first, broken))
    assert [one.reason for one in found if one.severity == "Warning"] == ["DataBroken"]
    assert list(news(broken, broken)) == []
    assert "NoIncident" not in [one.reason for one in news(first, first)]


def test_a_message_has_a_bound() -> None:
    one = Concluded(ModelCondition.ACCEPTED, ModelReason.SPEC_REFUSED, "x" * (MESSAGE + 1))
    message = one.as_object((), 1, WALL)["message"]
    assert isinstance(message, str) and len(message) == MESSAGE and message.endswith("…")
