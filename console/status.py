"""Status: for each model what is true, why, and what comes next. Reads specs and ledger only."""

import http.client
import re
from datetime import timedelta

from console.output import console, minute, print_json, table
from perennial.errors import SpecError
from perennial.ledger import Ledger, Run, Version
from perennial.record import Record
from perennial.settings import Settings
from perennial.spec.model import Model
from perennial.spec.read import read
from pipelines.lock import is_executing

ANSWER_SECONDS = 0.5
"""How long a local server may take to say how it is."""


class ServerStatus(Record):
    """How the local server of a model is."""

    address: str
    """Host and port."""
    is_ready: bool
    """Whether model and online store answer."""
    lost_rows: int
    """Answers that could not be written to the prediction log since it started."""


def server_of(settings: Settings, model: str) -> ServerStatus | None:
    """How the local server of a model says it is; none when none answers."""
    path = settings.server_address(model)
    if not path.exists():
        return None
    address = path.read_text(encoding="utf-8").strip()
    connection = http.client.HTTPConnection(address, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", f"/v2/models/{model}/ready")
        response = connection.getresponse()
        response.read()
        connection.request("GET", "/metrics")
        metrics = connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    lost = re.search(r"^perennial_log_lost_rows_total\{[^}]*\} (\S+)$", metrics, re.MULTILINE)
    return ServerStatus(address=address, is_ready=response.status == 200, lost_rows=int(float(lost[1])) if lost else 0)


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
    server: ServerStatus | None = None
    """How its local server is; null when none answers."""

    @property
    def served(self) -> str:
        """How its local server is, in words."""
        if self.server is None:
            return "no local server answers"
        if self.server.lost_rows:
            return (
                f"{self.server.address}: {self.server.lost_rows:,} answers were not logged, the disk is full or read-only: "
                "the platform frees it"
            )
        return f"{self.server.address}: {'ready' if self.server.is_ready else 'not ready; its readiness answer says why'}"


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
            status = status_of(name, spec, ledger.champion(name), newest, executing)
            found.append(status.model_copy(update={"server": server_of(settings, name)}))
    return found


def show_status(settings: Settings, json: bool) -> None:
    """Print how every model stands."""
    found = read_status(settings)
    if json:
        print_json([status.model_dump() for status in found])
    elif found:
        rows = [(status.model, status.state, status.why, status.served, status.next) for status in found]
        console().print(table("Status", ("model", "state", "why", "server", "next"), rows))
    else:
        console().print(f"No model: {settings.models} has no spec. Write one; docs/spec.md says what it holds.")
