"""Defaults are promises."""

import pytest

from perennial.spec import (
    Evaluation,
    Folds,
    Freshness,
    Gates,
    GradientBoosting,
    Isotonic,
    Logistic,
    Monitoring,
    RandomForest,
    Requests,
    Retraining,
    Search,
    Selection,
    Serving,
    Utility,
)
from perennial.spec.model import Model
from perennial.spec.part import Part
from perennial.spec.shape import fields


def values(part: Part) -> dict[str, object]:
    """A part's values by name."""
    return dict(part)


def test_the_promised_defaults() -> None:
    assert values(Serving()) == {"p95_ms": 50.0, "log_required": False, "replicas": 2, "max_replicas": None}
    assert values(Evaluation()) == {"days": 28, "resamples": 1000, "confidence": 0.95}
    assert values(Folds()) == {"count": 4, "first_share": 0.4}
    assert values(Search()) == {"trials": 4, "budget_seconds": 120, "every_days": 180}
    assert values(Selection()) == {"repeats": 5, "min_z": 1.0, "max_log_loss_increase": 0.002}
    assert values(Monitoring()) == {
        "window_days": 7,
        "columns": (),
        "criteria": (),
        "false_alarms_per_quarter": 1.0,
        "material_size_sd": 0.1,
        "block_rows": None,
        "max_null_increase": 0.1,
        "max_new_share": 0.05,
        "min_volume_share": 0.5,
        "clean_windows": 2,
    }
    assert values(Retraining(max_age_days=61)) == {
        "mode": "automatic",
        "reasons": ("degraded", "scheduled", "manual"),
        "max_age_days": 61,
        "windows_required": 2,
        "windows_considered": 3,
        "cool_down_days": 28,
        "per_quarter": 3,
    }


def test_the_promised_defaults_of_what_is_looked_up_and_decided() -> None:
    assert Freshness(view="weather", max_age_hours=3.0).on_stale == "default"
    assert Requests(source="requests", id="id").fields == ()
    utility = Utility(unit="euros", true_positive=3.0, false_positive=-1.0)
    assert (utility.true_negative, utility.false_negative) == (0.0, 0.0)


def test_the_promised_defaults_of_the_candidates() -> None:
    assert Logistic(kind="logistic").c == (0.01, 0.1, 1.0)
    assert Isotonic(kind="isotonic").knots == 20
    assert RandomForest(kind="random_forest").rows == 50_000
    assert GradientBoosting(kind="gradient_boosting").iterations == (120,)


def test_the_promised_defaults_of_the_gates() -> None:
    gates = Gates()
    assert gates.criteria == ()
    assert gates.min_rank_agreement == 0.95
    assert values(gates.non_inferiority) == {"log_loss_margin": 0.02, "auc_margin": 0.01, "min_days": 14}
    assert values(gates.segments) == {"min_rows": 500, "min_days": 14, "log_loss_margin": 0.05}
    assert values(gates.calibration) == {"max_gap": 0.05}
    assert values(gates.data) == {
        "min_rows": 1_000,
        "max_null_share": 0.9,
        "max_unlabelled_share": 0.2,
        "max_stale_share": 0.2,
    }


@pytest.mark.parametrize(
    ("owner", "name"), [pytest.param(owner, name, id=".".join(path)) for path, owner, name, _ in fields(Model)]
)
def test_a_part_by_default_is_the_part_with_its_own_defaults(owner: type[Part], name: str) -> None:
    default = owner.model_fields[name].default
    if isinstance(default, Part):
        assert default == type(default)()
