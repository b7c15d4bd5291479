"""Runs in flight: from an intended claim to its end. Whatever is found half done is carried on from there."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.runner import Runner
from controller.ticked import Act, Found
from perennial.errors import PlatformError
from perennial.ledger import Ledger, Run
from perennial.lifecycle import claim as claims
from perennial.loop.decision import Claim
from perennial.settings import Settings
from perennial.spec.model import Model
from pipelines.runs import RunState


@dataclass(frozen=True)
class World:
    """What a tick works with."""

    settings: Settings
    ledger: Ledger
    """Fenced by the controller's lease."""
    runner: Runner
    now: datetime
    """The time for which it ticks, UTC."""
    wall_clock: datetime
    """The real time, UTC."""


def carry_on(world: World, model: Model) -> Iterator[Found]:
    """Every open claim of a model is as far as it can be now: what was done, and a sentence for each run that is waited for.

    Raises:
        FencedError: the lease was taken.
        PlatformError: a run cannot be prepared or started now.
    """
    for claim in world.ledger.open_claims(model.name):
        state = world.runner.state(world.ledger, claim.owner)
        if state == "executing":
            yield f"run {claim.owner} is executing"
        elif state == "ended":
            yield from _ended(world, model, claim, world.ledger.run(claim.owner))
        elif state == "dead" and claim.starts == 0 and _is_being_begun(world, claim):
            yield f"run {claim.owner} was prepared just now, and is about to be started"
        elif not claims.is_tried_again(claim, None):
            yield _give_up(world, claim, f"its run was started {claim.starts} times and killed each time")
        else:
            yield _start(world, model, claim, state)


def _is_being_begun(world: World, claim: Claim) -> bool:
    return timedelta(0) <= world.wall_clock - world.ledger.run(claim.owner).started < claims.BEING_BEGUN


def _ended(world: World, model: Model, claim: Claim, run: Run) -> Iterator[Act]:
    """Its result is the claim's; a run that broke is followed by a fresh one, unless that is useless."""
    if run.state == "succeeded":
        claims.end(world.ledger, run, world.now)
        yield Act(model=model.name, what="ended", sentence=f"run {run.run_id} ended {run.outcome}: {run.reason}")
    elif not claims.is_tried_again(claim, run):
        yield _give_up(world, claim, f"run {run.run_id} failed: {run.why}")
    else:
        following = world.ledger.reown(claim, world.runner.new_id(model.name, world.wall_clock), world.now)
        yield _start(world, model, following, "unknown")


def _give_up(world: World, claim: Claim, why: str) -> Act:
    claims.give_up(world.ledger, claim, why, now=world.now, wall_clock=world.wall_clock)
    return Act(model=claim.model, what="gave up", sentence=f"{claim.key}: {why}")


def _start(world: World, model: Model, claim: Claim, state: RunState) -> Act:
    """The claim's run is started, prepared before if it never was."""
    ledger, runner = world.ledger, world.runner
    ledger.check_fence()
    if state == "unknown":
        if claim.decision is None:
            runner.prepare_monitoring(model, world.now, world.wall_clock, key=claim.key, run_id=claim.owner)
        else:
            runner.prepare_training(
                model, world.now, world.wall_clock, key=claim.key, run_id=claim.owner, decision=claim.decision
            )
    ledger.check_fence()
    try:
        runner.start(claim.owner)
    except PlatformError:
        if runner.state(ledger, claim.owner) != "executing":
            raise
    ledger.submitted(claim, world.now)
    purpose = "look at windows" if claim.decision is None else f"carry out decision {claim.decision}"
    again = claim.starts > 0
    sentence = f"run {claim.owner} was started{' again' if again else ''} to {purpose}"
    return Act(model=model.name, what="started again" if again else "started", sentence=sentence)
