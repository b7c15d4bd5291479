"""What people asked for: each request is settled, carried out and ended here, under the controller's lease.

Every part may be repeated: what a request is about is written before anything is done about it.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from controller import incidents
from controller.context import Context
from controller.flight import carry_on, intend
from controller.models.following import is_object
from controller.rollout import roll_out
from controller.ticked import Act, Found
from perennial.errors import DataError, FencedError, NotFoundError, PlatformError
from perennial.ledger import Ledger, Run, Version
from perennial.lifecycle import claim as claims
from perennial.loop.decision import Claim, Decision, DecisionDraft, Fact
from perennial.loop.failure import Failure
from perennial.loop.request import Accept, AcceptChange, Close, Monitor, Request, Retire, RollBack, RollOut, Train
from perennial.outages import translated
from perennial.spec.model import Model
from perennial.spec.read import read
from serving.deployers import open_deployer
from serving.rollouts import attempt_for, leaving, roll_back


def answer(context: Context, model: str) -> Iterator[Found]:
    """Bring every request about a model as far as it can be now. What is in the way of one ends it, with the reason.

    Args:
        context: what the tick works with; a request takes place at its own time.
        model: name of the model.

    Raises:
        FencedError: the lease was taken.
    """
    for request in context.ledger.open_requests(model):
        at = replace(context, now=request.now)
        try:
            yield from _answer(at, request)
        except FencedError:
            raise
        except Exception as error:  # a person waits for it, and is told
            failure = Failure.of(translated(error, request.wish.kind, "this sentence"))
            _abandon(at, request, failure)
            yield _end(at, request, failure=failure)


def _answer(context: Context, request: Request) -> Iterator[Found]:
    match request.wish:
        case Train() | Monitor():
            yield from _run(context, request, read(context.settings.models / f"{request.model}.yaml"))
        case RollBack(reason=reason):
            yield _rolled_back(context, request, reason)
        case RollOut() as wish:
            yield from _rolled_out(context, request, wish)
        case Retire(reason=reason):
            yield _retired(context, request, reason)
        case Accept(decision=number):
            yield _end(context, request, outcome=incidents.accept_decision(context.ledger, request, number))
        case Close(incident=number, reason=reason):
            yield _end(context, request, outcome=incidents.close(context.ledger, request, number, reason))
        case AcceptChange() as wish:
            model = read(context.settings.models / f"{request.model}.yaml")
            yield _end(context, request, outcome=incidents.accept_change(context, model, request, wish))


def _abandon(context: Context, request: Request, failure: Failure) -> None:
    """End what a request that failed had begun: nobody carries it out later, unasked. A run that executes goes on."""
    ledger, why = context.ledger, f"{failure.kind}: {failure.sentence}"
    for claim in ledger.open_claims(request.model):
        if claim.key == request.key and context.runner.state(ledger, claim.owner).state != "executing":
            _stop(context, claim)
            claims.give_up(ledger, claim, why, context.moment)
    for decision in ledger.open_decisions(request.model):
        if decision.cause == request.key and decision.state == "open":
            ledger.end_decision(request.model, decision.number, state="failed", outcome=why)


def _end(context: Context, request: Request, outcome: str = "", run: str | None = None, failure: Failure | None = None) -> Act:
    context.ledger.end_request(request, outcome=outcome, run=run, failure=failure)
    result = outcome if failure is None else f"{failure.kind}: {failure.sentence}"
    return Act(model=request.model, what="answered", sentence=f"request {request.number} ({request.wish.kind}): {result}")


def _run(context: Context, request: Request, model: Model) -> Iterator[Found]:
    """A training or a monitoring run that a person asked for, from its claim to its end."""
    ledger = context.ledger
    if request.state == "open":
        clear_way(context, model.name, but=request.key)
        decision = _decide(context, request, request.wish) if isinstance(request.wish, Train) else None
        if intend(context, model.name, request.key, None if decision is None else decision.number) is None:
            raise PlatformError(
                f"{model.name}: another run was started at the same moment; `perennial runs {model.name}` shows it"
            )
        request = ledger.begin_request(request, None if decision is None else decision.number)
    claim = ledger.claim(request.key)
    if not claim.is_over:  # of a run that broke the person is told, and may ask again: no other follows it unasked
        yield from carry_on(context, model, claim, repeats=False)
        claim = ledger.claim(request.key)
    if claim.is_over:
        yield from _ended(context, request, model, ledger.run(claim.owner))


def _ended(context: Context, request: Request, model: Model, run: Run) -> Iterator[Found]:
    """Its run is over: its version is rolled out, and who asked is told."""
    if run.failure is not None:
        yield _end(context, request, run=run.run_id, failure=run.failure)
        return
    if run.outcome == claims.SUPERSEDED:
        raise PlatformError(f"run {run.run_id}: {run.reason}")
    yield from _roll_out(context, request, model, run)


def _roll_out(context: Context, request: Request, model: Model, run: Run) -> Iterator[Found]:
    """A registered version comes to its traffic at the time of its training: champions follow each other in that order."""
    failure = None
    if run.outcome == "registered":
        try:
            yield from roll_out(context, model)
        except FencedError:
            raise
        except Exception as error:  # the version is registered: the next tick goes on, and the person is told
            failure = Failure.of(translated(error, "rollout", "this sentence"))
    yield _end(context, request, outcome=run.outcome or "", run=run.run_id, failure=failure)


def _decide(context: Context, request: Request, wish: Train) -> Decision:
    """A person's training is a decision like any other: open, so that it is not forgotten after a crash."""
    fact = Fact(name="request", value=None, limit=None, sentence=wish.sentence)
    beyond = f" {wish.sentence}" if wish.model_copy(update={"search": None}) != Train() else ""
    sentence = f"Train again: a person asked for it.{beyond}"
    draft = DecisionDraft(kind="retrain", reason="manual", sentence=sentence, otherwise="Nobody asking.", facts=(fact,))
    return context.ledger.add_decision(request.model, cause=request.key, now=context.now, draft=draft)[0]


def clear_way(context: Context, model: str, but: str) -> None:
    """End every open claim of a model but one: a person is kept from their work by a run that executes, and by no other.

    What a run had come to its end with is noted. A training that the loop decided on, and that the controller would start again,
    waits for that: its decision is open. All else that failed or was killed is given up.

    Args:
        context: what the tick works with.
        model: name of the model.
        but: key of the person's own claim.

    Raises:
        PlatformError: a run of the model is in flight.
    """
    ledger = context.ledger
    for claim in ledger.open_claims(model):
        if claim.key == but:
            continue
        state = context.runner.state(ledger, claim.owner).state
        if state == "executing":
            raise PlatformError(
                f"{model}: run {claim.owner} is in flight for {claim.key}; wait for its end (`perennial logs {claim.owner}`)"
            )
        run = None if state == "unknown" else ledger.run(claim.owner)
        if run is not None and run.state == "succeeded":
            claims.end(ledger, run, context.now)
        else:
            _put_aside(context, claim, run)


def _put_aside(context: Context, claim: Claim, run: Run | None) -> None:
    """End a claim whose run broke, was killed, or was never prepared."""
    why = "it had not come to its end, and a person asked for another run"
    if run is not None and run.state == "failed":
        why = f"run {run.run_id} failed: {run.why}"
    is_of_the_loop = claim.decision is not None and context.ledger.decision(claim.model, claim.decision).reason != "manual"
    _stop(context, claim)
    end = claims.put_back if claims.is_tried_again(claim, run) and is_of_the_loop else claims.give_up
    end(context.ledger, claim, why, context.moment, kind=claims.GIVEN_UP)


def _stop(context: Context, claim: Claim) -> None:
    """Nothing of a run that is put aside goes on, where a server may still execute it; one that is away keeps nobody."""
    with suppress(PlatformError, NotFoundError):
        context.runner.stop(context.ledger, claim.owner)


def _rolled_back(context: Context, request: Request, reason: str) -> Act:
    """Settle the version that loses the traffic, then give it back: repeated after a crash, it goes back no further."""
    model = read(context.settings.models / f"{request.model}.yaml")
    deployer = open_deployer(context.settings)
    if request.state == "open":
        request = context.ledger.begin_request(request, leaving(deployer, context.ledger, model.name).number)
    assert request.subject is not None  # settled just now, or before
    to_follow = roll_back(context.settings, deployer, context.ledger, model, request.subject, context.moment, reason)
    return _end(context, request, outcome=to_follow or "")


def _rolled_out(context: Context, request: Request, wish: RollOut) -> Iterator[Found]:
    """Settle the attempt, then ask for the version and carry it out: repeated after a crash, it asks no second time."""
    ledger, name, to_follow = context.ledger, request.model, ""
    model = read(context.settings.models / f"{name}.yaml")
    deployer, version = open_deployer(context.settings), ledger.version(name, wish.version)
    if request.state == "open":
        attempt = attempt_for(deployer, ledger, version)
        if attempt is None:
            yield _end(context, request, outcome=_coming(ledger, version))
            return
        request = ledger.begin_request(request, attempt)
    assert request.subject is not None  # settled just now, or before
    ledger.request_rollout(model=name, number=version.number, now=context.now, reason=wish.reason, attempt=request.subject)
    try:
        yield from roll_out(context, model)
    except FencedError:
        raise
    except Exception as error:
        if ledger.champion(name) != version or deployer.deployed(name) != version.digest:
            raise  # the next tick goes on, and the person is told
        to_follow = str(translated(error, "rollout", "this sentence"))
    yield _end(context, request, outcome=to_follow)


def _coming(ledger: Ledger, champion: Version) -> str:
    """Which version takes the traffic from the champion; empty where none was asked for."""
    newest = ledger.rollouts(champion.model)[0]
    if newest.number == champion.number or newest.state not in ("requested", "checked"):
        return ""
    return f"version {newest.number}, which was asked for after it, takes the traffic"


def _retired(context: Context, request: Request, reason: str) -> Found:
    """Delete what is deployed of a model without a spec; what it waits for until nothing of it is there any more.

    Raises:
        DataError: its spec is still in the project.
        NotFoundError: nobody knows such a model.
    """
    settings, ledger, name = context.settings, context.ledger, request.model
    if (spec := settings.models / f"{name}.yaml").exists():
        raise DataError(
            f"{spec}: is there: a model is retired after its spec was removed from the project, else the next tick would deploy "
            f"it again; remove the file, then `perennial retire {name}` once more"
        )
    if is_object(context, name):
        raise DataError(f"Model {name} is in the cluster: `kubectl delete model {name}` ends its service, and keeps its versions")
    deployer = open_deployer(settings)
    is_deployed = name in deployer.models()
    if request.state == "open" and not is_deployed and name not in ledger.models():
        without = sorted({*ledger.models(), *deployer.models()} - {path.stem for path in settings.specs})
        raise NotFoundError(
            f"no model {name!r} in the ledger, and nothing of it is deployed; without a spec there are: "
            f"{', '.join(without) or 'none'}"
        )
    request = ledger.begin_request(request, None)
    ledger.check_fence()
    still_there = deployer.retire(name, reason, context.wall_clock)
    if still_there is not None:
        return still_there
    return _end(context, request, outcome="its versions, records and predictions are kept")
