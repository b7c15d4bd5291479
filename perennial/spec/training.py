"""How a model is made: window, folds, candidates, search, selection, calibration, evaluation."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from perennial.spec.part import Breach, Part, refuse, repeated

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class Expanding(Part):
    """Train on everything since the first request."""

    kind: Literal["expanding"]
    """Kind of window."""


class Sliding(Part):
    """Train on the newest days only."""

    kind: Literal["sliding"]
    """Kind of window."""
    days: int = Field(ge=14)
    """Length of the window in days, evaluation block included."""


Window = Annotated[Expanding | Sliding, Field(discriminator="kind")]


class Folds(Part):
    """Time-ordered folds: each is tested on a block of days by a model that was trained on what was known before it."""

    count: int = Field(4, ge=2, le=20)
    """Number of folds. 4 by default: enough days of out-of-fold predictions for a calibrator, few enough fits."""
    first_share: float = Field(0.4, gt=0, lt=1)
    """Share of the days that comes before the first fold. 0.4 by default: the first model is trained on it alone."""


class Logistic(Part):
    """Regularised logistic regression on scaled numbers and one-hot categories."""

    kind: Literal["logistic"]
    """Kind of candidate."""
    c: tuple[Positive, ...] = Field((0.01, 0.1, 1.0), min_length=1)
    """Inverse regularisation strengths to try; smaller is stronger. Default: three decades around the usual."""


class RandomForest(Part):
    """Random forest."""

    kind: Literal["random_forest"]
    """Kind of candidate."""
    trees: tuple[Count, ...] = Field((60,), min_length=1)
    """Numbers of trees to try. 60 by default: ranking gains little beyond, serving pays for each."""
    min_samples_leaf: tuple[Count, ...] = Field((20, 50), min_length=1)
    """Smallest leaves to try, in rows. Default: large leaves, because probabilities are wanted."""
    max_features: tuple[Share, ...] = Field((0.3,), min_length=1)
    """Shares of the columns looked at per split to try. 0.3 by default."""
    rows: int = Field(50_000, ge=1_000, le=50_000)
    """Most rows that one tree is grown on (bootstrap sample). 50,000 at most: time grows with rows, quality hardly."""


class GradientBoosting(Part):
    """Histogram gradient boosting."""

    kind: Literal["gradient_boosting"]
    """Kind of candidate."""
    learning_rate: tuple[Share, ...] = Field((0.05, 0.1), min_length=1)
    """Learning rates to try. Default: the usual and half of it."""
    iterations: tuple[Count, ...] = Field((120,), min_length=1)
    """Numbers of trees to try. 120 by default."""
    max_leaf_nodes: tuple[Annotated[int, Field(ge=2)], ...] = Field((15, 31), min_length=1)
    """Largest trees to try, in leaves. Default: the library's and half of it."""
    min_samples_leaf: tuple[Count, ...] = Field((50,), min_length=1)
    """Smallest leaves to try, in rows. 50 by default: the library's 20 is meant for small data."""
    l2: tuple[Annotated[float, Field(ge=0)], ...] = Field((1.0,), min_length=1)
    """L2 penalties of the leaves to try. 1 by default."""


Candidate = Annotated[Logistic | RandomForest | GradientBoosting, Field(discriminator="kind")]


class Search(Part):
    """The search over the candidates' spaces: a seeded random order, the same number of trials for each candidate."""

    trials: int = Field(4, ge=1, le=200)
    """Most trials for each candidate; fewer where its space is smaller. 4 by default."""
    budget_seconds: int = Field(120, ge=1)
    """Most seconds of the whole search. When they are over, the best so far is taken and the result says so; each candidate
    always gets its first trial. 120 by default."""
    every_days: int = Field(180, ge=1)
    """A scheduled retrain refits the champion's recipe; after this many days it searches again. 180 by default: half a year."""


class Selection(Part):
    """Feature selection by permutation importance, with its noise, on the last fold."""

    repeats: int = Field(5, ge=2, le=50)
    """Permutations of each column. 5 by default: the fewest whose standard error means something."""
    min_z: float = Field(1.0, ge=0)
    """A column stays when its importance is at least this many standard errors above 0. 1 by default: dropping a useful column
    costs more than keeping a useless one. 0 keeps every column that did not hurt."""
    max_log_loss_increase: float = Field(0.002, ge=0)
    """The smaller model is taken only if its out-of-fold log loss is at most this share above that of the full one. 0.2 % by
    default: a tenth of the gate's margin."""


class NoCalibration(Part):
    """The model's own probabilities."""

    kind: Literal["none"]
    """Kind of calibration."""


class Sigmoid(Part):
    """A slope and an intercept on the log-odds (Platt 1999), fitted on time-ordered out-of-fold predictions."""

    kind: Literal["sigmoid"]
    """Kind of calibration."""


class Isotonic(Part):
    """A monotone step function, fitted on time-ordered out-of-fold predictions. Needs many days."""

    kind: Literal["isotonic"]
    """Kind of calibration."""
    knots: int = Field(20, ge=2, le=100)
    """Most knots kept in the contract. 20 by default."""


Calibration = Annotated[NoCalibration | Sigmoid | Isotonic, Field(discriminator="kind")]


class Training(Part):
    """How a recipe is found and fitted."""

    window: Window
    """Which rows are used: `expanding` or `sliding`."""
    folds: Folds = Folds(count=4, first_share=0.4)
    """Time-ordered folds of search, selection and calibration."""
    candidates: tuple[Candidate, ...] = Field(min_length=1)
    """Estimators with their search spaces."""
    search: Search = Search(trials=4, budget_seconds=120, every_days=180)
    """Budget and schedule of the search."""
    selection: Selection | None = None
    """Feature selection; none when absent."""
    calibration: Calibration
    """How probabilities are calibrated."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seed of everything random. 0 by default: any number, as long as it is always the same."""

    @model_validator(mode="after")
    def _one_candidate_a_kind(self) -> "Training":
        kinds = [candidate.kind for candidate in self.candidates]
        refuse(
            [
                Breach(("candidates", at, "kind"), f"{kind!r} is named twice", "each once: put the values into one search space")
                for at, kind in repeated(kinds)
            ]
        )
        return self


class Evaluation(Part):
    """The block of time on which a trained candidate is judged."""

    days: int = Field(28, ge=7)
    """Length of the block: the newest matured days. 28 by default: four whole weeks."""
    resamples: int = Field(1000, ge=200)
    """Bootstrap resamples over days. 1000 by default: milliseconds with per-day sums."""
    confidence: float = Field(0.95, gt=0.5, lt=1)
    """One-sided confidence of every bound. 0.95 by default; the two-sided interval shown has twice the error, 0.90."""
