"""A training whose own process is killed inside its steps and started again by hand: one counts, and one version is made."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller.preparation import prepare
from perennial.errors import FencedError
from perennial.ledger import Fence, Ledger
from perennial.lifecycle.claim import SUPERSEDED
from perennial.lifecycle.ending import Ending
from perennial.lifecycle.registration import collect, register
from perennial.settings import Settings
from perennial.spec.read import read
from pipelines import lock
from pipelines.kept import log_lines
from pipelines.log import Step, read_steps
from pipelines.run import COLD
from tests.controller.asked import context_of, prepared
from tests.second_project import NAME, NOW, SPEC, write_project
from tests.soak import IS_SOAK

pytestmark = [pytest.mark.local, pytest.mark.xdist_group("killed"), pytest.mark.timeout(1800)]

BOOSTING = "      - {kind: gradient_boosting, iterations: [40], learning_rate: [0.1], max_leaf_nodes: [8]}\n"
REAL = datetime(2024, 5, 1, tzinfo=UTC)
STEPS = ["claim", "build-dataset", "validate-data", "train", "evaluate", "gate", "refit", "set-thresholds", "check", "record"]
KILLED = STEPS if IS_SOAK else ["claim", "train", "record"]
"""Steps in which it is killed: all of them, or the first one, one that computes, and the one that has the effect."""
PATIENCE_SECONDS = 600


@dataclass
class Start:
    """One start of a run by hand, by a process of its own."""

    settings: Settings
    run_id: str
    begin: int = field(init=False)
    shown: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        log = self.settings.runs / self.run_id / "log.txt"
        self.begin = log.stat().st_size if log.exists() else 0
        # Each step is started by itself: a fork has no second of imports in which it can be met. `test_steps` looks at one.
        environment = {**os.environ, **self.settings.to_environment(), "PYTHONSAFEPATH": "1", COLD: "1"}
        command = [sys.executable, "-m", "pipelines.run", self.run_id]
        self.shown = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)

    @property
    def group(self) -> int:
        """Number of the process that executes the run, and of its group."""
        return int((self.settings.runs / self.run_id / "lock").read_text())

    def steps(self) -> list[Step]:
        """Every change of a step's state so far."""
        log = self.settings.runs / self.run_id / "log.txt"
        text = log.read_bytes()[self.begin :].decode() if log.exists() else ""
        return list(read_steps(text.splitlines()))

    def is_inside(self, name: str) -> bool:
        """Whether a process of this step runs, once it does; false if that was missed. Independent steps come in any order."""
        until = time.monotonic() + PATIENCE_SECONDS
        while self.shown.poll() is None:
            assert time.monotonic() < until, f"{self.run_id} did not come to {name}"
            changes = [step for step in self.steps() if step.name == name]
            if changes and changes[-1].state != "running":
                return False
            if changes and len(list(lock.living(self.group, self.run_id))) > 1:
                return True
            time.sleep(0.01)
        return False


@dataclass
class Scenario:
    """What was seen of a run that was killed in each step, and of another one with the same claim."""

    settings: Settings
    run_id: str
    other: str
    killed: list[str] = field(default_factory=list)
    """Steps in which it was killed."""
    outlived: list[str] = field(default_factory=list)
    """Those whose process lived on."""
    groups: list[int] = field(default_factory=list)
    """Process groups of its starts."""
    left: list[int] = field(default_factory=list)
    """Processes of an earlier start that lived when a step of the next one ran."""
    codes: dict[str, int] = field(default_factory=dict)
    """Exit codes of the two runs that were let end."""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = write_project(tmp_path_factory.mktemp("killed"), per_day=60)
    assert BOOSTING in SPEC
    (folder / "models" / f"{NAME}.yaml").write_text(SPEC.replace(BOOSTING, ""))
    return Settings.from_environment({"PERENNIAL_PROJECT": str(folder)})


@pytest.fixture(scope="module")
def scenario(settings: Settings) -> Iterator[Scenario]:
    model = read(settings.models / f"{NAME}.yaml")
    run_id, other = prepared(settings, NAME, NOW, REAL), f"{NAME}-other"
    with Ledger.open(settings.ledger) as ledger:
        claim = ledger.claim(str(ledger.run(run_id).claim))
        prepare(context_of(settings, ledger, NOW, REAL), model, claim.model_copy(update={"owner": other}))
    seen = Scenario(settings, run_id, other)
    for name in KILLED:
        kill_inside(seen, name)
    last, second = Start(settings, run_id), Start(settings, seen.other)
    seen.codes = {"last": last.shown.wait(PATIENCE_SECONDS), "second": second.shown.wait(PATIENCE_SECONDS)}
    seen.groups.append(last.group)
    yield seen
    for group in seen.groups:
        lock.kill_left(group, run_id)


def kill_inside(seen: Scenario, name: str, attempts: int = 3) -> None:
    """Start the run and kill its process, and no other, inside a step; again if the step was over too soon."""
    for _ in range(attempts):
        start = Start(seen.settings, seen.run_id)
        is_inside = start.is_inside(name)
        seen.left += [process for group in seen.groups for process in lock.living(group, seen.run_id)]
        seen.groups.append(start.group)
        os.kill(start.group, signal.SIGKILL)
        start.shown.wait()
        if is_inside:
            seen.killed.append(name)
            if list(lock.living(start.group, seen.run_id)):
                seen.outlived.append(name)
            return
    raise AssertionError(f"not seen inside {name} in {attempts} starts")


def test_it_was_killed_inside_the_steps_and_most_of_them_outlived_it(scenario: Scenario) -> None:
    assert sorted(scenario.killed) == sorted(KILLED)
    assert set(scenario.outlived) >= {"build-dataset", "train", "refit", "check", "record"} & set(KILLED)
    assert len(set(scenario.groups)) == len(scenario.groups) > len(KILLED)


def test_what_outlived_it_was_killed_before_the_next_start_began(scenario: Scenario) -> None:
    assert scenario.left == []
    assert [process for group in scenario.groups for process in lock.living(group, scenario.run_id)] == []


def test_one_training_counts_and_one_version_asks_for_traffic(scenario: Scenario) -> None:
    assert scenario.codes == {"last": 0, "second": 0}
    with Ledger.open(scenario.settings.ledger) as ledger:
        run = ledger.run(scenario.run_id)
        (version,), (rollout,), (decision,) = ledger.versions(NAME), ledger.rollouts(NAME), ledger.decisions(NAME)
        claim = ledger.claim(str(run.claim))
        assert [found.run_id for found in ledger.runs(NAME) if found.outcome != SUPERSEDED] == [run.run_id]
    assert (run.state, run.outcome, version.run_id) == ("succeeded", "registered", run.run_id)
    assert (rollout.number, rollout.attempt, rollout.state, rollout.requested) == (version.number, 1, "requested", NOW)
    assert (decision.number, decision.kind, decision.reason, decision.state) == (run.decision, "retrain", "manual", "done")
    assert claim.state == "done"
    assert len(KILLED) <= claim.token <= len(scenario.groups), "each start took it, with a token of its own"


def test_a_second_run_with_the_same_claim_stands_aside(scenario: Scenario) -> None:
    with Ledger.open(scenario.settings.ledger) as ledger:
        other = ledger.run(scenario.other)
    assert (other.state, other.outcome) == ("succeeded", SUPERSEDED)
    assert f"belongs to {scenario.run_id}" in other.reason
    assert not (scenario.settings.results / scenario.other).exists()
    log = log_lines(scenario.settings, scenario.other)
    assert [step.name for step in read_steps(log) if step.state == "running"] == ["claim"]


def test_a_run_that_has_ended_does_nothing_when_it_is_started_again(scenario: Scenario) -> None:
    with Ledger.open(scenario.settings.ledger) as ledger:
        before = ledger.run(scenario.run_id)
    start = Start(scenario.settings, scenario.run_id)
    assert start.shown.wait(PATIENCE_SECONDS) == 0
    assert [step.name for step in start.steps() if step.state == "running"] == ["claim"]
    with Ledger.open(scenario.settings.ledger) as ledger:
        assert ledger.run(scenario.run_id) == before
        assert len(ledger.versions(NAME)) == 1


def test_a_step_of_an_earlier_start_that_comes_to_its_effect_now_is_refused(scenario: Scenario, tmp_path: Path) -> None:
    settings, run_id = scenario.settings, scenario.run_id
    dataset, validation, candidate, judgement, gates, version = (
        newest(settings, run_id, name)
        for name in (
            "build-dataset/dataset",
            "validate-data/validation",
            "train/candidate",
            "evaluate/judgement",
            "check/checked",
            "refit/version",
        )
    )
    findings = collect(read(settings.models / f"{NAME}.yaml"), dataset, validation, candidate, judgement, gates, version)
    assert findings.registered
    with Ledger.open(settings.ledger) as ledger:
        key = str(ledger.run(run_id).claim)
        token = ledger.claim(key).token
        before = (ledger.versions(NAME), ledger.rollouts(NAME), ledger.runs(NAME))
    files = {path: path.stat().st_mtime_ns for path in settings.results.rglob("*")}
    orphan = Fence(kind="claim", key=key, token=token - 1)
    with pytest.raises(FencedError, match=f"it has token {token}, this one holds {token - 1}"):
        register(settings, findings, Ending(run_id, orphan, REAL), "another key", tmp_path / "page.html", version)
    with Ledger.open(settings.ledger) as ledger:
        assert (ledger.versions(NAME), ledger.rollouts(NAME), ledger.runs(NAME)) == before
    assert {path: path.stat().st_mtime_ns for path in settings.results.rglob("*")} == files
    assert not (tmp_path / "page.html").exists()


def newest(settings: Settings, run_id: str, name: str) -> Path:
    """The artifact of this name (step and output) of the newest start that made it."""
    return sorted((settings.runs / run_id / "steps").glob(f"*/{name}"))[-1]
