"""The model spec as a whole: a Kubernetes object in shape."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from perennial.spec.features import Features, Label, Requests
from perennial.spec.gates import Gates
from perennial.spec.objective import Objective
from perennial.spec.operations import Monitoring, Retraining, Serving
from perennial.spec.part import Breach, Part, refuse
from perennial.spec.training import Evaluation, Sliding, Training


class Metadata(BaseModel):
    """Name and labels. What an API server adds (`uid`, `managedFields`, …) is tolerated and ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, use_attribute_docstrings=True)

    name: str = Field(pattern=r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")
    """Name of the model: lower-case letters, digits and dashes, at most 63."""
    labels: dict[str, str] = {}
    """Kubernetes labels. None by default."""
    annotations: dict[str, str] = {}
    """Kubernetes annotations. None by default."""


class Specification(Part):
    """What the model is, in one place. Nothing else configures a model."""

    owner: str = Field(min_length=1)
    """Who answers for the model: a team or person, in plain words."""
    description: str = Field(min_length=1)
    """What the model does, in plain words, for a reader who knows no statistics."""
    objective: Objective
    """Why the model exists."""
    requests: Requests
    """The requests of the past, and the fields a request brings."""
    features: Features
    """Features that are looked up."""
    label: Label
    """What came true."""
    training: Training
    """How a recipe is found and fitted."""
    evaluation: Evaluation = Evaluation(days=28, resamples=1000, confidence=0.95)
    """The block of time on which a trained candidate is judged."""
    gates: Gates
    """What must be passed before a version is registered."""
    serving: Serving = Serving(p95_ms=50.0, log_required=False)
    """What the endpoint promises."""
    monitoring: Monitoring
    """How the served model is watched."""
    retraining: Retraining
    """When the model is trained again."""

    @model_validator(mode="after")
    def _parts_agree(self) -> "Specification":
        refuse(self._criteria() + self._days())
        return self

    def _criteria(self) -> list[Breach]:
        """Criteria that are checked but do not exist, or exist but are never checked."""
        criterion_names = tuple(criterion.name for criterion in self.objective.criteria)
        checked = {"gates": self.gates.criteria, "monitoring": self.monitoring.criteria}
        breaches = [
            Breach((key, "criteria", at), f"the objective has no criterion {name!r}", ", ".join(criterion_names), criterion_names)
            for key, names in checked.items()
            for at, name in enumerate(names)
            if name not in criterion_names
        ]
        lists = {"success_criteria": self.objective.success_criteria, "guard_rails": self.objective.guard_rails}
        for key, criteria in lists.items():
            for at, criterion in enumerate(criteria):
                if criterion.name not in self.gates.criteria + self.monitoring.criteria:
                    message = f"no gate or monitor checks the criterion {criterion.name!r}"
                    remedy = "only criteria that gates.criteria or monitoring.criteria names"
                    breaches.append(Breach(("objective", key, at, "name"), message, remedy))
        return breaches

    def _days(self) -> list[Breach]:
        """Lengths that leave another part nothing to work on."""
        breaches = []
        window, days = self.training.window, self.evaluation.days
        if isinstance(window, Sliding) and window.days <= days:
            message = f"{window.days} days leave nothing to train on: the evaluation block takes {days} of them"
            breaches.append(Breach(("training", "window", "days"), message, f"more than evaluation.days ({days})"))
        if self.objective.segments and self.gates.segments.min_days > days:
            message = f"{self.gates.segments.min_days} days: the gate could never judge a segment"
            breaches.append(Breach(("gates", "segments", "min_days"), message, f"at most evaluation.days ({days})"))
        return breaches


class Model(BaseModel):
    """A model spec: `models/<name>.yaml`. No URIs, secrets or environment."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    apiVersion: Literal["perennial.dev/v1alpha1"]  # noqa: N815 - the Kubernetes name
    """Version of this format."""
    kind: Literal["Model"]
    """Kind of the object."""
    metadata: Metadata
    """Name and labels."""
    spec: Specification
    """What the model is."""

    @property
    def name(self) -> str:
        """The model's name."""
        return self.metadata.name
