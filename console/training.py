"""`perennial train`: start a run, show its steps while they run, then what it found."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime

from rich.live import Live
from rich.spinner import Spinner

from console.findings import show_findings
from console.output import console, print_json
from perennial import errors
from perennial.findings import Findings
from perennial.ledger import Ledger, Run
from perennial.rollout import Rollout
from perennial.settings import Settings
from perennial.spec.model import Model
from perennial.spec.read import read
from pipelines import runs
from pipelines.log import Step

WAITS_FOR = {
    "build-dataset": "the point-in-time join of requests, features and labels",
    "validate-data": "the data contract, and Evidently's summary of a sample",
    "train": "the fits of the search and of the candidate",
    "evaluate": "scores of the evaluation block, resamples of its days, plots",
    "gate": "the gates",
    "refit": "the fit on everything",
    "check": "the refitted model, read back from its file",
    "record": "MLflow, the version's folder, the ledger",
}
"""What each step of the training pipeline spends its time on."""


def train_and_show(settings: Settings, name: str, now: datetime, clock: datetime, search: bool | None, json: bool) -> bool:
    """Train a model in a run of its own and print what the run found; returns whether a version was registered.

    Args:
        settings: where things are.
        name: the model.
        now: the time at which the training takes place.
        clock: the real time.
        search: whether to search; by default as the spec's schedule says.
        json: print JSON instead of tables.

    Raises:
        PerennialError: a step failed; the error is that step's own.
    """
    run_id = runs.prepare(settings, read(settings.models / f"{name}.yaml"), now, clock, search=search)
    process = runs.start(settings, run_id)
    try:
        steps = list(_shown(runs.follow(settings, run_id, process), quiet=json))
    except KeyboardInterrupt:
        console().print(f"\nThe run goes on without you: `perennial logs {run_id}`, `perennial runs`.")
        raise SystemExit(130) from None
    process.wait()
    with Ledger.open(settings.ledger) as ledger:
        run = ledger.run(run_id)
    if run.state != "succeeded":
        raise _error_of(run, process.returncode)
    findings = Findings.read(settings.results / run_id)
    rollout = _roll_out(settings, findings.model) if findings.registered else None
    if json:
        shown = {"run": run.model_dump(mode="json"), "gates": [result.model_dump() for result in findings.results]}
        print_json(shown | {"rollout": None if rollout is None else rollout.model_dump(mode="json")})
        return rollout is not None
    show_findings(console(), settings, run, findings, steps)
    if rollout is not None:
        console().print(f"rollout: version {rollout.number} is {rollout.state}: {rollout.reason}")
    return rollout is not None


def _roll_out(settings: Settings, model: Model) -> Rollout | None:
    """Carry out what the run asked for. Until there is a controller, whoever trains does it."""
    from serving.rollouts import carry_out

    with Ledger.open(settings.ledger) as ledger:
        return carry_out(settings, ledger, model, lambda: datetime.now(UTC))


def _shown(steps: Iterator[Step], quiet: bool) -> Iterator[Step]:
    """The finished steps; each is shown while it runs and when it has ended."""
    printer = console()
    with Live(console=printer, transient=True, refresh_per_second=8) as live:
        for step in steps:
            if step.state == "running":
                if not quiet and sys.stdout.isatty():
                    live.update(Spinner("dots", f"{step.name}: waits for {WAITS_FOR.get(step.name, 'its work')}"))
                continue
            if not quiet:
                live.update("")
                printer.print(f"  {'✓' if step.state == 'succeeded' else '✗'} {step.name:<14} {step.seconds:6.1f} s")
            yield step


def _error_of(run: Run, code: int | None) -> errors.PerennialError:
    """The error that ended a run, with the command that shows more."""
    kind, _, message = run.reason.partition(": ")
    known = getattr(errors, kind, None)
    hint = f"perennial logs {run.run_id}"
    if isinstance(known, type) and issubclass(known, errors.PerennialError):
        return known(f"{message}\n  the run's log: {hint}")
    return errors.PlatformError(
        f"run {run.run_id} ended without a result (exit code {code}): {run.reason or 'it was killed'}; see {hint}"
    )
