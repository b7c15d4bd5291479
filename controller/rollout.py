"""A model's traffic: the newest rollout goes on, and what is deployed is what the ledger wants."""

from collections.abc import Iterator

from controller.context import Context
from controller.ticked import Act, Found, Obstacle
from perennial.spec.model import Model
from serving.deployers import Deployer, open_deployer
from serving.rollouts import carry_out, restore


def roll_out(context: Context, model: Model) -> Iterator[Found]:
    """Advance the newest rollout, reconcile the deployment with the ledger, report progress.

    Raises:
        FencedError: the lease was taken.
        PerennialError: MLflow, the deployer or a file is in the way; the next call goes on.
    """
    settled = None if context.overview is None or context.is_busy(model.name) else context.overview.settled.get(model.name)
    deployer = open_deployer(context.settings)
    if settled is not None:
        change = restore(context.settings, deployer, context.ledger, model, *settled, context.wall_clock)
        if change is not None:
            yield Act(model=model.name, what="repaired", sentence=change.sentence)
        yield from _standing(deployer, model.name)
        return
    before = next(iter(context.ledger.rollouts(model.name)), None)
    context.ledger.check_fence()
    after, change = carry_out(context.settings, deployer, context.ledger, model, context.moment)
    if after is not None and after != before:
        sentence = f"version {after.number} is {after.state}: {after.reason}"
        yield Act(model=model.name, what="rolled out", sentence=sentence)
    if change is not None and (change.kind == "Repaired" or after == before):
        yield Act(model=model.name, what="repaired", sentence=change.sentence)
    yield from _standing(deployer, model.name)


def _standing(deployer: Deployer, model: str) -> Iterator[Found]:
    """What is deployed and does not come, is foreign, or is on its way."""
    standing = deployer.standing(model)
    if standing.state in ("stuck", "foreign"):
        yield Obstacle(model=model, sentence=standing.sentence)
    elif standing.state == "rolling":
        yield standing.sentence
