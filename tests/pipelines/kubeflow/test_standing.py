"""How a run on Kubeflow stands: what the server says against what the ledger knows, by the clock."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from perennial.errors import DataError, PlatformError
from perennial.ledger import Ledger
from perennial.loop.failure import Failure
from perennial.settings import Settings
from pipelines.kubeflow.runner import KubeflowRunner
from pipelines.runs import RunState

POSTED = datetime(2026, 11, 28, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
RUN = "churn-1"
IMAGE = f"registry.example.com/perennial/steps@sha256:{'a' * 64}"


class Server:
    """Says what a test wants of every run, and notes what it was asked."""

    def __init__(self) -> None:
        self.said: tuple[str, str] = ("executing", "RUNNING")
        self.refusal, self.is_away = "", False
        self.posted: list[str] = []
        self.ended: list[str] = []

    def hint(self, _: str) -> tuple[str, str]:
        return self.said

    def experiment(self, _name: str, _namespace: str | None) -> str:
        return "e"

    def submit(self, run_id: str, *_: Any) -> str:
        self.posted.append(run_id)
        if self.is_away:
            raise PlatformError("the answer was lost")
        return self.refusal

    def terminate(self, run_id: str) -> None:
        self.ended.append(run_id)


class Clock:
    now = POSTED

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    here = {"PERENNIAL_PROJECT": str(tmp_path), "PERENNIAL_PIPELINES": "http://nobody", "PERENNIAL_STEPS_IMAGE": IMAGE}
    return Settings.from_environment(here)


@pytest.fixture
def ledger(settings: Settings) -> Any:
    settings.state.mkdir()
    with Ledger.open(settings.ledger) as opened:
        opened.start_run(run_id=RUN, model="churn", mode="refit", started=POSTED, now=POSTED, spec="s", folder="f")
        yield opened


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def runner(settings: Settings, server: Server) -> KubeflowRunner:
    return KubeflowRunner(settings, Clock(), [server])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("said", "age", "state"),
    [
        (("executing", "PENDING"), 479 * MINUTE, "executing"),
        (("executing", "RUNNING"), 481 * MINUTE, "dead"),
        (("unknown", "500"), 60 * MINUTE, "executing"),
        (("missing", "404"), 2 * MINUTE, "executing"),
        (("missing", "404"), 3 * MINUTE, "dead"),
        (("over", "SUCCEEDED"), MINUTE, "dead"),
        (("over", "FAILED"), MINUTE, "dead"),
        (("terminated", "FAILED"), MINUTE, "terminated"),
    ],
    ids=lambda one: str(one),
)
def test_what_the_server_says_of_a_run_without_an_end(
    runner: KubeflowRunner, server: Server, ledger: Ledger, said: tuple[str, str], age: timedelta, state: RunState
) -> None:
    assert runner.state(ledger, "churn-2").state == "unknown"
    assert runner.state(ledger, RUN).state == "dead", "it was never submitted"
    runner.start(ledger, RUN)
    server.said = said
    runner.clock.now = POSTED + age  # type: ignore[attr-defined]
    assert runner.state(ledger, RUN).state == state
    ledger.fail_run(RUN, finished=POSTED, failure=Failure.of(DataError("empty")))
    assert runner.state(ledger, RUN).state == "ended", "whatever the server says"


def test_a_run_is_submitted_again_under_a_fresh_id_and_the_one_before_is_ended_there(
    runner: KubeflowRunner, server: Server, ledger: Ledger
) -> None:
    runner.start(ledger, RUN)
    with pytest.raises(PlatformError, match="was submitted already"):
        runner.start(ledger, RUN)
    server.said = ("over", "FAILED")
    runner.start(ledger, RUN)
    assert len(set(server.posted)) == len(server.posted) == 2
    assert server.ended == [server.posted[0]]
    assert [submission.pipeline_run for submission in ledger.submissions(RUN)] == server.posted[::-1]
    runner.stop(ledger, RUN)
    assert server.ended == server.posted


def test_a_refusal_is_a_start_that_came_to_nothing_and_a_lost_answer_is_not_taken_for_one(
    runner: KubeflowRunner, server: Server, ledger: Ledger
) -> None:
    server.refusal = "400 unknown parameter"
    runner.start(ledger, RUN)
    assert runner.state(ledger, RUN) == ("dead", f"pipeline run {server.posted[0]} was refused: 400 unknown parameter")
    server.is_away = True
    runner.start(ledger, RUN)
    assert runner.state(ledger, RUN).state == "executing"


def test_a_run_that_a_process_began_before_runs_were_handed_over_is_never_submitted(
    runner: KubeflowRunner, ledger: Ledger
) -> None:
    ledger.note_heartbeat(RUN, host="laptop/7", now=POSTED)
    assert runner.state(ledger, RUN) == ("executing", f"run {RUN} is executing on laptop/7")
    runner.clock.now = POSTED + 3 * MINUTE  # type: ignore[attr-defined]
    assert runner.state(ledger, RUN).state == "gone", "a fresh run takes its claim"


def test_a_run_that_a_person_started_there_is_noted_and_not_posted(
    runner: KubeflowRunner, server: Server, ledger: Ledger
) -> None:
    runner.start(ledger, RUN, "theirs")
    assert server.posted == []
    (submission,) = ledger.submissions(RUN)
    assert (submission.pipeline_run, ledger.submission("theirs")) == ("theirs", submission)
