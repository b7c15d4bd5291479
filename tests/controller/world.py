"""A small installation for the controller: one model with a champion and two weeks of logged predictions, and quick runs.

What a run does is done here by a stand-in, at once and in the process that starts it, but through the real ledger: the claim is
taken, its token fences every write, the real policy decides, and a run that is killed half way is dead and started again. Only
what a window holds, and what a training finds, is made up. All else is the real thing.
"""

import itertools
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import text

from controller.ticked import Ticked
from controller.watch import until_idle
from feature_repo.dataset import spans
from monitoring.conclusion import conclude
from monitoring.results import Measured, Measurements, Performances, Performed
from monitoring.windows import due_of
from perennial.errors import NotFoundError
from perennial.ledger import Fence, Ledger
from perennial.lifecycle import claim as claims
from perennial.lifecycle.ending import Ending
from perennial.loop.rollout import Observation
from perennial.loop.window import Check, Labels, Measurement, Performance, Window
from perennial.prediction_log import LogRow, LogWriter
from perennial.settings import Settings
from perennial.spec.read import read
from perennial.training.recipe import Recipe
from pipelines.runs import RunStanding
from tests.made_up import failure_of
from tests.second_project import NAME as NAME
from tests.second_project import SPEC

FIRST = datetime(2024, 4, 1, tzinfo=UTC)
"""A Monday: begin of the first window."""
NOW = FIRST + timedelta(days=14 + 4)
"""Two windows have closed and matured."""
REAL = datetime(2030, 1, 1, tzinfo=UTC)
"""The real time, as far as leases go."""
RECIPE = Recipe(kind="logistic", parameters={"c": 0.1}, columns=("amount",))
POLICY = "retraining: {reasons: [scheduled, manual], max_age_days: 10}"


def digest_of(number: int) -> str:
    """Digest of a version's folder; there is no folder."""
    return f"{number:064x}"


def settings_of(folder: Path) -> Settings:
    return Settings.from_environment({"PERENNIAL_PROJECT": str(folder)})


def write_world(folder: Path, policy: str = POLICY, ledger_url: str | None = None) -> Settings:
    """The installation, in a folder; its ledger too, unless a URL says where it is."""
    settings = settings_of(folder)
    if ledger_url is not None:
        settings = settings.model_copy(update={"ledger": ledger_url})
    settings.models.mkdir(parents=True)
    spec = SPEC.replace("retraining: {reasons: [manual], mode: advisory}", policy)
    assert policy in spec
    (settings.models / f"{NAME}.yaml").write_text(spec)
    Path(settings.sources).mkdir(parents=True)
    with LogWriter(settings.prediction_log(NAME), clock=lambda: FIRST.timestamp()) as writer:
        hours = range(0, 14 * 24, 6)
        times = [(FIRST + timedelta(hours=hour)).timestamp() for hour in hours]
        rows = [LogRow(str(place), time, digest_of(1), {}, {}, {}, {}, {}, 0.1, False) for place, time in enumerate(times)]
        writer.append(rows)
    with Ledger.open(settings.ledger) as ledger:
        ledger.start_run(run_id="first", model=NAME, mode="search", started=FIRST, now=FIRST, spec="s", folder="f")
        ledger.finish_run("first", finished=FIRST, outcome="registered", reason="version 1")
        add_version(ledger, "first", "first", FIRST)
        promote(ledger, FIRST)
    return settings


def add_version(ledger: Ledger, run_id: str, run_key: str, now: datetime, digest: str = "") -> int:
    """A version of this training, with a request for traffic."""
    number, _ = ledger.add_version(
        model=NAME,
        run_key=run_key,
        digest=digest or digest_of(len(ledger.versions(NAME)) + 1),
        created=now,
        run_id=run_id,
        recipe=RECIPE,
        searched_at=now,
        trained_until=now,
    )
    ledger.request_rollout(model=NAME, number=number, now=now, reason="passed every gate")
    return number


def promote(ledger: Ledger, now: datetime) -> None:
    """The newest request has traffic."""
    for seen in ("checked", "promoted"):
        newest = ledger.rollouts(NAME)[0]
        proof = Observation.model_validate(
            {"seen": seen, "digest": newest.digest, "loaded": True, "passed": True, "time": now, "reason": "It was checked."}
        )
        ledger.move_rollout(newest, proof)


COUNT = itertools.count(1)
"""Of ids that this process gave out."""


@dataclass
class QuickRunner:
    """Runs that do their work at once, in this process, through the real ledger."""

    settings: Settings
    passes: bool = True
    """Whether a challenger passes its gates."""
    breaks: str = ""
    """Error with which every run ends; none when empty."""
    first_breaks: bool = False
    """Whether the first run for each decision to train breaks, by the platform's fault."""
    broken: frozenset[datetime] = frozenset()
    """Begins of the windows whose data is broken."""
    digest: str = ""
    """Digest of the next version; there need not be a folder."""
    started: list[str] = field(default_factory=list)
    """Runs that were started here."""
    excluded: Sequence[tuple[datetime, datetime]] = ()
    """Times that the newest training leaves out."""

    def new_id(self, model: str, wall_clock: datetime) -> str:
        return f"{model}-{wall_clock:%Y}-{os.getpid()}-{next(COUNT)}"

    def prepare(self, run_id: str, parameters: dict[str, str]) -> str:  # noqa: ARG002 - the signature of a runner
        if "excluded" in parameters:
            self.excluded = spans(parameters["excluded"])
        return "f"

    def start(self, ledger: Ledger, run_id: str, pipeline_run: str = "") -> None:  # noqa: ARG002
        self.started.append(run_id)
        with Ledger.open(self.settings.ledger) as unfenced:
            run = unfenced.run(run_id)
            assert run.claim is not None
            unlucky = self.first_breaks and run.mode != "monitor" and unfenced.claim(run.claim).token == 0
            if self.breaks or unlucky:
                unfenced.fail_run(run_id, finished=run.now, failure=failure_of(self.breaks or "PlatformError: a store was away"))
                return
            taken = unfenced.take(run.claim, run_id, run.now)
            if taken is None:
                unfenced.finish_run(run_id, finished=run.now, outcome=claims.SUPERSEDED, reason="stood aside")
                return
            fence = Fence(kind="claim", key=run.claim, token=taken.token)
            if run.mode == "monitor":
                self._monitor(unfenced.with_fence(fence), run_id, fence, run.now)
                return
            ledger = unfenced.with_fence(fence)
            if self.passes:
                add_version(ledger, run_id, run.claim, run.now, self.digest)
            outcome = "registered" if self.passes else "stopped"
            claims.end(ledger, ledger.finish_run(run_id, finished=run.now, outcome=outcome, reason="so it went"), run.now)

    def _monitor(self, ledger: Ledger, run_id: str, fence: Fence, now: datetime) -> None:
        model = read(self.settings.models / f"{NAME}.yaml")
        champion = ledger.champion(NAME)
        assert champion is not None
        due = due_of(FIRST, model, ledger.windows(NAME), now)
        measured = [
            Measured(window=window, measurement=measurement(champion.digest, window.start in self.broken))
            for window in due.closed
        ]
        performed = [Performed(window=window, performance=performance(window)) for window in due.matured]
        conclude(
            self.settings.ledger,
            model,
            Measurements(windows=tuple(measured)),
            Performances(windows=tuple(performed)),
            Ending(run_id, fence, now),
            now,
        )

    def state(self, ledger: Ledger, run_id: str) -> RunStanding:
        try:
            return RunStanding("dead" if ledger.run(run_id).state == "running" else "ended", "")
        except NotFoundError:
            return RunStanding("unknown", "")

    def stop(self, ledger: Ledger, run_id: str) -> None:
        """Nothing of a run outlives its start here."""


def measurement(champion: str, is_broken: bool) -> Measurement:
    """What a window held: nothing to note, or no volume."""
    check = Check(name="volume", subject="", value=0.1, limit=0.5, failed=is_broken, sentence="A tenth of the usual.")
    return Measurement(
        rows=28,
        versions={champion: 28},
        lost=0,
        damaged=(),
        repeated=0,
        champion=champion,
        blocks=9,
        columns=(),
        checks=(check,),
    )


def performance(window: Window) -> Performance:
    return Performance(labels=Labels(matured_at=window.end + timedelta(days=3), arrived=20, missing=8), label_rate=0.1)


def tick_until_idle(
    settings: Settings, real: datetime = REAL, runner: QuickRunner | None = None, now: datetime = NOW
) -> list[Ticked]:
    return list(until_idle(settings, now, lambda: real, runner=runner or QuickRunner(settings), pause_seconds=0))


VOLATILE = {"run", "run_id", "owner", "token", "starts", "moved", "folder", "started", "created", "expires", "holder", "ticked"}
VOLATILE |= {"host", "heartbeat"}
"""Columns that say who did something and when, not what is true."""


def end_state(settings: Settings) -> dict[str, list[str]]:
    """Everything that the ledger says, without who and when; what is deployed; MLflow's alias."""
    found: dict[str, list[str]] = {}
    with Ledger.open(settings.ledger) as ledger, ledger._engine.begin() as connection:
        for table in ("runs", "versions", "rollouts", "windows", "decisions", "incidents", "claims", "requests"):
            rows = connection.execute(text(f"select * from {table}")).mappings()
            kept = [{name: value for name, value in row.items() if name not in VOLATILE} for row in rows]
            found[table] = sorted(json.dumps(row, sort_keys=True, default=str) for row in kept)
    current = settings.current(NAME)
    found["deployed"] = [current.read_text().replace(str(settings.state), "")] if current.exists() else []
    alias = settings.state / "alias"
    found["alias"] = [alias.read_text()] if alias.exists() else []
    return found


def in_child(work: Callable[[], object]) -> tuple[int, str]:
    """Do something in a process of its own: how it ended (as `os.waitpid` says), and what it returned, as text."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        code = 1
        try:
            os.write(writing, json.dumps(work()).encode())
            code = 0
        except BaseException as error:
            os.write(writing, f"{type(error).__name__}: {error}".encode())
        finally:
            sys.stdout.flush()
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        said = stream.read().decode()
    return os.waitpid(child, 0)[1], said


def killed(status: int) -> bool:
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
