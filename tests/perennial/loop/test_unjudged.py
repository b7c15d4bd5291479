"""What of a window could not be judged is said once, for a decision and for the status."""

from perennial.loop.unjudged import Unjudged, unjudged_in
from perennial.loop.window import Measurement, WindowRecord
from tests.made_up import FIRST, NAME, WEEK, column, measurement, quiet_column


def record(measured: Measurement) -> WindowRecord:
    end = FIRST + WEEK
    return WindowRecord(model=NAME, start=FIRST, end=end, measured_at=end, measurement=measured, performance=None)


def test_columns_that_were_not_judged_are_counted_with_the_first_reason() -> None:
    columns = [quiet_column("weight"), column("amount", None, 0.1), column("age", 0.2, None)]
    found = unjudged_in(record(measurement(columns=columns)))
    assert found == Unjudged("columns", 2, 3, "amount is None against 0.1.")


def test_a_window_of_which_every_column_was_judged_has_no_gap() -> None:
    assert unjudged_in(record(measurement(columns=[quiet_column("weight")]))) is None


def test_a_window_without_predictions_or_watched_columns_is_a_gap() -> None:
    empty = unjudged_in(record(measurement(rows=0, columns=[quiet_column("weight")])))
    assert empty == Unjudged("no prediction", 1, 1)
    assert unjudged_in(record(measurement(rows=0))) == Unjudged("no prediction")
    assert unjudged_in(record(measurement())) == Unjudged("no column")
