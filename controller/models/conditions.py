"""The conditions of a Model, with what each reason means: constants that `kubectl wait` and programs go by.

They are fewer than those of `perennial.status`, from which they are concluded; docs/models-on-kubernetes.md lists them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from perennial.spec.model import Model
from perennial.status.condition import Condition, Reason, State
from perennial.status.stored import Stored

MESSAGE = 4_096
"""Characters of a message that are kept: `kubectl describe` shows all of them."""


class ModelCondition(StrEnum):
    """What a condition of a Model is about. Each Model has one of each."""

    ACCEPTED = "Accepted"
    """The newest spec has no mistake and is in force; otherwise the last good one goes on."""
    TRAINED = "Trained"
    """A version has the traffic."""
    SERVING = "Serving"
    """The champion answers."""
    HEALTHY = "Healthy"
    """Nothing is wrong that someone must look at."""
    DATA_TRUSTED = "DataTrusted"
    """No incident of broken data is open."""
    RETRAINING_HELD = "RetrainingHeld"
    """A training that may be wanted does not begin by itself."""


class ModelReason(StrEnum):
    """Why a condition of a Model is as it is."""

    SPEC_ACCEPTED = "SpecAccepted"
    """The spec has no mistake."""
    SPEC_REFUSED = "SpecRefused"
    """The spec has mistakes, all of them in the message; the last good one is in force."""
    CHAMPION_CHOSEN = "ChampionChosen"
    """A version has the traffic."""
    FIRST_TRAINING = "FirstTraining"
    """The first version is being trained or rolled out."""
    NOT_TRAINED = "NotTrained"
    """There is no version with traffic."""
    PODS_ANSWER = "PodsAnswer"
    """All of the champion's pods answer."""
    CHAMPION_DEPLOYED = "ChampionDeployed"
    """The server of this machine is told to serve the champion."""
    PODS_ROLLING = "PodsRolling"
    """The champion's pods are taking over, one at a time."""
    ROLLING_OUT = "RollingOut"
    """A version is on its way to the traffic."""
    TRAFFIC_FOREIGN = "TrafficForeign"
    """What runs is not what was installed: somebody else wrote into it."""
    TRAFFIC_STUCK = "TrafficStuck"
    """The champion's pods do not come and will not by waiting."""
    TRAFFIC_UNKNOWN = "TrafficUnknown"
    """The cluster does not say how far the traffic is."""
    DEPLOYMENT_DIFFERS = "DeploymentDiffers"
    """Another version than the champion is deployed, or none is."""
    NOTHING_WRONG = "NothingWrong"
    """Nothing is known that someone must look at."""
    DEGRADED = "Degraded"
    """The champion's loss in the newest judged window is above what its training promised."""
    RUN_LOST = "RunLost"
    """The newest run was not finished, and no process executes it."""
    RUN_FAILED = "RunFailed"
    """The newest run broke."""
    RETRAIN_FAILED = "RetrainFailed"
    """The last training that was decided could not be carried out."""
    ROLLOUT_REFUSED = "RolloutRefused"
    """The newest version was refused the traffic."""
    LABELS_MISSING = "LabelsMissing"
    """The newest matured window has not one label."""
    NO_INCIDENT = "NoIncident"
    """No incident is open."""
    DATA_BROKEN = "DataBroken"
    """An incident is open."""
    NOT_MEASURED = "NotMeasured"
    """No window was looked at yet."""
    WAITS_FOR_PERSON = "WaitsForPerson"
    """The policy is advisory: a person accepts the training or leaves it."""
    NOTHING_HOLDS = "NothingHolds"
    """Trainings begin when they are due."""


_C, _R = ModelCondition, ModelReason
MEANS: Mapping[tuple[ModelCondition, ModelReason], State] = {
    (_C.ACCEPTED, _R.SPEC_ACCEPTED): "True",
    (_C.ACCEPTED, _R.SPEC_REFUSED): "False",
    (_C.TRAINED, _R.CHAMPION_CHOSEN): "True",
    (_C.TRAINED, _R.FIRST_TRAINING): "Unknown",
    (_C.TRAINED, _R.NOT_TRAINED): "False",
    (_C.SERVING, _R.PODS_ANSWER): "True",
    (_C.SERVING, _R.PODS_ROLLING): "False",
    (_C.SERVING, _R.TRAFFIC_FOREIGN): "False",
    (_C.SERVING, _R.TRAFFIC_STUCK): "False",
    (_C.SERVING, _R.TRAFFIC_UNKNOWN): "Unknown",
    (_C.SERVING, _R.DEPLOYMENT_DIFFERS): "False",
    (_C.SERVING, _R.ROLLING_OUT): "Unknown",
    (_C.SERVING, _R.CHAMPION_DEPLOYED): "True",
    (_C.SERVING, _R.NOT_TRAINED): "False",
    (_C.HEALTHY, _R.NOTHING_WRONG): "True",
    (_C.HEALTHY, _R.RUN_LOST): "False",
    (_C.HEALTHY, _R.RUN_FAILED): "False",
    (_C.HEALTHY, _R.TRAFFIC_FOREIGN): "False",
    (_C.HEALTHY, _R.TRAFFIC_STUCK): "False",
    (_C.HEALTHY, _R.DEPLOYMENT_DIFFERS): "False",
    (_C.HEALTHY, _R.RETRAIN_FAILED): "False",
    (_C.HEALTHY, _R.ROLLOUT_REFUSED): "False",
    (_C.HEALTHY, _R.LABELS_MISSING): "False",
    (_C.HEALTHY, _R.DEGRADED): "False",
    (_C.HEALTHY, _R.NOT_TRAINED): "Unknown",
    (_C.DATA_TRUSTED, _R.NO_INCIDENT): "True",
    (_C.DATA_TRUSTED, _R.DATA_BROKEN): "False",
    (_C.DATA_TRUSTED, _R.NOT_MEASURED): "Unknown",
    (_C.RETRAINING_HELD, _R.DATA_BROKEN): "True",
    (_C.RETRAINING_HELD, _R.WAITS_FOR_PERSON): "True",
    (_C.RETRAINING_HELD, _R.NOTHING_HOLDS): "False",
}
"""Whether a condition holds with a reason; in the order in which reasons of one type count."""


@dataclass(frozen=True)
class Concluded:
    """A condition as it is now; when it came to be so is found beside what is stored in the object."""

    type: ModelCondition
    """What it is about."""
    reason: ModelReason
    """Why it is so."""
    message: str
    """What that is concluded from, and what comes next, for people."""

    @property
    def status(self) -> State:
        """Whether it holds."""
        return MEANS[self.type, self.reason]

    def as_object(self, before: Iterable[Mapping[str, object]], generation: int, wall_clock: datetime) -> dict[str, object]:
        """The condition as Kubernetes keeps it.

        Args:
            before: the conditions that are stored: a status that stays keeps its time.
            generation: of the object that was read.
            wall_clock: the real time, UTC.
        """
        since = next(
            (old["lastTransitionTime"] for old in before if (old["type"], old["status"]) == (self.type, self.status)), ""
        )
        return {
            "type": self.type.value,
            "status": self.status,
            "reason": self.reason.value,
            "message": self.message if len(self.message) <= MESSAGE else f"{self.message[: MESSAGE - 1]}…",
            "lastTransitionTime": since or wall_clock.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "observedGeneration": generation,
        }


def concluded(conditions: Sequence[Condition], stored: Stored, mistakes: Sequence[str]) -> tuple[Concluded, ...]:
    """The conditions of a Model, one of each type.

    Args:
        conditions: what `perennial.status` concluded, what matters most first.
        stored: what that was concluded from.
        mistakes: of the newest spec; none when it is in force.
    """
    by_reason = {one.reason: one for one in conditions}
    return (
        _accepted(stored, mistakes),
        _trained(by_reason, stored),
        _serving(by_reason, stored),
        _healthy(by_reason, stored),
        _data(by_reason),
        _held(by_reason),
    )


def _accepted(stored: Stored, mistakes: Sequence[str]) -> Concluded:
    if not mistakes:
        return Concluded(_C.ACCEPTED, _R.SPEC_ACCEPTED, "the spec has no mistake")
    goes_on = "the last good one goes on" if isinstance(stored.spec, Model) else "nothing is done for it"
    return Concluded(_C.ACCEPTED, _R.SPEC_REFUSED, "\n".join((f"{len(mistakes)} to mend; until then {goes_on}:", *mistakes)))


def _trained(found: Mapping[Reason, Condition], stored: Stored) -> Concluded:
    if Reason.CHAMPION_CHOSEN in found:
        return Concluded(_C.TRAINED, _R.CHAMPION_CHOSEN, found[Reason.CHAMPION_CHOSEN].message)
    for reason in (Reason.TRAINING, Reason.ROLLING_OUT, Reason.RETRAIN_DECIDED):
        if reason in found:
            return Concluded(_C.TRAINED, _R.FIRST_TRAINING, said(found[reason]))
    return Concluded(_C.TRAINED, _R.NOT_TRAINED, _untrained(stored))


def _untrained(stored: Stored) -> str:
    return f"no version has traffic; `kubectl annotate model {stored.name} perennial.dev/retrain=now` trains the first"


def _serving(found: Mapping[Reason, Condition], stored: Stored) -> Concluded:
    if stored.champion is None:
        return Concluded(_C.SERVING, _R.NOT_TRAINED, _untrained(stored))
    for condition in _of_type(_C.SERVING, found):
        return condition
    return Concluded(_C.SERVING, _R.DEPLOYMENT_DIFFERS, f"version {stored.champion.number} is champion, and nothing serves it")


def _healthy(found: Mapping[Reason, Condition], stored: Stored) -> Concluded:
    for condition in _of_type(_C.HEALTHY, found):
        return condition
    judged = next((record.performance for record in stored.windows if record.performance is not None), None)
    if judged is not None and judged.loss is not None and judged.loss.degraded:
        return Concluded(_C.HEALTHY, _R.DEGRADED, judged.loss.sentence)
    if stored.champion is None:
        return Concluded(_C.HEALTHY, _R.NOT_TRAINED, _untrained(stored))
    return Concluded(_C.HEALTHY, _R.NOTHING_WRONG, "nothing is known that someone must look at")


def _data(found: Mapping[Reason, Condition]) -> Concluded:
    for condition in _of_type(_C.DATA_TRUSTED, found):
        return condition
    return Concluded(_C.DATA_TRUSTED, _R.NOT_MEASURED, "no window was looked at yet")


def _held(found: Mapping[Reason, Condition]) -> Concluded:
    for condition in _of_type(_C.RETRAINING_HELD, found):
        return condition
    return Concluded(_C.RETRAINING_HELD, _R.NOTHING_HOLDS, "trainings begin when they are due")


def _of_type(kind: ModelCondition, found: Mapping[Reason, Condition]) -> Iterator[Concluded]:
    """The conditions of a type whose reason is also one of `perennial.status`, what counts first before."""
    ours = {reason.value: reason for type, reason in MEANS if type == kind}
    shared = (reason for name in ours for reason in found if reason.value == name and reason != Reason.NOT_TRAINED)
    return (Concluded(kind, ours[reason.value], said(found[reason])) for reason in shared)


def said(condition: Condition) -> str:
    """What a condition was concluded from, and what comes next."""
    return f"{condition.message}; {condition.next}" if condition.next else condition.message
