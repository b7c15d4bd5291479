"""The ledger keeps what it is told, once, for readers and writers that come at the same time."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from perennial.errors import NotFoundError, PlatformError
from perennial.evaluation.gates import GateResult
from perennial.ledger import Ledger
from perennial.loop.failure import Failure
from perennial.training.recipe import Recipe
from tests.perennial.ledger.conftest import held

NOW = datetime(2013, 4, 1, 6, tzinfo=UTC)
RECIPE = Recipe(kind="logistic", parameters={"c": 0.1}, columns=("distance", "hour"))


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder / 'ledger.db'}"


def start(ledger: Ledger, run_id: str, model: str = "delay", started: datetime = NOW) -> None:
    ledger.start_run(run_id=run_id, model=model, mode="search", started=started, now=NOW, spec="s" * 64, folder=f"/runs/{run_id}")


def finish(ledger: Ledger, run_id: str, outcome: str = "refused") -> None:
    ledger.finish_run(
        run_id, finished=NOW + timedelta(minutes=2), outcome=outcome, reason="AUC too low.", run_key="k" * 64, dataset="d" * 64
    )


def add(ledger: Ledger, run_id: str, run_key: str, digest: str = "f" * 64, model: str = "delay") -> tuple[int, bool]:
    return ledger.add_version(
        model=model,
        run_key=run_key,
        digest=digest,
        created=NOW,
        run_id=run_id,
        recipe=RECIPE,
        searched_at=NOW,
        trained_until=NOW,
    )


def test_a_run_is_running_until_it_says_what_it_found(ledger: Ledger) -> None:
    start(ledger, "r1")
    assert (ledger.run("r1").state, ledger.run("r1").outcome, ledger.run("r1").finished) == ("running", None, None)
    finish(ledger, "r1")
    run = ledger.run("r1")
    assert (run.state, run.outcome, run.reason, run.run_key) == ("succeeded", "refused", "AUC too low.", "k" * 64)
    assert run.finished == NOW + timedelta(minutes=2)


def test_starting_or_finishing_a_run_again_changes_nothing(ledger: Ledger) -> None:
    start(ledger, "r1")
    start(ledger, "r1", started=NOW + timedelta(days=1))
    assert ledger.run("r1").started == NOW
    finish(ledger, "r1", "registered")
    finish(ledger, "r1", "refused")
    assert ledger.run("r1").outcome == "registered"


def test_a_run_that_came_to_its_end_cannot_be_called_failed_but_a_failed_one_can_come_to_its_end(ledger: Ledger) -> None:
    start(ledger, "r1")
    assert ledger.fail_run("r1", finished=NOW, failure=Failure.of(PlatformError("Step train was killed."))).state == "failed"
    finish(ledger, "r1")
    assert ledger.fail_run("r1", finished=NOW, failure=Failure.of(PlatformError("Looked dead."))).state == "succeeded"


def test_times_come_back_in_utc_and_naive_ones_are_refused(ledger: Ledger) -> None:
    start(ledger, "r1", started=datetime(2013, 4, 1, 2, tzinfo=timezone(timedelta(hours=-4))))
    assert ledger.run("r1").started == NOW
    assert ledger.run("r1").started.tzinfo is UTC
    with pytest.raises(Exception, match="no time zone"):
        start(ledger, "r2", started=NOW.replace(tzinfo=None))


def test_a_run_is_found_by_the_beginning_of_its_id_when_only_one_begins_so(ledger: Ledger) -> None:
    for name in ("delay-1", "delay-12", "delay-2", "de%"):
        start(ledger, name)
    assert ledger.run("delay-1").run_id == "delay-1"
    assert ledger.run("delay-12").run_id == "delay-12"
    with pytest.raises(NotFoundError, match="several runs begin with 'delay': delay-1, delay-12, delay-2"):
        ledger.run("delay")
    with pytest.raises(NotFoundError, match="no run 'x'; `perennial runs` lists them"):
        ledger.run("x")
    assert ledger.run("de%").run_id == ledger.run("de%").run_id == "de%"


def test_runs_are_listed_newest_first_by_model(ledger: Ledger) -> None:
    for number in range(4):
        start(ledger, f"r{number}", "delay" if number % 2 else "churn", NOW + timedelta(hours=number))
    assert [run.run_id for run in ledger.runs()] == ["r3", "r2", "r1", "r0"]
    assert [run.run_id for run in ledger.runs("churn", limit=1)] == ["r2"]
    assert ledger.models() == ("churn", "delay")


def test_models_are_sorted_by_their_letters_whatever_the_database_thinks(ledger: Ledger) -> None:
    for model in ("a-c", "ab", "a-b"):
        start(ledger, model, model)
    assert ledger.models() == ("a-b", "a-c", "ab")


def test_versions_count_by_model_and_a_run_key_is_registered_once(ledger: Ledger) -> None:
    start(ledger, "r1")
    assert add(ledger, "r1", "a") == (1, True)
    assert add(ledger, "r1", "b") == (2, True)
    assert add(ledger, "r1", "a", digest="other") == (1, False)
    assert add(ledger, "r1", "a", model="churn") == (1, True)
    assert ledger.version("delay", 1).digest == "f" * 64
    assert ledger.version("delay").number == 2
    assert ledger.version("delay").recipe == RECIPE


def test_a_version_is_no_champion_before_its_rollout_is(ledger: Ledger) -> None:
    assert ledger.champion("delay") is None
    start(ledger, "r1")
    add(ledger, "r1", "a")
    add(ledger, "r1", "b")
    assert ledger.champion("delay") is None


def test_a_version_that_is_not_there_is_named(ledger: Ledger) -> None:
    with pytest.raises(NotFoundError, match="delay has no version; `perennial train delay` makes the first"):
        ledger.version("delay")
    start(ledger, "r1")
    add(ledger, "r1", "a")
    with pytest.raises(NotFoundError, match="delay has no version 7; it has 1 to 1"):
        ledger.version("delay", 7)
    with pytest.raises(NotFoundError, match="no run 'r9'"):
        add(ledger, "r9", "b")


def test_gate_results_keep_their_order_and_are_replaced_as_a_whole(ledger: Ledger) -> None:
    start(ledger, "r1")
    first = GateResult(name="data", verdict="pass", sentence="All right.", numbers={})
    second = GateResult(
        name="auc", verdict="undecided", sentence="Needs 3 more days.", numbers={"value": 0.1 + 0.2, "power": None}
    )
    assert ledger.gates("r1") == ()
    ledger.write_gates("r1", (second, first))
    assert ledger.gates("r1") == (second, first)
    ledger.write_gates("r1", (first,))
    assert ledger.gates("r1") == (first,)
    with pytest.raises(NotFoundError):
        ledger.write_gates("r9", (first,))


def test_what_was_written_is_there_when_it_is_opened_again(url: str) -> None:
    with Ledger.open(url) as ledger:
        start(ledger, "r1")
    with Ledger.open(url) as ledger:
        assert ledger.run("r1").model == "delay"


def test_writers_at_the_same_time_draw_different_numbers(url: str) -> None:
    with Ledger.open(url) as ledger:
        start(ledger, "r1")

    def write(key: str) -> int:
        with Ledger.open(url) as own:
            return add(own, "r1", key)[0]

    keys = [f"k{number // 2}" for number in range(16)]  # each key comes twice
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(write, keys))
    assert sorted(set(numbers)) == list(range(1, 9))
    assert all(numbers[number] == numbers[number + 1] for number in range(0, 16, 2))


def test_openers_at_the_same_time_make_one_ledger(url: str) -> None:
    barrier = threading.Barrier(4)

    def begin(number: int) -> None:
        barrier.wait()
        with Ledger.open(url) as own:
            start(own, f"r{number}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(begin, range(4)))
    with Ledger.open(url) as ledger:
        assert len(ledger.runs()) == 4


def test_a_locked_ledger_is_named_with_a_remedy_and_can_still_be_read(url: str) -> None:
    Ledger.open(url).close()
    with Ledger.open(url, wait_seconds=0.1) as ledger:
        start(ledger, "r1")
        with held(url), pytest.raises(PlatformError, match=r"ledger .*; another process has held it for more than 0\.1 s"):
            start(ledger, "r2")
        with held(url):
            assert ledger.run("r1").state == "running"
        start(ledger, "r2")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user who may not write")
def test_a_folder_that_is_not_writable_is_named_with_a_remedy(tmp_path: Path) -> None:
    with Ledger.open(url_of(tmp_path)) as ledger:
        start(ledger, "r1")
    for folder in (tmp_path, *tmp_path.parents[:-1]):
        if not folder.stat().st_mode & 0o001:
            folder.chmod(0o755)
    os.seteuid(65534)
    try:
        with pytest.raises(PlatformError, match=r"new: make it writable|Permission denied: .*new'?; make it writable"):
            Ledger.open(url_of(tmp_path / "new"))
        with pytest.raises(PlatformError, match=r"ledger\.db: .*; make it writable, or set PERENNIAL_STATE"):
            Ledger.open(url_of(tmp_path))
    finally:
        os.seteuid(0)


def test_a_file_in_the_folders_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(PlatformError, match=r"ledger .*: .*state; make it writable, or set PERENNIAL_STATE"):
        Ledger.open(url_of(tmp_path / "state"))


def test_a_file_that_is_no_ledger_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_text("this is a letter, not a database, and quite a long one at that" * 20)
    with pytest.raises(PlatformError, match=r"file is not a database; the file is not a ledger or is damaged"):
        Ledger.open(url_of(tmp_path))


def test_a_url_of_an_unknown_kind_is_refused() -> None:
    for url in ("mongo://x", "nonsense"):
        with pytest.raises(PlatformError, match="not a URL that can be opened"):
            Ledger.open(url)
