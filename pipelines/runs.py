"""Local runs: each a folder and a process group of its own, started here or by hand with `python -m pipelines.run RUN`.

A run carries out a claim. Its folder holds its parameters, its log and its lock; the ledger says what became of it.
"""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Literal, NamedTuple

from perennial.errors import NotFoundError, PerennialError, PlatformError
from perennial.ledger import Fence, Ledger, Run
from perennial.loop.failure import Failure
from perennial.outages import translated
from perennial.settings import Settings
from pipelines.heartbeat import is_beating
from pipelines.kept import LOG, keep, log_lines
from pipelines.lock import MARK, held, is_executing, open_lock
from pipelines.log import last_step
from pipelines.steps import FAILURE, read_failure, report_of

ENVIRONMENT = {
    "PYTHONSAFEPATH": "1",  # a project has folders with the names of ours; a step must not import those
    "PYTHONUNBUFFERED": "1",  # the log is read while it is written
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PYTHONWARNINGS": "ignore",  # KFP's local runner warns of settings that only a cluster has
}
"""What the process of a run and its steps are given besides the settings."""


INSIDE_A_STEP = "_KFP_RUNTIME"
"""Variable of KFP's steps, in which the SDK knows no pipelines. A run inside a step has some."""


def new_id(model: str, wall_clock: datetime) -> str:
    """A fresh id: no run is ever submitted under the id of another."""
    return f"{model}-{wall_clock:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def prepare(runs: Path, run_id: str, parameters: dict[str, str]) -> str:
    """Write the folder of a run with its parameters; written again after a crash in between, it is as if for the first time.

    Args:
        runs: the folder of runs.
        run_id: a fresh id.
        parameters: of its pipeline; those of a training name a `recipe`.

    Returns:
        The run's folder.

    Raises:
        PlatformError: the folder cannot be written.
    """
    folder = runs / run_id
    file, whole = folder / "parameters.json", json.dumps(parameters, indent=1) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.with_suffix(".new").write_text(whole, encoding="utf-8")
        file.with_suffix(".new").replace(file)
    except OSError as error:
        raise PlatformError(f"{folder}: cannot be written ({error.strerror}); give PERENNIAL_STATE a folder that can") from error
    return str(folder)


def start(settings: Settings, run_id: str, *, own_group: bool = True) -> subprocess.Popen[bytes]:
    """Start a prepared run; what it prints goes to its `log.txt`.

    The new process is born with the run's lock: at no moment does a started run look like a dead one.

    Args:
        settings: where things are.
        run_id: the run.
        own_group: whether it has a process group of its own, and outlives this process.

    Raises:
        NotFoundError: no such run was prepared.
        PlatformError: another process executes it.
    """
    if not (settings.runs / run_id / "parameters.json").exists():
        raise NotFoundError(f"{settings.runs / run_id}: no run of this name was prepared; `perennial runs` lists them")
    environment = {**os.environ, **settings.to_environment(), **ENVIRONMENT, MARK: run_id}
    environment.pop(INSIDE_A_STEP, None)
    with open_lock(settings.runs, run_id) as lock, (settings.runs / run_id / LOG).open("ab") as log:
        command = [sys.executable, "-m", "pipelines.run", run_id, "--lock", str(lock.fileno())]
        return subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=own_group,
            pass_fds=(lock.fileno(),),
        )


RunState = Literal["executing", "ended", "dead", "gone", "terminated", "unknown"]


class RunStanding(NamedTuple):
    """How a run stands, in a word and in a sentence."""

    state: RunState
    """`unknown`: it was never prepared. `dead`: nothing executes it, and it has no end. `gone`: likewise, and it cannot be
    started again here. `terminated`: a person ended it."""
    sentence: str
    """For people."""


def state(runs: Path, ledger: Ledger, run_id: str, now: datetime) -> RunStanding:
    """How a run of this machine stands.

    A run of which this disk has no folder belongs to another host: it executes while its heart beats, and is `gone` afterwards,
    for it cannot be started again here. The ledger is asked after the lock: a run that ends between the two questions has ended.

    Args:
        runs: the folder of runs.
        ledger: the ledger.
        run_id: the run.
        now: the real time, UTC.
    """
    executing = is_executing(runs, run_id)
    try:
        run = ledger.run(run_id)
    except NotFoundError:
        return RunStanding("unknown", f"run {run_id} was never prepared")
    if executing:
        return RunStanding("executing", f"run {run_id} is executing")
    if run.state != "running":
        return RunStanding("ended", f"run {run_id} has ended")
    if (runs / run_id).exists():
        return RunStanding("dead", f"run {run_id} is executed by no process, and has no end")
    return standing_elsewhere(run, now)


def standing_elsewhere(run: Run, now: datetime) -> RunStanding:
    """How a run without an end stands of which nothing is at hand here: by its heartbeat.

    Args:
        run: without an end.
        now: the real time, UTC.
    """
    if is_beating(run, now):
        where = "" if run.host is None else f" on {run.host}"
        return RunStanding("executing", f"run {run.run_id} is executing{where}")
    return RunStanding("gone", f"run {run.run_id} executed on {run.host or 'another host'}, and says nothing any more")


def execute_locked(settings: Settings, run_id: str, execute: Callable[[Path, dict[str, str]], None], lock: IO[str]) -> int:
    """Execute a prepared run while holding its lock; returns the exit code.

    What a step broke with ends in the ledger, never in a trace for the user to read; the trace stays in the log. The ledger is
    opened after that: a step is a fork of this process, and no database may be open across a fork.

    Args:
        settings: where things are.
        run_id: the run.
        execute: does it.
        lock: the run's lock, locked.
    """
    folder, code = settings.runs / run_id, 0
    with held(lock, run_id):
        printed = len(log_lines(settings, run_id))
        (folder / FAILURE).unlink(missing_ok=True)
        try:
            execute(folder, json.loads((folder / "parameters.json").read_text(encoding="utf-8")))
        except Exception as raised:  # whatever ended the run is its result, and the ledger must say so
            failure = read_failure(folder) or _unsaid(raised, last_step(log_lines(settings, run_id)[printed:])[0], run_id)
            code = failure.error().exit_code
            _note(settings.ledger, folder, failure)
        try:
            keep(settings, run_id)
        except (PerennialError, OSError) as error:  # the run has its end, and this is another's fault
            sys.stderr.write(f"{error}\nwhat run {run_id} left is on this disk only\n")
    return code


def _note(ledger_url: str, folder: Path, failure: Failure) -> None:
    """The ledger has what the run broke with, unless its claim was taken since: then another start of it goes on.

    Raises:
        FencedError: it was.
        PlatformError: the ledger cannot be opened or is locked.
    """
    tokens = [int(path.read_text()) for path in sorted(folder.glob("steps/*/claim/token"))]
    with Ledger.open(ledger_url) as ledger:
        key = ledger.run(folder.name).claim
        writer = ledger.with_fence(Fence(kind="claim", key=key, token=tokens[-1])) if key and tokens and tokens[-1] else ledger
        writer.fail_run(folder.name, finished=datetime.now(UTC), failure=failure)


def _unsaid(raised: Exception, step: str, run_id: str) -> Failure:
    """The failure of a run of which no step wrote one: a step that is gone without a word, or what the run itself raised."""
    if step and isinstance(raised, RuntimeError):  # KFP's, which says no more than that the step failed
        gone = f"{step}: its process ended without an error of its own: it was killed, or memory ran out"
        return Failure.of(PlatformError(gone), step)
    return Failure.of(translated(raised, step or "run", report_of(run_id, step)), step)
