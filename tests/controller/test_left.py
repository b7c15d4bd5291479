"""What a person's command makes of runs that were left: only what executes is in its way, and nothing decided is lost."""

from contextlib import ExitStack
from datetime import timedelta

import pytest

from controller.requests import clear_way
from controller.tick import tick
from controller.watch import until_done
from monitoring.conclusion import situation
from perennial.errors import FencedError, PlatformError
from perennial.ledger import Fence, Ledger, Mode
from perennial.lifecycle import claim as claims
from perennial.loop.decision import Claim, DecisionDraft, Reason
from perennial.loop.request import Monitor
from perennial.settings import Settings
from perennial.spec.read import read
from pipelines import lock
from tests.controller.asked import context_of, prepared
from tests.controller.world import FIRST, NAME, NOW, REAL, QuickRunner, add_version, tick_until_idle
from tests.made_up import failure_of

KEYS: dict[str, str] = {"loop": f"{NAME}/train/1", "person": f"{NAME}/manual/r", "monitor": f"{NAME}/monitor/x"}
"""Key of the claim by who asked for the run, which is `r`."""
LATER = REAL + timedelta(seconds=10)


def decide(ledger: Ledger, cause: str, reason: Reason) -> int:
    draft = DecisionDraft(kind="retrain", reason=reason, sentence="It is degraded.", otherwise="A smaller loss.", facts=())
    return ledger.add_decision(NAME, cause=cause, now=NOW, draft=draft)[0].number


def leave(settings: Settings, ledger: Ledger, asked: str, standing: str, starts: int = 1) -> Claim:
    """A claim of one kind whose run `r` stands so; it was started so many times."""
    key, number = KEYS[asked], None
    if asked != "monitor":
        number = decide(ledger, key if asked == "person" else "a", "manual" if asked == "person" else "degraded")
    claim = ledger.intend(key, model=NAME, owner="r", decision=number, now=REAL)
    assert claim is not None
    if number is not None:
        ledger.move_decision(NAME, number, before="open", after="acting")
    if standing == "never prepared":
        return claim
    mode: Mode = "monitor" if asked == "monitor" else "refit"
    ledger.start_run(
        run_id="r", model=NAME, mode=mode, started=REAL, now=NOW, spec="s", folder="f", claim=claim.key, decision=number
    )
    folder = settings.runs / "r"
    folder.mkdir(parents=True)
    if standing == "prepared":
        return claim
    (folder / "log.txt").touch()
    for _ in range(starts):
        ledger.submitted(claim, REAL)
    if standing == "succeeded":
        ledger.finish_run("r", finished=REAL, outcome="stopped", reason="by a gate")
    elif standing != "killed":
        ledger.fail_run("r", finished=REAL, failure=failure_of(standing))
    return ledger.claim(key)


LEFT: list[tuple[str, str, int, str, str | None]] = [
    # who asked, how its run stands, its starts; then how the claim and its decision stand
    ("loop", "succeeded", 1, "done", "done"),
    ("loop", "killed", 1, "failed", "open"),
    ("loop", "never prepared", 0, "failed", "open"),
    ("loop", "prepared", 0, "failed", "open"),
    ("loop", "PlatformError: a store was away", 1, "failed", "open"),
    ("loop", "killed", 3, "failed", "failed"),
    ("loop", "PlatformError: a store was away", 3, "failed", "failed"),
    ("loop", "DataError: payments.parquet: empty", 1, "failed", "failed"),
    ("loop", "UnexpectedError: train: ValueError: no", 1, "failed", "failed"),
    ("person", "succeeded", 1, "done", "done"),
    ("person", "killed", 1, "failed", "failed"),
    ("person", "PlatformError: a store was away", 1, "failed", "failed"),
    ("person", "UnexpectedError: train: ValueError: no", 1, "failed", "failed"),
    ("monitor", "succeeded", 1, "done", None),
    ("monitor", "killed", 1, "failed", None),
    ("monitor", "never prepared", 0, "failed", None),
    ("monitor", "PlatformError: a store was away", 1, "failed", None),
]


@pytest.mark.parametrize(("asked", "standing", "starts", "claim", "decision"), LEFT)
def test_what_does_not_execute_is_in_nobody_s_way(
    settings: Settings, ledger: Ledger, asked: str, standing: str, starts: int, claim: str, decision: str | None
) -> None:
    left = leave(settings, ledger, asked, standing, starts)
    clear_way(context_of(settings, ledger, NOW, LATER), NAME, but="")
    assert ledger.open_claims(NAME) == ()
    assert ledger.claim(left.key).state == claim
    assert decision is None or ledger.decision(NAME, 1).state == decision
    assert [run.run_id for run in ledger.runs(NAME) if run.state == "running"] == []


@pytest.mark.parametrize("asked", list(KEYS))
def test_what_executes_is_in_the_way_whoever_asked_for_it(settings: Settings, ledger: Ledger, asked: str) -> None:
    left = leave(settings, ledger, asked, "killed")
    with ExitStack() as stack:
        stack.enter_context(lock.held(lock.open_lock(settings.runs, "r"), "r"))
        with pytest.raises(PlatformError, match=f"run r is in flight for {left.key}; wait for its end"):
            clear_way(context_of(settings, ledger, NOW, LATER + timedelta(days=1)), NAME, but="")
    assert ledger.claim(left.key) == left, "nothing of it was touched"


def look(settings: Settings, ledger: Ledger) -> Claim:
    """A person's `monitor` comes to its end; the run itself is let end by a stand-in."""
    request = ledger.add_request(NAME, Monitor(), made=LATER, now=NOW)
    *_, done = until_done(settings, request, lambda: LATER, runner=QuickRunner(settings), pause_seconds=0)
    assert (done.outcome, done.failure) != ("", None)
    return ledger.claim(request.key)


@pytest.mark.parametrize("standing", ["killed", "PlatformError: a store was away"])
def test_a_monitor_works_at_once_and_the_loop_s_training_is_carried_out_afterwards(
    settings: Settings, ledger: Ledger, standing: str
) -> None:
    left = leave(settings, ledger, "loop", standing)
    assert ledger.claim(look(settings, ledger).key).state == "done"
    assert len(ledger.windows(NAME)) == 2
    assert "decision 1 to train is open" in ledger.decisions(NAME)[0].sentence, "no second training is decided on"
    tick_until_idle(settings, real=LATER)
    assert ledger.decision(NAME, 1).outcome.startswith("registered")
    again = ledger.claim(left.key)
    assert (again.state, again.owner != "r", again.starts) == ("done", True, 2)
    assert [version.run_key for version in ledger.versions(NAME)] == [left.key, "first"]
    with pytest.raises(FencedError):
        ledger.with_fence(Fence(kind="claim", key=left.key, token=left.token)).check_fence()


def test_what_a_killed_training_had_registered_is_not_registered_twice(settings: Settings, ledger: Ledger) -> None:
    left = leave(settings, ledger, "loop", "killed")
    add_version(ledger, "r", left.key, NOW)
    look(settings, ledger)
    tick_until_idle(settings, real=LATER)
    assert ledger.decision(NAME, 1).state == "done"
    assert [version.run_key for version in ledger.versions(NAME)] == [left.key, "first"]


def test_a_run_that_comes_back_after_its_claim_was_put_back_stands_aside(settings: Settings, ledger: Ledger) -> None:
    left = leave(settings, ledger, "loop", "killed")
    clear_way(context_of(settings, ledger, NOW, LATER), NAME, but="")
    assert ledger.take(left.key, "r", NOW) is None
    tick(settings, FIRST, lambda: LATER, runner=QuickRunner(settings))
    assert ledger.take(left.key, "r", NOW) is None


@pytest.mark.parametrize("standing", ["killed", "DataError: payments.parquet: empty"])
def test_a_train_works_at_once_after_a_monitoring_run_that_failed(settings: Settings, ledger: Ledger, standing: str) -> None:
    left = leave(settings, ledger, "monitor", standing)
    run_id = prepared(settings, NAME, NOW, LATER)
    assert ledger.claim(left.key).state == "failed"
    assert [claim.owner for claim in ledger.open_claims(NAME)] == [run_id]


def test_windows_of_a_monitoring_run_that_was_given_up_are_looked_at_in_the_same_hour(settings: Settings, ledger: Ledger) -> None:
    leave(settings, ledger, "monitor", "killed")
    clear_way(context_of(settings, ledger, NOW, LATER), NAME, but="")
    assert claims.was_given_up(ledger.run("r"))
    ticks = tick_until_idle(settings, real=LATER)
    assert [problem for ticked in ticks for problem in ticked.problems] == []
    assert len(ledger.windows(NAME)) == 2


def test_only_what_a_claim_holds_counts_as_in_flight_for_a_decision(settings: Settings, ledger: Ledger) -> None:
    model = read(settings.models / f"{NAME}.yaml")
    leave(settings, ledger, "loop", "killed")
    found = situation(ledger, model, "x", NOW).in_flight
    assert found == "run r is in flight; decision 1 to train is acting"
    ledger.end_claim(KEYS["loop"], state="failed", now=NOW)
    assert situation(ledger, model, "x", NOW).in_flight == "", "its run and decision are stuck, and hold nothing back"
