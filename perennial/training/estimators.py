"""The candidates as scikit-learn pipelines on one 2-D object array, columns by position.

Here: how each kind prepares numbers and categories, and its search space. Every part is a scikit-learn object: no function or
class of ours ends up in a model file, so the list of types that a file may hold stays short (model_file). Not here: fitting.
"""

from collections.abc import Collection, Sequence
from itertools import product

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from perennial.errors import DataError
from perennial.spec.columns import Column
from perennial.spec.training import Candidate
from perennial.training.recipe import Recipe

MIN_ROWS = 20
"""Categories with fewer training rows are pooled, columns with fewer values are ignored: nothing can be learnt from them."""


def build(recipe: Recipe, columns: Sequence[Column], seed: int, threads: int, unused: Collection[str] = ()) -> Pipeline:
    """An unfitted pipeline for a recipe.

    It takes the matrix of the recipe's columns, in the recipe's order (`training.pick`).

    Args:
        recipe: what to build.
        columns: all columns of the dataset.
        seed: seed of everything random in it.
        threads: threads of a forest's fit. OpenMP and BLAS are limited by the caller.
        unused: columns of the recipe that the model ignores, because nothing can be learnt from them (`too_empty`).

    Raises:
        DataError: the recipe names a column that is not there, lacks a parameter, or has no column left to learn from.
    """
    types = {column.name: column.dtype for column in columns}
    unknown = [name for name in recipe.columns if name not in types]
    if unknown:
        raise DataError(f"the recipe's column {', '.join(unknown)} is not in the dataset, which has {', '.join(types)}")
    positions_with_types = [(position, types[name]) for position, name in enumerate(recipe.columns) if name not in unused]
    if not positions_with_types:
        raise DataError(f"every column is (nearly) all missing, nothing can be learnt: {', '.join(recipe.columns)}")
    numbers = [position for position, dtype in positions_with_types if dtype != "string"]
    categories = [position for position, dtype in positions_with_types if dtype == "string"]
    try:
        prepare, model = _PARTS[recipe.kind](recipe.parameters, seed, threads)
    except KeyError as error:
        raise DataError(f"the {recipe.kind} recipe has no parameter {error}; it has {', '.join(recipe.parameters)}") from error
    parts = [("number", prepare[0], numbers), ("category", prepare[1], categories)]
    columns_step = ColumnTransformer([part for part in parts if part[2]], remainder="drop")
    return Pipeline([("columns", columns_step), ("model", model)])


def too_empty(present: int, rows: int) -> bool:
    """Whether a column has too few values that are not missing to learn from: fewer than 20, or than 1 in 5,000.

    Boosting cannot bin a column without any value in the 200,000 rows that it samples; with 1 in 5,000 there are 40 on average.

    >>> too_empty(19, 1_000), too_empty(20, 1_000), too_empty(100, 1_000_000)
    (True, False, True)
    """
    return present < max(MIN_ROWS, rows / 5_000)


def space(candidate: Candidate) -> list[dict[str, float]]:
    """Every point of a candidate's search space, by the names in the spec, in the order of its lists.

    >>> from perennial.spec.training import Logistic
    >>> space(Logistic(kind="logistic", c=(0.1, 1.0)))
    [{'c': 0.1}, {'c': 1.0}]
    """
    names = [name for name in type(candidate).model_fields if name != "kind"]
    values = [getattr(candidate, name) for name in names]
    choices = [tuple(value) if isinstance(value, tuple) else (value,) for value in values]
    return [dict(zip(names, map(float, point), strict=True)) for point in product(*choices)]


_Parts = tuple[tuple[object, object], object]


def _logistic(parameters: dict[str, float], seed: int, threads: int) -> _Parts:  # noqa: ARG001 - nothing random, one thread
    """Numbers: median, a flag where they were missing, scaled. Categories: one column each, unseen ones like rare ones."""
    number = Pipeline(
        [
            ("impute", SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)),
            ("scale", StandardScaler()),
        ]
    )
    category = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=MIN_ROWS)
    model = LogisticRegression(C=parameters["c"], max_iter=2000)
    return (number, category), model


def _random_forest(parameters: dict[str, float], seed: int, threads: int) -> _Parts:
    """Numbers: median. Categories: codes; missing and unseen ones share -1.

    A forest's own treatment of NaN is not used: it does not survive the conversion to ONNX.
    """
    category = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1, min_frequency=MIN_ROWS
    )
    model = RandomForestClassifier(
        n_estimators=int(parameters["trees"]),
        min_samples_leaf=int(parameters["min_samples_leaf"]),
        max_features=parameters["max_features"],
        max_samples=int(parameters["rows"]),
        n_jobs=threads,
        random_state=seed,
    )
    return (SimpleImputer(strategy="median", keep_empty_features=True), category), model


def _gradient_boosting(parameters: dict[str, float], seed: int, threads: int) -> _Parts:  # noqa: ARG001 - OpenMP's own
    """Numbers as they are, NaN included. Categories: codes; missing and unseen ones are NaN.

    `categorical_features` is not used: converted to ONNX, it silently gives other answers. Early stopping is off: it would hold
    out rows at random, not by time.
    """
    category = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan, min_frequency=MIN_ROWS
    )
    model = HistGradientBoostingClassifier(
        learning_rate=parameters["learning_rate"],
        max_iter=int(parameters["iterations"]),
        max_leaf_nodes=int(parameters["max_leaf_nodes"]),
        min_samples_leaf=int(parameters["min_samples_leaf"]),
        l2_regularization=parameters["l2"],
        early_stopping=False,
        random_state=seed,
    )
    return ("passthrough", category), model


_PARTS = {"logistic": _logistic, "random_forest": _random_forest, "gradient_boosting": _gradient_boosting}
