"""Two controllers: the first is frozen and comes back, or is killed anywhere; nothing is done twice, and the end is the same."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller import tick as ticking
from perennial import registry
from perennial.errors import FencedError
from perennial.evaluation.gates import GateResult
from perennial.ledger import Ledger
from perennial.settings import Settings
from serving import rollouts
from tests.controller.points import replace
from tests.controller.world import NAME, NOW, QuickRunner, end_state, in_child, settings_of, write_world

KILLS = 20
SEED = 7
LEASE_SECONDS = 0.5
PATIENCE_SECONDS = 120
PASSED = GateResult(name="serving", verdict="pass", sentence="It answers.", numbers={})
ROOT = Path(__file__).parents[2]

WATCHES = """
import os, signal, sys
from controller import tick, watch
from perennial import registry
from serving import rollouts
from tests.controller import test_leaders, world

tick.LEASE_SECONDS, watch.LEASE_SECONDS, watch.RENEWS_SECONDS, watch.LOOKS_SECONDS = 2.0, 2.0, 0.5, 0.1
registry.set_champion = lambda *_, **__: True
rollouts.checked = lambda *_: test_leaders.PASSED
place = sys.argv.pop(1)

def freezing(call):
    def frozen(*arguments, **named):
        global place
        if place:
            place = ""
            os.kill(os.getpid(), signal.SIGSTOP)
        return call(*arguments, **named)
    return frozen

if place == "before its run":
    world.QuickRunner.start = freezing(world.QuickRunner.start)
elif place == "before its effect":
    world.add_version = freezing(world.add_version)
watch.open_runner = world.QuickRunner

from console.cli import main
main()
"""
"""`perennial watch` with runs that are done at once and a short lease; it freezes itself once, at the place that is named."""


def eventually(what: str, holds: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < until, f"not within {PATIENCE_SECONDS} s: {what}"
        time.sleep(0.05)


@dataclass
class Watching:
    """A `perennial watch`, and the file of what it prints."""

    process: subprocess.Popen[bytes]
    output: Path

    def is_frozen(self) -> bool:
        """Whether it was stopped."""
        return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def said(self, words: str) -> bool:
        """Whether it printed this."""
        return words in self.output.read_text()


@contextmanager
def watching(settings: Settings, output: Path, place: str = "") -> Iterator[Watching]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", "PERENNIAL_PROJECT": str(settings.project)}
    command = [sys.executable, "-c", WATCHES, place, "watch", "--every", "0.2"]
    with output.open("wb") as printed:
        process = subprocess.Popen(command, stdout=printed, stderr=subprocess.STDOUT, env=environment | {"PERENNIAL_LOG": "json"})
    try:
        yield Watching(process, output)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0, output.read_text()
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("place", ["before its run", "before its effect"])
def test_a_leader_that_was_frozen_and_comes_back_does_nothing_twice(tmp_path: Path, place: str) -> None:
    settings = write_world(tmp_path / "project")

    def has_trained() -> bool:
        with Ledger.open(settings.ledger) as ledger:
            champion = ledger.champion(NAME)
            return champion is not None and champion.number == 2 and not ledger.open_claims(NAME)

    with watching(settings, tmp_path / "first", place) as first:
        eventually("the first freezes", first.is_frozen)
        with watching(settings, tmp_path / "second") as second:
            eventually("the second has done the work", has_trained)
            assert first.is_frozen()
            state = end_state(settings)
            first.process.send_signal(signal.SIGCONT)
            eventually("the first finds out", lambda: first.said("was taken by another process"))
            eventually("the first stands by", lambda: first.said("this one stands by"))
            assert not second.said("was taken by another process"), "who leads is not disturbed"
            time.sleep(1.0)
            assert end_state(settings) == state, "what the first woke up with changed nothing"
    with Ledger.open(settings.ledger) as ledger:
        runs = [run for run in ledger.runs(NAME) if run.claim is not None and run.outcome != "superseded"]
        assert sorted(run.mode for run in runs) == ["monitor", "search"], "after so long a training searches"
        assert len(ledger.versions(NAME)) == len(ledger.rollouts(NAME)) == 2
        assert [decision.state for decision in ledger.decisions(NAME)] == ["done"]


def lead(folder: Path, until_idle: bool) -> float:
    """Be a controller in this process; seconds until nothing was due any more, or never an end."""
    settings = settings_of(folder)
    alias = settings.state / "alias"
    replace(registry, "set_champion", lambda _settings, *, model, number: alias.write_text(f"{model} {number}"))
    replace(rollouts, "checked", lambda *_: PASSED)
    replace(ticking, "LEASE_SECONDS", LEASE_SECONDS)
    runner, begin = QuickRunner(settings, first_breaks=True), time.monotonic()
    while True:
        try:
            ticked = ticking.tick(settings, NOW, lambda: datetime.now(UTC), runner=runner, release=False)
        except FencedError:
            continue
        if until_idle and ticked.holds_lease and ticked.is_idle and not ticked.problems:
            return time.monotonic() - begin
        time.sleep(0.002)


def state_of(folder: Path) -> dict[str, list[str]]:
    """What the ledger says in the end, without who and when."""
    return end_state(settings_of(folder))


@contextmanager
def leading(folder: Path) -> Iterator[int]:
    """A controller in a process of its own, which nothing ends but a kill."""
    child = os.fork()
    if child == 0:
        try:
            lead(folder, until_idle=False)
        finally:
            os._exit(1)
    try:
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_leader_that_is_killed_anywhere_leaves_its_successor_the_same_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    template, undisturbed = tmp_path / "template", tmp_path / "undisturbed"
    status, said = in_child(lambda: str(write_world(template)))
    assert status == 0, said
    shutil.copytree(template, undisturbed)
    status, said = in_child(lambda: lead(undisturbed, until_idle=True))
    assert status == 0, said
    expected, seconds = state_of(undisturbed), float(said)
    drawn, amid = random.Random(SEED), 0
    for number in range(KILLS):
        folder = tmp_path / str(number)
        shutil.copytree(template, folder)
        with leading(folder):
            time.sleep(drawn.uniform(0, 1.2 * seconds))
        amid += state_of(folder) != expected
        status, said = in_child(lambda folder=folder: lead(folder, until_idle=True))  # type: ignore[misc]
        assert status == 0, f"after kill {number}: {said}"
        found = state_of(folder)
        for part, rows in expected.items():
            assert found[part] == rows, f"{part} after kill {number}"
        shutil.rmtree(folder)
    with capsys.disabled():
        print(f"\nleaders: {KILLS} killed, {amid} of them amid their work; each successor came to the undisturbed end")  # noqa: T201
    assert amid > 0
