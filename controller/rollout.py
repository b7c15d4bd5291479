"""A model's traffic: the newest rollout goes on, and what is deployed is what the ledger wants."""

from collections.abc import Iterator

from controller.context import Context
from controller.ticked import Act, Found, Obstacle
from perennial.spec.model import Model
from serving.deployers import open_deployer
from serving.rollouts import carry_out


def roll_out(context: Context, model: Model) -> Iterator[Found]:
    """Advance the newest rollout, reconcile the deployment with the ledger, report progress.

    Raises:
        FencedError: the lease was taken.
        PerennialError: MLflow, the deployer or a file is in the way; the next call goes on.
    """
    before = next(iter(context.ledger.rollouts(model.name)), None)
    context.ledger.check_fence()
    deployer = open_deployer(context.settings)
    after, change = carry_out(context.settings, deployer, context.ledger, model, context.moment)
    if after is not None and after != before:
        sentence = f"version {after.number} is {after.state}: {after.reason}"
        yield Act(model=model.name, what="rolled out", sentence=sentence)
    if change is not None and (change.kind == "Repaired" or after == before):
        yield Act(model=model.name, what="repaired", sentence=change.sentence)
    standing = deployer.standing(model.name)
    if standing.state in ("stuck", "foreign"):
        yield Obstacle(model=model.name, sentence=standing.sentence)
    elif standing.state == "rolling":
        yield standing.sentence
