"""Runs that a person starts on a pipeline server: they ask the controller as a command does, and execute what it prepares."""

import time
from typing import Literal, NamedTuple

from perennial.errors import PlatformError
from perennial.ledger import Ledger
from perennial.loop.request import Monitor, Request, Train
from perennial.moment import Moment

LOOKS_SECONDS = 1.0
"""Between two looks at the ledger for what the controller answers."""
PATIENCE_SECONDS = 600.0
"""How long a request may wait for a controller to begin it."""


class Answer(NamedTuple):
    """What the controller made of a person's start."""

    run: str
    """Id of the run that the pipeline run is to execute; empty where there is none for it."""
    sentence: str = ""
    """Where there is none: why, for people."""
    kind: str = ""
    """Where the request failed: kind of the failure."""


def ask(ledger: Ledger, kind: Literal["train", "monitor"], model: str, pipeline_run: str, reason: str, moment: Moment) -> Request:
    """The request of a pipeline run; asked again, as by a pod that was started once more, it is the same one.

    Args:
        ledger: the ledger.
        kind: what is asked for.
        model: name of the model.
        pipeline_run: id of the run on the server.
        reason: why, in one sentence; may be empty.
        moment: the time for which it is to be done, and the real one.
    """
    before = ledger.request_from(model, pipeline_run)
    if before is not None:
        return before
    wish = Monitor(pipeline_run=pipeline_run) if kind == "monitor" else Train(reason=reason.strip(), pipeline_run=pipeline_run)
    return ledger.add_request(model, wish, made=moment.wall_clock, now=moment.now)


def answer_of(ledger: Ledger, request: Request, pipeline_run: str, patience_seconds: float = PATIENCE_SECONDS) -> Answer:
    """Wait for what the controller makes of a request: a run that this pipeline run executes, or an end without one.

    Args:
        ledger: the ledger.
        request: as it was made.
        pipeline_run: id of the run on the server.
        patience_seconds: how long it may stand unanswered.

    Raises:
        PlatformError: no controller answers, or what it says may pass.
    """
    until = time.monotonic() + patience_seconds
    while True:
        submission = ledger.submission(pipeline_run)
        if submission is not None:
            return Answer(submission.run_id)
        request = ledger.request(request.model, request.number)
        if request.state == "done":
            return _without(request)
        if request.state == "open" and time.monotonic() > until:
            raise PlatformError(
                f"{request.model}: no controller has begun request {request.number} in {patience_seconds / 60:.0f} minutes; the "
                "request stays. `perennial status` says who the controller is; start one with `perennial watch`"
            )
        time.sleep(LOOKS_SECONDS)


def _without(request: Request) -> Answer:
    if request.failure is None:
        return Answer("", f"request {request.number}: run {request.run} ended {request.outcome}; it was executed elsewhere")
    if request.failure.retry:
        raise request.failure.error()
    return Answer("", f"{request.failure.kind}: {request.failure.sentence}", request.failure.kind)
