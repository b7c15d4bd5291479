"""Local runs: each a folder and a process group of its own, started here or by hand with `python -m pipelines.run RUN`.

A run carries out a claim. Its folder holds its parameters, its log and its lock; the ledger says what became of it.
"""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Literal

from perennial.errors import NotFoundError, PlatformError
from perennial.ledger import Ledger, Mode, Version
from perennial.lifecycle.claim import BEING_BEGUN, GIVEN_UP, end, give_up, is_tried_again, put_back
from perennial.loop.decision import Claim, Decision, DecisionDraft, Fact
from perennial.loop.failure import Failure
from perennial.outages import translated
from perennial.settings import Settings
from perennial.spec.model import Model
from perennial.spec.read import digest, to_json
from pipelines.lock import MARK, held, is_executing, open_lock
from pipelines.log import Step, last_step, read_steps
from pipelines.steps import FAILURE, read_failure, report_of

ENVIRONMENT = {
    "PYTHONSAFEPATH": "1",  # a project has folders with the names of ours; a step must not import those
    "PYTHONUNBUFFERED": "1",  # the log is read while it is written
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PYTHONWARNINGS": "ignore",  # KFP's local runner warns of settings that only a cluster has
}
"""What the process of a run and its steps are given besides the settings."""


JUDGED = ("registered", "stopped")
"""Outcomes of a run that came to its gates."""


@dataclass(frozen=True)
class Asked:
    """What a person may ask of a training besides its time; it is kept with the decision."""

    include_excluded: bool = False
    """Whether requests train too that incidents exclude."""
    replace: bool = False
    """Whether the champion is not compared with: one that cannot be compared is replaced by a search of its own."""
    reason: str = ""
    """Why, in one sentence."""

    @property
    def sentence(self) -> str:
        """What was asked for."""
        parts = ["A person asked for a training."]
        parts += ["It takes in the requests that incidents exclude."] * self.include_excluded
        parts += ["It is not compared with the champion, which it replaces."] * self.replace
        return " ".join(parts) + (f" Why: {self.reason}" if self.reason else "")


def wants_search(model: Model, champion: Version | None, searched_at: datetime | None, now: datetime) -> bool:
    """Whether a training at `now` must search: there is no champion, or the last search was too long ago.

    A search counts whatever its gates said. A changed recipe must be better than the champion's, which a month seldom shows; were
    only the champion's own search to count, every later training would search again and none would ever refit.

    Args:
        model: the spec.
        champion: the champion, if there is one.
        searched_at: time of the newest search that came to its gates, if there was one.
        now: time of the training.
    """
    if champion is None:
        return True
    newest = max(champion.searched_at, searched_at or champion.searched_at)
    return (now - newest).days >= model.spec.training.search.every_days


def last_search(ledger: Ledger, model: str, now: datetime) -> datetime | None:
    """Time of the newest search of a model up to `now` that came to its gates."""
    runs = ledger.runs(model, limit=1000)
    return max((run.now for run in runs if run.mode == "search" and run.outcome in JUDGED and run.now <= now), default=None)


def prepare(
    settings: Settings,
    model: Model,
    now: datetime,
    wall_clock: datetime,
    *,
    search: bool | None = None,
    asked: Asked | None = None,
    key: str | None = None,
    decision: int | None = None,
    run_id: str | None = None,
) -> str:
    """Make the folder of a training with its parameters, and its row in the ledger; returns the run's id.

    Requests of times that an incident bars are left out of it, unless a person asks for them.

    Args:
        settings: where things are.
        model: the spec, as it is now: a later change of the file does not reach the run.
        now: the time at which the run takes place.
        wall_clock: the real time.
        search: whether to search among the candidates; by default as the spec's schedule says.
        asked: what else a person asks for.
        key: key of the claim that it carries out, which is intended already; without one a person asks for it, and this makes the
            decision and its claim.
        decision: number of the decision that it carries out.
        run_id: a fresh id; made here when absent.

    Raises:
        PlatformError: the folder cannot be written, the ledger is locked, or another run of the model is in flight or is being
            started.
    """
    run_id, wish = run_id or new_id(model.name, wall_clock), asked or Asked()
    with Ledger.open(settings.ledger) as ledger:
        champion = None if wish.replace else ledger.champion(model.name)
        barred = () if wish.include_excluded else ledger.barred(model.name)
        searching = (
            wants_search(model, champion, last_search(ledger, model.name, now), now)
            if search is None or champion is None
            else search
        )
        request = None
        if key is None:
            request = _ask(settings, ledger, model.name, f"{model.name}/manual/{run_id}", wish, now, wall_clock)
            key, decision = request.cause, request.number
        parameters = {
            "spec": to_json(model),
            "run_id": run_id,
            "key": key,
            "now": now.isoformat(),
            "wall_clock": wall_clock.isoformat(),
            "recipe": "" if searching or champion is None else champion.recipe.model_dump_json(),
            "champion": "" if champion is None else champion.digest,
            "barred": json.dumps([[start.isoformat(), end.isoformat()] for start, end in barred]),
        }
        _prepare(settings, ledger, model, "search" if searching else "refit", parameters, wall_clock, decision)
        if request is not None:
            _begin(ledger, request, run_id, now, wall_clock)
    return run_id


def prepare_monitoring(settings: Settings, model: Model, now: datetime, wall_clock: datetime, *, key: str, run_id: str) -> str:
    """Make the folder of a monitoring run with its parameters, and its row in the ledger; returns the run's id.

    Args:
        settings: where things are.
        model: the spec, as it is now.
        now: the time at which the run takes place: windows that have closed by then are looked at.
        wall_clock: the real time.
        key: key of the claim that it carries out, which is intended already.
        run_id: a fresh id.

    Raises:
        PlatformError: the folder cannot be written, or the ledger is locked.
    """
    parameters = {"spec": to_json(model), "run_id": run_id, "key": key, "now": now.isoformat()}
    with Ledger.open(settings.ledger) as ledger:
        _prepare(settings, ledger, model, "monitor", parameters, wall_clock, None)
    return run_id


def new_id(model: str, wall_clock: datetime) -> str:
    """A fresh id: no run is ever submitted under the id of another."""
    return f"{model}-{wall_clock:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def settle_left(settings: Settings, ledger: Ledger, model: str, now: datetime, wall_clock: datetime) -> None:
    """No claim of the model is open: a person's command is kept from its work by a run that executes, and by no other.

    What a run had come to its end with is noted. A training that the loop decided on, and that a controller would start again,
    waits for that: its decision is open. All else that failed or was killed is given up.

    Args:
        settings: where the runs' locks are.
        ledger: the ledger.
        model: name of the model.
        now: the time for which it is asked.
        wall_clock: the real time.

    Raises:
        PlatformError: a run of the model is in flight, or is being started.
    """
    for claim in ledger.open_claims(model):
        standing = state(settings, ledger, claim.owner)
        if standing == "executing":
            raise PlatformError(
                f"{model}: run {claim.owner} is in flight for {claim.key}; wait for its end (`perennial logs {claim.owner}`)"
            )
        if _is_being_started(settings, ledger, claim, wall_clock):
            seconds = BEING_BEGUN.total_seconds()
            raise PlatformError(f"{model}: run {claim.owner} is being started for {claim.key}; try again in {seconds:g} seconds")
        run = None if standing == "unknown" else ledger.run(claim.owner)
        if run is not None and run.state == "succeeded":
            end(ledger, run, now)
            continue
        why = "it had not come to its end, and a person asked for another run"
        if run is not None and run.state == "failed":
            why = f"run {run.run_id} failed: {run.why}"
        if is_tried_again(claim, run) and _is_of_the_loop(ledger, claim):
            put_back(ledger, claim, why, now=now, wall_clock=wall_clock, kind=GIVEN_UP)
        else:
            give_up(ledger, claim, why, now=now, wall_clock=wall_clock, kind=GIVEN_UP)


def _is_being_started(settings: Settings, ledger: Ledger, claim: Claim, wall_clock: datetime) -> bool:
    """Whether the claim's run was prepared, or is to be, so short ago that whoever does it may be about to start it."""
    try:
        run = ledger.run(claim.owner)
    except NotFoundError:
        return timedelta(0) <= wall_clock - claim.moved < BEING_BEGUN
    was_started = (settings.runs / claim.owner / "log.txt").exists()
    return run.state == "running" and not was_started and timedelta(0) <= wall_clock - run.started < BEING_BEGUN


def _is_of_the_loop(ledger: Ledger, claim: Claim) -> bool:
    """Whether the loop itself decided on what the claim carries out."""
    return claim.decision is not None and ledger.decision(claim.model, claim.decision).reason != "manual"


def _ask(settings: Settings, ledger: Ledger, model: str, key: str, wish: Asked, now: datetime, wall_clock: datetime) -> Decision:
    """A person's request for a training, which is a decision like any other: open, so that it is not forgotten after a crash.

    Raises:
        PlatformError: another run of the model is in flight.
    """
    settle_left(settings, ledger, model, now, wall_clock)
    asked = Fact(name="request", value=None, limit=None, sentence=wish.sentence)
    sentence = "Train again: a person asked for it." + (f" {wish.sentence}" if wish != Asked() else "")
    draft = DecisionDraft(kind="retrain", reason="manual", sentence=sentence, otherwise="Nobody asking.", facts=(asked,))
    return ledger.add_decision(model, cause=key, now=now, draft=draft)[0]


def _begin(ledger: Ledger, decision: Decision, run_id: str, now: datetime, wall_clock: datetime) -> None:
    """The prepared run may carry out what was asked.

    Raises:
        PlatformError: another run of the model came first.
    """
    model = decision.model
    if ledger.intend(decision.cause, model=model, owner=run_id, decision=decision.number, now=now) is None:
        said = "another run of the model was started at the same moment"
        ledger.fail_run(run_id, finished=wall_clock, failure=Failure.of(PlatformError(f"not begun: {said}")))
        ledger.end_decision(model, decision.number, state="failed", outcome=f"not begun: {said}")
        raise PlatformError(f"{model}: {said}; `perennial runs {model}` shows it")
    ledger.move_decision(model, decision.number, before="open", after="acting")


def _prepare(
    settings: Settings,
    ledger: Ledger,
    model: Model,
    mode: Mode,
    parameters: dict[str, str],
    wall_clock: datetime,
    decision: int | None,
) -> None:
    """The run's folder and its row exist; prepared again after a crash in between, it is as if for the first time."""
    run_id = parameters["run_id"]
    folder = settings.runs / run_id
    file, whole = folder / "parameters.json", json.dumps(parameters, indent=1) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.with_suffix(".new").write_text(whole, encoding="utf-8")
        file.with_suffix(".new").replace(file)
    except OSError as error:
        raise PlatformError(f"{folder}: cannot be written ({error.strerror}); give PERENNIAL_STATE a folder that can") from error
    ledger.start_run(
        run_id=run_id,
        model=model.name,
        mode=mode,
        started=wall_clock,
        now=datetime.fromisoformat(parameters["now"]),
        spec=digest(model),
        folder=str(folder),
        claim=parameters["key"],
        decision=decision,
    )


def start(settings: Settings, run_id: str) -> subprocess.Popen[bytes]:
    """Start a prepared run in a process group of its own; what it prints goes to its `log.txt`.

    The new process is born with the run's lock: at no moment does a started run look like a dead one.

    Raises:
        NotFoundError: no such run was prepared.
        PlatformError: another process executes it.
    """
    if not (settings.runs / run_id / "parameters.json").exists():
        raise NotFoundError(f"{settings.runs / run_id}: no run of this name was prepared; `perennial runs` lists them")
    environment = {**os.environ, **settings.to_environment(), **ENVIRONMENT, MARK: run_id}
    with open_lock(settings, run_id) as lock, (settings.runs / run_id / "log.txt").open("ab") as log:
        command = [sys.executable, "-m", "pipelines.run", run_id, "--lock", str(lock.fileno())]
        return subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            pass_fds=(lock.fileno(),),
        )


RunState = Literal["executing", "ended", "dead", "unknown"]


def state(settings: Settings, ledger: Ledger, run_id: str) -> RunState:
    """How a run stands: `unknown` when it was never prepared, `dead` when no process executes it and it has no end.

    The ledger is asked after the lock: a run that ends between the two questions has ended.
    """
    executing = is_executing(settings, run_id)
    try:
        run = ledger.run(run_id)
    except NotFoundError:
        return "unknown"
    if executing:
        return "executing"
    return "dead" if run.state == "running" else "ended"


def follow(settings: Settings, run_id: str, process: subprocess.Popen[bytes]) -> Iterator[Step]:
    """Every change of a step's state until the process has ended."""
    return read_steps(lines_of(settings, run_id, process))


def lines_of(settings: Settings, run_id: str, process: subprocess.Popen[bytes], begin: int = 0) -> Iterator[str]:
    """Whole lines of a log that is still written, until the process has ended.

    Args:
        settings: where things are.
        run_id: the run.
        process: the one that executes it.
        begin: byte of the log to begin at.
    """
    with (settings.runs / run_id / "log.txt").open(encoding="utf-8", errors="replace") as log:
        log.seek(begin)
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
    folder = settings.runs / run_id
    with held(lock, run_id):
        printed = len(log_lines(settings, run_id))
        (folder / FAILURE).unlink(missing_ok=True)
        try:
            execute(folder, json.loads((folder / "parameters.json").read_text(encoding="utf-8")))
        except Exception as raised:  # whatever ended the run is its result, and the ledger must say so
            failure = read_failure(folder) or _unsaid(raised, last_step(log_lines(settings, run_id)[printed:])[0], run_id)
            with Ledger.open(settings.ledger) as ledger:
                ledger.fail_run(run_id, finished=datetime.now(UTC), failure=failure)
            return failure.error().exit_code
    return 0


def _unsaid(raised: Exception, step: str, run_id: str) -> Failure:
    """The failure of a run of which no step wrote one: a step that is gone without a word, or what the run itself raised."""
    if step and isinstance(raised, RuntimeError):  # KFP's, which says no more than that the step failed
        gone = f"{step}: its process ended without an error of its own: it was killed, or memory ran out"
        return Failure.of(PlatformError(gone), step)
    return Failure.of(translated(raised, step or "run", report_of(run_id, step)), step)
