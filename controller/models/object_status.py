"""`.status` of a Model, and what of it is news: pure functions of what is stored and of what stands in the object."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from cluster.client import Object
from controller.models.conditions import ModelCondition, concluded
from perennial.loop.decision import Decision
from perennial.loop.window import WindowRecord
from perennial.status.condition import Reason
from perennial.status.model_status import ModelStatus
from perennial.status.stored import Stored

SCORES = ("auc",)
"""Metrics that are a task's score; the first that a window has is shown."""


@dataclass(frozen=True)
class SpecReading:
    """What came of an object's spec."""

    generation: int
    """Of the object as it was read."""
    mistakes: tuple[str, ...] = ()
    """All that is wrong with it, in words; none when it is in force."""


@dataclass(frozen=True)
class News:
    """What an event says."""

    reason: str
    """One CamelCase word."""
    message: str
    """One sentence."""
    severity: Literal["Normal", "Warning"] = "Normal"
    """Kubernetes' word for it."""


def object_status(
    status: ModelStatus, stored: Stored, acceptance: SpecReading, before: Mapping[str, Any], wall_clock: datetime
) -> Object:
    """`.status` as it should be; equal to what is there when nothing changed.

    Args:
        status: how the model stands.
        stored: what that was concluded from.
        acceptance: what came of the object's spec.
        before: the status that the object has; empty when it has none.
        wall_clock: the real time, UTC; the time of the conditions that changed.
    """
    champion, rollout = stored.champion, stored.rollout
    found = concluded(status.conditions, stored, acceptance.mistakes)
    old = before.get("conditions", [])
    made: Object = {
        "observedGeneration": acceptance.generation,
        "state": (Reason.SPEC_WRONG if acceptance.mistakes else status.state).value,
        "conditions": [one.as_object(old, acceptance.generation, wall_clock) for one in found],
    }
    if champion is not None:
        made["champion"] = {"version": champion.number, "digest": champion.digest}
    if stored.is_rolling_out and rollout is not None:
        made["challenger"] = {"version": rollout.number, "digest": rollout.digest}
    for record in stored.windows:
        if score := _score(record):
            made["score"] = score
            break
    if stored.decisions:
        made["decision"] = _decision(stored.decisions[0])
    if status.coming:
        made["next"] = {"when": _iso(status.coming[0].when), "what": status.coming[0].what}
    return made


def news(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[News]:
    """What changed between two statuses, as events.

    >>> list(news({"champion": {"version": 1}}, {"champion": {"version": 2, "digest": "ab"}}))
    [News(reason='RolledOut', message='version 2 has the traffic; it was version 1', severity='Normal')]
    >>> list(news({"champion": {"version": 2}}, {"champion": {"version": 2}}))
    []
    """
    old, new = (status.get("challenger", {}).get("version") for status in (before, after))
    if new not in (None, old):
        yield News("VersionRegistered", f"version {new} passed its gates and asks for the traffic")
    old, new = (status.get("champion", {}).get("version") for status in (before, after))
    if new not in (None, old):
        yield News("RolledOut", f"version {new} has the traffic" + (f"; it was version {old}" if old else ""))
    old, new = (status.get("decision", {}) for status in (before, after))
    if new and new["number"] != old.get("number"):
        yield News("Decided", f"decision {new['number']}: {new['sentence']}")
    stood = {one["type"]: one for one in before.get("conditions", [])}
    for one in after.get("conditions", []):
        kind, was = one["type"], stood.get(one["type"])
        is_news = was is None or (was["status"], was["reason"]) != (one["status"], one["reason"])
        if kind == ModelCondition.ACCEPTED and was is not None and one["status"] == "False":
            is_news = was["message"] != one["message"]
        if is_news and (was is not None or kind == ModelCondition.ACCEPTED or is_bad(one)):
            message = one["message"].replace("\n", " ")
            yield News(one["reason"], f"{kind} is {one['status']}: {message}", "Warning" if is_bad(one) else "Normal")


def is_bad(condition: Mapping[str, Any]) -> bool:
    """Whether a condition asks for somebody: a spec that is refused, broken data, something wrong."""
    watched = (ModelCondition.ACCEPTED, ModelCondition.DATA_TRUSTED, ModelCondition.HEALTHY)
    return condition["type"] in watched and condition["status"] == "False"


def _score(record: WindowRecord) -> Object:
    metrics = record.performance.metrics if record.performance is not None else {}
    for metric in SCORES:
        if metric in metrics:
            return {"metric": metric, "value": f"{metrics[metric].value:.3f}", "window": _iso(record.start)}
    return {}


def _decision(decision: Decision) -> Object:
    return {
        "number": decision.number,
        "title": decision.title,
        "sentence": decision.sentence,
        "state": decision.state,
        "made": _iso(decision.made),
    }


def _iso(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
