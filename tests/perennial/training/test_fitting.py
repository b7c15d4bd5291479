"""The search finds what is there, within its budget, and says what it did; models answer by named columns."""

import pickle
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from perennial.data.rows import Rows
from perennial.data.splits import time_folds
from perennial.errors import DataError
from perennial.spec.columns import Column
from perennial.spec.training import (
    Expanding,
    Folds,
    GradientBoosting,
    Logistic,
    NoCalibration,
    RandomForest,
    Search,
    Selection,
    Training,
)
from perennial.training.fitting import fit, fit_and_test, out_of_fold, pick, planned, predict, refit_result, search
from perennial.training.recipe import Recipe, SearchResult
from perennial.training.side_by_side import Power

DAYS = 40
UNTIL = datetime(2013, 2, 10, tzinfo=UTC)
COLUMNS = tuple(
    Column(name=name, dtype=dtype, view=None)
    for name, dtype in [("useful", "float"), ("origin", "string"), ("useless", "float"), ("copy", "float")]
)
NAMES = tuple(column.name for column in COLUMNS)
BOOSTING = Recipe(
    kind="gradient_boosting",
    parameters={"learning_rate": 0.1, "iterations": 20, "max_leaf_nodes": 7, "min_samples_leaf": 20, "l2": 1.0},
    columns=NAMES,
)
FOREST = Recipe(
    kind="random_forest",
    parameters={"trees": 8, "min_samples_leaf": 20, "max_features": 0.5, "rows": 1_000},
    columns=NAMES,
)
LOGISTIC = Recipe(kind="logistic", parameters={"c": 0.1}, columns=NAMES)


@pytest.fixture(scope="module")
def rows() -> Rows:
    """Two columns that matter, one that does not, and a noisy copy of the first."""
    random = np.random.default_rng(0)
    total = 2_400
    useful = random.normal(size=total)
    origin = random.choice(np.array(["EWR", "JFK", None], dtype=object), total)
    label = random.random(total) < 1 / (1 + np.exp(-(1.5 * useful + 1.5 * (origin == "JFK") - 1)))
    matrix = np.empty((total, 4), dtype=object)
    matrix[:, 0], matrix[:, 1], matrix[:, 2] = useful, origin, random.normal(size=total)
    matrix[:, 3] = useful + random.normal(size=total)
    time = np.datetime64("2013-01-01", "us") + np.sort(random.uniform(0, DAYS * 86_400e6, total)).astype("timedelta64[us]")
    return Rows(np.arange(total), matrix, label, time, time + np.timedelta64(5, "h"))


def training(**changes: Any) -> Training:
    values: dict[str, Any] = {
        "window": Expanding(kind="expanding"),
        "folds": Folds(count=2, first_share=0.5),
        "candidates": (
            Logistic(kind="logistic", c=(0.01, 0.1, 1.0)),
            RandomForest(kind="random_forest", trees=(6,), min_samples_leaf=(20,), max_features=(0.5,), rows=1_000),
            GradientBoosting(kind="gradient_boosting", iterations=(10,), max_leaf_nodes=(7,), learning_rate=(0.1, 0.2)),
        ),
        "search": Search(trials=2, budget_seconds=1_000, every_days=180),
        "calibration": NoCalibration(kind="none"),
        "seed": 3,
    }
    return Training(**(values | changes))


def ticking(step: float) -> Callable[[], float]:
    """A clock that moves by `step` seconds at each reading."""
    ticks: Iterator[int] = count()
    return lambda: next(ticks) * step


def quiet(_: str) -> None:
    pass


@pytest.fixture(scope="module")
def found(rows: Rows) -> SearchResult:
    return search(rows, COLUMNS, training(), UNTIL, Power(), quiet, ticking(0.5))


def test_every_candidate_is_tried_in_turn_and_the_best_is_taken(found: SearchResult) -> None:
    kinds = [trial.recipe.kind for trial in found.trials]
    assert kinds == ["logistic", "random_forest", "gradient_boosting", "logistic", "gradient_boosting"]
    assert found.recipe == min(found.trials, key=lambda trial: trial.log_loss).recipe
    assert (found.mode, found.budget_spent, found.importances) == ("search", False, ())
    assert all(0.7 < trial.auc < 0.95 for trial in found.trials)


def test_a_trial_can_be_repeated_by_hand(rows: Rows, found: SearchResult) -> None:
    spec = training()
    folds = time_folds(rows, spec.folds, UNTIL)
    for trial in found.trials[:3]:
        tested = out_of_fold(rows, folds, trial.recipe, COLUMNS, spec.seed, Power())
        right = np.where(rows.label[tested.index], tested.probability, 1 - tested.probability)
        assert trial.log_loss == pytest.approx(-np.log(right).mean(), rel=1e-12)


@pytest.mark.parametrize("recipe", [LOGISTIC, FOREST, BOOSTING], ids=lambda recipe: recipe.kind)
@pytest.mark.parametrize("power", [Power(workers=2), Power(workers=8), Power(threads=2, workers=2)], ids=str)
def test_folds_that_are_fitted_side_by_side_give_the_bytes_of_those_in_a_row(rows: Rows, recipe: Recipe, power: Power) -> None:
    folds = time_folds(rows, training().folds, UNTIL)
    alone, tested = fit_and_test(rows, folds, recipe, COLUMNS, 0, Power())
    beside, tested_beside = fit_and_test(rows, folds, recipe, COLUMNS, 0, power)
    once_more = out_of_fold(rows, folds, recipe, COLUMNS, 0, power)
    for name in ("index", "probability", "fold"):
        assert np.array_equal(getattr(tested, name), getattr(tested_beside, name))
        assert np.array_equal(getattr(tested, name), getattr(once_more, name))
    if power.threads == 1:  # a model says how many it was fitted on
        assert _dumped(alone) == _dumped(beside) == _dumped(fit(rows, recipe, COLUMNS, seed=0, threads=1))
    assert _dumped(alone) != _dumped(fit(rows.take(folds[-1].train), recipe, COLUMNS, seed=0, threads=1))


def _dumped(model: Pipeline) -> bytes:
    """All of a model. Pickled from a copy that was pickled itself: what two parts share shows in the bytes."""
    return pickle.dumps(pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(model)))))


def test_a_search_side_by_side_finds_the_same(rows: Rows, found: SearchResult) -> None:
    assert search(rows, COLUMNS, training(), UNTIL, Power(workers=3), quiet, ticking(0.5)) == found


def test_the_same_seed_finds_the_same_and_another_seed_another_order(rows: Rows, found: SearchResult) -> None:
    assert search(rows, COLUMNS, training(), UNTIL, Power(), quiet, ticking(0.5)) == found
    spaces = (Logistic(kind="logistic", c=tuple(10.0**power for power in range(-8, 8))),)
    orders = [
        planned(training(candidates=spaces, search=Search(trials=16, budget_seconds=1, every_days=1), seed=seed), NAMES)
        for seed in (0, 0, 1)
    ]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(recipe.parameters["c"] for recipe in orders[0]) == sorted(recipe.parameters["c"] for recipe in orders[2])


def test_a_spent_budget_ends_the_search_after_the_first_round_and_is_said(rows: Rows) -> None:
    said: list[str] = []
    spec = training(search=Search(trials=2, budget_seconds=1, every_days=180), selection=Selection())
    result = search(rows, COLUMNS, spec, UNTIL, Power(), said.append, ticking(10.0))
    assert [trial.recipe.kind for trial in result.trials] == ["logistic", "random_forest", "gradient_boosting"]
    assert result.budget_spent
    assert said[-1] == "the budget of 1 s is spent: 2 trials are left out"
    assert result.selection_note == "No selection: the search's budget of 1 s was spent; every column is kept."
    assert result.recipe.columns == NAMES


def test_each_trial_is_told(rows: Rows) -> None:
    said: list[str] = []
    spec = training(candidates=(Logistic(kind="logistic", c=(0.1,)),))
    search(rows, COLUMNS, spec, UNTIL, Power(), said.append, ticking(2.0))
    assert len(said) == 1
    assert said[0].startswith("trial 1 of 1: logistic on 4 columns (c 0.1): log loss 0.")
    assert said[0].endswith(", 2.0 s")


def test_the_useless_column_is_dropped_and_the_useful_ones_are_kept(rows: Rows) -> None:
    spec = training(candidates=(Logistic(kind="logistic", c=(0.1,)),), selection=Selection(repeats=5, min_z=2.0))
    result = search(rows, COLUMNS, spec, UNTIL, Power(), quiet)
    selected = {importance.column: importance.selected for importance in result.importances}
    assert selected["useful"] and selected["origin"] and not selected["useless"]
    assert result.recipe.columns == tuple(name for name in NAMES if selected[name])
    assert result.trials[-1].recipe == result.recipe
    assert f"{len(result.recipe.columns)} of 4 columns are kept: " in result.selection_note


def test_a_smaller_recipe_that_is_worse_is_refused_and_it_is_said(rows: Rows) -> None:
    spec = training(candidates=(Logistic(kind="logistic", c=(0.1,)),), selection=Selection(min_z=15.0, max_log_loss_increase=0.0))
    result = search(rows, COLUMNS, spec, UNTIL, Power(), quiet)
    assert len(result.trials[-1].recipe.columns) < 4, "the smaller recipe was tried"
    assert result.trials[-1].log_loss > result.trials[0].log_loss
    assert result.recipe.columns == NAMES
    assert all(importance.selected for importance in result.importances)
    assert result.selection_note.startswith("All 4 columns are kept: with ")


def test_nothing_is_dropped_when_no_column_is_sure(rows: Rows) -> None:
    spec = training(candidates=(Logistic(kind="logistic", c=(0.1,)),), selection=Selection(min_z=1e6))
    result = search(rows, COLUMNS, spec, UNTIL, Power(), quiet)
    assert result.recipe.columns == NAMES
    assert result.selection_note.startswith("All 4 columns are kept: no importance is 1e+06 standard errors above 0")


def test_shuffled_labels_leave_nothing_to_find(rows: Rows) -> None:
    shuffled = Rows(rows.ids, rows.matrix, np.random.default_rng(1).permutation(rows.label), rows.time, rows.known_at)
    result = search(shuffled, COLUMNS, training(), UNTIL, Power(), quiet, ticking(0.5))
    assert all(abs(trial.auc - 0.5) < 0.06 for trial in result.trials)


@pytest.mark.parametrize("recipe", [LOGISTIC, FOREST, BOOSTING], ids=lambda recipe: recipe.kind)
def test_the_same_seed_gives_identical_predictions_whatever_the_threads(rows: Rows, recipe: Recipe) -> None:
    first, second, threaded = (
        predict(fit(rows, recipe, COLUMNS, seed=5, threads=threads), rows.matrix, COLUMNS, recipe) for threads in (1, 1, 2)
    )
    assert np.array_equal(first, second)
    assert np.array_equal(first, threaded)


def test_another_seed_gives_another_forest(rows: Rows) -> None:
    first, second = (predict(fit(rows, FOREST, COLUMNS, seed=seed, threads=1), rows.matrix, COLUMNS, FOREST) for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_out_of_fold_predictions_come_from_models_that_had_not_seen_the_row(rows: Rows) -> None:
    folds = time_folds(rows, Folds(count=3, first_share=0.4), UNTIL)
    tested = out_of_fold(rows, folds, BOOSTING, COLUMNS, 0, Power())
    assert np.array_equal(np.sort(tested.index), np.flatnonzero(np.any([fold.test for fold in folds], axis=0)))
    changed = rows.label.copy()
    changed[folds[1].test] = ~changed[folds[1].test]
    other = Rows(rows.ids, rows.matrix, changed, rows.time, rows.known_at)
    again = out_of_fold(other, folds, BOOSTING, COLUMNS, 0, Power())
    differs = tested.probability != again.probability
    assert not differs[tested.fold <= 1].any(), "a fold knew its own labels or later ones"
    assert differs[tested.fold == 2].any(), "a later fold did not learn"


def test_two_recipes_on_the_same_folds_answer_for_the_same_rows(rows: Rows) -> None:
    folds = time_folds(rows, Folds(count=2, first_share=0.5), UNTIL)
    smaller = LOGISTIC.model_copy(update={"columns": ("useful",)})
    first, second = (out_of_fold(rows, folds, recipe, COLUMNS, 0, Power()) for recipe in (BOOSTING, smaller))
    assert np.array_equal(first.index, second.index)
    assert np.array_equal(first.fold, second.fold)


def shuffled_columns(matrix: NDArray[np.object_], order: list[int]) -> tuple[NDArray[np.object_], tuple[Column, ...]]:
    return matrix[:, order], tuple(COLUMNS[position] for position in order)


def test_columns_in_another_order_give_the_same_answers(rows: Rows) -> None:
    model = fit(rows, BOOSTING, COLUMNS, seed=0, threads=1)
    matrix, columns = shuffled_columns(rows.matrix, [2, 0, 3, 1])
    expected = predict(model, rows.matrix, COLUMNS, BOOSTING)
    assert np.array_equal(predict(model, matrix, columns, BOOSTING), expected)


def test_a_mix_up_of_columns_is_an_error_not_another_answer(rows: Rows) -> None:
    model = fit(rows, LOGISTIC, COLUMNS, seed=0, threads=1)
    with pytest.raises(DataError, match="the matrix has 3 columns; expected 4"):
        predict(model, rows.matrix[:, :3], COLUMNS, LOGISTIC)
    with pytest.raises(DataError, match="the recipe's column copy is not in the dataset"):
        predict(model, rows.matrix[:, :3], COLUMNS[:3], LOGISTIC)
    with pytest.raises(DataError, match="fitted on 4 columns and is asked with 2"):
        predict(model, rows.matrix, COLUMNS, LOGISTIC.model_copy(update={"columns": ("useful", "origin")}))


def test_a_recipe_picks_its_columns_by_name(rows: Rows) -> None:
    picked = pick(rows.matrix, COLUMNS, LOGISTIC.model_copy(update={"columns": ("origin", "useful")}))
    assert np.array_equal(picked[:, 0], rows.matrix[:, 1])
    assert np.array_equal(picked[:, 1], rows.matrix[:, 0])


def test_no_rows_get_no_answers(rows: Rows) -> None:
    model = fit(rows, LOGISTIC, COLUMNS, seed=0, threads=1)
    assert predict(model, rows.matrix[:0], COLUMNS, LOGISTIC).shape == (0,)


def test_one_label_only_is_said(rows: Rows) -> None:
    with pytest.raises(DataError, match=r"of \d+ rows to fit on 0 are positive"):
        fit(rows.take(~rows.label), LOGISTIC, COLUMNS, seed=0, threads=1)
    late = rows.time >= np.datetime64("2013-01-21")
    one_sided = Rows(rows.ids, rows.matrix, rows.label & ~late, rows.time, rows.known_at)
    with pytest.raises(DataError, match="test blocks carry one label only"):
        search(one_sided, COLUMNS, training(), UNTIL, Power(), quiet)


def test_a_refit_takes_the_recipe_and_says_so() -> None:
    result = refit_result(FOREST)
    assert (result.mode, result.recipe, result.trials) == ("refit", FOREST, ())
    assert "Nothing was selected" in result.selection_note
