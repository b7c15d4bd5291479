"""Local runs: what a run's folder holds, and who may execute it."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from perennial.errors import DataError, NotFoundError, PlatformError
from perennial.ledger import Ledger
from perennial.loop.failure import Failure
from perennial.settings import Settings
from pipelines import lock, runs
from pipelines.steps import FAILURE
from tests.controller.asked import prepared
from tests.second_project import NAME, write_project

MOMENT = datetime(2024, 4, 13, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_environment({"PERENNIAL_PROJECT": str(write_project(tmp_path, per_day=1))})


def test_a_run_that_breaks_is_failed_with_the_step_s_own_error(settings: Settings) -> None:
    run_id = prepared(settings, NAME, MOMENT, MOMENT)
    folder = settings.runs / run_id

    def execute(_: Path, parameters: dict[str, str]) -> None:
        assert lock.is_executing(settings.runs, run_id)
        assert not (folder / FAILURE).exists(), "what an earlier start broke with is gone"
        Failure.of(DataError("pair.parquet: empty"), "build-dataset").write(folder / FAILURE)
        raise RuntimeError("a task failed")

    (folder / "log.txt").touch()
    Failure.of(PlatformError("of an earlier start"), "claim").write(folder / FAILURE)
    assert runs.execute_locked(settings, run_id, execute, lock.open_lock(settings.runs, run_id)) == 2
    with Ledger.open(settings.ledger) as ledger:
        run = ledger.run(run_id)
    assert (run.state, run.reason, run.why) == ("failed", "pair.parquet: empty", "DataError: pair.parquet: empty")
    assert run.failure == Failure(kind="DataError", retry=False, step="build-dataset", sentence="pair.parquet: empty")


@pytest.mark.parametrize(
    ("printed", "raised", "code", "reason"),
    [
        # A step whose process was killed says nothing; what KFP raises then says no more than that it failed.
        (
            "00:00:01.000 - INFO - Executing task 'train-2'\n    fitting\n",
            RuntimeError("Pipeline failed"),
            75,
            "PlatformError: train: its process ended without an error of its own: it was killed, or memory ran out",
        ),
        # What breaks outside every step is a bug, unless it says otherwise.
        ("", KeyError("spec"), 70, "UnexpectedError: run: KeyError: 'spec' (pipelines/test_runs.py, line "),
        ("", OSError(28, "No space left on device"), 75, "PlatformError: run: OSError: [Errno 28] No space left on device; the"),
    ],
    ids=["killed step", "bug", "full disk"],
)
def test_a_run_that_breaks_without_a_trace_says_what_it_means(
    settings: Settings, printed: str, raised: Exception, code: int, reason: str
) -> None:
    run_id = prepared(settings, NAME, MOMENT, MOMENT)
    log = settings.runs / run_id / "log.txt"
    log.touch()

    def execute(folder: Path, parameters: dict[str, str]) -> None:
        log.write_text(printed)
        raise raised

    assert runs.execute_locked(settings, run_id, execute, lock.open_lock(settings.runs, run_id)) == code
    with Ledger.open(settings.ledger) as ledger:
        assert ledger.run(run_id).why.startswith(reason)


def test_a_run_is_executed_by_one_process(settings: Settings) -> None:
    run_id = prepared(settings, NAME, MOMENT, MOMENT)
    with lock.held(lock.open_lock(settings.runs, run_id), run_id), pytest.raises(PlatformError, match="another process"):
        runs.start(settings, run_id)


def test_a_run_that_nobody_prepared_is_not_found(settings: Settings) -> None:
    with pytest.raises(NotFoundError, match="perennial runs"):
        runs.start(settings, "nothing")


def test_a_run_is_unknown_then_dead_then_ended(settings: Settings) -> None:
    with Ledger.open(settings.ledger) as ledger:
        assert runs.state(settings.runs, ledger, "churn-1", MOMENT).state == "unknown"
        run_id = prepared(settings, NAME, MOMENT, MOMENT)
        assert runs.state(settings.runs, ledger, run_id, MOMENT).state == "dead"
        with lock.held(lock.open_lock(settings.runs, run_id), run_id):
            assert runs.state(settings.runs, ledger, run_id, MOMENT).state == "executing"
        ledger.fail_run(run_id, finished=MOMENT, failure=Failure.of(DataError("empty")))
        assert runs.state(settings.runs, ledger, run_id, MOMENT).state == "ended"
