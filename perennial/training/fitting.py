"""Training: fit a recipe, predict with it, score it on time-ordered folds, and search for one.

Here: everything that fits. A model is fitted and asked by the columns of its recipe, picked by name from the dataset's columns,
so a column mix-up cannot pass unnoticed. Not here: which rows belong to which fold (splits), the pipelines themselves
(estimators), calibration and judgement.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from perennial.data.rows import Rows
from perennial.data.splits import Fold, time_folds
from perennial.errors import DataError
from perennial.evaluation.scores import area_under_curve, row_log_loss
from perennial.spec.columns import Column
from perennial.spec.training import Selection, Training
from perennial.training.estimators import build, space, too_empty
from perennial.training.recipe import ColumnImportance, Recipe, SearchResult, Trial
from perennial.training.selection import Importance, kept, permutation_importance
from perennial.training.side_by_side import Power, side_by_side


@dataclass(frozen=True)
class OutOfFold:
    """Predictions of models that had not seen the row, in the order of time by fold."""

    index: NDArray[np.intp]
    """Positions in the rows."""
    probability: NDArray[np.float64]
    """Not calibrated."""
    fold: NDArray[np.intp]
    """Number of the fold, from 0."""


def pick(matrix: NDArray[np.object_], columns: Sequence[Column], recipe: Recipe) -> NDArray[np.object_]:
    """The columns of a recipe, in its order, out of the matrix of all columns.

    Args:
        matrix: object array with one column for each of `columns`.
        columns: all columns of the dataset.
        recipe: whose columns are wanted.

    Raises:
        DataError: the matrix has another width, or the recipe names a column that is not there.
    """
    position = {column.name: number for number, column in enumerate(columns)}
    if matrix.shape[1] != len(columns):
        raise DataError(f"the matrix has {matrix.shape[1]} columns; expected {len(columns)}: {', '.join(position)}")
    unknown = [name for name in recipe.columns if name not in position]
    if unknown:
        raise DataError(f"the recipe's column {', '.join(unknown)} is not in the dataset, which has {', '.join(position)}")
    return matrix[:, [position[name] for name in recipe.columns]]


def fit(rows: Rows, recipe: Recipe, columns: Sequence[Column], seed: int, threads: int) -> Pipeline:
    """A model fitted by a recipe. The same rows, recipe and seed give the same predictions, whatever the threads.

    Args:
        rows: rows to fit on, with all columns of the dataset.
        recipe: how.
        columns: all columns of the dataset.
        seed: seed of the fit.
        threads: threads of the fit. The model answers on one.

    Raises:
        DataError: the rows carry one label only, or the recipe does not fit the columns.
    """
    positive = int(rows.label.sum())
    if positive in (0, len(rows)):
        raise DataError(f"of {len(rows)} rows to fit on {positive} are positive; both labels are needed")
    matrix = pick(rows.matrix, columns, recipe)
    unused = [name for name, present in zip(recipe.columns, present_values(matrix), strict=True) if too_empty(present, len(rows))]
    model = build(recipe, columns, seed, threads, unused)
    if recipe.kind == "random_forest" and int(recipe.parameters["rows"]) >= len(rows):
        model.set_params(model__max_samples=None)
    with threadpool_limits(limits=threads):
        model.fit(matrix, rows.label)
    if recipe.kind == "random_forest":
        model.set_params(model__n_jobs=1)  # several threads add up the trees in any order: other last digits each time
    return model


def present_values(matrix: NDArray[np.object_]) -> list[int]:
    """How many values of each column are not missing.

    >>> present_values(np.array([["EWR", np.nan], [None, 2.0], ["JFK", np.nan]], dtype=object))
    [2, 1]
    """
    return [sum(value is not None and value == value for value in column) for column in matrix.T]


def predict(model: Pipeline, matrix: NDArray[np.object_], columns: Sequence[Column], recipe: Recipe) -> NDArray[np.float64]:
    """The model's probability of the positive class for each row, not calibrated.

    Args:
        model: fitted by the recipe.
        matrix: rows with all columns of the dataset.
        columns: all columns of the dataset.
        recipe: the recipe it was fitted by.

    Raises:
        DataError: the model was fitted on another number of columns, or the recipe does not fit them.
    """
    return _answer(model, pick(matrix, columns, recipe))


def _answer(model: Pipeline, picked: NDArray[np.object_]) -> NDArray[np.float64]:
    if model.n_features_in_ != picked.shape[1]:
        raise DataError(f"the model was fitted on {model.n_features_in_} columns and is asked with {picked.shape[1]}")
    if len(picked) == 0:
        return np.empty(0)
    with threadpool_limits(limits=1):
        return np.asarray(model.predict_proba(picked)[:, 1], dtype=np.float64)


def out_of_fold(
    rows: Rows, folds: Sequence[Fold], recipe: Recipe, columns: Sequence[Column], seed: int, power: Power
) -> OutOfFold:
    """Predictions of a recipe on every fold's test block, each by a model fitted on what was known before the block.

    Two recipes on the same folds answer for the same rows in the same order: that is a comparison on rolling origins.

    Args:
        rows: labelled rows with all columns of the dataset.
        folds: masks over these rows.
        recipe: how to fit.
        columns: all columns of the dataset.
        seed: seed of each fit.
        power: how many folds are fitted side by side, and threads of each fit.
    """
    newest = [partial(_answers_of_fold, rows, fold, recipe, columns, seed, power.threads) for fold in reversed(folds)]
    return _in_order(folds, side_by_side(newest, power.processes)[::-1])


def fit_and_test(
    rows: Rows, folds: Sequence[Fold], recipe: Recipe, columns: Sequence[Column], seed: int, power: Power
) -> tuple[Pipeline, OutOfFold]:
    """A model fitted on all rows, as `fit` gives it, and what `out_of_fold` gives, side by side. Arguments as there."""
    whole = partial(fit, rows, recipe, columns, seed, power.threads)
    newest = [partial(_answers_of_fold, rows, fold, recipe, columns, seed, power.threads) for fold in reversed(folds)]
    # The longest fit first: the others fill the time beside it.
    model, *answers = side_by_side([whole, *newest], power.processes)
    return model, _in_order(folds, answers[::-1])


def _answers_of_fold(
    rows: Rows, fold: Fold, recipe: Recipe, columns: Sequence[Column], seed: int, threads: int
) -> NDArray[np.float64]:
    """Predictions on a fold's test block by a model fitted on what was known before it."""
    model = fit(rows.take(fold.train), recipe, columns, seed, threads)
    return predict(model, rows.matrix[fold.test], columns, recipe)


def _in_order(folds: Sequence[Fold], answers: Sequence[NDArray[np.float64]]) -> OutOfFold:
    index = [np.flatnonzero(fold.test) for fold in folds]
    number = [np.full(len(tested), position, dtype=np.intp) for position, tested in enumerate(index)]
    return OutOfFold(np.concatenate(index), np.concatenate(answers), np.concatenate(number))


def refit_result(recipe: Recipe) -> SearchResult:
    """What stands in the place of a search when a given recipe is fitted again."""
    return SearchResult(
        mode="refit",
        trials=(),
        budget_spent=False,
        importances=(),
        selection_note="Nothing was selected: the columns are those of the recipe that was refitted.",
        recipe=recipe,
    )


def search(
    rows: Rows,
    columns: Sequence[Column],
    training: Training,
    until: datetime,
    power: Power,
    progress: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
) -> SearchResult:
    """The best recipe found within the budget, by the log loss pooled over all out-of-fold predictions.

    Each candidate's space is tried in a seeded random order, the candidates in turn, so that a search that the budget ends has
    treated them alike. The winner's columns are selected if the spec asks for it. Without an end by the budget the same rows and
    spec give the same recipe.

    Args:
        rows: labelled rows whose label was known before `until`, with all columns of the dataset.
        columns: all columns of the dataset.
        training: folds, candidates, budget, selection and seed.
        until: end of the last fold, UTC midnight.
        power: how many folds are fitted side by side, and threads of each fit.
        progress: called with one sentence after each trial.
        clock: seconds that only go forward; for the budget and the seconds of each trial alone.

    Raises:
        DataError: too few days for the folds, or only one label to test on.
    """
    begin = clock()
    folds = time_folds(rows, training.folds, until)
    bench = _Bench(rows, folds, columns, training.seed, power, clock)
    plan = planned(training, tuple(column.name for column in columns))
    trials: list[Trial] = []
    for recipe in plan:
        if len(trials) >= len(training.candidates) and clock() - begin >= training.search.budget_seconds:
            progress(f"the budget of {training.search.budget_seconds} s is spent: {len(plan) - len(trials)} trials are left out")
            break
        trials.append(bench.run(recipe))
        progress(f"trial {len(trials)} of {len(plan)}: {sentence(trials[-1])}")
    best = min(trials, key=lambda trial: trial.log_loss)
    result = SearchResult(
        mode="search",
        trials=tuple(trials),
        budget_spent=len(trials) < len(plan),
        importances=(),
        selection_note="No selection: the spec does not ask for one.",
        recipe=best.recipe,
    )
    if training.selection is None:
        return result
    if clock() - begin >= training.search.budget_seconds:
        note = f"No selection: the search's budget of {training.search.budget_seconds} s was spent; every column is kept."
        return result.model_copy(update={"selection_note": note})
    return select(bench, result, best, training.selection, progress)


def planned(training: Training, names: tuple[str, ...]) -> list[Recipe]:
    """Every recipe that a search wants to try, in order: a first one of each candidate, then a second, and so on.

    Args:
        training: candidates, trials and seed.
        names: the columns of each recipe.
    """
    orders = []
    for position, candidate in enumerate(training.candidates):
        points = space(candidate)
        order = np.random.default_rng((training.seed, position)).permutation(len(points))[: training.search.trials]
        orders.append([Recipe(kind=candidate.kind, parameters=points[number], columns=names) for number in order])
    longest = max(map(len, orders))
    return [order[turn] for turn in range(longest) for order in orders if turn < len(order)]


def sentence(trial: Trial) -> str:
    """A trial in one line."""
    values = ", ".join(f"{name} {value:g}" for name, value in trial.recipe.parameters.items())
    return (
        f"{trial.recipe.kind} on {len(trial.recipe.columns)} columns ({values}): log loss {trial.log_loss:.4f}, "
        f"AUC {trial.auc:.4f}, {trial.fit_seconds:.1f} s"
    )


@dataclass(frozen=True)
class _Bench:
    """Where recipes are tried: the same rows and folds for all of them."""

    rows: Rows
    folds: Sequence[Fold]
    columns: Sequence[Column]
    seed: int
    power: Power
    clock: Callable[[], float]

    def run(self, recipe: Recipe) -> Trial:
        """A recipe tried on every fold."""
        begin = self.clock()
        predictions = out_of_fold(self.rows, self.folds, recipe, self.columns, self.seed, self.power)
        label = self.rows.label[predictions.index]
        if label.all() or not label.any():
            raise DataError(
                f"the {len(label)} rows of the folds' test blocks carry one label only; both are needed: use more days"
            )
        return Trial(
            recipe=recipe,
            log_loss=float(row_log_loss(predictions.probability, label).mean()),
            auc=area_under_curve(predictions.probability, label),
            fit_seconds=round(self.clock() - begin, 3),
        )

    def importance(self, recipe: Recipe, repeats: int) -> Importance:
        """Importance of a recipe's columns on the last fold: its newest rows that the model was not fitted on."""
        fold = self.folds[-1]
        model = fit(self.rows.take(fold.train), recipe, self.columns, self.seed, self.power.threads)
        test_rows = self.rows.take(fold.test)
        test_matrix = pick(test_rows.matrix, self.columns, recipe)
        return permutation_importance(
            lambda matrix: _answer(model, matrix), test_matrix, test_rows.label, test_rows.day, repeats, self.seed
        )


def select(
    bench: _Bench, result: SearchResult, full: Trial, selection: Selection, progress: Callable[[str], None]
) -> SearchResult:
    """The search's result with its columns selected: the smaller recipe if it is about as good on the folds, else the full one.

    Args:
        bench: rows and folds of the search.
        result: the result so far.
        full: the winner with all columns.
        selection: the rule.
        progress: called with one sentence.
    """
    importance = bench.importance(full.recipe, selection.repeats)
    stays = kept(importance, selection.min_z)
    names = full.recipe.columns
    small = tuple(name for name, stay in zip(names, stays, strict=True) if stay)
    trials, recipe = result.trials, full.recipe
    if not small:
        note = f"All {len(names)} columns are kept: no importance is {selection.min_z:g} standard errors above 0."
    elif len(small) == len(names):
        note = f"All {len(names)} columns are kept: each importance is at least {selection.min_z:g} standard errors above 0."
    else:
        trial = bench.run(full.recipe.model_copy(update={"columns": small}))
        trials = (*trials, trial)
        change = trial.log_loss / full.log_loss - 1
        accepted = change <= selection.max_log_loss_increase
        recipe = trial.recipe if accepted else full.recipe
        note = (f"{len(small)} of {len(names)} columns are kept" if accepted else f"All {len(names)} columns are kept") + (
            f": with {len(small)} the out-of-fold log loss is {trial.log_loss:.4f}, with all {full.log_loss:.4f} "
            f"({change:+.2%}; at most {selection.max_log_loss_increase:+.2%} is allowed)."
        )
    progress(f"selection: {note}")
    importances = tuple(
        ColumnImportance(column=name, mean=float(mean), standard_error=float(error), selected=name in recipe.columns)
        for name, mean, error in zip(names, importance.mean, importance.standard_error, strict=True)
    )
    return result.model_copy(update={"trials": trials, "importances": importances, "selection_note": note, "recipe": recipe})
