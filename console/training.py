"""`perennial train`: start a run, show its steps while they run, then what it found."""

from datetime import datetime

from console.display.findings import show_findings
from console.display.output import console, print_json
from console.following import run_and_show
from perennial.errors import PlatformError
from perennial.ledger import Ledger
from perennial.lifecycle.claim import SUPERSEDED
from perennial.loop.rollout import Rollout
from perennial.settings import Settings
from perennial.spec.model import Model
from perennial.spec.read import read
from perennial.versions import store as version_store
from perennial.versions.findings import Findings
from perennial.versions.folder import open_version
from perennial.versions.thresholds import Thresholds
from pipelines import runs

WAITS_FOR = {
    "claim": "the ledger: whether another run carries this out already",
    "build-dataset": "the point-in-time join of requests, features and labels",
    "validate-data": "the data contract, and Evidently's summary of a sample",
    "train": "the fits of the search and of the candidate",
    "evaluate": "scores of the evaluation block, resamples of its days, plots",
    "gate": "the gates",
    "refit": "the fit on everything",
    "set-thresholds": "the weekly blocks and what is normal among them",
    "check": "the refitted model, read back from its file",
    "record": "MLflow, the version's folder, the ledger",
}
"""What each step of the training pipeline spends its time on."""


def train_and_show(
    settings: Settings, name: str, now: datetime, clock: datetime, search: bool | None, asked: runs.Asked, json: bool
) -> bool:
    """Train a model in a run of its own and print what the run found; returns whether a version was registered.

    Args:
        settings: where things are.
        name: the model.
        now: the time at which the training takes place.
        clock: the real time.
        search: whether to search; by default as the spec's schedule says.
        asked: what else a person asks for.
        json: print JSON instead of tables.

    Raises:
        PerennialError: a step failed; the error is that step's own.
    """
    run_id = runs.prepare(settings, read(settings.models / f"{name}.yaml"), now, clock, search=search, asked=asked)
    run, steps = run_and_show(settings, run_id, WAITS_FOR, quiet=json)
    if run.outcome == SUPERSEDED:
        raise PlatformError(f"run {run_id}: {run.reason}")
    findings = Findings.read(settings.results / run_id)
    rollout = _roll_out(settings, findings.model, now) if findings.registered else None
    if json:
        shown = {"run": run.model_dump(mode="json"), "gates": [result.model_dump() for result in findings.results]}
        print_json(shown | {"rollout": None if rollout is None else rollout.model_dump(mode="json")})
        return rollout is not None
    show_findings(console(), settings, run, findings, steps)
    if rollout is not None:
        console().print(f"rollout: version {rollout.number} is {rollout.state}: {rollout.reason}")
        for sentence in _unjudged(settings, name, rollout.digest):
            console().print(f"  not judged in its windows: {sentence}", soft_wrap=True)
    return rollout is not None


def _unjudged(settings: Settings, name: str, digest: str) -> tuple[str, ...]:
    """What no window of a version can be judged by, a sentence each."""
    version = open_version(version_store.folder(settings, name, digest))
    return Thresholds.read(version.file("thresholds")).unjudged if version.has("thresholds") else ()


def _roll_out(settings: Settings, model: Model, now: datetime) -> Rollout | None:
    """Carry out what the run asked for, at the run's own time: champions follow each other in the order of those times."""
    from serving.deployers import open_deployer
    from serving.rollouts import carry_out

    with Ledger.open(settings.ledger) as ledger:
        return carry_out(settings, open_deployer(settings), ledger, model, lambda: now)
