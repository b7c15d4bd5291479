"""Why the model exists: the business question, what an answer is worth, and when the model earns its keep."""

from typing import Literal

from pydantic import Field, model_validator

from perennial.spec.part import Part

Metric = Literal["auc", "average_precision", "log_loss", "brier", "calibration_gap", "utility", "unlabelled_share"]
"""What a criterion may measure. `calibration_gap` is |mean probability - label rate|; `utility` is per 1000 requests, in
the unit of the objective, less what the better constant action would have earned; `unlabelled_share` is of all requests."""


class Utility(Part):
    """What one request is worth, by what was decided and what came true. Acting means deciding *positive*."""

    unit: str = Field(min_length=1)
    """Unit of the four numbers, in words (minutes saved, euros)."""
    true_positive: float
    """Acted, and the label came true. Per request."""
    false_positive: float
    """Acted, and the label did not come true. Per request."""
    true_negative: float = 0.0
    """Did not act, and the label did not come true. 0 by default: doing nothing is the usual zero point."""
    false_negative: float = 0.0
    """Did not act, and the label came true. 0 by default: doing nothing is the usual zero point."""

    @model_validator(mode="after")
    def _acting_must_pay_when_right(self) -> "Utility":
        if self.true_positive <= self.false_negative:
            raise ValueError(
                f"true_positive ({self.true_positive:g}) must be larger than false_negative ({self.false_negative:g}): "
                "else acting never pays and no model is needed"
            )
        if self.true_negative <= self.false_positive:
            raise ValueError(
                f"true_negative ({self.true_negative:g}) must be larger than false_positive ({self.false_positive:g}): "
                "else acting always pays and no model is needed"
            )
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
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("exactly one of at_least and at_most must be given")
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
    """Columns (features or request-time fields) whose groups must not suffer. None by default."""

    @model_validator(mode="after")
    def _names_are_unique(self) -> "Objective":
        names = [criterion.name for criterion in self.criteria]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the criterion name {name!r} is used twice; names must be unique")
        return self

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """Success criteria and guard-rails."""
        return self.success_criteria + self.guard_rails
