"""Claims at work: how a run takes what it may do, and how its end is noted. The record is `loop.decision.Claim`."""

from contextlib import suppress
from datetime import datetime

from perennial.errors import NotFoundError, PlatformError
from perennial.ledger import Ledger, Run
from perennial.loop.decision import Claim
from perennial.loop.failure import Failure
from perennial.moment import Moment

MINE, THEIRS = "mine", "theirs"
"""What the first step of every graph finds."""
SUPERSEDED = "superseded"
"""Outcome of a run that came second."""
MAX_STARTS = 3
"""How often a run is started for one claim before a person must look: what kills three runs will kill the fourth."""
GIVEN_UP = "given up"
"""Kind of the failure of a run that was left, and that a person's command put aside: it says nothing about what it would do."""

LOST = "lost"
"""Kind of the failure of a run that executed on another host, of which nothing is heard any more."""


def take(ledger_url: str, key: str, owner: str, now: datetime) -> tuple[str, int]:
    """The run has the claim, or stands aside: `mine` and its fencing token, or `theirs` and 0.

    Args:
        ledger_url: of the ledger.
        key: of the claim.
        owner: id of the run.
        now: the real time.
    """
    with Ledger.open(ledger_url) as ledger:
        claim = ledger.take(key, owner, now)
        if claim is not None:
            return MINE, claim.token
        other_claim = ledger.claim(key)
        reason = f"claim {key} is {other_claim.state} and belongs to {other_claim.owner}: this run stood aside and did nothing"
        ledger.finish_run(owner, finished=now, outcome=SUPERSEDED, reason=reason)
        return THEIRS, 0


def end(ledger: Ledger, run: Run, now: datetime) -> None:
    """What the run carried out is over: its claim is done, and its decision has an outcome. Ended again, nothing changes.

    Args:
        ledger: the ledger, fenced or not.
        run: a run that has ended with a result.
        now: aware.
    """
    if run.claim is None or run.outcome == SUPERSEDED:
        return
    if run.decision is not None:
        ledger.end_decision(run.model, run.decision, state="done", outcome=f"{run.outcome}: {run.reason}")
    ledger.end_claim(run.claim, state="done", now=now)


def is_tried_again(claim: Claim, run: Run | None) -> bool:
    """Whether a controller starts a run for an open claim once more.

    Args:
        claim: open.
        run: its owner, which failed or was killed; none where it was never prepared.
    """
    is_final = run is not None and run.failure is not None and not run.failure.retry
    return claim.starts < MAX_STARTS and not is_final


def put_back(ledger: Ledger, claim: Claim, why: str, moment: Moment, *, kind: str = PlatformError.__name__) -> None:
    """The decision that the claim carries out waits again for whoever carries it out next, under the same key.

    The claim comes last: while it is open, whoever finds it does the same again, or carries it on.

    Args:
        ledger: the ledger, fenced or not.
        claim: open, for a decision.
        why: half a sentence: what became of its run.
        moment: the time for which it is put back, and the real one.
        kind: of its run's failure, if that had no end.
    """
    if claim.decision is not None:
        ledger.move_decision(claim.model, claim.decision, before="acting", after="open")
    _release(ledger, claim, why, moment, kind=kind)


def give_up(ledger: Ledger, claim: Claim, why: str, moment: Moment, *, kind: str = PlatformError.__name__) -> None:
    """Nobody carries the claim out any more: it has failed, with its decision, and with its run if that had no end.

    The claim comes last: while it is open, whoever finds it does the same again.

    Args:
        ledger: the ledger, fenced or not.
        claim: open.
        why: half a sentence.
        moment: the time for which it is given up, and the real one.
        kind: of its run's failure, if that had no end.
    """
    if claim.decision is not None:
        ledger.end_decision(claim.model, claim.decision, state="failed", outcome=why)
    _release(ledger, claim, why, moment, kind=kind)


def was_given_up(run: Run) -> bool:
    """Whether a run is over only because a person's command put it aside."""
    return run.failure_kind == GIVEN_UP


def was_lost(run: Run) -> bool:
    """Whether a run is over only because its host is gone: what it was to do goes on in a fresh one, whoever asked for it."""
    return run.failure_kind == LOST


def _release(ledger: Ledger, claim: Claim, why: str, moment: Moment, *, kind: str) -> None:
    with suppress(NotFoundError):  # a run that was never prepared
        ledger.fail_run(claim.owner, finished=moment.wall_clock, failure=Failure(kind=kind, retry=True, step="", sentence=why))
    ledger.end_claim(claim.key, state="failed", now=moment.now)
