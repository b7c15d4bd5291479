"""One tick: for each model, answer requests, carry on runs in flight and rollouts, and submit what is due."""

import os
import socket
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from controller.context import Context, Overview
from controller.dispatch import submit_due
from controller.flight import carry_on
from controller.models.following import follow, tell
from controller.requests import answer
from controller.rollout import roll_out
from controller.runner import Runner, open_runner
from controller.ticked import LEASE, Act, Found, Note, Obstacle, Ticked
from perennial.errors import FencedError
from perennial.ledger import Fence, Lease, Ledger
from perennial.outages import translated
from perennial.settings import Settings
from perennial.spec.read import reread
from serving.deployers import open_deployer

LEASE_SECONDS = 60.0
"""How long a controller that says nothing keeps the lease. A tick takes seconds; a paused one is fenced off later."""

NOTES = timedelta(seconds=LEASE_SECONDS / 2)
"""How far the noted time of the last tick may stay behind: a controller that ticks each second does not write each second."""


def holder() -> str:
    """This process, as it is named in the lease."""
    return f"{socket.gethostname()}/{os.getpid()}"


def tick(
    settings: Settings,
    now: datetime,
    clock: Callable[[], datetime],
    *,
    runner: Runner | None = None,
    name: str | None = None,
    release: bool = True,
    unasked: bool = True,
) -> Ticked:
    """Begin everything that people asked for and that is due at `now`, or say what is in the way.

    Args:
        settings: where things are.
        now: the time for which it ticks, UTC: windows close, labels mature and champions age by it.
        clock: gives the real time, by which leases run out.
        runner: executes runs; local processes when absent.
        name: holder of the lease; this process when absent.
        release: whether the lease is given back at the end.
        unasked: whether to do what is due beyond what people asked for.

    Raises:
        FencedError: another controller took over while this one worked; it goes on with the work.
        PlatformError: the ledger cannot be opened or is locked.
    """
    with Ledger.open(settings.ledger) as ledger:
        mine = name or holder()
        lease = ledger.keep_lease(LEASE, mine, now=clock(), seconds=LEASE_SECONDS)
        if lease is None:
            return Ticked(now=now, problems=(_stands_by(ledger.lease(LEASE)),), holds_lease=False)
        fenced = ledger.with_fence(Fence(kind="lease", key=LEASE, token=lease.token))
        try:
            context = Context(settings, fenced, runner or open_runner(settings), now, clock())
            models = {request.model for request in fenced.open_requests()}
            if not unasked:
                return _tick(context, clock, lease, models, answer)
            if lease.ticked is not None and now < lease.ticked:
                answered = _tick(context, clock, lease, models, answer)
                return answered.model_copy(update={"problems": (_went_back(lease.ticked, now), *answered.problems)})
            if lease.ticked is None or now - lease.ticked >= NOTES:
                fenced.note_tick(LEASE, now)
            followed, problems = follow(context)
            context = replace(context, overview=Overview.read(fenced))  # after that: annotations may have become requests
            models |= {request.model for request in fenced.open_requests()} | {path.stem for path in settings.specs}
            ticked = _tick(context, clock, lease, models, _all_of)
            if followed or settings.models_from == "files":  # else nobody knows now which models there should be
                ticked = _with_removed(context, ticked, {one.name for one in followed})
            told = tell(context, followed, lambda: _renew(fenced, mine, clock()))
            return ticked.model_copy(update={"problems": (*problems, *ticked.problems, *told)})
        finally:
            if release:
                ledger.release_lease(lease, clock())


Part = Callable[[Context, str], Iterator[Found]]
"""What a tick does about the model of this name."""


def _tick(context: Context, clock: Callable[[], datetime], lease: Lease, models: Iterable[str], part: Part) -> Ticked:
    acts, waits, problems = list[Act](), list[str](), list[Obstacle]()
    for name in sorted(models):
        try:
            for result in part(context, name):
                match result:
                    case Act():
                        acts.append(result)
                    case Obstacle():
                        problems.append(result)
                    case _:
                        waits.append(result)
        except FencedError:
            raise
        except Exception as error:  # whatever one model comes to, the others are looked at
            problems.append(Obstacle(model=name, sentence=_said(error)))
        lease = _kept(context.ledger, lease, clock())
    return Ticked(now=context.now, acts=tuple(acts), waits=tuple(waits), problems=tuple(problems))


def _kept(ledger: Ledger, lease: Lease, now: datetime) -> Lease:
    """The lease in time: while more than half of it is left, nothing is asked or written."""
    if lease.expires - now > timedelta(seconds=LEASE_SECONDS / 2):
        return lease
    return ledger.take_lease(LEASE, lease.holder, now=now, seconds=LEASE_SECONDS) or lease


def _renew(ledger: Ledger, mine: str, now: datetime) -> None:
    """The lease in time, and nobody else's.

    Raises:
        FencedError: it was taken.
    """
    lease = ledger.lease(LEASE)
    if lease is not None and lease.holder == mine:
        _kept(ledger, lease, now)
    ledger.check_fence()


def _all_of(context: Context, name: str) -> Iterator[Found]:
    """One model's part of a tick. A rollout that cannot be carried out now does not keep its windows from being looked at."""
    is_busy, path = context.is_busy(name), context.settings.models / f"{name}.yaml"
    if is_busy:
        yield from answer(context, name)
    if not path.exists():
        return
    model = reread(path)
    if is_busy:
        request_keys = {request.key for request in context.ledger.open_requests(name)}
        for claim in context.ledger.open_claims(name):
            if claim.key not in request_keys:
                yield from carry_on(context, model, claim)
    try:
        yield from roll_out(context, model)
    except FencedError:
        raise
    except Exception as error:  # of MLflow, the deployer or a file: what comes after does not need them
        yield Obstacle(model=name, sentence=f"the rollout stands still: {_said(error)}")
    yield from submit_due(context, model)


def _with_removed(context: Context, ticked: Ticked, objects: Collection[str]) -> Ticked:
    """A tick that also says which models go on serving although their specs are gone."""
    try:
        deployed = open_deployer(context.settings).models()
    except Exception as error:
        unknown = Obstacle(model="", sentence=f"whether a model without a spec serves is not known: {_said(error)}")
        return ticked.model_copy(update={"problems": (*ticked.problems, unknown)})
    gone = [name for name in deployed if name not in objects and not (context.settings.models / f"{name}.yaml").exists()]
    notes = tuple(_removed(context, name) for name in gone)
    return ticked.model_copy(update={"notes": notes})


def _removed(context: Context, name: str) -> Note:
    sentence = (
        f"{context.settings.models / name}.yaml is gone, and what was deployed of {name} goes on serving, unwatched: restore the "
        f"file, or `perennial retire {name} --reason '…'` ends its service"
    )
    return Note(model=name, sentence=sentence)


def _said(error: Exception) -> str:
    """An error in words; one that is not ours with its kind and place."""
    return str(translated(error, "tick", "this sentence"))


def _stands_by(lease: Lease | None) -> Obstacle:
    if lease is None:
        return Obstacle(model="", sentence="another controller took the lease at the same moment; try again")
    return Obstacle(
        model="",
        sentence=f"{lease.holder} is the controller until {lease.expires:%H:%M:%S} UTC or longer; this one stands by",
    )


def _went_back(last: datetime, now: datetime) -> Obstacle:
    return Obstacle(
        model="",
        sentence=(
            f"the clock went back: the last tick was for {last.isoformat()}, this one is for {now.isoformat()}; nothing is done "
            "until the time is later again. The platform sets the clock right; a replay takes a PERENNIAL_STATE of its own"
        ),
    )
