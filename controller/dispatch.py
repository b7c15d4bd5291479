"""What is due next for a model: a training for an open decision, else a monitoring run for windows. One run in flight."""

from collections.abc import Iterator
from datetime import timedelta

from controller.context import Context
from controller.flight import carry_on, intend
from controller.ticked import Act, Found, Obstacle
from monitoring.log.belief import Belief
from monitoring.windows import due
from perennial.lifecycle.claim import was_given_up
from perennial.loop.decision import Decision
from perennial.spec.model import Model

MONITORS_AGAIN = timedelta(hours=1)
"""After a monitoring run that failed for good: what broke it is seldom mended sooner, and each attempt leaves a folder."""


def submit_due(context: Context, model: Model) -> Iterator[Found]:
    """What is due is claimed, and its run started; nothing happens while a run of the model is in flight."""
    if context.is_busy(model.name):
        if context.ledger.open_claims(model.name):
            return
        yield from _overtaken(context, model)
        yield from _held(context, model)
        waiting = _waiting(context, model)
        if waiting:
            yield from _begin(context, model, _key(waiting[-1]), waiting[-1].number)
            return
    windows = due(context.settings, model, context.ledger.windows(model.name), context.now, _belief(context, model.name))
    if not windows.any:
        return
    problem = _broke_lately(context, model)
    if problem is not None:
        yield problem
    else:
        yield from _begin(context, model, f"{model.name}/monitor/{context.now.isoformat()}", None)


def _belief(context: Context, model: str) -> Belief | None:
    """From when on the log's rows are believed, as far as the tick knows: a run of the model may register a version meanwhile."""
    if context.overview is None or context.is_busy(model):
        return None
    return Belief(context.now, context.overview.trained.get(model, {}))


def _begin(context: Context, model: Model, key: str, decision: int | None) -> Iterator[Found]:
    """Claim what is due and start its run, unless another claim of the model is open."""
    claim = intend(context, model.name, key, decision)
    if claim is not None:
        yield from carry_on(context, model, claim)


def _key(decision: Decision) -> str:
    """Key of the claim for a decision: that of the request it came from, where a person asked."""
    return decision.cause if decision.reason == "manual" else f"{decision.model}/train/{decision.number}"


def _waiting(context: Context, model: Model) -> list[Decision]:
    """Decisions that nobody carries out yet, oldest first."""
    return [
        decision
        for decision in context.ledger.open_decisions(model.name)
        if decision.state == "open" and decision.kind == "retrain"
    ]


def _overtaken(context: Context, model: Model) -> Iterator[Act]:
    """Of several open decisions the newest is carried out: after a long absence a model is trained at most once."""
    for decision in _waiting(context, model)[:-1]:
        outcome = "overtaken: a newer decision is carried out instead"
        context.ledger.move_decision(model.name, decision.number, before="open", after="done", outcome=outcome)
        yield Act(model=model.name, what="overtaken", sentence=f"decision {decision.number} was {outcome}")


def _held(context: Context, model: Model) -> Iterator[Act]:
    """A training that was decided before broken data was found does not begin; after the incident it is decided anew."""
    incidents = context.ledger.incidents(model.name, only_open=True)
    for decision in _waiting(context, model):
        later = [incident.number for incident in incidents if incident.decision > decision.number]
        if later and decision.reason != "manual":
            outcome = f"held: incident {later[0]} was opened after it; decided anew once that is closed"
            context.ledger.move_decision(model.name, decision.number, before="open", after="done", outcome=outcome)
            yield Act(model=model.name, what="held", sentence=f"decision {decision.number} is {outcome}")


def _broke_lately(context: Context, model: Model) -> Obstacle | None:
    """That the newest monitoring run failed for good, not long ago."""
    ran = (run for run in context.ledger.runs(model.name, limit=100) if run.mode == "monitor" and not was_given_up(run))
    newest = next(ran, None)
    if newest is None or newest.state != "failed" or not timedelta(0) <= context.now - newest.now < MONITORS_AGAIN:
        return None
    again = newest.now + MONITORS_AGAIN
    sentence = (
        f"windows are due, but run {newest.run_id} failed: {newest.why}. It is tried again from {again:%Y-%m-%d %H:%M} UTC "
        f"on, or by hand: `perennial monitor {model.name}`; `perennial logs {newest.run_id}` shows where it broke"
    )
    return Obstacle(model=model.name, sentence=sentence)
