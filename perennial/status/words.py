"""Sentences on records that several conditions share."""

from collections.abc import Sequence
from datetime import datetime

from perennial.ledger import Run, Version
from perennial.loop.decision import Decision
from perennial.loop.unjudged import unjudged_in
from perennial.loop.window import Loss, WindowRecord


def minute(time: datetime) -> str:
    """A time to the minute, UTC."""
    return f"{time:%Y-%m-%d %H:%M}"


def by_controller(watching: bool, does: str, by_hand: str = "perennial tick") -> str:
    """Who does something next: the controller that is watching, or a person by a command.

    Args:
        watching: whether a controller is at work.
        does: what it does, in the present tense.
        by_hand: the command that does it once.
    """
    if watching:
        return f"the controller {does} at its next tick"
    return f"no controller {does} now: start `perennial watch`, or once by hand: `{by_hand}`"


def trained(champion: Version | None) -> str:
    """Which version has the traffic, and up to when it knows labels."""
    if champion is None:
        return "no version has traffic"
    return f"version {champion.number} knows labels up to {minute(champion.trained_until)}"


def last_run(run: Run | None) -> str:
    """How the last run ended, as the end of a sentence; empty unless it came to its end."""
    if run is None or run.state != "succeeded":
        return ""
    return f"; the last run {run.run_id} ended {run.outcome}: {run.reason}"


def last_decision(decisions: Sequence[Decision], name: str) -> str:
    """What was decided last, and where more of it stands.

    Args:
        decisions: newest first.
        name: the model.
    """
    if not decisions:
        return f"nothing was decided yet; another training by hand: `perennial train {name}`"
    newest = decisions[0]
    return f"decided on {minute(newest.made)}: {newest.sentence} More: `perennial explain {name}`"


def seen_in(windows: Sequence[WindowRecord]) -> str:
    """The newest window, and the newest that was judged, in half a sentence.

    Args:
        windows: newest first, at least one.
    """
    newest = windows[0]
    alarms = ", ".join(column.column for column in newest.measurement.alarms)
    broken = ", ".join(sorted({check.title for check in newest.measurement.broken}))
    parts = (f"alarms: {alarms}" * bool(alarms), f"failed checks: {broken}" * bool(broken), _gap_in(newest))
    flagged = "; ".join(part for part in parts if part) or "nothing flagged"
    text = f"window from {newest.start:%Y-%m-%d}: {newest.measurement.rows:,} predictions, {flagged}"
    judged_window = next((record for record in windows if record.performance is not None), None)
    if judged_window is None or judged_window.performance is None:
        return text
    loss = judged_window.performance.loss
    metrics = judged_window.performance.metrics
    auc = f"AUC {metrics['auc'].value:.3f}, " if "auc" in metrics else ""
    which = "" if judged_window is newest else f"; that from {judged_window.start:%Y-%m-%d}"
    return f"{text}{which}: {auc}{_degradation(loss)}"


def _degradation(loss: Loss | None) -> str:
    if loss is None:
        return "degradation is not judged: no prediction of the champion has a label"
    if loss.degraded:
        return "is degraded"
    return "degradation is not judged: there is no limit for its log loss" if loss.limit is None else "is not degraded"


def _gap_in(record: WindowRecord) -> str:
    """What of a window could not be judged, in half a sentence; empty where everything was."""
    gap = unjudged_in(record)
    if gap is None:
        return ""
    if gap.gap == "no prediction":
        return "nothing to judge"
    if gap.gap == "no column":
        return "no column is watched for drift (monitoring.columns)"
    return f"{gap.count} of {gap.total} columns not judged ({gap.reason.removesuffix('.')})"
