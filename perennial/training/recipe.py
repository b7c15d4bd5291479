"""A recipe: an estimator's kind, its parameters and its columns. What a retrain refits."""

from typing import Literal

from perennial.record import Record

Kind = Literal["logistic", "random_forest", "gradient_boosting"]


class Recipe(Record):
    """How to fit a model again on other rows."""

    kind: Kind
    """Kind of the candidate."""
    parameters: dict[str, float]
    """Value of each hyper-parameter, by the name it has in the spec (singular choices of the lists there)."""
    columns: tuple[str, ...]
    """Names of the columns that the model sees, in order."""


class Trial(Record):
    """One recipe tried in the search."""

    recipe: Recipe
    """What was tried."""
    log_loss: float
    """Mean log loss of the out-of-fold predictions."""
    auc: float
    """AUC of the out-of-fold predictions."""
    fit_seconds: float
    """Seconds of all its fits."""


class ColumnImportance(Record):
    """Permutation importance of a column: increase of the log loss when its values are shuffled."""

    column: str
    """Name of the column."""
    mean: float
    """Mean over the repeats."""
    standard_error: float
    """Standard error of that mean."""
    selected: bool
    """Whether the recipe keeps it."""


class SearchResult(Record):
    """How a recipe was found."""

    mode: Literal["search", "refit"]
    """`search`: the candidates were compared; `refit`: the champion's recipe was taken."""
    trials: tuple[Trial, ...]
    """Every trial, in the order in which they ran."""
    budget_spent: bool
    """Whether the budget ended the search before all trials had run."""
    importances: tuple[ColumnImportance, ...]
    """Importance of every column; empty without selection."""
    selection_note: str
    """One sentence: what the selection did, or why nothing was selected."""
    recipe: Recipe
    """The recipe that was taken."""
    note: str = ""
    """What people should know besides: that the champion's recipe could not be refitted, and why."""
