"""What is due next for a model: a training for an open decision, else a monitoring run for windows. One run in flight."""

from collections.abc import Iterator

from controller.flight import World, carry_on
from controller.ticked import Act
from monitoring.windows import due
from perennial.decision import Decision
from perennial.spec.model import Model


def submit_due(world: World, model: Model) -> Iterator[Act | str]:
    """What is due is claimed, and its run started; nothing happens while a run of the model is in flight."""
    if world.ledger.open_claims(model.name):
        return
    yield from _overtaken(world, model)
    waiting = _waiting(world, model)
    if waiting:
        number = waiting[-1].number
        if _intend(world, model, f"{model.name}/train/{number}", number):
            world.ledger.move_decision(model.name, number, before="open", after="acting")
            yield from carry_on(world, model)
        return
    windows = due(world.settings, model, world.ledger.windows(model.name), world.now)
    if windows.any and _intend(world, model, f"{model.name}/monitor/{world.now.isoformat()}", None):
        yield from carry_on(world, model)


def _waiting(world: World, model: Model) -> list[Decision]:
    """Decisions that nobody carries out yet, oldest first."""
    return [found for found in world.ledger.open_decisions(model.name) if found.state == "open"]


def _overtaken(world: World, model: Model) -> Iterator[Act]:
    """Of several open decisions the newest is carried out: after a long absence a model is trained at most once."""
    for decision in _waiting(world, model)[:-1]:
        said = "overtaken: a newer decision is carried out instead"
        world.ledger.move_decision(model.name, decision.number, before="open", after="done", outcome=said)
        yield Act(model=model.name, what="overtaken", sentence=f"decision {decision.number} was {said}")


def _intend(world: World, model: Model, key: str, decision: int | None) -> bool:
    owner = world.runner.new_id(model.name, world.wall_clock)
    return world.ledger.intend(key, model=model.name, owner=owner, decision=decision, now=world.now) is not None
