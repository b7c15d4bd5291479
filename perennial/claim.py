"""Claims at work: how a run takes what it may do, and how its end is noted. The record itself is `perennial.decision.Claim`."""

from datetime import datetime

from perennial.ledger import Ledger, Run
from perennial.settings import Settings

MINE, THEIRS = "mine", "theirs"
"""What the first step of every graph finds."""
SUPERSEDED = "superseded"
"""Outcome of a run that came second."""


def take(settings: Settings, key: str, owner: str, now: datetime) -> tuple[str, int]:
    """The run has the claim, or stands aside: `mine` and its fencing token, or `theirs` and 0.

    Args:
        settings: where the ledger is.
        key: of the claim.
        owner: id of the run.
        now: the real time.
    """
    with Ledger.open(settings.ledger) as ledger:
        taken = ledger.take(key, owner, now)
        if taken is not None:
            return MINE, taken.token
        found = ledger.claim(key)
        reason = f"claim {key} is {found.state} and belongs to {found.owner}: this run stood aside and did nothing"
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
        for before in ("open", "acting"):
            ledger.move_decision(run.model, run.decision, before=before, after="done", outcome=f"{run.outcome}: {run.reason}")
    ledger.end_claim(run.claim, state="done", now=now)
