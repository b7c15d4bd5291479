"""Specs that are wrong in one place each: the small project's, changed."""

import copy
from typing import Any

import yaml

from tests.second_project import SPEC

Steps = tuple[str | int, ...]

RULES: dict[str, tuple[Steps, Any, str]] = {
    "nothing to train on": (("training", "window"), {"kind": "sliding", "days": 14}, "training.window.days must be more"),
    "a segment that is never judged": (
        ("gates", "segments"),
        {"min_days": 400},
        "gates.segments.min_days must be at most",
    ),
    "acting never pays": (("objective", "utility", "true_positive"), -1000, "acting never pays"),
    "acting always pays": (("objective", "utility", "false_positive"), 1000, "acting always pays"),
    "two bounds": (("objective", "success_criteria", 0, "at_most"), 0.9, "exactly one of at_least and at_most"),
    "an AUC of 2": (("objective", "success_criteria", 0), {"metric": "auc", "at_least": 2.0}, "outside what the metric can be"),
    "a loss below 0": (
        ("objective", "success_criteria", 0),
        {"metric": "log_loss", "at_most": -0.5, "at_least": None},
        "outside what the metric can be",
    ),
    "a column of ours as id": (("requests", "id"), "label", "a dataset's own column"),
    "it scales down": (("serving",), {"replicas": 3, "max_replicas": 3}, "must be more than replicas"),
    "more windows than are looked at": (("retraining", "windows_required"), 9, "must be at most windows_considered"),
    "scheduled for never": (("retraining", "reasons"), ["scheduled"], "max_age_days is given exactly when"),
    "a key of another kind": (("training", "calibration"), {"kind": "sigmoid", "knots": 7}, "a key of kind isotonic only"),
    "sliding without days": (("training", "window"), {"kind": "sliding"}, "kind sliding needs days"),
    "a candidate twice": (("training", "candidates"), [{"kind": "logistic"}, {"kind": "logistic"}], "duplicate entries"),
    "a reason twice": (("retraining", "reasons"), ["manual", "manual"], "duplicate entries"),
    "an unknown word": (("retraining", "mode"), "automatc", "Unsupported value"),
    "a loss that is infinite at 0": (("gates", "non_inferiority"), {"log_loss_margin": 0}, "greater than 0"),
}
"""What is changed to what, and what the API server says of it. Mappings are merged; None takes a key away."""

PYTHON_ONLY: dict[str, tuple[Steps, Any, str]] = {
    "a criterion that is not there": (("gates", "criteria"), ["nobody"], "the objective has no criterion 'nobody'"),
}
"""What the API server takes and the controller does not, and what it says of it."""


def content() -> dict[str, Any]:
    """The object of the small project's model."""
    found: dict[str, Any] = yaml.safe_load(SPEC)
    return found


def changed(steps: Steps, value: Any) -> dict[str, Any]:
    """The object with one thing changed."""
    made = copy.deepcopy(content())
    place: Any = made["spec"]
    for step in steps[:-1]:
        place = place[step]
    old = place.get(steps[-1]) if isinstance(place, dict) else place[steps[-1]]
    merged = {**old, **value} if isinstance(value, dict) and isinstance(old, dict) and "kind" not in value else value
    place[steps[-1]] = {key: item for key, item in merged.items() if item is not None} if isinstance(merged, dict) else merged
    return made
