"""The same year under other policies: never retrained, every month, on drift alone. What the loop earned stands beside them.

Every policy uses one recipe and one seed, trains at the begin of a month on what was known then, and is scored on the flights
that were sent in the months that follow. Features come from one point-in-time join of the year: they do not depend on the policy.
There are no gates here: every training is promoted. Nothing is tuned; whatever comes out is shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.table import Table
from sklearn.pipeline import Pipeline

from examples.flights.traffic import months
from feature_repo import dataset
from perennial.data.dataset import Dataset
from perennial.data.rows import Rows, from_dataset, moment
from perennial.data.splits import time_folds
from perennial.evaluation.calibration import Calibrator, fit_calibrator
from perennial.evaluation.scores import area_under_curve, row_log_loss
from perennial.evaluation.utility import PER_REQUESTS, threshold, value
from perennial.lifecycle.candidate import matured_before
from perennial.moment import Moment
from perennial.settings import Settings
from perennial.spec.columns import Column
from perennial.spec.model import Model
from perennial.training.fitting import fit, fit_and_test, predict
from perennial.training.recipe import Recipe
from perennial.training.side_by_side import Power, side_by_side

LOOP, NEVER, MONTHLY, DRIFT = "the loop", "never", "monthly", "drift alone"
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Score:
    """How good answers were on labelled flights."""

    rows: int
    """Flights that were sent, answered, and have a label."""
    label_rate: float
    """Share of them that were late."""
    auc: float
    """Area under the ROC curve; NaN where the flights carry one label only."""
    log_loss: float
    """Mean log loss, in nats."""
    utility: float
    """Points per 1000 flights, of warning from the threshold on; warning nobody earns 0."""


@dataclass(frozen=True)
class PolicyResult:
    """What a policy came to."""

    name: str
    """Of the policy."""
    retrains: int
    """Trainings after the first."""
    months: tuple[tuple[datetime, Score], ...]
    """Score of each month, by its begin."""
    year: Score
    """Of all flights together; its AUC is the mean of the months', for a ranking within a month is what is asked for."""


@dataclass(frozen=True)
class Sent:
    """The flights that were sent and have a label, in the order of their ids."""

    rows: Rows
    """What a model may see of them, and what came true."""
    served: Floats
    """Probability that was answered."""


class Fits:
    """Models of one recipe by the time at which they were trained; each is fitted once, whatever policies ask for it."""

    def __init__(
        self, rows: Rows, columns: Sequence[Column], recipe: Recipe, model: Model, begins: Sequence[datetime], power: Power
    ) -> None:
        """Nothing is fitted yet.

        Args:
            rows: every labelled flight of the year.
            columns: of the rows' matrix.
            recipe: how to fit.
            model: the spec: maturity, folds, calibration, seed.
            begins: times of a possible training, ascending; the first is that of the first model.
            power: how many fits run side by side, and threads of each.
        """
        self._rows, self._columns, self._recipe, self._model = rows, tuple(columns), recipe, model
        self._begins, self._power = tuple(begins), power
        self._fitted: dict[datetime, Pipeline] = {}
        self._calibrators: dict[datetime, Calibrator] = {}
        self._unseen: dict[datetime, tuple[Rows, Floats]] = {}

    def answers(self, begin: datetime, rows: Rows) -> Floats:
        """Calibrated probabilities by the model trained at `begin`."""
        if begin not in self._calibrators:
            self._calibrators[begin] = self.calibrator(begin)
        return self._calibrators[begin].apply(self._predict(self._model_of(begin), rows))

    def calibrator(self, begin: datetime) -> Calibrator:
        """The map fitted on what was known at `begin`, on predictions by models that had not seen the row.

        For the first model they are those of its training: out-of-fold, and of the evaluation block. Each month that follows adds
        the predictions of the model trained at its begin.
        """
        first = self._begins[0]
        parts = [self._of_first_training()]
        for month, following in pairwise(self._begins):
            if following <= begin:
                parts.append(self._of_month(month, following))
        probability = np.concatenate([predicted for _, predicted in parts])
        label = np.concatenate([rows.label for rows, _ in parts])
        known = (
            np.concatenate([self._known(rows, begin) for rows, _ in parts]) if begin > first else np.ones(len(label), np.bool_)
        )
        return fit_calibrator(self._model.spec.training.calibration, probability[known], label[known])

    def _known(self, rows: Rows, begin: datetime) -> Bools:
        end = begin - timedelta(hours=self._model.spec.label.maturity_hours)
        known: Bools = (rows.time < moment(dataset.midnight(end).isoformat())) & (rows.known_at < moment(begin.isoformat()))
        return known

    def _model_of(self, begin: datetime) -> Pipeline:
        if begin not in self._fitted:
            self.fit_all([begin])
        return self._fitted[begin]

    def fit_all(self, begins: Sequence[datetime]) -> None:
        """The models trained at these times are fitted, side by side, the largest first."""
        newest = sorted(set(begins) - set(self._fitted), reverse=True)
        works = [partial(self._fit_known, begin) for begin in newest]
        self._fitted |= dict(zip(newest, side_by_side(works, self._power.processes), strict=True))

    def _fit_known(self, begin: datetime) -> Pipeline:
        known, _ = matured_before(self._rows, begin.isoformat(), self._model.spec.label.maturity_hours)
        return fit(known, self._recipe, self._columns, self._model.spec.training.seed, self._power.threads)

    def _predict(self, fitted: Pipeline, rows: Rows) -> Floats:
        return predict(fitted, rows.matrix, self._columns, self._recipe)

    def _of_month(self, begin: datetime, end: datetime) -> tuple[Rows, Floats]:
        """What the model trained at the begin of a month said of the month."""
        if begin not in self._unseen:
            rows = self._rows.take((self._rows.time >= moment(begin.isoformat())) & (self._rows.time < moment(end.isoformat())))
            self._unseen[begin] = rows, self._predict(self._model_of(begin), rows)
        return self._unseen[begin]

    def _of_first_training(self) -> tuple[Rows, Floats]:
        """As `lifecycle.refit` has it: out-of-fold predictions before the evaluation block, the candidate's on the block."""
        start = datetime.min.replace(tzinfo=UTC)
        if start not in self._unseen:
            spec = self._model.spec
            known, end = matured_before(self._rows, self._begins[0].isoformat(), spec.label.maturity_hours)
            block = end - timedelta(days=spec.evaluation.days)
            before, until = matured_before(known, block.isoformat(), spec.label.maturity_hours)
            folds = time_folds(before, spec.training.folds, until)
            fitted, tested = fit_and_test(before, folds, self._recipe, self._columns, spec.training.seed, self._power)
            newest = known.take(known.time >= moment(block.isoformat()))
            predicted = np.concatenate([tested.probability, self._predict(fitted, newest)])
            self._unseen[start] = joined(before.take(tested.index), newest), predicted
        return self._unseen[start]


def joined(one: Rows, other: Rows) -> Rows:
    """The rows of both."""
    names = ("ids", "matrix", "label", "time", "known_at")
    return Rows(*(np.concatenate([getattr(one, name), getattr(other, name)]) for name in names))


def compare(
    settings: Settings,
    model: Model,
    recipe: Recipe,
    served: pd.DataFrame,
    *,
    start: datetime,
    end: datetime,
    wall_clock: datetime,
    alarms: Sequence[datetime],
    retrains: int,
) -> tuple[PolicyResult, ...]:
    """The loop as it was served, then never, monthly and drift alone, on the same flights.

    Args:
        settings: where sources and definitions are, and the power of a training.
        model: the spec.
        recipe: of the first model.
        served: as `served_of` gives it.
        start: time of the first training, UTC midnight: the first flights were sent then.
        end: end of the last month, exclusive, UTC midnight.
        wall_clock: UTC, the real time.
        alarms: begins of the months before which drift alarmed, for `drift alone`.
        retrains: how often the loop put another version into traffic.

    Raises:
        DataError: a source is wrong, or no flight that was sent has a label.
    """
    now = end + timedelta(hours=model.spec.label.maturity_hours)
    frame, info = dataset.build(settings, model, Moment(now, wall_clock))
    by_name = {column.name: column for column in info.columns}
    info = info.model_copy(update={"columns": tuple(by_name[name] for name in recipe.columns)})
    rows = from_dataset(Dataset(frame, info))
    del frame  # a year of features is large, and what is needed of it is in the rows
    return play_policies(rows, info.columns, recipe, model, served, start, end, alarms, retrains, Power.of(settings))


def play_policies(
    rows: Rows,
    columns: Sequence[Column],
    recipe: Recipe,
    model: Model,
    served: pd.DataFrame,
    start: datetime,
    end: datetime,
    alarms: Sequence[datetime],
    retrains: int,
    power: Power,
) -> tuple[PolicyResult, ...]:
    """As `compare`, on rows that are there.

    Args:
        rows: every labelled flight.
        columns: of the rows' matrix.
        recipe: of the first model.
        model: the spec.
        served: as `served_of` gives it.
        start: time of the first training.
        end: end of the last month, exclusive.
        alarms: begins of the months before which drift alarmed.
        retrains: of the loop.
        power: how many fits run side by side, and threads of each.
    """
    sent = sent_of(rows, served)
    spans = months(start, end)
    begins = tuple(begin for begin, _ in spans)
    fits = Fits(rows, columns, recipe, model, begins, power)
    on_drift = [begin for begin in begins if begin in set(alarms)]
    policies = {
        NEVER: begins[:1],
        MONTHLY: begins,
        DRIFT: with_cool_down(begins[0], on_drift, model.spec.retraining.cool_down_days),
    }
    fits.fit_all([training for trainings in policies.values() for training in trainings])
    results = [scored(LOOP, retrains, sent.rows, sent.served, spans, model)]
    for name, trainings in policies.items():
        probability = np.empty(len(sent.rows))
        for begin, stop in spans:
            inside = within(sent.rows, begin, stop)
            newest = max(training for training in trainings if training <= begin)
            if inside.any():
                probability[inside] = fits.answers(newest, sent.rows.take(inside))
        results.append(scored(name, len(trainings) - 1, sent.rows, probability, spans, model))
    return tuple(results)


def served_of(log: pd.DataFrame, identifier: str) -> pd.DataFrame:
    """The first answer to each flight in a prediction log: id and `probability`. Rows without an id are left out.

    Args:
        log: rows in the order of their times, as `monitoring.log.collect.load` gives them, with `probability` and `fields.<id>`.
        identifier: name of the id.

    >>> log = pd.DataFrame({"probability": [0.1, 0.2, 0.3], "fields.id": [7, 7, None]})
    >>> served_of(log, "id").to_dict("list")
    {'id': [7], 'probability': [0.1]}
    """
    name = f"fields.{identifier}"
    known = log[log[name].notna() & log["probability"].notna()].drop_duplicates(name)
    ids = known[name] if known[name].dtype == object else known[name].astype("int64")
    return pd.DataFrame({identifier: ids.to_numpy(), "probability": known["probability"].to_numpy()})


def sent_of(rows: Rows, served: pd.DataFrame) -> Sent:
    """The labelled flights that were sent, with what was answered.

    Args:
        rows: every labelled flight.
        served: as `served_of` gives it; its first column is the id.
    """
    answered = pd.Series(served["probability"].to_numpy(dtype=np.float64), index=served[served.columns[0]].to_numpy())
    found = answered.reindex(rows.ids).to_numpy(dtype=np.float64)
    known = ~np.isnan(found)
    return Sent(rows.take(known), found[known])


def with_cool_down(first: datetime, wanted: Sequence[datetime], days: int) -> tuple[datetime, ...]:
    """The first training, and those that are wanted at least so many days after the training before.

    >>> first = datetime(2013, 4, 2)
    >>> wanted = [datetime(2013, 4, 20), datetime(2013, 5, 1), datetime(2013, 5, 20)]
    >>> [training.day for training in with_cool_down(first, wanted, 28)]
    [2, 1]
    """
    trainings = [first]
    for moment_wanted in sorted(wanted):
        if moment_wanted - trainings[-1] >= timedelta(days=days):
            trainings.append(moment_wanted)
    return tuple(trainings)


def within(rows: Rows, start: datetime, end: datetime) -> Bools:
    """Which rows are of [start, end)."""
    inside: Bools = (rows.time >= moment(start.isoformat())) & (rows.time < moment(end.isoformat()))
    return inside


def scored(
    name: str, retrains: int, rows: Rows, probability: Floats, spans: Sequence[tuple[datetime, datetime]], model: Model
) -> PolicyResult:
    """The scores of a policy's answers, by month and together.

    Args:
        name: of the policy.
        retrains: trainings after the first.
        rows: flights that were sent and have a label.
        probability: what the policy answers.
        spans: the months.
        model: the spec, for the utility.
    """
    by_month = []
    for begin, stop in spans:
        inside = within(rows, begin, stop)
        if inside.any():
            by_month.append((begin, score(probability[inside], rows.label[inside], model)))
    aucs = [found.auc for _, found in by_month if not np.isnan(found.auc)]
    whole = score(probability, rows.label, model)
    year = replace(whole, auc=float(np.mean(aucs)) if aucs else float("nan"))
    return PolicyResult(name, retrains, tuple(by_month), year)


def score(probability: Floats, label: Bools, model: Model) -> Score:
    """How good probabilities are."""
    utility = model.spec.objective.utility
    earned = value(utility, probability >= threshold(utility), label)
    one_sided = bool(label.all() or not label.any())
    return Score(
        rows=len(label),
        label_rate=float(label.mean()),
        auc=float("nan") if one_sided else area_under_curve(probability, label),
        log_loss=float(row_log_loss(probability, label).mean()),
        utility=float(PER_REQUESTS * earned.mean()),
    )


def table(results: Sequence[PolicyResult]) -> Table:
    """The policies side by side."""
    made = Table(title=f"The same {results[0].year.rows:,} labelled flights under other policies")
    made.add_column("policy")
    for name in ("retrains", "AUC", "log loss", "utility/1000"):
        made.add_column(name, justify="right")
    for result in results:
        year = result.year
        made.add_row(result.name, str(result.retrains), f"{year.auc:.4f}", f"{year.log_loss:.4f}", f"{year.utility:.1f}")
    return made


def table_by_month(results: Sequence[PolicyResult], names: Sequence[str] = (LOOP, NEVER)) -> Table:
    """Some policies month by month: by default what was served, beside the frozen baseline: the first model, never trained again.

    Args:
        results: of `compare`.
        names: which policies, in this order.
    """
    shown = [next(result for result in results if result.name == name) for name in names]
    made = Table(title="Month by month")
    made.add_column("month")
    for name in ("labelled", "late", *(f"{measure}: {name}" for measure in ("AUC", "log loss", "utility") for name in names)):
        made.add_column(name, justify="right")
    for place, (begin, first) in enumerate(shown[0].months):
        scores = [result.months[place][1] for result in shown]
        made.add_row(
            f"{begin:%B}",
            f"{first.rows:,}",
            f"{first.label_rate:.1%}",
            *(f"{found.auc:.4f}" for found in scores),
            *(f"{found.log_loss:.4f}" for found in scores),
            *(f"{found.utility:.1f}" for found in scores),
        )
    return made
