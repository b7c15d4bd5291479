"""Status: for each model what is true, why, and what comes next. Reads specs and ledger only."""

from datetime import timedelta

from console.output import console, minute, print_json, table
from perennial.errors import SpecError
from perennial.ledger import Ledger, Run, Version
from perennial.record import Record
from perennial.settings import Settings
from perennial.spec.model import Model
from perennial.spec.read import read
from pipelines.lock import is_executing


class ModelStatus(Record):
    """How one model stands."""

    model: str
    """Its name."""
    state: str
    """In a word or two: `not trained`, `trained`, `training`, `spec wrong`, `run lost`."""
    why: str
    """One sentence: what that is concluded from."""
    next: str
    """What comes next, and who does it."""


def status_of(
    name: str, spec: Model | SpecError | None, champion: Version | None, run: Run | None, executing: bool
) -> ModelStatus:
    """How a model stands, from what is stored about it.

    Args:
        name: the model.
        spec: its spec, what is wrong with it, or none when there is no file.
        champion: its champion, if it has one.
        run: its newest run, if it has one.
        executing: whether a process executes that run now.
    """
    trained = (
        "no version is registered"
        if champion is None
        else f"version {champion.number} knows labels up to {minute(champion.trained_until)}"
    )
    last = "" if run is None else f"; the last run {run.run_id} ended {run.outcome or run.state}: {run.reason}"
    if isinstance(spec, SpecError):
        first = str(spec).splitlines()[0]
        return ModelStatus(
            model=name, state="spec wrong", why=first, next=f"the owner mends it; `perennial validate {name}` shows all"
        )
    if run is not None and run.state == "running":
        if executing:
            return ModelStatus(
                model=name, state="training", why=f"run {run.run_id} is executing", next=f"wait; `perennial logs {run.run_id}`"
            )
        why = f"run {run.run_id} was not finished, and no process executes it: it was killed or the machine stopped"
        return ModelStatus(model=name, state="run lost", why=why, next=f"start it again: `python -m pipelines.run {run.run_id}`")
    if spec is None:
        return ModelStatus(
            model=name,
            state="no spec",
            why=f"models/{name}.yaml is gone; {trained}",
            next="the owner restores it or retires the model",
        )
    if champion is None:
        return ModelStatus(model=name, state="not trained", why=trained + last, next=f"train it: `perennial train {name}`")
    policy = spec.spec.retraining
    if policy.max_age_days is None:
        following = f"no scheduled retrain; by hand: `perennial train {name}`"
    else:
        due = champion.trained_until + timedelta(days=policy.max_age_days)
        following = f"its retrain is due on {due:%Y-%m-%d}; by hand: `perennial train {name}`"
    return ModelStatus(model=name, state="trained", why=trained + last, next=following)


def read_status(settings: Settings) -> list[ModelStatus]:
    """How every model stands that has a spec or was ever trained, by name."""
    found: list[ModelStatus] = []
    with Ledger.open(settings.ledger) as ledger:
        specs = {path.stem: path for path in settings.models.glob("*.yaml")}
        for name in sorted(specs.keys() | set(ledger.models())):
            spec: Model | SpecError | None = None
            if name in specs:
                try:
                    spec = read(specs[name])
                except SpecError as error:
                    spec = error
            newest = next(iter(ledger.runs(name, limit=1)), None)
            executing = newest is not None and newest.state == "running" and is_executing(settings, newest.run_id)
            found.append(status_of(name, spec, ledger.champion(name), newest, executing))
    return found


def show_status(settings: Settings, json: bool) -> None:
    """Print how every model stands."""
    found = read_status(settings)
    if json:
        print_json([status.model_dump() for status in found])
    elif found:
        rows = [(status.model, status.state, status.why, status.next) for status in found]
        console().print(table("Status", ("model", "state", "why", "next"), rows))
    else:
        console().print(f"No model: {settings.models} has no spec. Write one; docs/spec.md says what it holds.")
