"""One tick: for each model, runs in flight are carried on, rollouts carried out, and what is due is submitted."""

import os
import socket
from collections.abc import Callable, Iterator
from datetime import datetime

from controller.dispatch import submit_due
from controller.flight import World, carry_on
from controller.runner import LocalRunner, Runner
from controller.ticked import LEASE, Act, Found, Problem, Ticked
from perennial.errors import FencedError
from perennial.ledger import Fence, Lease, Ledger
from perennial.outages import translated
from perennial.settings import Settings
from perennial.spec.model import Model
from perennial.spec.read import read
from serving.deployers import open_deployer
from serving.rollouts import carry_out

LEASE_SECONDS = 60.0
"""How long a controller that says nothing keeps the lease. A tick takes seconds; a paused one is fenced off later."""


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
) -> Ticked:
    """Everything that is due at `now` has been begun, or the tick says what is in its way.

    Args:
        settings: where things are.
        now: the time for which it ticks, UTC: windows close, labels mature and champions age by it.
        clock: gives the real time, by which leases run out.
        runner: executes runs; local processes when absent.
        name: holder of the lease; this process when absent.
        release: whether the lease is given back at the end.

    Raises:
        FencedError: another controller took over while this one worked; it goes on with the work.
        PlatformError: the ledger cannot be opened or is locked.
    """
    with Ledger.open(settings.ledger) as ledger:
        mine = name or holder()
        lease = ledger.take_lease(LEASE, mine, now=clock(), seconds=LEASE_SECONDS)
        if lease is None:
            return Ticked(now=now, problems=(_stands_by(ledger.lease(LEASE)),), holds_lease=False)
        fenced = ledger.with_fence(Fence(kind="lease", key=LEASE, token=lease.token))
        try:
            if lease.ticked is not None and now < lease.ticked:
                return Ticked(now=now, problems=(_went_back(lease.ticked, now),))
            if lease.ticked != now:
                fenced.note_tick(LEASE, now)
            world = World(settings, fenced, runner or LocalRunner(settings), now, clock())
            return _tick(world, clock, mine)
        finally:
            if release:
                ledger.release_lease(lease, clock())


def _tick(world: World, clock: Callable[[], datetime], mine: str) -> Ticked:
    acts, waits, problems = list[Act](), list[str](), list[Problem]()
    for path in sorted(world.settings.models.glob("*.yaml")):
        try:
            for found in _of_model(world, read(path)):
                match found:
                    case Act():
                        acts.append(found)
                    case Problem():
                        problems.append(found)
                    case _:
                        waits.append(found)
        except FencedError:
            raise
        except Exception as error:  # whatever one model comes to, the others are looked at
            problems.append(Problem(model=path.stem, sentence=_said(error)))
        world.ledger.take_lease(LEASE, mine, now=clock(), seconds=LEASE_SECONDS)
    return Ticked(now=world.now, acts=tuple(acts), waits=tuple(waits), problems=tuple(problems))


def _of_model(world: World, model: Model) -> Iterator[Found]:
    """One model's part of a tick. A rollout that cannot be carried out now does not keep its windows from being looked at."""
    yield from carry_on(world, model)
    try:
        yield from _roll_out(world, model)
    except FencedError:
        raise
    except Exception as error:  # of MLflow, the deployer or a file: what comes after does not need them
        yield Problem(model=model.name, sentence=f"the rollout stands still: {_said(error)}")
    yield from submit_due(world, model)


def _said(error: Exception) -> str:
    """An error in words; one that is not ours with its kind and place."""
    return str(translated(error, "tick", "this sentence"))


def _roll_out(world: World, model: Model) -> Iterator[Found]:
    """Advance the newest rollout, reconcile the deployment with the ledger, report progress."""
    before = next(iter(world.ledger.rollouts(model.name)), None)
    world.ledger.check_fence()
    deployer = open_deployer(world.settings)
    after = carry_out(world.settings, deployer, world.ledger, model, lambda: world.now)
    if after is not None and after != before:
        sentence = f"version {after.number} is {after.state}: {after.reason}"
        yield Act(model=model.name, what="rolled out", sentence=sentence)
    standing = deployer.standing(model.name)
    if standing.state == "stuck":
        yield Problem(model=model.name, sentence=standing.sentence)
    elif standing.state == "rolling":
        yield standing.sentence


def _stands_by(lease: Lease | None) -> Problem:
    if lease is None:
        return Problem(model="", sentence="another controller took the lease at the same moment; try again")
    return Problem(
        model="",
        sentence=f"{lease.holder} is the controller until {lease.expires:%H:%M:%S} UTC or longer; this one stands by",
    )


def _went_back(last: datetime, now: datetime) -> Problem:
    return Problem(
        model="",
        sentence=(
            f"the clock went back: the last tick was for {last.isoformat()}, this one is for {now.isoformat()}; nothing is done "
            "until the time is later again. The platform sets the clock right; a replay takes a PERENNIAL_STATE of its own"
        ),
    )
