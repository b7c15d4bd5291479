"""A small installation for the controller: one model with a champion and two weeks of logged predictions, and quick runs.

What a run does is done here by a stand-in, at once and in the process that starts it, but through the real ledger: the claim is
taken, its token fences every write, and a run that is killed half way is dead and started again. All else is the real thing.
"""

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
from perennial import claim as claims
from perennial.decision import DecisionDraft, Kind, Reason
from perennial.ledger import Fence, Ledger
from perennial.prediction_log import LogRow, LogWriter
from perennial.recipe import Recipe
from perennial.rollout import Observation
from perennial.settings import Settings
from perennial.spec.model import Model
from perennial.window import Labels, Measurement, Performance, windows
from pipelines.runs import RunState
from tests.second_project import NAME, SPEC

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


def write_world(folder: Path) -> Settings:
    """The installation, in a folder."""
    settings = settings_of(folder)
    settings.models.mkdir(parents=True)
    spec = SPEC.replace("retraining: {reasons: [manual], mode: advisory}", POLICY)
    assert POLICY in spec
    (settings.models / f"{NAME}.yaml").write_text(spec)
    settings.sources.mkdir(parents=True)
    with LogWriter(settings.prediction_log(NAME), clock=lambda: FIRST.timestamp()) as writer:
        hours = range(0, 14 * 24, 6)
        times = [(FIRST + timedelta(hours=hour)).timestamp() for hour in hours]
        seen: tuple[dict[str, str], ...] = ({}, {}, {}, {}, {})
        writer.append([LogRow(str(place), time, digest_of(1), *seen, 0.1, False) for place, time in enumerate(times)])
    with Ledger.open(settings.ledger) as ledger:
        ledger.start_run(run_id="first", model=NAME, mode="search", started=FIRST, now=FIRST, spec="s", folder="f")
        ledger.finish_run("first", finished=FIRST, outcome="registered", reason="version 1")
        add_version(ledger, "first", 1)
        promote(ledger, FIRST)
    return settings


def add_version(ledger: Ledger, run_id: str, number: int) -> int:
    """Version `number`, with a request for traffic."""
    made, _ = ledger.add_version(
        model=NAME,
        run_key=f"k{number}",
        digest=digest_of(number),
        created=FIRST,
        run_id=run_id,
        recipe=RECIPE,
        searched_at=FIRST,
        trained_until=FIRST if number == 1 else NOW,
    )
    ledger.request_rollout(model=NAME, number=made, now=FIRST if number == 1 else NOW, reason="passed every gate")
    return made


def promote(ledger: Ledger, now: datetime) -> None:
    """The newest request has traffic."""
    for seen in ("checked", "promoted"):
        newest = ledger.rollouts(NAME)[0]
        proof = Observation.model_validate(
            {"seen": seen, "digest": newest.digest, "loaded": True, "passed": True, "time": now, "reason": "It was checked."}
        )
        ledger.move_rollout(newest, proof)


@dataclass
class QuickRunner:
    """Runs that do their work at once, in this process, through the real ledger."""

    settings: Settings
    passes: bool = True
    """Whether a challenger passes its gates."""
    breaks: str = ""
    """Error with which every run ends; none when empty."""
    made: int = 0
    """Ids given out."""
    started: list[str] = field(default_factory=list)
    """Runs that were started here."""
    barred: Sequence[tuple[datetime, datetime]] = ()
    """Times that the newest training leaves out."""

    def new_id(self, model: str, wall_clock: datetime) -> str:
        self.made += 1
        return f"{model}-{wall_clock:%Y}-{os.getpid()}-{self.made}"

    def prepare_monitoring(self, model: Model, now: datetime, wall_clock: datetime, *, key: str, run_id: str) -> None:
        self._prepare(model, "monitor", now, wall_clock, key, run_id, None)

    def prepare_training(
        self,
        model: Model,
        now: datetime,
        wall_clock: datetime,
        *,
        key: str,
        run_id: str,
        decision: int,
        barred: Sequence[tuple[datetime, datetime]],
    ) -> None:
        self.barred = barred
        self._prepare(model, "refit", now, wall_clock, key, run_id, decision)

    def _prepare(
        self, model: Model, mode: str, now: datetime, wall_clock: datetime, key: str, run_id: str, decision: int | None
    ) -> None:
        with Ledger.open(self.settings.ledger) as ledger:
            ledger.start_run(
                run_id=run_id,
                model=model.name,
                mode="monitor" if mode == "monitor" else "refit",
                started=wall_clock,
                now=now,
                spec="s",
                folder="f",
                claim=key,
                decision=decision,
            )

    def start(self, run_id: str) -> None:
        self.started.append(run_id)
        with Ledger.open(self.settings.ledger) as unfenced:
            run = unfenced.run(run_id)
            assert run.claim is not None
            if self.breaks:
                unfenced.fail_run(run_id, finished=NOW, reason=self.breaks)
                return
            taken = unfenced.take(run.claim, run_id, NOW)
            if taken is None:
                unfenced.finish_run(run_id, finished=NOW, outcome="superseded", reason="stood aside")
                return
            ledger = unfenced.with_fence(Fence(kind="claim", key=run.claim, token=taken.token))
            if run.mode == "monitor":
                outcome = look(ledger, run.claim, run.now)
            else:
                outcome = "registered" if self.passes else "stopped"
                if self.passes:
                    add_version(ledger, run_id, 2)
            done = ledger.finish_run(run_id, finished=NOW, outcome=outcome, reason="as it should")
            claims.end(ledger, done, NOW)

    def state(self, ledger: Ledger, run_id: str) -> RunState:
        if run_id not in {run.run_id for run in ledger.runs(NAME, limit=1000)}:
            return "unknown"
        return "dead" if ledger.run(run_id).state == "running" else "ended"


def look(ledger: Ledger, key: str, now: datetime) -> str:
    """What a monitoring run does: every closed window is recorded and judged, then one decision for all of them."""
    model, known = NAME, {record.start for record in ledger.windows(NAME)}
    new = [window for window in windows(FIRST, now, 7) if window.start not in known]
    for window in new:
        measured = Measurement(
            rows=28,
            versions={digest_of(1): 28},
            lost=0,
            damaged=(),
            repeated=0,
            champion=digest_of(1),
            blocks=9,
            columns=(),
            checks=(),
        )
        ledger.record_window(model, window, measured, now=now)
    for record in ledger.windows(NAME):
        labels = Labels(matured_at=record.end + timedelta(days=3), arrived=20, missing=8)
        if record.window.is_matured(now, 72) and record.performance is None:
            ledger.record_performance(model, record.start, Performance(labels=labels, label_rate=0.1))
    champion = ledger.champion(model)
    assert champion is not None
    kind: Kind = "retrain" if champion.number == 1 else "leave"
    reason: Reason | None = "scheduled" if kind == "retrain" else None
    draft = DecisionDraft(kind=kind, reason=reason, sentence="By its age.", otherwise="A younger champion.", facts=())
    earlier = {start for decision in ledger.decisions(model) if decision.cause != key for start in decision.windows}
    starts = sorted(record.start for record in ledger.windows(model) if record.start not in earlier)
    ledger.add_decision(model, cause=key, now=now, draft=draft, windows=starts, state="open" if kind == "retrain" else "done")
    return kind


def tick_until_idle(
    settings: Settings, real: datetime = REAL, runner: QuickRunner | None = None, now: datetime = NOW
) -> list[Ticked]:
    return list(until_idle(settings, now, lambda: real, runner=runner or QuickRunner(settings), pause_seconds=0))


VOLATILE = {"run_id", "owner", "token", "starts", "moved", "folder", "started", "created", "expires", "holder", "ticked"}
"""Columns that say who did something and when, not what is true."""


def end_state(settings: Settings) -> dict[str, list[str]]:
    """Everything that the ledger says, without who and when; what is deployed; MLflow's alias."""
    found: dict[str, list[str]] = {}
    with Ledger.open(settings.ledger) as ledger, ledger._engine.begin() as connection:
        for table in ("runs", "versions", "rollouts", "windows", "decisions", "incidents", "claims"):
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
