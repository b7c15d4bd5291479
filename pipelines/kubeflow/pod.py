"""What the pod of a run does: it fetches what the run was prepared with, executes it as on any machine, and leaves all of it.

A pod keeps nothing. Whatever it is told twice it does once: a run belongs to its newest submission, and its claim to one owner.
"""

import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from perennial.errors import PerennialError, PlatformError
from perennial.ledger import Ledger, Run
from perennial.lifecycle.asked import Answer, answer_of, ask
from perennial.loop.failure import Failure
from perennial.moment import Moment, parse_time
from perennial.settings import Settings
from pipelines import runs
from pipelines.kept import is_whole, keep, keep_log, lines_of
from pipelines.kubeflow import bundle
from pipelines.kubeflow.prepared import Prepared

PATIENCE_SECONDS = 600.0
"""How long a pod waits for a bucket that is away, before it goes with what it holds."""
SHIPS_SECONDS = 5.0
"""Between two copies of a growing log to the bucket."""
ASIDE, FAILED = "stood aside", "failed"
"""What can become of a pod besides what becomes of its run."""


@dataclass(frozen=True)
class PodEnd:
    """What became of a pod."""

    outcome: str
    """The run's outcome, `stood aside` or `failed`."""
    sentence: str
    """The same for people."""
    results: Path | None = None
    """Folder of what the run found; none where this pod executed nothing."""


@dataclass(frozen=True)
class Order:
    """What a pipeline was started with."""

    kind: Literal["train", "monitor"]
    """What the run does."""
    model: str
    """Name of the model."""
    now: str
    """Time for which it is done, ISO 8601 with a zone; empty for the real one."""
    reason: str
    """Why, where a person started it."""
    run: str
    """Id of a run that a controller prepared; empty where a person started it."""
    pipeline_run: str
    """Id of this run on the pipeline server."""


def carry_out(order: Order) -> PodEnd:
    """Do what a pipeline was started for. What no repetition mends is an end like others: no platform is to repeat it.

    Args:
        order: what it was started with.

    Raises:
        PlatformError: a store failed, or no controller answers; the same may work later.
    """
    try:
        settings = _settings()
        answer = Answer(order.run) if order.run else _asked(settings.ledger, order)
        if answer.run:
            ended = _executed(settings, answer.run, order.pipeline_run)
        else:
            ended = PodEnd(FAILED if answer.kind else ASIDE, answer.sentence)
    except PlatformError:
        raise
    except PerennialError as error:
        ended = PodEnd(FAILED, f"{type(error).__name__}: {error}")
    sys.stdout.write(f"{ended.outcome}: {ended.sentence}\n")
    return ended


def _settings() -> Settings:
    """Those of the environment, with project and state in this pod's own files."""
    folder = Path(tempfile.gettempdir()) / "perennial"
    folders = {"project": folder / "project", "state": folder / "state"}
    return Settings.from_environment().model_copy(update=folders)


def _asked(ledger_url: str, order: Order) -> Answer:
    """What the controller makes of a person's start."""
    made = datetime.now(UTC)
    moment = Moment(parse_time(order.now) if order.now else made, made)
    with Ledger.open(ledger_url) as ledger:
        request = ask(ledger, order.kind, order.model, order.pipeline_run, order.reason, moment)
        sys.stdout.write(f"request {request.number} of {order.model}: the controller prepares its run\n")
        sys.stdout.flush()
        return answer_of(ledger, request, order.pipeline_run)


def _executed(settings: Settings, run_id: str, pipeline_run: str) -> PodEnd:
    """The run, executed here if it is this pod's to execute."""
    with Ledger.open(settings.ledger) as ledger:
        run = ledger.run(run_id)
        newest = ledger.newest_submission(run_id)
    if newest is None or newest.pipeline_run != pipeline_run:
        whose = "it was never submitted" if newest is None else f"its newest submission is {newest.pipeline_run}"
        return PodEnd(ASIDE, f"run {run_id} is not this pipeline run's: {whose}. To start one of your own, leave `run` empty")
    if run.state != "running":
        return PodEnd(ASIDE, f"run {run_id} has ended before: {run.outcome or run.state}: {run.why}")
    try:
        prepared = Prepared.fetch(settings.bucket, run_id)
        bundle.unpack(settings, prepared.bundle)
        runs.prepare(settings.runs, run_id, prepared.parameters)
    except PerennialError as error:
        with Ledger.open(settings.ledger) as ledger:
            ledger.fail_run(run_id, finished=datetime.now(UTC), failure=Failure.of(error))
        raise
    process = runs.start(settings, run_id, own_group=False)
    with _shipped_log(settings, run_id):
        for line in lines_of(settings, run_id, lambda: process.poll() is not None):
            sys.stdout.write(line + "\n")
    code = process.wait()
    with Ledger.open(settings.ledger) as ledger:
        run = ledger.run(run_id)
    if code == 0 or run.state == "failed":  # else another start of it took over, and leaves its own
        _leave(settings, run_id)
    return _end(run, settings.results / run_id)


def _leave(settings: Settings, run_id: str) -> None:
    """The bucket has what the run left, waited for: with this pod goes its disk."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            if not is_whole(settings.bucket, run_id):  # else the run's own process left all of it
                keep(settings, run_id)
            return
        except PlatformError as error:
            if time.monotonic() > until:
                sys.stdout.write(f"{error}\nlog and results of run {run_id} are lost; its end is in the ledger\n")
                return
        time.sleep(SHIPS_SECONDS)


def _end(run: Run, results: Path) -> PodEnd:
    """What became of a run that was executed here.

    Raises:
        PlatformError: a store failed, or another start of the run took over.
    """
    if run.state == "running":
        raise PlatformError(f"run {run.run_id}: its process ended, and the ledger has no end of it; it is started again")
    if run.failure is not None and run.failure.retry:
        raise run.failure.error()
    return PodEnd(run.outcome or FAILED, run.why, results)


@contextmanager
def _shipped_log(settings: Settings, run_id: str) -> Iterator[None]:
    """The bucket has the log as it grows: who follows the run sees its steps, and a pod that is killed leaves what it printed."""
    ended = threading.Event()

    def ship() -> None:
        while not ended.wait(SHIPS_SECONDS):
            with suppress(PerennialError, OSError):  # the run itself says what is wrong with the bucket
                keep_log(settings, run_id)

    thread = threading.Thread(target=ship, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with suppress(PerennialError, OSError):  # the last lines of a run that was killed
            keep_log(settings, run_id)
