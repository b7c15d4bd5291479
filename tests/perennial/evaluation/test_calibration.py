import subprocess
import sys

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from perennial.errors import DataError
from perennial.evaluation.calibration import Calibrator, expit, fit_calibrator, log_odds
from perennial.evaluation.metrics import log_losses
from perennial.spec.training import Isotonic, NoCalibration, Sigmoid

SIGMOID = Sigmoid(kind="sigmoid")


def overconfident(rows: int = 20_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    odds = random.normal(-1, 1, rows)
    return expit(2 * odds + 0.5), random.random(rows) < expit(odds)


def test_a_sigmoid_finds_slope_and_intercept_that_were_planted() -> None:
    probability, label = overconfident()
    found = fit_calibrator(SIGMOID, probability, label)
    assert found.slope == pytest.approx(0.5, abs=0.03)
    assert found.intercept == pytest.approx(-0.25, abs=0.03)


def test_a_sigmoid_is_the_one_that_scikit_learn_fits() -> None:
    probability, label = overconfident()
    found = fit_calibrator(SIGMOID, probability, label)
    theirs = LogisticRegression(C=np.inf, tol=1e-10).fit(log_odds(probability)[:, None], label)
    assert found.slope == pytest.approx(float(theirs.coef_[0, 0]), rel=1e-3)
    assert found.intercept == pytest.approx(float(theirs.intercept_[0]), abs=1e-3)


@pytest.mark.parametrize("spec", [SIGMOID, Isotonic(kind="isotonic", knots=20)], ids=["sigmoid", "isotonic"])
def test_calibration_lowers_the_log_loss_on_other_rows(spec: Sigmoid | Isotonic) -> None:
    found = fit_calibrator(spec, *overconfident())
    probability, label = overconfident(seed=1)
    assert log_losses(found.apply(probability), label).mean() < log_losses(probability, label).mean() - 0.02


@pytest.mark.parametrize("spec", [NoCalibration(kind="none"), SIGMOID, Isotonic(kind="isotonic")], ids=lambda spec: spec.kind)
def test_every_map_rises_and_stays_within_zero_and_one(spec: NoCalibration | Sigmoid | Isotonic) -> None:
    found = fit_calibrator(spec, *overconfident(2_000))
    mapped = found.apply(np.linspace(0, 1, 10_001))
    assert (np.diff(mapped) >= 0).all()
    assert mapped.min() >= 0
    assert mapped.max() <= 1
    assert spec.kind == "none" or (mapped.min() > 0 and mapped.max() < 1)


def test_one_row_gets_what_it_gets_among_many_and_nan_stays_nan() -> None:
    found = fit_calibrator(SIGMOID, *overconfident(2_000))
    probability = np.array([0.0, 0.1, 0.5, 1.0])
    together = found.apply(probability)
    assert [float(found.apply(probability[[row]])[0]) for row in range(4)] == together.tolist()
    assert np.isnan(found.apply(np.array([np.nan]))).all()


def test_labels_that_a_threshold_separates_do_not_send_the_slope_to_infinity() -> None:
    probability = np.linspace(0.01, 0.99, 200)
    found = fit_calibrator(SIGMOID, probability, probability > 0.5)
    assert found.kind == "sigmoid"
    assert 1 < found.slope < 100


@pytest.mark.parametrize("spec", [SIGMOID, Isotonic(kind="isotonic")], ids=lambda spec: spec.kind)
@pytest.mark.parametrize(
    ("probability", "label", "note"),
    [
        ([0.1, 0.2, 0.8, 0.9], [True, True, False, False], "do not rise"),
        ([0.1, 0.2, 0.8, 0.9], [False, False, False, False], "all the same"),
        ([0.3, 0.3, 0.3, 0.3], [True, False, True, False], "not calibrated"),
    ],
    ids=["falling", "one class", "constant"],
)
def test_where_no_rising_map_exists_the_probability_is_left_alone_and_the_note_says_why(
    spec: Sigmoid | Isotonic, probability: list[float], label: list[bool], note: str
) -> None:
    found = fit_calibrator(spec, np.array(probability), np.array(label))
    assert found.kind == "none"
    assert note in found.note


@pytest.mark.parametrize("knots", [2, 5, 100])
def test_an_isotonic_map_keeps_at_most_so_many_knots(knots: int) -> None:
    found = fit_calibrator(Isotonic(kind="isotonic", knots=knots), *overconfident())
    assert 2 <= len(found.x) <= knots
    assert (np.diff(found.x) > 0).all()


def test_a_prediction_that_is_not_a_number_is_an_error() -> None:
    with pytest.raises(DataError, match="1 of 3 out-of-fold predictions"):
        fit_calibrator(SIGMOID, np.array([0.1, np.nan, 0.3]), np.array([True, False, True]))


def test_a_calibrator_survives_its_json() -> None:
    found = fit_calibrator(Isotonic(kind="isotonic"), *overconfident(2_000))
    assert Calibrator.model_validate_json(found.to_json()) == found


def test_serving_applies_it_without_pandas_or_scikit_learn() -> None:
    code = "import sys, perennial.evaluation.calibration; print({'pandas', 'pyarrow', 'sklearn', 'scipy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"
