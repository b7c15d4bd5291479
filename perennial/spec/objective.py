"""Why the model exists: the business question, what an answer is worth, and when the model earns its keep."""

from math import inf
from typing import Literal

from pydantic import Field, model_validator

from perennial.spec.part import Breach, Part, refuse, repeated

Metric = Literal["auc", "average_precision", "log_loss", "brier", "calibration_gap", "utility", "unlabelled_share"]
"""What a criterion may measure. `calibration_gap` is |mean probability - label rate|; `utility` is per 1000 requests, in
the unit of the objective, less what the better constant action would have earned; `unlabelled_share` is of all requests."""

RANGES: dict[Metric, tuple[float, float]] = {
    "auc": (0.0, 1.0),
    "average_precision": (0.0, 1.0),
    "log_loss": (0.0, inf),
    "brier": (0.0, 1.0),
    "calibration_gap": (0.0, 1.0),
    "utility": (-inf, inf),
    "unlabelled_share": (0.0, 1.0),
}
"""What each metric can be: a bound outside would always or never hold."""


class Utility(Part):
    """What one request is worth, by what was decided and by its label. Acting means deciding *positive*."""

    unit: str = Field(min_length=1)
    """Unit of the four numbers, in words (minutes saved, euros)."""
    true_positive: float
    """Acted, and the label is positive. Per request."""
    false_positive: float
    """Acted, and the label is negative. Per request."""
    true_negative: float = 0.0
    """Did not act, and the label is negative. 0 by default: doing nothing is the usual zero point."""
    false_negative: float = 0.0
    """Did not act, and the label is positive. 0 by default: doing nothing is the usual zero point."""

    @model_validator(mode="after")
    def _acting_must_pay_when_right(self) -> "Utility":
        breaches = []
        if self.true_positive <= self.false_negative:
            breaches.append(
                Breach(
                    ("true_positive",),
                    f"{self.true_positive:g}: acting never pays, no model is needed",
                    f"more than false_negative ({self.false_negative:g})",
                )
            )
        if self.false_positive >= self.true_negative:
            breaches.append(
                Breach(
                    ("false_positive",),
                    f"{self.false_positive:g}: acting always pays, no model is needed",
                    f"less than true_negative ({self.true_negative:g})",
                )
            )
        refuse(breaches)
        return self


class Criterion(Part):
    """A measurable bound. A gate passes it on the bound of the interval, never on the point estimate."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    """Name by which `gates.criteria` and `monitoring.criteria` refer to it."""
    metric: Metric
    """What is measured."""
    at_least: float | None = None
    """Smallest value that is good enough, in the metric's unit. Exactly one of `at_least` and `at_most` is given."""
    at_most: float | None = None
    """Largest value that is good enough, in the metric's unit. Exactly one of `at_least` and `at_most` is given."""
    margin: float = Field(gt=0)
    """Distance from the bound, in the metric's unit, at which the gate's power is stated: a model this much better than the
    bound should not be stopped by chance."""
    why: str = Field(min_length=1)
    """Reason for the bound, in plain words; it appears in the model card."""

    @model_validator(mode="after")
    def _one_bound(self) -> "Criterion":
        if self.at_least is None and self.at_most is None:
            refuse([Breach((), "no bound is given", "exactly one of at_least and at_most")])
        if self.at_least is not None and self.at_most is not None:
            refuse([Breach(("at_most",), "there is already at_least", "exactly one of at_least and at_most")])
        return self

    @model_validator(mode="after")
    def _reachable(self) -> "Criterion":
        low, high = RANGES[self.metric]
        bounds = {"at_least": self.at_least, "at_most": self.at_most}
        refuse(
            [
                Breach((field,), f"{value:g} is outside what {self.metric} can be", f"{low:g} to {high:g}")
                for field, value in bounds.items()
                if value is not None and not low <= value <= high
            ]
        )
        return self


class Objective(Part):
    """The source of truth: gates, monitors, card and summary are derived from it."""

    question: str = Field(min_length=1)
    """The question that a prediction answers, in the words of the business."""
    action: str = Field(min_length=1)
    """What is done when the decision is *positive*."""
    utility: Utility
    """What an answer is worth; the decision threshold follows from it by arithmetic."""
    success_criteria: tuple[Criterion, ...] = Field(min_length=1)
    """When the model earns its keep. Each must be named by a gate or a monitor."""
    guard_rails: tuple[Criterion, ...] = ()
    """What must not be given up for success. Each must be named by a gate or a monitor. None by default."""
    segments: tuple[str, ...] = ()
    """Columns (features, request-time fields or join keys) whose groups must not suffer. None by default."""

    @model_validator(mode="after")
    def _names_are_unique(self) -> "Objective":
        first = len(self.success_criteria)
        breaches = []
        for at, name in repeated([criterion.name for criterion in self.criteria]):
            path = ("success_criteria", at, "name") if at < first else ("guard_rails", at - first, "name")
            breaches.append(Breach(path, f"{name!r} is the name of another criterion", "unique names"))
        breaches += [Breach(("segments", at), f"{name!r} is named twice", "each once") for at, name in repeated(self.segments)]
        refuse(breaches)
        return self

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """Success criteria and guard-rails."""
        return self.success_criteria + self.guard_rails
