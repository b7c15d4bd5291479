"""What a person asked for: who answers it, what is in its way, and that nothing of a request that failed is done later."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from controller.tick import tick
from controller.ticked import LEASE
from controller.watch import until_done
from perennial.errors import PlatformError
from perennial.ledger import Ledger
from perennial.loop.request import Monitor, Request, RollBack, Train, Wish
from perennial.settings import Settings
from tests.cluster.api import KSERVE, Api, kubeconfig, running
from tests.controller.world import FIRST, NAME, NOW, REAL, QuickRunner, tick_until_idle


def asked(settings: Settings, ledger: Ledger, wish: Wish, runner: QuickRunner | None = None) -> Request:
    """The request, done by the process that follows it."""
    request = ledger.add_request(NAME, wish, made=REAL, now=NOW)
    *_, done = until_done(settings, request, lambda: REAL, runner=runner or QuickRunner(settings), pause_seconds=0)
    return done


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Api]:
    """A stand-in for an API server with KServe's kinds, which the environment names."""
    api = Api(KSERVE)
    with running(api) as address:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "kubeconfig", address)))
        yield api


def test_events_have_the_real_time_and_the_ledger_the_request_s_own(settings: Settings, ledger: Ledger, api: Api) -> None:
    settings = settings.model_copy(update={"namespace": "team"})
    assert asked(settings, ledger, Train()).outcome == "registered"
    tick(settings, NOW, lambda: REAL, runner=QuickRunner(settings))
    assert asked(settings, ledger, RollBack(reason="complaints")).state == "done"
    events = [stored for path, stored in api.objects.items() if "/events/" in path]
    assert [event["reason"] for event in events] == ["Deployed", "RolledOut"]
    assert {event["lastTimestamp"] for event in events} == {f"{REAL:%Y-%m-%dT%H:%M:%SZ}"}
    assert {rollout.moved for rollout in ledger.rollouts(NAME) if rollout.number == 2} == {NOW}


def test_where_nobody_watches_the_command_is_the_controller_and_does_no_more_than_it_was_asked(
    settings: Settings, ledger: Ledger
) -> None:
    runner = QuickRunner(settings)
    done = asked(settings, ledger, Train(reason="a new season"), runner)
    assert (done.state, done.outcome, done.run, done.failure) == ("done", "registered", runner.started[0], None)
    champion = ledger.champion(NAME)
    assert champion is not None and champion.number == 2
    assert next(rollout.moved for rollout in ledger.rollouts(NAME)) == NOW, "at its own time"
    assert len(runner.started) == 1 and ledger.windows(NAME) == (), "windows are due, and nobody asked for them"
    lease = ledger.lease(LEASE)
    assert lease is not None and lease.expires == REAL and lease.ticked is None


def test_where_a_controller_watches_the_command_only_follows(settings: Settings, ledger: Ledger) -> None:
    assert ledger.take_lease(LEASE, "elsewhere/1", now=REAL, seconds=60) is not None
    request = ledger.add_request(NAME, Monitor(), made=REAL, now=NOW)
    runner = QuickRunner(settings)
    looks = until_done(settings, request, lambda: REAL + timedelta(seconds=59), runner=runner, pause_seconds=0)
    assert [next(looks).state for _ in range(3)] == ["open"] * 3
    assert runner.started == []
    other = QuickRunner(settings)
    for _ in range(3):
        tick(settings, NOW, lambda: REAL + timedelta(seconds=59), runner=other, name="elsewhere/1", release=False)
    assert next(looks).outcome == "retrain"
    assert runner.started == [] and len(other.started) >= 1


def test_a_run_that_broke_ends_its_request_and_is_followed_by_no_other_unasked(settings: Settings, ledger: Ledger) -> None:
    runner = QuickRunner(settings, breaks="PlatformError: a store was away")
    done = asked(settings, ledger, Train(), runner)
    assert done.failure is not None
    assert (done.failure.kind, done.failure.sentence, done.run) == ("PlatformError", "a store was away", runner.started[0])
    assert ledger.decisions(NAME)[0].state == "failed"
    runner.breaks = ""
    tick(settings, FIRST, lambda: REAL, runner=runner)
    assert len(runner.started) == 1
    assert asked(settings, ledger, Train(), runner).outcome == "registered", "asked again, it is done"


def test_what_cannot_be_prepared_fails_for_the_person_and_is_not_done_later(settings: Settings, ledger: Ledger) -> None:
    class Full(QuickRunner):
        def prepare(self, run_id: str, parameters: dict[str, str]) -> str:  # noqa: ARG002 - the signature of a runner
            raise PlatformError("the disk is full; give PERENNIAL_STATE a folder that can be written")

    done = asked(settings, ledger, Train(), Full(settings))
    assert done.failure is not None and done.failure.sentence.startswith("the disk is full")
    assert (ledger.open_claims(NAME), ledger.open_decisions(NAME)) == ((), ())
    runner = QuickRunner(settings)
    tick(settings, FIRST, lambda: REAL, runner=runner)
    assert runner.started == []


def test_a_rollback_of_the_only_champion_is_refused_with_the_reason(settings: Settings, ledger: Ledger) -> None:
    done = asked(settings, ledger, RollBack(reason="complaints"))
    assert done.failure is not None
    assert (done.failure.kind, done.failure.retry) == ("NotFoundError", False)
    assert "no champion before version 1 to go back to" in done.failure.sentence


def test_a_request_about_a_model_without_a_spec_is_answered_too(settings: Settings, ledger: Ledger) -> None:
    request = ledger.add_request("gone", Train(), made=REAL, now=NOW)
    tick_until_idle(settings, now=FIRST)
    done = ledger.request("gone", request.number)
    assert done.failure is not None and "gone.yaml" in done.failure.sentence


def test_a_tick_for_an_earlier_time_answers_what_people_ask_and_does_nothing_else(settings: Settings, ledger: Ledger) -> None:
    tick(settings, NOW + timedelta(days=1), lambda: REAL, runner=QuickRunner(settings, passes=False))
    request = ledger.add_request(NAME, Train(), made=REAL, now=FIRST)
    ticked = tick(settings, FIRST, lambda: REAL, runner=QuickRunner(settings))
    assert "the clock went back" in ticked.problems[0].sentence
    assert ledger.request(NAME, request.number).state != "open"
