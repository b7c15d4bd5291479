"""Runs on Kubeflow: started by the controller or by a person there, killed, repeated, ended by hand, broken by data or platform.

What a runner must do stands here once more for the second one; of local processes it is held in `tests/pipelines` beside.
"""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import kfp
import obstore
import pytest
from obstore.store import S3Store

from controller.tick import tick
from perennial.errors import PlatformError
from perennial.ledger import Ledger, Submission
from perennial.loop.request import Train
from perennial.stores.bucket import Bucket
from pipelines.kept import log_lines
from pipelines.kubeflow.compiled import Compilation
from pipelines.kubeflow.runner import KubeflowRunner
from pipelines.log import read_steps
from tests.pipelines.conftest import Project
from tests.pipelines.kubeflow.conftest import IMAGE, Installation
from tests.second_project import NAME, NOW

pytestmark = [
    pytest.mark.local,
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*noload.*"),  # MLflow's own, at its import
]
STEP = "train-model"
MAX_NODES = 30
"""Of a workflow: one of more than some sixty passes a megabyte."""


def submissions_of(installation: Installation, run_id: str) -> tuple[Submission, ...]:
    with Ledger.open(installation.settings.ledger) as ledger:
        return ledger.submissions(run_id)


class Held(KubeflowRunner):
    """Prepares runs; whoever wants one hands it over."""

    def start(self, ledger: Ledger, run_id: str, pipeline_run: str = "") -> None:
        assert (ledger.run(run_id).state, pipeline_run) == ("running", "")


def prepared(installation: Installation) -> str:
    """Id of a run that a controller prepared and did not hand over."""
    request = installation.ask(Train())
    tick(installation.settings, NOW, lambda: datetime.now(UTC), runner=Held(installation.settings), unasked=False)
    with Ledger.open(installation.settings.ledger) as ledger:
        return ledger.claim(request.key).owner


def drop_source(installation: Installation) -> None:
    """A source is gone: a training breaks in its second step, for good."""
    bucket, _, prefix = str(installation.settings.bucket).removeprefix("s3://").partition("/")
    obstore.delete(S3Store(bucket, prefix=prefix, client_options={"allow_http": True}), "sources/outcomes.parquet")


@pytest.fixture
def package(tmp_path: Path) -> str:
    """The compiled training, as a person has it in a file."""
    path = tmp_path / "training.yaml"
    path.write_text(Compilation("training", IMAGE).text)
    return str(path)


@pytest.mark.xdist_group("kubeflow by hand")
def test_a_person_starts_a_training_there_with_the_stock_client_and_it_obeys_and_is_shown_from_an_empty_disk(
    installation: Installation, tmp_path: Path, package: str
) -> None:
    settings, server = installation.settings, installation.server
    arguments = {"model": NAME, "now": NOW.isoformat(), "reason": "to see"}
    started = kfp.Client(host=server.url).create_run_from_pipeline_package(package, arguments)
    ended = threading.Event()

    def control() -> None:
        while not ended.wait(0.3):
            tick(settings, NOW, lambda: datetime.now(UTC), runner=installation.runner, unasked=False)

    controller = threading.Thread(target=control)
    controller.start()
    try:
        assert server.wait(started.run_id, 300) == "SUCCEEDED", server.logs(started.run_id, STEP)
    finally:
        ended.set()
        controller.join()
    with Ledger.open(settings.ledger) as ledger:
        (run,), version = ledger.runs(NAME), ledger.version(NAME)
        (submission,) = ledger.submissions(run.run_id)
        assert (run.outcome, run.mode, version.run_id) == ("registered", "search", run.run_id)
        sentence = f"A person asked for a training from pipeline run {started.run_id}. Why: to see"
        assert ledger.decisions(NAME)[0].facts[0].sentence == sentence
    assert submission.pipeline_run == started.run_id, "the pod that asked executes it: no second one was submitted"
    assert len(server.runs) == 1
    assert len(server.pods_of(started.run_id)) <= 5
    assert server.nodes_of(started.run_id) < MAX_NODES
    texts = [content.decode(errors="replace") for uri, content in server.objects.items() if started.run_id in uri]
    assert [text for text in texts if "**registered**" in text and "| calibration | pass |" in text], "Markdown"
    assert [text for text in texts if "<html" in text], "the run's page"

    there = Project(tmp_path / "there")
    (there.folder / "models").mkdir(parents=True)
    own = ("PERENNIAL_STATE", "PERENNIAL_PROJECT")
    stores = {name: value for name, value in settings.to_environment().items() if name not in own}
    commands = (f"logs {run.run_id}", f"report {run.run_id}", f"card {NAME}")
    shown = {command: there.perennial(*command.split(), **stores) for command in commands}
    assert {command: answer.returncode for command, answer in shown.items()} == dict.fromkeys(commands, 0), shown
    steps = [step.name for step in read_steps(shown[commands[0]].stdout.splitlines()) if step.state == "succeeded"]
    assert (steps[0], steps[-1]) == ("claim", "record")
    (listed,) = json.loads(there.perennial("runs", NAME, "--json", **stores).stdout)
    assert listed["asked_by"] == f"pipeline run {started.run_id}"


@pytest.mark.xdist_group("kubeflow killed")
def test_a_pod_that_is_killed_begins_again_and_its_version_is_registered_once(installation: Installation) -> None:
    request = installation.ask(Train())
    looks, run_id, submission = installation.begun(request)
    installation.until_logged(run_id, "'train'")
    installation.server.kill_executor(submission.pipeline_run)
    *_, request = looks
    assert (request.failure, request.outcome) == (None, "registered")
    with Ledger.open(installation.settings.ledger) as ledger:
        assert [version.run_id for version in ledger.versions(NAME)] == [run_id]
        assert ledger.claim(request.key).token >= 2, "it was taken once more"
    assert len(submissions_of(installation, run_id)) == 1, "the platform made the pod again; the controller did not"


@pytest.mark.xdist_group("kubeflow faults")
def test_what_the_data_broke_is_an_end_that_no_platform_repeats_though_the_answer_of_its_submission_was_lost(
    installation: Installation,
) -> None:
    drop_source(installation)
    installation.server.lose_answer_of_next_post()
    request = installation.done(installation.ask(Train()))
    assert request.failure is not None
    assert (request.failure.retry, request.failure.step) == (False, "build-dataset")
    assert "outcomes.parquet" in request.failure.sentence
    assert request.run is not None
    (submission,) = submissions_of(installation, request.run)
    assert installation.server.wait(submission.pipeline_run) == "SUCCEEDED", installation.server.logs(
        submission.pipeline_run, STEP
    )
    assert [step.state for step in read_steps(log_lines(installation.settings, request.run))][-1] == "failed"
    assert len(installation.server.runs) == 1


@pytest.mark.xdist_group("kubeflow faults")
def test_one_run_submitted_ten_times_at_once_is_handed_over_once_and_copies_of_it_stand_aside(
    installation: Installation, package: str
) -> None:
    drop_source(installation)
    run_id = prepared(installation)

    def submit(_: int) -> str:
        with Ledger.open(installation.settings.ledger) as ledger:
            try:
                installation.runner.start(ledger, run_id)
            except PlatformError as error:
                return str(error)
        return ""

    with ThreadPoolExecutor(10) as pool:
        said = list(pool.map(submit, range(10)))
    assert sum(not sentence for sentence in said) == 1, said
    (submission,) = submissions_of(installation, run_id)
    copy = kfp.Client(host=installation.server.url).create_run_from_pipeline_package(package, {"model": NAME, "run": run_id})
    assert installation.server.wait(copy.run_id) == "SUCCEEDED"
    assert "stood aside: run" in installation.server.logs(copy.run_id, STEP)
    installation.server.wait(submission.pipeline_run)
    with Ledger.open(installation.settings.ledger) as ledger:
        assert ledger.run(run_id).failure_step == "build-dataset", "the one that was handed over did the work"


@pytest.mark.xdist_group("kubeflow faults")
def test_a_run_that_a_person_ends_there_is_given_up_and_not_started_again(installation: Installation) -> None:
    request = installation.ask(Train())
    looks, run_id, submission = installation.begun(request)
    installation.until_logged(run_id, "Executing task")
    kfp.Client(host=installation.server.url).terminate_run(submission.pipeline_run)
    *_, request = looks
    assert request.failure is not None
    assert f"a person ended pipeline run {submission.pipeline_run}" in request.failure.sentence
    assert len(installation.server.runs) == 1
    installation.server.retry(submission.pipeline_run)  # and somebody presses *retry*
    assert installation.server.wait(submission.pipeline_run) == "SUCCEEDED"
    assert "has ended before" in installation.server.logs(submission.pipeline_run, STEP)


@pytest.mark.xdist_group("kubeflow faults")
def test_a_run_that_executes_there_is_never_started_beside_it_whatever_the_server_says(installation: Installation) -> None:
    _, run_id, submission = installation.begun(installation.ask(Train()))
    with Ledger.open(installation.settings.ledger) as ledger:
        runner = installation.runner
        states = {"pending": runner.state(ledger, run_id)}
        installation.server.answer_500(1.0)
        states["500"] = runner.state(ledger, run_id)
        installation.server.go_away()
        states["away"] = runner.state(ledger, run_id)
        tick(installation.settings, NOW, lambda: datetime.now(UTC), runner=runner)
        installation.server.come_back()
    assert {name: standing.state for name, standing in states.items()} == dict.fromkeys(states, "executing"), states
    assert "Its platform team mends it" in states["away"].sentence
    assert len(installation.server.runs) == 1
    installation.server.terminate(submission.pipeline_run)


@pytest.mark.xdist_group("kubeflow faults")
def test_what_a_pod_needs_and_does_not_get_is_named(installation: Installation) -> None:
    settings = installation.server.config_maps["perennial-settings"]
    without = {name: value for name, value in settings.items() if name != "PERENNIAL_TRACKING"}
    installation.server.config_maps["perennial-settings"] = without
    run_id = prepared(installation)
    with Ledger.open(installation.settings.ledger) as ledger:
        installation.runner.start(ledger, run_id)
    (submission,) = submissions_of(installation, run_id)
    assert installation.server.wait(submission.pipeline_run) == "SUCCEEDED"
    assert "not set: PERENNIAL_TRACKING" in installation.server.logs(submission.pipeline_run, STEP)


@pytest.mark.xdist_group("kubeflow faults")
def test_an_object_that_was_changed_in_the_bucket_is_refused(installation: Installation) -> None:
    run_id = prepared(installation)
    bucket = Bucket(str(installation.settings.bucket))
    (bundle,) = bucket.keys("bundles")
    bucket.replace(bundle, b"something else")
    with Ledger.open(installation.settings.ledger) as ledger:
        installation.runner.start(ledger, run_id)
        (submission,) = ledger.submissions(run_id)
        installation.server.wait(submission.pipeline_run)
        assert "another digest" in ledger.run(run_id).why
