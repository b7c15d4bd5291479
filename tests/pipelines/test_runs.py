"""Local runs: when a training searches, what a run's folder holds, and who may execute it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from perennial.errors import NotFoundError, PlatformError
from perennial.ledger import Ledger, Version
from perennial.recipe import Recipe
from perennial.settings import Settings
from perennial.spec.read import read
from pipelines import lock, runs
from tests.second_project import NAME, write_project

MOMENT = datetime(2024, 4, 13, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_environment({"PERENNIAL_PROJECT": str(write_project(tmp_path, per_day=1))})


def version(searched_at: datetime) -> Version:
    recipe = Recipe(kind="logistic", parameters={"c": 1.0}, columns=("amount",))
    return Version(
        model=NAME,
        number=1,
        run_key="k",
        digest="d",
        created=MOMENT,
        run_id="r",
        recipe=recipe,
        searched_at=searched_at,
        trained_until=MOMENT,
    )


def test_a_training_searches_first_and_on_schedule_and_refits_between(settings: Settings) -> None:
    model = read(settings.models / f"{NAME}.yaml")
    days = model.spec.training.search.every_days
    assert runs.wants_search(model, None, MOMENT)
    assert not runs.wants_search(model, version(MOMENT - timedelta(days=days - 1)), MOMENT)
    assert runs.wants_search(model, version(MOMENT - timedelta(days=days)), MOMENT)


def test_a_prepared_run_is_in_the_ledger_before_it_executes(settings: Settings) -> None:
    run_id = runs.prepare(settings, read(settings.models / f"{NAME}.yaml"), MOMENT, MOMENT)
    with Ledger.open(settings.ledger) as ledger:
        run = ledger.run(run_id)
    assert (run.state, run.mode, run.now) == ("running", "search", MOMENT)
    assert not lock.is_executing(settings, run_id)


def test_a_run_that_breaks_is_failed_with_the_step_s_own_error(settings: Settings) -> None:
    run_id = runs.prepare(settings, read(settings.models / f"{NAME}.yaml"), MOMENT, MOMENT)
    log = settings.runs / run_id / "log.txt"

    def execute(folder: Path, parameters: dict[str, str]) -> None:
        assert lock.is_executing(settings, run_id)
        log.write_text("    perennial.errors.DataError: pair.parquet: empty\n")
        raise RuntimeError("a task failed")

    assert runs.execute_locked(settings, run_id, execute) == 2
    with Ledger.open(settings.ledger) as ledger:
        run = ledger.run(run_id)
    assert (run.state, run.reason) == ("failed", "DataError: pair.parquet: empty")


def test_a_run_is_executed_by_one_process(settings: Settings) -> None:
    run_id = runs.prepare(settings, read(settings.models / f"{NAME}.yaml"), MOMENT, MOMENT)
    with lock.held(settings, run_id), pytest.raises(PlatformError, match="another process"):
        runs.execute_locked(settings, run_id, lambda _folder, _parameters: None)


def test_a_run_that_nobody_prepared_is_not_found(settings: Settings) -> None:
    with pytest.raises(NotFoundError, match="perennial runs"):
        runs.execute_locked(settings, "nothing", lambda _folder, _parameters: None)
