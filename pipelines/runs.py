"""Local runs: each a folder and a process group of its own, started here or by hand with `python -m pipelines.run RUN`."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from perennial.errors import NotFoundError, PerennialError, PlatformError
from perennial.ledger import Ledger, Mode, Version
from perennial.settings import Settings
from perennial.spec.model import Model
from perennial.spec.read import digest, to_json
from pipelines.lock import held
from pipelines.log import Step, find_error, read_steps

ENVIRONMENT = {
    "PYTHONSAFEPATH": "1",  # a project has folders with the names of ours; a step must not import those
    "PYTHONUNBUFFERED": "1",  # the log is read while it is written
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PYTHONWARNINGS": "ignore",  # KFP's local runner warns of settings that only a cluster has
}
"""What the process of a run and its steps are given besides the settings."""


def wants_search(model: Model, champion: Version | None, now: datetime) -> bool:
    """Whether a training at `now` must search: there is no champion, or its recipe was searched too long ago."""
    return champion is None or (now - champion.searched_at).days >= model.spec.training.search.every_days


def prepare(settings: Settings, model: Model, now: datetime, wall_clock: datetime, *, search: bool | None = None) -> str:
    """Make a run's folder with its parameters and its row in the ledger; returns the run's id.

    Args:
        settings: where things are.
        model: the spec, as it is now: a later change of the file does not reach the run.
        now: the time at which the run takes place.
        wall_clock: the real time.
        search: whether to search among the candidates; by default as the spec's schedule says.

    Raises:
        PlatformError: the folder cannot be written, or the ledger is locked.
    """
    ledger = Ledger.open(settings.ledger)
    champion = ledger.champion(model.name)
    searching = wants_search(model, champion, now) if search is None or champion is None else search
    run_id = f"{model.name}-{wall_clock:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    parameters = {
        "spec": to_json(model),
        "run_id": run_id,
        "now": now.isoformat(),
        "wall_clock": wall_clock.isoformat(),
        "recipe": "" if searching or champion is None else champion.recipe.model_dump_json(),
        "champion": "" if champion is None else champion.digest,
    }
    folder = settings.runs / run_id
    try:
        folder.mkdir(parents=True)
        (folder / "parameters.json").write_text(json.dumps(parameters, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise PlatformError(f"{folder}: cannot be written ({error.strerror}); give PERENNIAL_STATE a folder that can") from error
    mode: Mode = "search" if searching else "refit"
    ledger.start_run(
        run_id=run_id, model=model.name, mode=mode, started=wall_clock, now=now, spec=digest(model), folder=str(folder)
    )
    return run_id


def start(settings: Settings, run_id: str) -> subprocess.Popen[bytes]:
    """Start a prepared run in a process group of its own; what it prints goes to its `log.txt`."""
    environment = {**os.environ, **settings.to_environment(), **ENVIRONMENT}
    with (settings.runs / run_id / "log.txt").open("ab") as log:
        command = [sys.executable, "-m", "pipelines.run", run_id]
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True)


def follow(settings: Settings, run_id: str, process: subprocess.Popen[bytes]) -> Iterator[Step]:
    """Every change of a step's state until the process has ended."""
    with (settings.runs / run_id / "log.txt").open(encoding="utf-8", errors="replace") as log:
        yield from read_steps(_lines(log, process))


def _lines(log: IO[str], process: subprocess.Popen[bytes]) -> Iterator[str]:
    """Whole lines of a log that is still written, until the process has ended."""
    rest = ""
    while True:
        ended = process.poll() is not None
        rest += log.read()
        *lines, rest = rest.split("\n")
        yield from lines
        if ended:
            return
        time.sleep(0.1)


def log_lines(settings: Settings, run_id: str) -> list[str]:
    """What a run has printed so far.

    Raises:
        NotFoundError: the run has no log.
    """
    path = settings.runs / run_id / "log.txt"
    if not path.exists():
        raise NotFoundError(f"{path}: run {run_id} has no log on this machine")
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def execute_locked(settings: Settings, run_id: str, execute: Callable[[Path, dict[str, str]], None]) -> int:
    """Execute a prepared run while holding its lock; returns the exit code.

    An error of a step ends in the ledger with its message, never in a trace for the user to read.

    Raises:
        NotFoundError: no such run was prepared.
        PlatformError: another process executes it.
    """
    folder = settings.runs / run_id
    if not (folder / "parameters.json").exists():
        raise NotFoundError(f"{folder}: no run of this name was prepared; `perennial runs` lists them")
    with held(settings, run_id), Ledger.open(settings.ledger) as ledger:
        try:
            execute(folder, json.loads((folder / "parameters.json").read_text(encoding="utf-8")))
        except Exception as raised:  # whatever ended the run is its result, and the ledger must say so
            error = find_error(log_lines(settings, run_id)) or PerennialError(str(raised))
            ledger.fail_run(run_id, finished=datetime.now(UTC), reason=f"{type(error).__name__}: {error}")
            return error.exit_code
    return 0
