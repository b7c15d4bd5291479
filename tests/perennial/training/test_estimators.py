"""Each candidate takes what comes: missing values, unseen categories, empty columns, one type of column only."""

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from perennial.data.rows import Rows
from perennial.errors import DataError
from perennial.spec.columns import Column
from perennial.spec.training import Candidate, GradientBoosting, Logistic, RandomForest
from perennial.training.estimators import build, space
from perennial.training.fitting import fit, predict
from perennial.training.recipe import Recipe

COLUMNS = tuple(
    Column(name=name, dtype=dtype, view=None)
    for name, dtype in [("x", "float"), ("count", "int"), ("origin", "string"), ("empty", "float"), ("blank", "string")]
)
RECIPES = [
    Recipe(kind="logistic", parameters={"c": 0.1}, columns=("x", "count", "origin", "empty", "blank")),
    Recipe(
        kind="random_forest",
        parameters={"trees": 8, "min_samples_leaf": 20, "max_features": 0.6, "rows": 1_000},
        columns=("x", "count", "origin", "empty", "blank"),
    ),
    Recipe(
        kind="gradient_boosting",
        parameters={"learning_rate": 0.1, "iterations": 20, "max_leaf_nodes": 7, "min_samples_leaf": 20, "l2": 1.0},
        columns=("x", "count", "origin", "empty", "blank"),
    ),
]
each_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.kind)


def made(count: int, seed: int) -> Rows:
    """Rows whose label follows `x` and one origin; a tenth of each is missing, two columns are all missing."""
    random = np.random.default_rng(seed)
    x = random.normal(size=count)
    origin = random.choice(np.array(["EWR", "JFK", "LGA", "RARE"], dtype=object), count, p=[0.4, 0.4, 0.195, 0.005])
    label = random.random(count) < 1 / (1 + np.exp(-(1.5 * x + 2.0 * (origin == "JFK") - 1)))
    matrix = np.empty((count, len(COLUMNS)), dtype=object)
    matrix[:, 0] = np.where(random.random(count) < 0.1, np.nan, x)
    matrix[:, 1] = random.integers(0, 9, count).astype(float)
    matrix[:, 2] = origin
    matrix[random.random(count) < 0.1, 2] = None
    matrix[:, 3], matrix[:, 4] = np.nan, None
    time = np.datetime64("2013-01-01", "us") + np.arange(count) * np.timedelta64(1, "h")
    return Rows(np.arange(count), matrix, label, time, time)


@pytest.fixture(scope="module")
def rows() -> Rows:
    return made(3_000, seed=1)


def one(x: float, origin: str | None, empty: float = np.nan, blank: str | None = None) -> NDArray[np.object_]:
    return np.array([[x, 3.0, origin, empty, blank]], dtype=object)


@each_recipe
def test_it_learns_from_numbers_and_categories(rows: Rows, recipe: Recipe) -> None:
    model = fit(rows, recipe, COLUMNS, seed=0, threads=1)
    high, low = (predict(model, one(x, "EWR"), COLUMNS, recipe)[0] for x in (1.5, -1.5))
    assert high - low > 0.3
    jfk, lga = (predict(model, one(0.0, origin), COLUMNS, recipe)[0] for origin in ("JFK", "LGA"))
    assert jfk - lga > 0.2


@each_recipe
def test_missing_values_unseen_categories_and_values_in_an_empty_column_get_an_answer(rows: Rows, recipe: Recipe) -> None:
    model = fit(rows, recipe, COLUMNS, seed=0, threads=1)
    for x, origin, empty, blank in product([np.nan, 0.3, 3.4e38], [None, "never seen", ""], [np.nan, 5.0], [None, "new"]):
        (answer,) = predict(model, one(x, origin, empty, blank), COLUMNS, recipe)
        assert 0 <= answer <= 1
    assert predict(model, one(0.3, "EWR", 5.0, "new"), COLUMNS, recipe) == predict(model, one(0.3, "EWR"), COLUMNS, recipe)


@each_recipe
def test_a_single_row_gets_the_answer_that_it_gets_among_others(rows: Rows, recipe: Recipe) -> None:
    model = fit(rows, recipe, COLUMNS, seed=0, threads=1)
    together = predict(model, rows.matrix[:50], COLUMNS, recipe)
    alone = [predict(model, rows.matrix[[position]], COLUMNS, recipe)[0] for position in range(50)]
    assert np.abs(together - np.array(alone)).max() < 1e-12


@each_recipe
@pytest.mark.parametrize("names", [("x", "count"), ("origin",), ("count", "origin", "x")], ids=str)
def test_numbers_alone_categories_alone_and_any_order_are_fitted(rows: Rows, recipe: Recipe, names: tuple[str, ...]) -> None:
    smaller = recipe.model_copy(update={"columns": names})
    answers = predict(fit(rows, smaller, COLUMNS, seed=0, threads=1), rows.matrix, COLUMNS, smaller)
    assert answers[rows.label].mean() > answers[~rows.label].mean() + 0.02


@each_recipe
def test_columns_with_nothing_to_learn_from_are_said_when_no_other_is_left(rows: Rows, recipe: Recipe) -> None:
    nothing = recipe.model_copy(update={"columns": ("empty", "blank")})
    with pytest.raises(DataError, match=r"every column is .* missing, nothing can be learnt: empty, blank"):
        fit(rows, nothing, COLUMNS, seed=0, threads=1)


def test_a_recipe_that_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match="the logistic recipe has no parameter 'c'"):
        build(Recipe(kind="logistic", parameters={}, columns=("x",)), COLUMNS, seed=0, threads=1)
    with pytest.raises(DataError, match="the recipe's column month is not in the dataset"):
        build(Recipe(kind="logistic", parameters={"c": 1.0}, columns=("x", "month")), COLUMNS, seed=0, threads=1)


@pytest.mark.parametrize(
    ("candidate", "points"),
    [
        (Logistic(kind="logistic", c=(0.1, 1.0, 10.0)), 3),
        (RandomForest(kind="random_forest", trees=(10, 20), min_samples_leaf=(5, 50), max_features=(0.2,), rows=2_000), 4),
        (GradientBoosting(kind="gradient_boosting", learning_rate=(0.1, 0.2), l2=(0.0, 1.0, 2.0), max_leaf_nodes=(7,)), 6),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_every_point_of_a_space_can_be_built(candidate: Candidate, points: int) -> None:
    made = space(candidate)
    assert len(made) == points
    assert len({tuple(point.items()) for point in made}) == points
    for point in made:
        build(Recipe(kind=candidate.kind, parameters=point, columns=("x", "origin")), COLUMNS, seed=0, threads=1)


def test_a_tree_of_a_forest_is_grown_on_the_rows_of_the_spec_at_most(rows: Rows) -> None:
    recipe = RECIPES[1]
    assert fit(rows, recipe, COLUMNS, seed=0, threads=1).named_steps["model"].max_samples == 1_000
    few = rows.take(np.arange(900))
    assert fit(few, recipe, COLUMNS, seed=0, threads=1).named_steps["model"].max_samples is None
