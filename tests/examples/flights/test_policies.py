"""Other policies on the same flights: noise earns nothing, a change is followed by those that retrain, nothing later is used."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from examples.flights import policies
from examples.flights.policies import DRIFT, LOOP, MONTHLY, NEVER, Fits, PolicyResult, play_policies
from examples.flights.traffic import months
from perennial.data.rows import Rows
from perennial.spec.columns import Column
from perennial.spec.model import Model
from perennial.spec.read import read
from perennial.training.recipe import Recipe
from perennial.training.side_by_side import Power

MODEL = Path(__file__).parents[3] / "models" / "flight-delay.yaml"
FIRST, START, END = (datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 4, 2, tzinfo=UTC), datetime(2013, 8, 1, tzinfo=UTC))
CHANGE = np.datetime64("2013-05-01", "us")
"""From here on the other column says it."""
COLUMNS = (Column(name="one", dtype="float", view=None), Column(name="other", dtype="float", view=None))
RECIPE = Recipe(kind="logistic", parameters={"c": 1.0}, columns=("one", "other"))
PER_DAY = 60


@pytest.fixture(scope="module")
def model() -> Model:
    return read(MODEL)


@pytest.fixture(scope="module")
def rows() -> Rows:
    """Seven months; `one` says what comes until May, `other` from then on. Labels are known four hours later."""
    random = np.random.default_rng(5)
    count = (END - FIRST).days * PER_DAY
    start = np.datetime64(FIRST.replace(tzinfo=None), "us")
    time = start + (np.arange(count) * (86_400_000_000 // PER_DAY)).astype("timedelta64[us]")
    matrix = random.normal(size=(count, 2))
    says = np.where(time < CHANGE, matrix[:, 0], matrix[:, 1])
    label = random.uniform(size=count) < 1 / (1 + np.exp(1.2 - 2 * says))
    return Rows(np.arange(1, count + 1), matrix.astype(object), label, time, time + np.timedelta64(4, "h"))


def shuffled(rows: Rows, label: np.ndarray) -> Rows:
    return Rows(rows.ids, rows.matrix, label, rows.time, rows.known_at)


def answered(rows: Rows) -> pd.DataFrame:
    """Every third flight was sent, in another order than that of the ids, and answered .3."""
    ids = rows.ids[rows.time >= np.datetime64(START.replace(tzinfo=None), "us")][::3]
    return pd.DataFrame({"flight_id": ids[::-1], "probability": 0.3})


def played(rows: Rows, model: Model, alarms: tuple[datetime, ...] = ()) -> dict[str, PolicyResult]:
    results = play_policies(rows, COLUMNS, RECIPE, model, answered(rows), START, END, alarms, 3, Power())
    return {result.name: result for result in results}


def test_shuffled_labels_are_ranked_by_no_policy(rows: Rows, model: Model) -> None:
    label = np.random.default_rng(9).permutation(rows.label)
    found = played(shuffled(rows, label), model, (datetime(2013, 6, 1, tzinfo=UTC),))
    assert list(found) == [LOOP, NEVER, MONTHLY, DRIFT]
    for result in found.values():
        assert result.year.rows == len(answered(rows))
        assert abs(result.year.auc - 0.5) < 0.03, result.name


def test_who_retrains_follows_a_change(rows: Rows, model: Model) -> None:
    found = played(rows, model, (datetime(2013, 7, 1, tzinfo=UTC),))
    assert {name: result.retrains for name, result in found.items()} == {LOOP: 3, NEVER: 0, MONTHLY: 3, DRIFT: 1}
    by_month = {name: {begin.month: score.auc for begin, score in result.months} for name, result in found.items()}
    assert by_month[NEVER][4] == by_month[MONTHLY][4] == by_month[DRIFT][4] > 0.8
    # What changed in May is first known to the training in June; drift alone waits for its alarm.
    assert by_month[MONTHLY][5] == pytest.approx(by_month[NEVER][5], abs=0.05) and by_month[NEVER][5] < 0.6
    assert by_month[MONTHLY][6] > by_month[NEVER][6] + 0.05 and by_month[MONTHLY][7] > by_month[NEVER][7] + 0.1
    assert by_month[DRIFT][6] == by_month[NEVER][6] and by_month[DRIFT][7] == by_month[MONTHLY][7]
    assert found[MONTHLY].year.log_loss < found[NEVER].year.log_loss
    assert found[MONTHLY].year.utility > found[NEVER].year.utility
    assert [begin.month for begin, _ in found[LOOP].months] == [4, 5, 6, 7]
    assert found[LOOP].year.auc == 0.5


def test_a_model_is_fitted_and_calibrated_on_what_was_known_then(rows: Rows, model: Model) -> None:
    begins = [begin for begin, _ in months(START, END)]
    june = begins[2]
    asked = rows.take(rows.time >= np.datetime64("2013-07-01", "us"))
    as_it_was = Fits(rows, COLUMNS, RECIPE, model, begins, Power()).answers(june, asked)
    later = rows.time >= np.datetime64((june - timedelta(hours=24)).replace(tzinfo=None), "us")
    assert later.sum() > 60 * PER_DAY
    other_future = shuffled(rows, np.where(later, ~rows.label, rows.label))
    assert np.array_equal(as_it_was, Fits(other_future, COLUMNS, RECIPE, model, begins, Power()).answers(june, asked))
    other_past = shuffled(rows, np.where(later, rows.label, ~rows.label))
    assert not np.allclose(as_it_was, Fits(other_past, COLUMNS, RECIPE, model, begins, Power()).answers(june, asked), atol=0.1)


def test_only_flights_that_were_sent_and_have_a_label_are_scored(rows: Rows) -> None:
    served = pd.DataFrame({"flight_id": [9, 2, 10**9], "probability": [0.9, 0.2, 0.5]})
    sent = policies.sent_of(rows, served)
    assert sent.rows.ids.tolist() == [2, 9] and sent.served.tolist() == [0.2, 0.9]


def test_the_policies_stand_in_a_table(rows: Rows, model: Model) -> None:
    results = list(played(rows, model).values())
    table = policies.table(results)
    assert list(table.columns[0].cells) == [LOOP, NEVER, MONTHLY, DRIFT]
    by_month = policies.table_by_month(results)
    assert list(by_month.columns[0].cells) == ["April", "May", "June", "July"]
    assert [str(column.header) for column in by_month.columns[3:5]] == ["AUC: the loop", "AUC: never"]
    assert list(by_month.columns[3].cells) == ["0.5000"] * 4
