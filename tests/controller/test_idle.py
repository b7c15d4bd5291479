"""A controller with nothing to do: it writes nothing, and asks no more of the ledger for many models than for one."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy import create_engine, event
from sqlalchemy.pool import NullPool

from controller.tick import LEASE_SECONDS, tick
from controller.ticked import LEASE, Ticked
from perennial import registry
from perennial.ledger import Ledger
from perennial.ledger.tables import metadata
from perennial.loop.request import RollBack
from perennial.settings import Settings
from serving import rollouts
from serving.deployers.local import deploy
from tests.controller.world import FIRST, NAME, NOW, REAL, QuickRunner, digest_of, tick_until_idle, write_world
from tests.servers.postgresql import PostgreSQL

IDLE_TICKS = {"sqlite": 1000, "postgresql": 200}
"""By kind of ledger; on PostgreSQL each tick makes connections of its own."""
ANSWERED = timedelta(milliseconds=20)
"""Between two ticks: a thousand take twenty seconds, for which the lease need not be renewed."""
VERSIONS_OF_ROWS = " + ".join(f"(select coalesce(sum(xmin::text::bigint), 0) from {table})" for table in metadata.tables)
"""PostgreSQL's sum over the transactions that wrote the rows of the ledger: each write has a number of its own."""


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path, quick_rollouts: None) -> Iterator[Settings]:
    """The small installation on each kind of ledger."""
    if request.param == "sqlite":
        yield write_world(tmp_path)
        return
    server: PostgreSQL = request.getfixturevalue("postgresql")
    url = server.database()
    yield write_world(tmp_path, ledger_url=url)
    server.drop(url)


@pytest.fixture
def changes(settings: Settings) -> Iterator[Callable[[], int]]:
    """A number that another connection's commit changes if it wrote, and only then."""
    question = "pragma data_version"
    if not settings.ledger.startswith("sqlite"):
        question = f"select {VERSIONS_OF_ROWS}"
    with create_engine(settings.ledger, poolclass=NullPool).connect() as connection:

        def ask() -> int:
            found = connection.exec_driver_sql(question).scalar_one()
            connection.rollback()
            return int(found)

        yield ask


def idle(settings: Settings, runner: QuickRunner, seconds: float) -> Ticked:
    """A tick so long after the first; the real time passes as the time that it is for."""
    later = timedelta(seconds=seconds)
    return tick(settings, NOW + later, lambda: REAL + later, runner=runner, name="a/1", release=False)


def test_a_thousand_idle_ticks_write_nothing(settings: Settings, changes: Callable[[], int]) -> None:
    runner = QuickRunner(settings)
    tick_until_idle(settings, runner=runner)
    assert idle(settings, runner, 0).is_idle, "it takes the lease, and has it"
    before = changes()
    for number in range(IDLE_TICKS[settings.ledger.partition("+")[0].partition(":")[0]]):
        ticked = idle(settings, runner, number * ANSWERED.total_seconds())
        assert ticked.is_idle and not ticked.problems
    assert changes() == before
    idle(settings, runner, LEASE_SECONDS / 2 + 1)
    assert changes() != before, "half of the lease has passed: it is renewed"


def test_the_time_of_the_last_tick_is_noted_twice_a_minute(settings: Settings) -> None:
    runner = QuickRunner(settings)
    noted = []
    for seconds in range(0, 95, 5):
        idle(settings, runner, seconds)
        with Ledger.open(settings.ledger) as ledger:
            lease = ledger.lease(LEASE)
        assert lease is not None and lease.ticked is not None
        assert lease.expires - REAL > timedelta(seconds=seconds + LEASE_SECONDS / 2 - 1)
        noted.append((lease.ticked - NOW).total_seconds())
    assert sorted(set(noted)) == [0, 30, 60, 90]


def add_model(settings: Settings, ledger: Ledger, name: str) -> None:
    """Another model with a champion that is deployed."""
    text = (settings.models / f"{NAME}.yaml").read_text()
    (settings.models / f"{name}.yaml").write_text(text.replace(f"name: {NAME}", f"name: {name}"))
    ledger.start_run(run_id=name, model=name, mode="search", started=FIRST, now=FIRST, spec="s", folder="f")
    ledger.finish_run(name, finished=FIRST, outcome="registered", reason="version 1")
    champion = ledger.version(NAME)
    values = champion.model_dump(exclude={"model", "run_id", "number", "recipe"}) | {"recipe": champion.recipe}
    ledger.add_version(model=name, run_id=name, **values)
    ledger.request_rollout(model=name, number=1, now=FIRST, reason="passed every gate")
    settings.current(name).parent.mkdir(parents=True)
    deploy(settings.current(name), settings.versions / name / champion.digest, 1)


def test_of_many_idle_models_only_what_differs_is_asked(settings: Settings) -> None:
    runner = QuickRunner(settings)
    tick_until_idle(settings, runner=runner)
    asked = list[str]()

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    counts = list[int]()
    event.listen(sqlalchemy.Engine, "before_cursor_execute", note)
    try:
        for number in range(3):
            with Ledger.open(settings.ledger) as ledger:
                for place in range(4):
                    add_model(settings, ledger, f"m{number}{place}")
            assert [act.what for act in idle(settings, runner, number).acts] == ["rolled out"] * 4
            asked.clear()
            assert idle(settings, runner, number).is_idle
            counts.append(sum(statement.lstrip().lower().startswith("select") for statement in asked))
    finally:
        event.remove(sqlalchemy.Engine, "before_cursor_execute", note)
    first, second, third = counts
    assert third - second == second - first <= 4 * 2, "the fence before what is told, and the windows"


def test_mlflow_is_told_the_same_once_an_hour_and_anything_else_at_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = list[int]()
    monkeypatch.setattr(registry, "set_champion", lambda *_, number, **__: told.append(number))
    runner = QuickRunner(settings)
    reals = [REAL, REAL + timedelta(minutes=1), REAL + rollouts.TELLS_AGAIN - timedelta(seconds=1)]
    for real in reals:
        tick(settings, FIRST, partial(max, real, real), runner=runner)
    assert told == [1]
    tick(settings, FIRST, lambda: REAL + rollouts.TELLS_AGAIN, runner=runner)
    assert told == [1, 1]
    tick_until_idle(settings, REAL + rollouts.TELLS_AGAIN, runner)
    assert told[2:] == [2] and digest_of(2) in settings.current(NAME).read_text()


def test_a_deployment_that_somebody_changed_is_repaired_at_the_next_tick(settings: Settings) -> None:
    runner = QuickRunner(settings)
    tick_until_idle(settings, runner=runner)
    before = settings.current(NAME).read_text()
    settings.current(NAME).unlink()
    assert idle(settings, runner, 1).problems == ()
    assert settings.current(NAME).read_text() == before


def test_what_a_person_asks_for_in_the_middle_of_idle_ticks_is_seen_by_the_next(settings: Settings) -> None:
    runner = QuickRunner(settings)
    tick_until_idle(settings, runner=runner)
    assert idle(settings, runner, 1).is_idle
    with Ledger.open(settings.ledger) as ledger:
        ledger.add_request(NAME, RollBack(reason="complaints"), made=REAL, now=NOW)
        assert [act.what for act in idle(settings, runner, 2).acts] == ["answered"]
        champion = ledger.champion(NAME)
    assert champion is not None and champion.number == 1
