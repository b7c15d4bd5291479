"""What is due next for a model: a training for an open decision, else a monitoring run for windows. One run in flight."""

from collections.abc import Iterator
from datetime import timedelta

from controller.flight import World, carry_on
from controller.ticked import Act, Found, Problem
from monitoring.windows import due
from perennial.lifecycle.claim import was_given_up
from perennial.loop.decision import Decision
from perennial.spec.model import Model

MONITORS_AGAIN = timedelta(hours=1)
"""After a monitoring run that failed for good: what broke it is seldom mended sooner, and each attempt leaves a folder."""


def submit_due(world: World, model: Model) -> Iterator[Found]:
    """What is due is claimed, and its run started; nothing happens while a run of the model is in flight."""
    if world.ledger.open_claims(model.name):
        return
    yield from _overtaken(world, model)
    yield from _held(world, model)
    waiting = _waiting(world, model)
    if waiting:
        number = waiting[-1].number
        if _intend(world, model, _key(waiting[-1]), number):
            world.ledger.move_decision(model.name, number, before="open", after="acting")
            yield from carry_on(world, model)
        return
    windows = due(world.settings, model, world.ledger.windows(model.name), world.now)
    if not windows.any:
        return
    problem = _broke_lately(world, model)
    if problem is not None:
        yield problem
    elif _intend(world, model, f"{model.name}/monitor/{world.now.isoformat()}", None):
        yield from carry_on(world, model)


def _key(decision: Decision) -> str:
    """Key of the claim for a decision. A person's own command, should it be about to begin, claims the same."""
    return decision.cause if decision.reason == "manual" else f"{decision.model}/train/{decision.number}"


def _waiting(world: World, model: Model) -> list[Decision]:
    """Decisions that nobody carries out yet, oldest first."""
    return [found for found in world.ledger.open_decisions(model.name) if found.state == "open" and found.kind == "retrain"]


def _overtaken(world: World, model: Model) -> Iterator[Act]:
    """Of several open decisions the newest is carried out: after a long absence a model is trained at most once."""
    for decision in _waiting(world, model)[:-1]:
        said = "overtaken: a newer decision is carried out instead"
        world.ledger.move_decision(model.name, decision.number, before="open", after="done", outcome=said)
        yield Act(model=model.name, what="overtaken", sentence=f"decision {decision.number} was {said}")


def _held(world: World, model: Model) -> Iterator[Act]:
    """A training that was decided before broken data was found does not begin; after the incident it is decided anew."""
    incidents = world.ledger.incidents(model.name, only_open=True)
    for decision in _waiting(world, model):
        later = [incident.number for incident in incidents if incident.decision > decision.number]
        if later and decision.reason != "manual":
            said = f"held: incident {later[0]} was opened after it; decided anew once that is closed"
            world.ledger.move_decision(model.name, decision.number, before="open", after="done", outcome=said)
            yield Act(model=model.name, what="held", sentence=f"decision {decision.number} is {said}")


def _broke_lately(world: World, model: Model) -> Problem | None:
    """That the newest monitoring run failed for good, not long ago."""
    ran = (run for run in world.ledger.runs(model.name, limit=100) if run.mode == "monitor" and not was_given_up(run))
    newest = next(ran, None)
    if newest is None or newest.state != "failed" or not timedelta(0) <= world.now - newest.now < MONITORS_AGAIN:
        return None
    again = newest.now + MONITORS_AGAIN
    sentence = (
        f"windows are due, but run {newest.run_id} failed: {newest.why}. It is tried again from {again:%Y-%m-%d %H:%M} UTC "
        f"on, or by hand: `perennial monitor {model.name}`; `perennial logs {newest.run_id}` shows where it broke"
    )
    return Problem(model=model.name, sentence=sentence)


def _intend(world: World, model: Model, key: str, decision: int | None) -> bool:
    owner = world.runner.new_id(model.name, world.wall_clock)
    return world.ledger.intend(key, model=model.name, owner=owner, decision=decision, now=world.now) is not None
