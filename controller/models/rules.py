"""Rules between fields that the API server checks by itself, in CEL: those of `perennial.spec` that are short to say.

The others (criteria by name, columns of a service) need what a rule of Kubernetes cannot see or afford; the controller says them
in the condition `Accepted`. A rule here must be one of the spec's: `tests/controller/models/test_definition.py` breaks each.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from perennial.spec.part import RESERVED


@dataclass(frozen=True)
class FieldRule:
    """A rule of one part of the spec."""

    cel: str
    """True where it is kept; `self` is the part."""
    message: str
    """What is wrong where it is not, and what is allowed."""
    field: str
    """The field of the part that has to change; empty for the part itself."""


KEYS: Mapping[str, str] = {
    "spec.objective.success_criteria": "name",
    "spec.objective.guard_rails": "name",
    "spec.requests.fields": "name",
    "spec.features.freshness": "view",
    "spec.training.candidates": "kind",
    "spec.monitoring.columns": "name",
}
"""Lists of parts of which each name may be there once, and the field that is the name."""
SETS = ("spec.objective.segments", "spec.gates.criteria", "spec.monitoring.criteria", "spec.retraining.reasons")
"""Lists of which each word may be there once."""

_ONE_BOUND = FieldRule("has(self.at_least) != has(self.at_most)", "exactly one of at_least and at_most is given", "")
_LOW = "self.metric == 'utility' || {0} >= 0.0"
_HIGH = "self.metric in ['utility', 'log_loss'] || {0} <= 1.0"
_CRITERION = (
    _ONE_BOUND,
    *(
        FieldRule(
            f"!has(self.{field}) || (({_LOW.format(f'self.{field}')}) && ({_HIGH.format(f'self.{field}')}))",
            "outside what the metric can be: 0 to 1, log_loss at least 0, utility anything",
            field,
        )
        for field in ("at_least", "at_most")
    ),
)

RULES: Mapping[str, tuple[FieldRule, ...]] = {
    "spec": (
        FieldRule(
            "self.training.window.kind != 'sliding' || self.training.window.days > self.evaluation.days",
            "training.window.days must be more than evaluation.days: nothing is left to train on",
            "training.window.days",
        ),
        FieldRule(
            "size(self.objective.segments) == 0 || self.gates.segments.min_days <= self.evaluation.days",
            "gates.segments.min_days must be at most evaluation.days: the gate could never judge a segment",
            "gates.segments.min_days",
        ),
    ),
    "spec.objective.utility": (
        FieldRule(
            "self.true_positive > self.false_negative",
            "must be more than false_negative: acting never pays, no model is needed",
            "true_positive",
        ),
        FieldRule(
            "self.false_positive < self.true_negative",
            "must be less than true_negative: acting always pays, no model is needed",
            "false_positive",
        ),
    ),
    "spec.objective.success_criteria": _CRITERION,
    "spec.objective.guard_rails": _CRITERION,
    "spec.requests": (
        FieldRule(
            f"!(self.id in [{', '.join(repr(name) for name in RESERVED)}])",
            f"a dataset's own column; any but {', '.join(RESERVED)}",
            "id",
        ),
    ),
    "spec.serving": (
        FieldRule("!has(self.max_replicas) || self.max_replicas > self.replicas", "must be more than replicas", "max_replicas"),
    ),
    "spec.retraining": (
        FieldRule(
            "self.windows_required <= self.windows_considered",
            "must be at most windows_considered: more than are looked at",
            "windows_required",
        ),
        FieldRule(
            "('scheduled' in self.reasons) == has(self.max_age_days)",
            "max_age_days is given exactly when 'scheduled' is among the reasons",
            "",
        ),
    ),
}
"""By the path of the part; items of lists without their positions."""
