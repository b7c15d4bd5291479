"""A condition as Kubernetes has them: a type, whether it holds, a reason as a constant, and a sentence for people.

Programs go by type, status and reason; messages may change. The records and constants only: `conditions` concludes.
"""

from datetime import datetime
from enum import StrEnum
from typing import Literal, Self

from pydantic import model_validator

from perennial.record import Record

State = Literal["True", "False", "Unknown"]
"""Whether a condition holds, in Kubernetes' words. `Unknown` also says that it is being decided."""


class Type(StrEnum):
    """What a condition is about. A model has at most one condition of each type; without one, nothing is known of it yet."""

    SPEC_VALID = "SpecValid"
    """The model's spec can be read."""
    RUN_SUCCEEDED = "RunSucceeded"
    """Its newest run came to its end."""
    HAS_CHAMPION = "HasChampion"
    """A version has the traffic."""
    ROLLED_OUT = "RolledOut"
    """The newest request for traffic has ended well."""
    DEPLOYED = "Deployed"
    """What is deployed is the champion."""
    SERVING = "Serving"
    """On a cluster: the champion's pods answer."""
    DATA_SOUND = "DataSound"
    """No incident is open."""
    PERSON_AWAITED = "PersonAwaited"
    """A decision waits for a person."""
    REQUESTS_ANSWERED = "RequestsAnswered"
    """What people asked the controller for is done."""
    RETRAIN_SUCCEEDED = "RetrainSucceeded"
    """The last training that was decided was carried out."""
    LABELS_ARRIVED = "LabelsArrived"
    """Labels of the newest matured window have come."""
    WINDOWS_MEASURED = "WindowsMeasured"
    """Every window that has closed or matured was looked at."""
    WATCHED = "Watched"
    """Windows of the champion are measured."""
    CONTROLLER_WATCHING = "ControllerWatching"
    """A controller is at work. Of the installation, not of a model."""
    STORES_ANSWER = "StoresAnswer"
    """Feature registry, online store and MLflow's database answer. Of the installation, not of a model."""


class Reason(StrEnum):
    """Why a condition is as it is. Those that matter most stand first; docs/runbook.md has a section for each up to `Trained`."""

    SPEC_WRONG = "SpecWrong"
    """The spec has mistakes."""
    TRAINING = "Training"
    """A training run executes."""
    MONITORING = "Monitoring"
    """A monitoring run executes."""
    RUN_LOST = "RunLost"
    """The newest run was not finished, and no process executes it."""
    RUN_FAILED = "RunFailed"
    """The newest run broke."""
    SPEC_MISSING = "SpecMissing"
    """The model's spec is gone, and what was deployed of it goes on serving."""
    TRAFFIC_FOREIGN = "TrafficForeign"
    """What runs on the cluster is not what was installed: somebody else wrote into it."""
    TRAFFIC_STUCK = "TrafficStuck"
    """The champion's pods do not come and will not by waiting."""
    TRAFFIC_UNKNOWN = "TrafficUnknown"
    """The cluster does not say how far the traffic is."""
    ROLLING_OUT = "RollingOut"
    """A version asks for traffic and does not have it yet."""
    PODS_ROLLING = "PodsRolling"
    """The champion's pods are taking over, one at a time."""
    NOT_TRAINED = "NotTrained"
    """No version has traffic, and none asks for it."""
    DATA_BROKEN = "DataBroken"
    """An incident is open."""
    WAITS_FOR_PERSON = "WaitsForPerson"
    """The policy is advisory: a person accepts the training or leaves it."""
    REQUEST_WAITS = "RequestWaits"
    """A person asked for something, and it is not done yet."""
    RETRAIN_DECIDED = "RetrainDecided"
    """A training was decided and has not ended."""
    RETRAIN_FAILED = "RetrainFailed"
    """The last training that was decided could not be carried out."""
    ROLLOUT_REFUSED = "RolloutRefused"
    """The newest version was refused the traffic."""
    DEPLOYMENT_DIFFERS = "DeploymentDiffers"
    """Another version than the champion is deployed, or none is."""
    LABELS_MISSING = "LabelsMissing"
    """The newest matured window has not one label."""
    WINDOW_DUE = "WindowDue"
    """Windows have closed or matured, and no run has looked at them."""
    RETIRED = "Retired"
    """The model's spec is gone, and nothing of it is deployed."""
    WATCHED = "Watched"
    """Windows are measured."""
    TRAINED = "Trained"
    """There is a champion, and no window of it was measured yet."""

    NO_CONTROLLER = "NoController"
    """Nobody holds the controller's lease."""
    CLOCK_WENT_BACK = "ClockWentBack"
    """The controller has ticked for a later time than it is."""
    STORE_FAILS = "StoreFails"
    """A store is there and cannot be read."""

    SPEC_READ = "SpecRead"
    """The spec has no mistake."""
    RUN_ENDED = "RunEnded"
    """The newest run came to its end, whatever it found."""
    CHAMPION_CHOSEN = "ChampionChosen"
    """A version has the traffic."""
    ROLLOUT_ENDED = "RolloutEnded"
    """The newest request for traffic was granted, or was rolled back by a person since."""
    CHAMPION_DEPLOYED = "ChampionDeployed"
    """What is deployed is the champion."""
    PODS_ANSWER = "PodsAnswer"
    """All of the champion's pods answer."""
    NO_INCIDENT = "NoIncident"
    """No incident is open."""
    NOBODY_AWAITED = "NobodyAwaited"
    """No decision waits for a person."""
    NO_REQUEST = "NoRequest"
    """Nobody waits for the controller."""
    RETRAIN_ENDED = "RetrainEnded"
    """The last training that was decided has ended; the gates may have stopped its challenger."""
    LABELS_CAME = "LabelsCame"
    """The newest matured window has labels."""
    WINDOWS_UP_TO_DATE = "WindowsUpToDate"
    """No window waits for a run."""
    CONTROLLER_WATCHES = "ControllerWatches"
    """A controller is at work."""
    ALL_STORES_ANSWER = "AllStoresAnswer"
    """No store fails."""


MEANS: dict[Reason, tuple[Type, State]] = {
    Reason.SPEC_WRONG: (Type.SPEC_VALID, "False"),
    Reason.SPEC_MISSING: (Type.SPEC_VALID, "False"),
    Reason.RETIRED: (Type.SPEC_VALID, "False"),
    Reason.SPEC_READ: (Type.SPEC_VALID, "True"),
    Reason.TRAINING: (Type.RUN_SUCCEEDED, "Unknown"),
    Reason.MONITORING: (Type.RUN_SUCCEEDED, "Unknown"),
    Reason.RUN_LOST: (Type.RUN_SUCCEEDED, "False"),
    Reason.RUN_FAILED: (Type.RUN_SUCCEEDED, "False"),
    Reason.RUN_ENDED: (Type.RUN_SUCCEEDED, "True"),
    Reason.NOT_TRAINED: (Type.HAS_CHAMPION, "False"),
    Reason.CHAMPION_CHOSEN: (Type.HAS_CHAMPION, "True"),
    Reason.ROLLING_OUT: (Type.ROLLED_OUT, "Unknown"),
    Reason.ROLLOUT_REFUSED: (Type.ROLLED_OUT, "False"),
    Reason.ROLLOUT_ENDED: (Type.ROLLED_OUT, "True"),
    Reason.DEPLOYMENT_DIFFERS: (Type.DEPLOYED, "False"),
    Reason.CHAMPION_DEPLOYED: (Type.DEPLOYED, "True"),
    Reason.TRAFFIC_FOREIGN: (Type.SERVING, "False"),
    Reason.TRAFFIC_STUCK: (Type.SERVING, "False"),
    Reason.PODS_ROLLING: (Type.SERVING, "False"),
    Reason.TRAFFIC_UNKNOWN: (Type.SERVING, "Unknown"),
    Reason.PODS_ANSWER: (Type.SERVING, "True"),
    Reason.DATA_BROKEN: (Type.DATA_SOUND, "False"),
    Reason.NO_INCIDENT: (Type.DATA_SOUND, "True"),
    Reason.WAITS_FOR_PERSON: (Type.PERSON_AWAITED, "True"),
    Reason.NOBODY_AWAITED: (Type.PERSON_AWAITED, "False"),
    Reason.REQUEST_WAITS: (Type.REQUESTS_ANSWERED, "False"),
    Reason.NO_REQUEST: (Type.REQUESTS_ANSWERED, "True"),
    Reason.RETRAIN_DECIDED: (Type.RETRAIN_SUCCEEDED, "Unknown"),
    Reason.RETRAIN_FAILED: (Type.RETRAIN_SUCCEEDED, "False"),
    Reason.RETRAIN_ENDED: (Type.RETRAIN_SUCCEEDED, "True"),
    Reason.LABELS_MISSING: (Type.LABELS_ARRIVED, "False"),
    Reason.LABELS_CAME: (Type.LABELS_ARRIVED, "True"),
    Reason.WINDOW_DUE: (Type.WINDOWS_MEASURED, "False"),
    Reason.WINDOWS_UP_TO_DATE: (Type.WINDOWS_MEASURED, "True"),
    Reason.TRAINED: (Type.WATCHED, "False"),
    Reason.WATCHED: (Type.WATCHED, "True"),
    Reason.NO_CONTROLLER: (Type.CONTROLLER_WATCHING, "False"),
    Reason.CLOCK_WENT_BACK: (Type.CONTROLLER_WATCHING, "False"),
    Reason.CONTROLLER_WATCHES: (Type.CONTROLLER_WATCHING, "True"),
    Reason.STORE_FAILS: (Type.STORES_ANSWER, "False"),
    Reason.ALL_STORES_ANSWER: (Type.STORES_ANSWER, "True"),
}
"""Of which type each reason is, and whether the condition holds with it."""
ORDER = tuple(Reason)
"""What matters most stands first."""
STATES = ORDER[: ORDER.index(Reason.TRAINED) + 1]
"""The reasons that can name the state of a model: what holds first. With the others all is well, or they are no model's."""
ORDINARY = (Reason.RETIRED, Reason.WATCHED, Reason.TRAINED)
"""States in which nobody need do anything."""


class Condition(Record):
    """One thing that holds of a model or of the installation, or does not."""

    type: Type
    """What it is about."""
    status: State
    """Whether it holds."""
    reason: Reason
    """Why, as a constant."""
    message: str
    """What that is concluded from, for people."""
    since: datetime | None = None
    """Since when, UTC; null where nobody knows."""
    next: str = ""
    """What comes next, and who does it; empty where nothing need be done."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        """A reason belongs to one type and one status.

        Raises:
            ValueError: it was given another one.
        """
        if (self.type, self.status) != MEANS[self.reason]:
            raise ValueError(f"{self.reason} is a reason of {MEANS[self.reason]}, not of {self.type} {self.status}")
        return self

    @property
    def is_state(self) -> bool:
        """Whether it can name the state of a model."""
        return self.reason in STATES


def condition(reason: Reason, message: str, *, since: datetime | None = None, next: str = "") -> Condition:
    """The condition with this reason; its type and status follow.

    >>> found = condition(Reason.RUN_LOST, "run r1 was not finished")
    >>> found.type.value, found.status
    ('RunSucceeded', 'False')
    """
    kind, status = MEANS[reason]
    return Condition(type=kind, status=status, reason=reason, message=message, since=since, next=next)
