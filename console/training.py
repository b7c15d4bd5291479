"""`perennial train`: ask for a training, show its steps while they run, then what it found."""

from datetime import datetime

from console.asking import Clock, ask_for_run
from console.display.findings import show_findings, show_recorded
from console.display.output import console, print_json
from perennial.ledger import Ledger
from perennial.loop.request import Train
from perennial.settings import Settings
from perennial.spec.read import read
from perennial.versions import store as version_store
from perennial.versions.findings import Findings
from perennial.versions.folder import open_version
from perennial.versions.thresholds import Thresholds
from pipelines.kept import PATIENCE_SECONDS, results_of

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


def train_and_show(settings: Settings, name: str, now: datetime, clock: Clock, wish: Train, json: bool) -> bool:
    """Ask for a training and print what its run found; returns whether a version was registered.

    Args:
        settings: where things are.
        name: the model.
        now: the time at which the training takes place.
        clock: gives the real time.
        wish: what is asked of it.
        json: print JSON instead of tables.

    Raises:
        PerennialError: a step failed; the error is that step's own.
    """
    read(settings.models / f"{name}.yaml")
    request, steps = ask_for_run(settings, name, wish, now, clock, None if json else WAITS_FOR)
    assert request.run is not None  # a training is done by a run
    with Ledger.open(settings.ledger) as ledger:
        run, results = ledger.run(request.run), ledger.gates(request.run)
        rollout = next(iter(ledger.rollouts(name)), None) if run.outcome == "registered" else None
    if json:
        shown = {"run": run.model_dump(mode="json"), "gates": [result.model_dump() for result in results]}
        print_json(shown | {"rollout": None if rollout is None else rollout.model_dump(mode="json")})
        return rollout is not None
    found = results_of(settings, run.run_id, PATIENCE_SECONDS)
    if found.exists():
        show_findings(console(), settings, run, Findings.read(found), steps)
    else:
        show_recorded(console(), run, results)
    if rollout is not None:
        console().print(f"rollout: version {rollout.number} is {rollout.state}: {rollout.reason}")
        for sentence in _unjudged(settings, name, rollout.digest):
            console().print(f"  not judged in its windows: {sentence}", soft_wrap=True)
    return rollout is not None


def _unjudged(settings: Settings, name: str, digest: str) -> tuple[str, ...]:
    """What no window of a version can be judged by, a sentence each."""
    thresholds = Thresholds.of_version(open_version(version_store.folder(settings, name, digest)))
    return () if thresholds is None else thresholds.unjudged
