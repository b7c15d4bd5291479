"""A run that a person starts on a pipeline server asks once, and waits for what the controller makes of it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from perennial.errors import DataError, PlatformError
from perennial.ledger import Ledger, Submission
from perennial.lifecycle import asked
from perennial.lifecycle.asked import Answer, answer_of, ask
from perennial.loop.failure import Failure
from perennial.loop.request import Monitor, Train
from perennial.moment import Moment

REAL = datetime(2026, 11, 28, tzinfo=UTC)
NOW = datetime(2024, 4, 13, tzinfo=UTC)
ID = "f1c9"


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    monkeypatch.setattr(asked, "LOOKS_SECONDS", 0.0)
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


def test_a_pod_that_is_started_once_more_asks_for_nothing_new(ledger: Ledger) -> None:
    first = ask(ledger, "train", "churn", ID, " to see ", Moment(NOW, REAL))
    assert ask(ledger, "train", "churn", ID, "", Moment(REAL, REAL)) == first
    assert (first.wish, first.now, first.made) == (Train(reason="to see", pipeline_run=ID), NOW, REAL)
    other = ask(ledger, "monitor", "churn", "other", "", Moment(NOW, REAL))
    assert (other.wish, len(ledger.open_requests("churn"))) == (Monitor(pipeline_run="other"), 2)


def test_it_executes_the_run_that_was_prepared_for_it(ledger: Ledger) -> None:
    request = ask(ledger, "train", "churn", ID, "", Moment(NOW, REAL))
    ledger.start_run(run_id="churn-1", model="churn", mode="search", started=REAL, now=NOW, spec="s", folder="f")
    assert ledger.add_submission(Submission(run_id="churn-1", attempt=1, pipeline_run=ID, posted=REAL, refusal=""))
    assert answer_of(ledger, request, ID) == Answer("churn-1")


def test_what_nobody_answers_is_said_and_the_request_stays(ledger: Ledger) -> None:
    request = ask(ledger, "train", "churn", ID, "", Moment(NOW, REAL))
    with pytest.raises(PlatformError, match=r"no controller has begun request 1 .* start one with `perennial watch`"):
        answer_of(ledger, request, ID, patience_seconds=0.0)
    assert ledger.open_requests("churn") == (request,)


def test_a_request_that_ended_without_a_run_of_its_own_is_told(ledger: Ledger) -> None:
    request = ask(ledger, "train", "churn", ID, "", Moment(NOW, REAL))
    ledger.end_request(request, failure=Failure.of(DataError("orders.parquet: empty")))
    assert answer_of(ledger, request, ID) == Answer("", "DataError: orders.parquet: empty", "DataError")
    away = ask(ledger, "train", "churn", "b", "", Moment(NOW, REAL))
    ledger.end_request(away, failure=Failure.of(PlatformError("MLflow is away")))
    with pytest.raises(PlatformError, match="MLflow is away"):
        answer_of(ledger, away, "b")
    elsewhere = ask(ledger, "train", "churn", "c", "", Moment(NOW, REAL))
    ledger.end_request(elsewhere, outcome="stopped", run="churn-7")
    assert answer_of(ledger, elsewhere, "c").sentence == "request 3: run churn-7 ended stopped; it was executed elsewhere"
