"""The model spec: what a model is, as a tree of frozen pydantic models. Where things are stands in `perennial.settings`."""

from perennial.spec.features import Features, Freshness, Label, RequestField, Requests
from perennial.spec.gates import Gates
from perennial.spec.model import Metadata, Model, Specification
from perennial.spec.objective import Criterion, Metric, Objective, Utility
from perennial.spec.operations import Monitoring, Retraining, Serving
from perennial.spec.training import (
    Calibration,
    Candidate,
    Evaluation,
    Expanding,
    Folds,
    GradientBoosting,
    Isotonic,
    Logistic,
    NoCalibration,
    RandomForest,
    Search,
    Selection,
    Sigmoid,
    Sliding,
    Training,
)

__all__ = [
    "Calibration",
    "Candidate",
    "Criterion",
    "Evaluation",
    "Expanding",
    "Features",
    "Folds",
    "Freshness",
    "Gates",
    "GradientBoosting",
    "Isotonic",
    "Label",
    "Logistic",
    "Metadata",
    "Metric",
    "Model",
    "Monitoring",
    "NoCalibration",
    "Objective",
    "RandomForest",
    "RequestField",
    "Requests",
    "Retraining",
    "Search",
    "Selection",
    "Serving",
    "Sigmoid",
    "Sliding",
    "Specification",
    "Training",
    "Utility",
]
