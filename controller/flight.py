"""Runs in flight: from an intended claim to its end. Whatever is found half done is carried on from there."""

from collections.abc import Iterator
from contextlib import suppress

from controller.context import Context
from controller.preparation import prepare, wish_of
from controller.ticked import Act, Found
from perennial.errors import PlatformError
from perennial.ledger import Ledger, Run
from perennial.lifecycle import claim as claims
from perennial.loop.decision import Claim
from perennial.loop.failure import Failure
from perennial.spec.model import Model
from pipelines.runs import RunState


def intend(context: Context, model: str, key: str, decision: int | None) -> Claim | None:
    """Claim what is to be done, for a run that is yet to be prepared; none while another claim of the model is open.

    Claimed before, the first owner stays; none as well where that claim is over.

    Args:
        context: what the tick works with.
        model: name of the model.
        key: what is claimed.
        decision: number of the decision that the run carries out; none for a monitoring run.
    """
    owner = context.runner.new_id(model, context.wall_clock)
    claim = context.ledger.intend(key, model=model, owner=owner, decision=decision, now=context.now)
    if claim is None or claim.is_over:
        return None
    if decision is not None:
        context.ledger.move_decision(model, decision, before="open", after="acting")
    return claim


def carry_on(context: Context, model: Model, claim: Claim, *, repeats: bool = True) -> Iterator[Found]:
    """Bring an open claim as far as it can be now: what was done, or in a sentence which run is waited for.

    Args:
        context: what the tick works with.
        model: the spec.
        claim: open.
        repeats: whether a fresh run follows one that broke by a platform's fault. A killed one is started again in any case.

    Raises:
        FencedError: the lease was taken.
        PlatformError: a run cannot be prepared or started now.
    """
    state, sentence = context.runner.state(context.ledger, claim.owner)
    if state == "executing":
        yield sentence
    elif state == "ended":
        yield from _ended(context, model, claim, context.ledger.run(claim.owner), repeats)
    elif state == "terminated":
        yield _give_up(context, claim, sentence)
    elif state == "gone":
        yield from _ended(context, model, claim, _lost(context, claim), repeats)
    elif not claims.is_tried_again(claim, None):
        with suppress(PlatformError):  # a server that does not answer keeps no claim open
            context.runner.stop(context.ledger, claim.owner)
        yield _give_up(context, claim, f"its run was started {claim.starts} times and came to no end; at last {sentence}")
    else:
        yield _start(context, model, claim, state)


def _ended(context: Context, model: Model, claim: Claim, run: Run, repeats: bool) -> Iterator[Act]:
    """Its result is the claim's; a run that broke is followed by a fresh one, unless that is useless."""
    if run.state == "succeeded":
        claims.end(context.ledger, run, context.now)
        yield Act(model=model.name, what="ended", sentence=f"run {run.run_id} ended {run.outcome}: {run.reason}")
    elif not ((repeats or claims.was_lost(run)) and claims.is_tried_again(claim, run)):
        yield _give_up(context, claim, f"run {run.run_id} failed: {run.why}")
    else:
        following = context.ledger.reown(claim, context.runner.new_id(model.name, context.wall_clock), context.now)
        yield _start(context, model, following, "unknown")


def _lost(context: Context, claim: Claim) -> Run:
    """The claim's run has failed: nobody can start it again where its folder is not."""
    run, now = context.ledger.run(claim.owner), context.wall_clock
    where, last = run.host or "where it was prepared", run.heartbeat or run.started
    sentence = f"{where}: nothing was heard of its process since {last:%Y-%m-%d %H:%M:%S} UTC; its folder is not on this machine"
    failure = Failure(kind=claims.LOST, retry=True, step="", sentence=sentence)
    return context.ledger.fail_run(claim.owner, finished=now, failure=failure)


def _give_up(context: Context, claim: Claim, why: str) -> Act:
    claims.give_up(context.ledger, claim, why, context.moment)
    return Act(model=claim.model, what="gave up", sentence=f"{claim.key}: {why}")


def _start(context: Context, model: Model, claim: Claim, state: RunState) -> Act:
    """Start the claim's run, prepared before if it never was."""
    ledger, runner = context.ledger, context.runner
    if state == "unknown":
        prepare(context, model, claim)
    ledger.check_fence()
    try:
        runner.start(ledger, claim.owner, _started_as(ledger, claim))
    except PlatformError:
        if runner.state(ledger, claim.owner).state != "executing":
            raise
    ledger.submitted(claim, context.now)
    purpose = "look at windows" if claim.decision is None else f"carry out decision {claim.decision}"
    again = claim.starts > 0
    sentence = f"run {claim.owner} was started{' again' if again else ''} to {purpose}"
    return Act(model=model.name, what="started again" if again else "started", sentence=sentence)


def _started_as(ledger: Ledger, claim: Claim) -> str:
    """Id of the run on a pipeline server by which a person asked, and which executes the claim's first start; else empty."""
    wish = wish_of(ledger, claim)
    return "" if wish is None or claim.starts else wish.pipeline_run
