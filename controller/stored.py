"""What a status is concluded from, read: spec, ledger, deployer, the process of a run. `perennial.status` concludes."""

from pathlib import Path

from controller.runner import Runner
from perennial.errors import PlatformError, SpecError
from perennial.ledger import Ledger
from perennial.loop.standing import Standing
from perennial.settings import Settings
from perennial.spec.model import Model
from perennial.spec.read import read
from perennial.status.stored import Stored
from serving.deployers.reading import Reading

RECENT = 12
"""Windows and decisions of a model that are looked at."""


def deployed_models(deployer: Reading) -> tuple[str, ...]:
    """Models of which something is deployed; empty while nobody can say, which is told of each model."""
    try:
        return deployer.models()
    except PlatformError:
        return ()


def stored_of(settings: Settings, deployer: Reading, ledger: Ledger, name: str, runner: Runner) -> Stored:
    """What is stored about a model.

    Args:
        settings: where things are.
        deployer: says what is deployed.
        ledger: the ledger.
        name: the model.
        runner: says how a run stands.
    """
    newest = next(iter(ledger.runs(name, limit=1)), None)
    running = newest is not None and newest.state == "running"
    state, sentence = runner.state(ledger, newest.run_id) if newest is not None and running else (None, "")
    deployed, traffic = traffic_of(settings.namespace, deployer, name)
    return Stored(
        name=name,
        spec=spec_of(settings.models, name),
        champion=ledger.champion(name),
        run=newest,
        executing=state == "executing",
        gone=state == "gone",
        unfinished=sentence if settings.pipelines is not None and state in ("dead", "terminated") else "",
        claimed=newest is not None and any(claim.owner == newest.run_id for claim in ledger.open_claims(name)),
        rollout=next(iter(ledger.rollouts(name)), None),
        deployed=deployed,
        traffic=traffic,
        windows=ledger.windows(name, limit=RECENT),
        decisions=ledger.decisions(name, limit=RECENT),
        incidents=ledger.incidents(name, only_open=True),
        requests=ledger.open_requests(name),
        logged=is_logged(settings, name),
    )


def spec_of(models: Path, name: str) -> Model | SpecError | None:
    """The spec of a model, what is wrong with it, or none when there is no file."""
    path = models / f"{name}.yaml"
    if not path.exists():
        return None
    try:
        return read(path)
    except SpecError as error:
        return error


def traffic_of(namespace: str | None, deployer: Reading, name: str) -> tuple[str | None, Standing | str | None]:
    """Digest of what was deployed, and how far the traffic on a cluster is, or why the cluster does not say."""
    if namespace is None:
        return deployer.deployed(name), None
    try:
        return deployer.deployed(name), deployer.standing(name)
    except PlatformError as error:
        return None, str(error)


def is_logged(settings: Settings, name: str) -> bool:
    """Whether a prediction was ever logged; as far as this machine knows it, when the bucket does not answer."""
    if settings.prediction_log(name).exists() or settings.prediction_tables(name).exists():
        return True
    if settings.bucket is None:
        return False
    from monitoring.log.collect import has_log

    try:
        return has_log(settings, name)
    except PlatformError:
        return False
