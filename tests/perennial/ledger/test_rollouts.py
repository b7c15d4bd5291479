"""Rollouts in the ledger: asked for once, moved by comparing with what was read, and the newest champion has the traffic."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert

from perennial.errors import DataError, NotFoundError
from perennial.ledger import Ledger
from perennial.ledger.tables import runs, versions
from perennial.loop.rollout import Observation, Observed, Rollout, champions
from perennial.training.recipe import Recipe
from tests.perennial.ledger.conftest import directly, migrate

NOW = datetime(2013, 4, 1, 6, tzinfo=UTC)
RECIPE = Recipe(kind="logistic", parameters={"c": 0.1}, columns=("distance", "hour"))


def add_versions(ledger: Ledger, count: int, model: str = "delay") -> None:
    ledger.start_run(run_id=f"{model}-r", model=model, mode="search", started=NOW, now=NOW, spec="s" * 64, folder="/runs/r")
    for number in range(1, count + 1):
        ledger.add_version(
            model=model,
            run_key=f"k{number}",
            digest=f"d{number}",
            created=NOW + timedelta(days=number),
            run_id=f"{model}-r",
            recipe=RECIPE,
            searched_at=NOW,
            trained_until=NOW,
        )


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with Ledger.open(url) as opened:
        add_versions(opened, 3)
        yield opened


def ask(ledger: Ledger, number: int, attempt: int = 1, hours: int = 0) -> Rollout:
    now = NOW + timedelta(hours=hours)
    return ledger.request_rollout(model="delay", number=number, now=now, reason="Passed its gates.", attempt=attempt)


def saw(what: Observed, number: int, hours: int = 1, *, proved: bool = True) -> Observation:
    time = NOW + timedelta(hours=hours)
    return Observation(seen=what, digest=f"d{number}", loaded=proved, passed=proved, time=time, reason=f"Saw {what}.")


def promote(ledger: Ledger, number: int, hours: int, attempt: int = 1) -> Rollout:
    checked = ledger.move_rollout(ask(ledger, number, attempt, hours), saw("checked", number, hours))
    return ledger.move_rollout(checked, saw("promoted", number, hours))


def number_of_champion(ledger: Ledger) -> int | None:
    champion = ledger.champion("delay")
    return None if champion is None else champion.number


def test_a_request_stands_until_something_is_observed_and_is_made_once(ledger: Ledger) -> None:
    first = ask(ledger, 2)
    assert (first.state, first.digest, first.previous, first.requested, first.moved) == ("requested", "d2", None, NOW, NOW)
    assert number_of_champion(ledger) is None  # asked for, and nobody has it yet
    assert ask(ledger, 2, hours=5) == first
    refused = ledger.move_rollout(first, saw("failed", 2))
    assert ask(ledger, 2, hours=6) == refused  # a step that is repeated does not ask again
    assert ledger.rollouts("delay") == (refused,)
    assert ledger.rollouts("churn") == ()


def test_a_version_becomes_champion_by_the_rules_of_the_rollout_only(ledger: Ledger) -> None:
    first = ask(ledger, 1)
    assert ledger.move_rollout(first, saw("promoted", 1)) == first
    assert ledger.move_rollout(first, saw("checked", 1, proved=False)) == first
    assert ledger.move_rollout(first, saw("checked", 2)) == first
    checked = ledger.move_rollout(first, saw("checked", 1))
    assert (checked.state, number_of_champion(ledger)) == ("checked", None)
    champion = ledger.move_rollout(checked, saw("promoted", 1, hours=2))
    assert (champion.state, champion.moved, champion.reason) == ("champion", NOW + timedelta(hours=2), "Saw promoted.")
    assert number_of_champion(ledger) == 1


def test_the_newest_champion_has_the_traffic_and_a_rollback_gives_it_to_the_one_before(ledger: Ledger) -> None:
    promote(ledger, 1, hours=1)
    second = promote(ledger, 2, hours=2)
    assert second.previous == 1
    assert number_of_champion(ledger) == 2
    ledger.move_rollout(second, saw("rolled back", 2, hours=3))
    assert number_of_champion(ledger) == 1
    third = promote(ledger, 3, hours=4)
    assert (third.previous, number_of_champion(ledger)) == (1, 3)
    assert [found.number for found in ledger.rollouts("delay")] == [3, 2, 1]


def test_the_first_champion_rolled_back_leaves_nobody(ledger: Ledger) -> None:
    ledger.move_rollout(promote(ledger, 3, hours=1), saw("rolled back", 3, hours=2))
    assert number_of_champion(ledger) is None


def test_a_version_that_was_refused_or_rolled_back_is_asked_for_again_by_number(ledger: Ledger) -> None:
    with pytest.raises(DataError, match="request 2 for version 1 cannot be made: request 1 was never made"):
        ask(ledger, 1, attempt=2)
    first = ask(ledger, 1)
    with pytest.raises(DataError, match="request 1 is requested; allowed once it is refused or rolled back"):
        ask(ledger, 1, attempt=2)
    ledger.move_rollout(first, saw("withdrawn", 1))
    again = promote(ledger, 1, hours=2, attempt=2)
    assert (again.attempt, number_of_champion(ledger)) == (2, 1)
    with pytest.raises(DataError, match="request 2 is champion"):
        ask(ledger, 1, attempt=3)
    with pytest.raises(NotFoundError, match="delay has no version 9"):
        ask(ledger, 9)
    with pytest.raises(NotFoundError, match="no rollout 7 of delay version 1"):
        ledger.move_rollout(again.model_copy(update={"attempt": 7}), saw("rolled back", 1))


def test_a_further_attempt_comes_after_every_rollout_and_a_first_one_keeps_its_time(ledger: Ledger) -> None:
    promote(ledger, 1, hours=5)
    ledger.move_rollout(promote(ledger, 2, hours=6), saw("rolled back", 2, hours=7))
    assert ask(ledger, 3, hours=1).requested == NOW + timedelta(hours=1)
    again = promote(ledger, 2, hours=2, attempt=2)
    just_after = NOW + timedelta(hours=7, microseconds=1)
    assert (again.requested, again.moved, number_of_champion(ledger)) == (just_after, just_after, 2)
    assert ledger.rollouts("delay")[0] == again


def test_a_version_that_had_the_traffic_is_asked_for_again_once_another_has_it(ledger: Ledger) -> None:
    first = promote(ledger, 1, hours=1)
    with pytest.raises(DataError, match="request 1 is champion"):
        ask(ledger, 1, attempt=2)
    second = promote(ledger, 2, hours=2)
    again = promote(ledger, 1, hours=3, attempt=2)
    assert champions(ledger.rollouts("delay")) == (again, second, first)


def test_a_rollout_that_another_writer_moved_is_left_where_it_is(ledger: Ledger) -> None:
    read = ask(ledger, 2)
    refused = ledger.move_rollout(read, saw("withdrawn", 2, hours=1))
    assert ledger.move_rollout(read, saw("checked", 2, hours=2)) == refused
    assert ledger.rollouts("delay") == (refused,)


def test_of_writers_at_the_same_time_one_moves_it_and_all_see_where_it_is(url: str, ledger: Ledger) -> None:
    def write(place: int) -> tuple[Rollout, Rollout]:
        with Ledger.open(url) as own:
            read = ask(own, 1, hours=place)
            return read, own.move_rollout(read, saw("checked" if place % 2 else "failed", 1, hours=10 + place))

    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(write, range(8)))
    (kept,) = ledger.rollouts("delay")
    assert len({read.requested for read, _ in seen}) == 1
    assert kept.state in ("checked", "refused")
    assert sum(found.moved == NOW + timedelta(hours=10 + place) for place, (_, found) in enumerate(seen)) >= 1
    # From *checked* a failure may still refuse it; nothing leads on from *refused*.
    assert {found.state for _, found in seen} <= {"checked", "refused"}


def test_the_newest_versions_of_an_older_ledger_stay_champions(url: str) -> None:
    with directly(url) as older:
        migrate(older, "0001")
        for model, count in (("delay", 3), ("churn", 1)):
            run = {"run_id": model, "model": model, "mode": "search", "started": NOW, "state": "running", "spec": "s"}
            older.execute(insert(runs).values(**run, now=NOW, reason="", folder="/r"))
            for number in range(1, count + 1):
                version = {"model": model, "number": number, "run_key": f"k{number}", "digest": f"d{number}", "run_id": model}
                times = {"created": NOW, "searched_at": NOW, "trained_until": NOW}
                older.execute(insert(versions).values(**version, **times, recipe=RECIPE.model_dump(mode="json")))
    with Ledger.open(url) as ledger:
        (champion,) = ledger.rollouts("delay")
        assert (champion.number, champion.digest, champion.state, champion.moved) == (3, "d3", "champion", NOW)
        assert number_of_champion(ledger) == 3
        assert [found.number for found in ledger.rollouts("churn")] == [1]
        assert ask(ledger, 2).previous == 3


def test_a_model_is_settled_while_no_request_is_on_its_way(ledger: Ledger) -> None:
    def settled() -> dict[str, tuple[int, str]]:
        return {model: (version.number, run.run_id) for model, (version, run) in ledger.settled().items()}

    assert settled() == {}
    promote(ledger, 1, 1)
    assert settled() == {"delay": (1, "delay-r")}
    promote(ledger, 3, 2)
    assert settled() == {"delay": (3, "delay-r")} and number_of_champion(ledger) == 3
    ask(ledger, 2, hours=3)
    assert settled() == {}, "whatever is on its way, the newest or one before"
    (waiting,) = (rollout for rollout in ledger.rollouts("delay") if rollout.state == "requested")
    ledger.move_rollout(waiting, saw("failed", 2, 4, proved=False))
    assert settled() == {"delay": (3, "delay-r")}
    back = next(rollout for rollout in ledger.rollouts("delay") if rollout.number == 3)
    ledger.move_rollout(back, saw("rolled back", 3, 5))
    assert settled() == {"delay": (1, "delay-r")} and number_of_champion(ledger) == 1


def test_the_end_of_each_version_s_data_is_known_by_model_and_digest(ledger: Ledger) -> None:
    add_versions(ledger, 1, "arrival")
    assert ledger.trained_until() == {"delay": dict.fromkeys(("d1", "d2", "d3"), NOW), "arrival": {"d1": NOW}}
