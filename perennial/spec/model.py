"""The model spec as a whole: a Kubernetes object in shape."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from perennial.spec.features import Features, Label, Requests
from perennial.spec.gates import Gates
from perennial.spec.objective import Objective
from perennial.spec.operations import Monitoring, Retraining, Serving
from perennial.spec.part import Part
from perennial.spec.training import Evaluation, Training


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
    def _criteria_are_checked(self) -> "Specification":
        known = {criterion.name for criterion in self.objective.criteria}
        checked = {"gates": self.gates.criteria, "monitoring": self.monitoring.criteria}
        for place, names in checked.items():
            for name in names:
                if name not in known:
                    raise ValueError(
                        f"{place}.criteria names {name!r}, which the objective does not have; allowed: {', '.join(sorted(known))}"
                    )
        for name in sorted(known - set(self.gates.criteria) - set(self.monitoring.criteria)):
            raise ValueError(
                f"no gate or monitor checks the criterion {name!r}; name it in gates.criteria or monitoring.criteria"
            )
        return self


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
