"""Traffic that a person moves: back by `rollback`, to a version by its number by `rollout`; each says what it did."""

from datetime import datetime, timedelta

import pytest

from controller.watch import until_done
from perennial import registry
from perennial.errors import PlatformError
from perennial.evaluation.gates import GateResult
from perennial.ledger import Ledger
from perennial.loop.request import Request, RollBack, RollOut, Wish
from perennial.loop.rollout import Observation
from perennial.settings import Settings
from serving import rollouts
from serving.deployers import local
from tests.controller.world import FIRST, NAME, NOW, REAL, QuickRunner, add_version, digest_of, promote


@pytest.fixture
def two(settings: Settings, ledger: Ledger) -> None:
    """Version 2 has the traffic; version 1 had it before."""
    train(settings, ledger, 2)


def train(settings: Settings, ledger: Ledger, number: int) -> None:
    """A version that its training brought to traffic, an hour after the one before."""
    now = FIRST + timedelta(hours=number)
    run = f"run-{number}"
    ledger.start_run(run_id=run, model=NAME, mode="refit", started=now, now=now, spec="s", folder="f")
    ledger.finish_run(run, finished=now, outcome="registered", reason=f"version {number}")
    assert add_version(ledger, run, run, now) == number
    promote(ledger, now)
    local.deploy(settings.current(NAME), settings.versions / NAME / digest_of(number), number)


def ask(settings: Settings, ledger: Ledger, wish: Wish, hours: int = 0) -> Request:
    """The request, done by the process that follows it."""
    request = ledger.add_request(NAME, wish, made=REAL, now=NOW + timedelta(hours=hours))
    *_, done = until_done(settings, request, lambda: REAL, runner=QuickRunner(settings), pause_seconds=0)
    return done


def back(settings: Settings, ledger: Ledger, hours: int = 0) -> Request:
    return ask(settings, ledger, RollBack(reason="complaints"), hours)


def traffic(settings: Settings, ledger: Ledger) -> tuple[int | None, int | None]:
    """Which version the ledger wants, and which is deployed."""
    champion, current = ledger.champion(NAME), local.deployed(settings.current(NAME))
    return None if champion is None else champion.number, None if current is None else current.number


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("asked", [NOW + timedelta(hours=1), FIRST], ids=["later", "by a clock that is behind"])
def test_a_rollback_of_a_version_that_was_asked_for_again_goes_back(settings: Settings, ledger: Ledger, asked: datetime) -> None:
    assert back(settings, ledger).failure is None
    assert traffic(settings, ledger) == (1, 1)
    again = ledger.request_rollout(model=NAME, number=2, now=asked, reason="it was right", attempt=2)
    for seen in ("checked", "promoted"):
        proof = {"seen": seen, "digest": again.digest, "loaded": True, "passed": True, "time": NOW + timedelta(hours=1)}
        again = ledger.move_rollout(again, Observation.model_validate({**proof, "reason": "It was checked."}))
    local.deploy(settings.current(NAME), settings.versions / NAME / digest_of(2), 2)
    done = back(settings, ledger, hours=2)
    assert (done.failure, done.subject) == (None, 2)
    assert traffic(settings, ledger) == (1, 1)
    states = {(one.number, one.attempt): one.state for one in ledger.rollouts(NAME)}
    assert states == {(1, 1): "champion", (2, 1): "rolled back", (2, 2): "rolled back"}
    done = back(settings, ledger, hours=3)
    assert done.failure is not None and "no champion before version 1" in done.failure.sentence
    assert traffic(settings, ledger) == (1, 1)


def again(settings: Settings, ledger: Ledger, version: int, hours: int = 0) -> Request:
    return ask(settings, ledger, RollOut(version=version, reason="it was right"), hours)


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("hours", [1, -500], ids=["later", "by a clock that is behind"])
def test_after_a_mistaken_rollback_the_version_is_asked_for_again_and_rolled_back_again(
    settings: Settings, ledger: Ledger, hours: int
) -> None:
    back(settings, ledger)
    done = again(settings, ledger, 2, hours)
    assert (done.failure, done.outcome, done.subject) == (None, "", 2)
    assert traffic(settings, ledger) == (2, 2)
    assert ledger.rollouts(NAME)[0].previous == 1
    assert back(settings, ledger, hours).failure is None
    assert traffic(settings, ledger) == (1, 1)


def test_a_rollback_goes_to_the_version_that_had_the_traffic_before_and_not_to_the_number_below(
    settings: Settings, ledger: Ledger
) -> None:
    for number in (2, 3):
        train(settings, ledger, number)
    assert again(settings, ledger, 1).failure is None, "version 1 had the traffic, and was not rolled back"
    found = [traffic(settings, ledger)]
    for hours in (1, 2, 3):
        assert back(settings, ledger, hours).failure is None
        found.append(traffic(settings, ledger))
    assert found == [(1, 1), (3, 3), (2, 2), (1, 1)]
    none = back(settings, ledger, 4)
    assert none.failure is not None and "no champion before version 1" in none.failure.sentence


@pytest.mark.usefixtures("two")
def test_the_version_that_has_the_traffic_is_left_alone(settings: Settings, ledger: Ledger) -> None:
    before = ledger.rollouts(NAME)
    done = again(settings, ledger, 2)
    assert (done.failure, done.outcome, done.subject) == (None, "", None)
    assert ledger.rollouts(NAME) == before
    local.deploy(settings.current(NAME), settings.versions / NAME / digest_of(1), 1)
    done = again(settings, ledger, 2, hours=1)
    assert (done.failure, done.subject, traffic(settings, ledger)) == (None, 1, (2, 2)), "wanted, and not deployed yet"


@pytest.mark.usefixtures("two")
def test_of_a_version_that_another_one_follows_that_is_said(settings: Settings, ledger: Ledger) -> None:
    ledger.start_run(run_id="run-3", model=NAME, mode="refit", started=NOW, now=NOW, spec="s", folder="f")
    assert add_version(ledger, "run-3", "run-3", NOW) == 3
    done = again(settings, ledger, 2)
    assert done.outcome == "version 3, which was asked for after it, takes the traffic"
    assert again(settings, ledger, 1, hours=1).failure is None
    assert traffic(settings, ledger) == (1, 1)
    withdrawn = next(one for one in ledger.rollouts(NAME) if one.number == 3)
    assert (withdrawn.state, withdrawn.reason) == ("refused", "version 1 was requested after it")


@pytest.mark.usefixtures("two")
def test_an_unknown_version_is_answered_with_those_there_are(settings: Settings, ledger: Ledger) -> None:
    done = again(settings, ledger, 9)
    assert done.failure is not None
    assert (done.failure.kind, done.failure.retry) == ("NotFoundError", False)
    assert "has no version 9; it has 1 to 2" in done.failure.sentence
    assert traffic(settings, ledger) == (2, 2)


@pytest.mark.usefixtures("two")
def test_a_version_that_the_serving_check_refuses_gets_no_traffic_and_may_be_asked_for_again(
    settings: Settings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        failed = GateResult(name="serving", verdict="fail", sentence="It does not answer.", numbers={})
        patch.setattr(rollouts, "checked", lambda *_: failed)
        assert again(settings, ledger, 1).failure is None
        newest = ledger.rollouts(NAME)[0]
        assert (newest.number, newest.attempt, newest.state, newest.reason) == (1, 2, "refused", "It does not answer.")
        assert traffic(settings, ledger) == (2, 2)
    assert again(settings, ledger, 1, hours=1).subject == 3
    assert traffic(settings, ledger) == (1, 1)


@pytest.mark.usefixtures("two")
def test_what_could_not_be_done_is_a_failure_until_the_version_is_deployed_and_follows_after(
    settings: Settings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(local, "deploy", away)
        done = again(settings, ledger, 1)
        assert done.failure is not None and done.failure.retry
        assert traffic(settings, ledger) == (1, 2)
    with monkeypatch.context() as patch:
        patch.setattr(registry, "set_champion", away)
        done = again(settings, ledger, 1, hours=1)
        assert (done.failure, done.outcome, done.subject) == (None, "the disk does not answer", 2)
        assert traffic(settings, ledger) == (1, 1)


@pytest.mark.usefixtures("two")
def test_a_version_that_was_rolled_back_before_the_champion_came_does_not_stand_for_it(
    settings: Settings, ledger: Ledger
) -> None:
    again(settings, ledger, 1)
    back(settings, ledger, hours=1)
    now = NOW + timedelta(hours=2)
    ledger.start_run(run_id="run-3", model=NAME, mode="refit", started=now, now=now, spec="s", folder="f")
    add_version(ledger, "run-3", "run-3", now)
    promote(ledger, now)
    local.deploy(settings.current(NAME), settings.versions / NAME / digest_of(1), 1)
    done = back(settings, ledger, hours=3)
    assert (done.failure, done.subject) == (None, 3)
    assert traffic(settings, ledger) == (2, 2)


def away(*_: object, **__: object) -> None:
    raise PlatformError("the disk does not answer")
