"""The stand-in of Kubeflow Pipelines behaves as the real one was seen to."""

import functools
import http.client
import json
import re
import socket
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kfp
import pytest
import yaml
from kfp import compiler, dsl

from pipelines.training import pipeline
from tests.servers.kubeflow import container as containers
from tests.servers.kubeflow.condition import holds
from tests.servers.kubeflow.container import USER, Image, isolated
from tests.servers.kubeflow.fixture import Kubeflow
from tests.servers.kubeflow.ir import Tree
from tests.servers.kubeflow.run import ALIVE

pytestmark = pytest.mark.filterwarnings("ignore:This client only works:FutureWarning")

component = functools.partial(dsl.component, base_image="steps", install_kfp_package=False)
container = functools.partial(dsl.container_component)


@component
def greet(times: float, said: dsl.Output[dsl.Artifact]) -> str:
    """Write an artifact, and say how the parameter came."""
    from pathlib import Path

    Path(said.path).write_text("hello", encoding="utf-8")
    said.metadata["times"] = times
    return repr(times)


@container
def read(said: dsl.Input[dsl.Artifact], job: str, text: dsl.OutputPath(str)):  # type: ignore[no-untyped-def, valid-type]
    """Copy an artifact into a parameter, and print the rest."""
    script = 'mkdir -p "$(dirname "$1")"; cp "$0" "$1"; echo "job $2 and $3"'
    return dsl.ContainerSpec(image="steps", command=["sh", "-ec", script, said.path, text, job, dsl.PIPELINE_JOB_ID_PLACEHOLDER])


@container
def shell(script: str, given: str, said: dsl.OutputPath(str)):  # type: ignore[no-untyped-def, valid-type]
    """Run a script: `$0` is the file of its output, `$1` what it was given."""
    return dsl.ContainerSpec(image="steps", command=["sh", "-ec", script, said, given])


@pipeline("talk")
def talk(times: float = 1.5) -> None:
    greeted = greet(times=times)
    read(said=greeted.outputs["said"], job=dsl.PIPELINE_JOB_ID_PLACEHOLDER)


@pipeline("one")
def one(script: str) -> None:
    shell(script=script, given="").set_caching_options(False)


@pipeline("cached")
def cached(script: str) -> None:
    shell(script=script, given="")


@pipeline("two")
def two(first: str, second: str) -> None:
    told = shell(script=first, given="").set_caching_options(False)
    shell(script=second, given=told.outputs["said"]).set_caching_options(False)


@pipeline("choice")
def choice(script: str) -> None:
    verdict = shell(script=script, given="").outputs["said"]
    with dsl.If(verdict == "mine"):
        shell(script="echo did the work; printf x > $0", given=verdict)
    with dsl.Else():
        shell(script="echo stood aside; printf x > $0", given=verdict)


@pipeline("guarded")
def guarded(script: str) -> None:
    with dsl.ExitHandler(shell(script="echo tidied up; printf x > $0", given="")):
        shell(script=script, given="").set_caching_options(False)


@pipeline("training-like")
def training_like() -> None:
    """As many executors and conditions as the training pipeline had on a real Kubeflow."""

    def step() -> Any:
        return shell(script="printf mine > $0", given="").set_caching_options(False)

    claimed = step().outputs["said"]
    with dsl.If(claimed == "mine"):
        built = step()
        valid = step().after(built).outputs["said"]
        with dsl.If(valid == "mine"):
            trained = step()
            evaluated = step().after(trained)
            gate = step().after(evaluated).outputs["said"]
            with dsl.If(gate == "mine"):
                refitted = step()
                checks = [step().after(refitted), step().after(refitted)]
                step().after(*checks)
            with dsl.Else():
                step()
        with dsl.Else():
            step()


DONE = "printf x > $0"
LONG = "sleep 60; printf x > $0"
HELD = 60.0
"""Seconds between pods with which nothing goes on."""


@functools.cache
def compiled(graph: Any) -> Tree:
    """The IR of a pipeline."""
    with tempfile.TemporaryDirectory() as folder:
        compiler.Compiler().compile(graph, f"{folder}/pipeline.yaml")
        ir: Tree = yaml.safe_load(Path(folder, "pipeline.yaml").read_text())
        return ir


def ask(kubeflow: Kubeflow, method: str, path: str, body: Tree | None = None) -> tuple[int, Tree]:
    """Status and answer of a request."""
    content = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{kubeflow.url}/apis/v2beta1/{path}", content, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def post(kubeflow: Kubeflow, graph: Any, platform: Tree | None = None, **parameters: Any) -> str:
    """The id of a run that was accepted."""
    status, answer = ask(kubeflow, "POST", "runs", body_of(graph, platform, **parameters))
    assert status == 200, answer
    return str(answer["run_id"])


def body_of(graph: Any, platform: Tree | None = None, **parameters: Any) -> Tree:
    """What is posted to run a pipeline, with the platform config of its executors."""
    spec = compiled(graph)
    if platform is not None:
        platforms = {"kubernetes": {"deploymentSpec": {"executors": platform}}}
        spec = {"pipeline_spec": spec, "platform_spec": {"platforms": platforms}}
    return {"display_name": "a run", "pipeline_spec": spec, "runtime_config": {"parameters": parameters}}


def states(kubeflow: Kubeflow, run_id: str) -> list[str]:
    """The states that a run's history tells."""
    return [entry["state"] for entry in ask(kubeflow, "GET", f"runs/{run_id}")[1]["state_history"]]


def until(condition: Any, seconds: float = 20.0) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


class Gate:
    """What a step waits at until a test opens it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder, self.script = folder, f"until [ -e {folder}/open ]; do sleep 0.02; done; {DONE}"

    def open(self) -> None:
        """Let every step pass, now and later."""
        (self.folder / "open").touch()


@pytest.fixture
def gate(cluster: Kubeflow, tmp_path: Path) -> Gate:
    """A gate in a folder that every container sees."""
    gate = Gate(tmp_path / "gate")
    cluster.images["steps"] = Image(folders=[gate.folder])
    return gate


@pytest.fixture
def cluster(kubeflow: Kubeflow) -> Kubeflow:
    """The stand-in with the image of this file's steps."""
    kubeflow.images["steps"] = Image(env={"LANG": "C.UTF-8"})
    kubeflow.pod_seconds = 0.02
    return kubeflow


# The shapes of a real server's answers

RECORDED = json.loads((Path(containers.__file__).parent / "recorded.json").read_text(encoding="utf-8"))
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
OPAQUE = {"pipeline_spec", "parameters"}
"""What was asked for, told again."""
OPTIONAL = {"child_tasks"}
"""A node that leads to no other has none; the recording keeps two nodes of many."""


def differences(samples: list[Any], answer: Any, where: str = "") -> Iterator[str]:
    """What an answer lacks, has beyond, or types otherwise than what a real server answered there."""
    if where.rpartition(".")[2] in OPAQUE:
        return
    if not any(type(sample) is type(answer) for sample in samples):
        yield f"{where}: {answer!r} where a real server says {samples!r}"
    elif isinstance(answer, dict):
        always, ever = set.intersection(*map(set, samples)), set.union(*map(set, samples))
        yield from (f"{where}.{key} is missing" for key in always - answer.keys() - OPTIONAL)
        yield from (f"{where}.{key} is not there on a real server" for key in answer.keys() - ever - OPTIONAL)
        for key in answer.keys() & ever:
            yield from differences([sample[key] for sample in samples if key in sample], answer[key], f"{where}.{key}")
    elif isinstance(answer, list):
        for one in answer:
            yield from differences([entry for sample in samples for entry in sample], one, where)
    elif isinstance(answer, str) and all(map(TIME.fullmatch, samples)) and not TIME.fullmatch(answer):
        yield f"{where}: {answer!r} is no time"
    elif where in (".state", ".mode", ".status", ".storage_state") and answer not in samples:
        yield f"{where}: {answer!r} where a real server says {samples!r}"


def exchanges(kubeflow: Kubeflow) -> Iterator[tuple[int, Tree]]:
    """Every recorded request, made of the stand-in in the same order and from the same state."""
    experiments = urllib.parse.urlencode(
        {"filter": json.dumps({"predicates": [{"operation": 1, "key": "display_name", "stringValue": "Default"}]})}
    )
    yield ask(kubeflow, "GET", "healthz")
    listed = ask(kubeflow, "GET", f"experiments?{experiments}")
    yield listed
    experiment = {"experiment_id": listed[1]["experiments"][0]["experiment_id"]}
    kubeflow.pod_seconds = HELD
    posted = ask(kubeflow, "POST", "runs", {**body_of(one, script=LONG), **experiment})
    yield posted
    run_id = posted[1]["run_id"]
    yield ask(kubeflow, "GET", f"runs/{run_id}")
    kubeflow.pod_seconds = 0.0
    kubeflow.wait_until_running(run_id)
    yield ask(kubeflow, "GET", f"runs/{run_id}")
    yield ask(kubeflow, "GET", "runs")
    kubeflow.pod_seconds = HELD
    yield ask(kubeflow, "POST", f"runs/{run_id}:terminate")
    yield ask(kubeflow, "GET", f"runs/{run_id}")
    kubeflow.pod_seconds = 0.0
    kubeflow.wait(run_id)
    yield ask(kubeflow, "GET", f"runs/{run_id}")
    run_id = ask(kubeflow, "POST", "runs", {**body_of(one, script=DONE), **experiment})[1]["run_id"]
    kubeflow.wait(run_id)
    yield ask(kubeflow, "GET", f"runs/{run_id}")
    yield ask(kubeflow, "GET", "pipelines")
    pipeline_id = ask(kubeflow, "POST", "pipelines", {"display_name": "one"})[1]["pipeline_id"]
    yield ask(kubeflow, "GET", f"pipelines/{pipeline_id}/versions?page_token=&page_size=10&sort_by=")
    yield ask(kubeflow, "POST", "experiments", {"display_name": "chargeback", "namespace": ""})
    version = kubeflow.answers.add_version(pipeline_id, "first", compiled(one), {})["pipeline_version_id"]
    recurring = {
        "display_name": "every-minute",
        "pipeline_version_reference": {"pipeline_id": pipeline_id, "pipeline_version_id": version},
        "runtime_config": {"parameters": {"script": DONE}},
        "max_concurrency": 1,
        "trigger": {"periodic_schedule": {"interval_second": 60}},
        "mode": "ENABLE",
        "no_catchup": True,
        **experiment,
    }
    created = ask(kubeflow, "POST", "recurringruns", recurring)
    yield created
    yield ask(kubeflow, "GET", "recurringruns")
    yield ask(kubeflow, "POST", f"recurringruns/{created[1]['recurring_run_id']}:disable")


def test_each_answer_has_the_keys_and_types_of_a_real_servers(cluster: Kubeflow) -> None:
    for recorded, (status, answer) in zip(RECORDED, exchanges(cluster), strict=True):
        found = list(differences([recorded["answer"]], answer))
        assert (status, found) == (recorded["status"], []), f"{recorded['method']} {recorded['path']}"


def test_a_key_too_many_too_few_or_of_another_type_is_a_difference() -> None:
    real = {"state": "FAILED", "finished_at": "2026-11-27T16:20:07Z", "tasks": [{"a": 1}, {"a": 1, "b": 2}]}
    assert list(differences([real], real)) == []
    assert list(differences([real], {**real, "error": None})) == [".error is not there on a real server"]
    assert list(differences([real], {**real, "tasks": [{"b": 2}]})) == [".tasks.a is missing"]
    assert len(list(differences([real], {**real, "finished_at": None, "state": "RUNNING"}))) == 2


# What is refused


@pipeline("looped")
def looped() -> None:
    with dsl.ParallelFor(["a", "b"]) as item:
        shell(script=DONE, given=item)


UNKNOWN = "00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "artifacts", None, 404, 5),
        ("DELETE", f"runs/{UNKNOWN}", None, 404, 5),
        ("GET", f"runs/{UNKNOWN}", None, 404, 5),
        ("GET", "runs?label=a", None, 400, 3),
        ("POST", "runs", {**body_of(one, script=DONE), "labels": {"a": "b"}}, 400, 3),
        ("POST", "runs", {**body_of(one, script=DONE), "experiment_id": UNKNOWN}, 404, 5),
        ("POST", "runs", body_of(one, script=DONE, other="x"), 400, 3),
        ("POST", "runs", body_of(one, script=2), 400, 3),
        ("POST", "runs", body_of(one), 400, 3),
        ("POST", "runs", {**body_of(one, script=DONE), "pipeline_spec": {"pipelineInfo": {"name": "x"}}}, 500, 13),
        ("POST", "runs", {**body_of(one, script=DONE), "pipeline_spec": {**compiled(one), "labels": {}}}, 500, 13),
        ("POST", "runs", body_of(one, {"exec-shell": {"pvcMount": []}}, script=DONE), 501, 12),
        ("POST", "runs", body_of(looped), 501, 12),
        ("POST", "experiments", {"display_name": "Default"}, 409, 6),
    ],
)
def test_what_the_api_does_not_know_is_refused(
    kubeflow: Kubeflow, method: str, path: str, body: Tree | None, status: int, code: int
) -> None:
    answered, answer = ask(kubeflow, method, path, body)
    assert (answered, answer["code"]) == (status, code), answer
    assert kubeflow.runs == {}


# What is executed


def test_the_stock_client_runs_a_pipeline(cluster: Kubeflow, capsys: pytest.CaptureFixture[str]) -> None:
    client = kfp.Client(host=cluster.url)
    posted = client.create_run_from_pipeline_func(talk, arguments={"times": 2.0}, experiment_name="talks", enable_caching=False)
    assert posted.run_info.state == "PENDING"
    assert posted.run_info.finished_at.year == 1970
    run = client.wait_for_run_completion(posted.run_id, timeout=30, sleep_duration=0.05)
    assert run.state == "SUCCEEDED", cluster.logs(posted.run_id, "greet")
    assert [entry.state for entry in run.state_history] == ["PENDING", "RUNNING", "SUCCEEDED"]
    assert f"job {posted.run_id} and {{{{$.pipeline_job_uuid}}}}" in cluster.logs(posted.run_id, "read")
    assert cluster.executor_input(posted.run_id, "greet")["inputs"]["parameterValues"] == {"times": 2}
    assert cluster.run(posted.run_id).workflows[0].kept["root/greet"].parameters == {"Output": "2"}
    said = cluster.run(posted.run_id).workflows[0].kept["root/greet"].artifacts["said"]
    assert (said["metadata"]["times"], said["metadata"]["display_name"], cluster.objects[said["uri"]]) == (2, "said", b"hello")
    assert [one.run_id for one in client.list_runs(experiment_id=run.experiment_id).runs] == [posted.run_id]


def test_the_stock_client_terminates_and_retries_a_run(cluster: Kubeflow, capsys: pytest.CaptureFixture[str]) -> None:
    client = kfp.Client(host=cluster.url)
    run_id = client.create_run_from_pipeline_func(one, arguments={"script": LONG}).run_id
    cluster.wait_until_running(run_id)
    client.terminate_run(run_id)
    assert client.wait_for_run_completion(run_id, timeout=30, sleep_duration=0.05).state == "FAILED"
    with pytest.raises(Exception, match="already FAILED"):
        client.terminate_run(run_id)


def test_the_stock_client_uploads_versions_and_runs_them(
    cluster: Kubeflow, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client, package = kfp.Client(host=cluster.url), str(tmp_path / "one.yaml")
    compiler.Compiler().compile(one, package)
    uploaded = client.upload_pipeline(package, pipeline_name="one")
    version = client.upload_pipeline_version(package, "second", pipeline_id=uploaded.pipeline_id)
    assert client.get_pipeline_id("one") == uploaded.pipeline_id
    assert client.list_pipeline_versions(uploaded.pipeline_id).total_size == 2
    experiment = client.create_experiment("by-version")
    run = client.run_pipeline(
        experiment.experiment_id,
        "by version",
        params={"script": DONE},
        pipeline_id=uploaded.pipeline_id,
        version_id=version.pipeline_version_id,
    )
    assert client.wait_for_run_completion(run.run_id, timeout=30, sleep_duration=0.05).state == "SUCCEEDED"


def test_an_executor_gets_only_what_the_pipeline_and_the_platform_give_it(cluster: Kubeflow, tmp_path: Path) -> None:
    cluster.config_maps["settings"] = {"LEDGER": "postgresql://ledger.example/x", "OTHER": "not asked for"}
    cluster.secrets["ledger"] = {"password": "secret"}
    (tmp_path / "on-this-machine").write_text("x")
    config = {
        "configMapAsEnv": [{"configMapName": "settings", "keyToEnv": [{"configMapKey": "LEDGER", "envVar": "PERENNIAL_LEDGER"}]}],
        "secretAsEnv": [{"secretName": "ledger", "keyToEnv": [{"secretKey": "password", "envVar": "PGPASSWORD"}]}],
        "podMetadata": {"labels": {"component": "step"}},
    }
    script = f"env; id -u; pwd; test ! -e {tmp_path}/on-this-machine; touch here $HOME/there; {DONE}"
    run_id = post(cluster, one, {"exec-shell": config}, script=script)
    assert cluster.wait(run_id) == ("SUCCEEDED" if isolated() else "FAILED")
    lines = cluster.logs(run_id, "shell").splitlines()
    variables = dict(line.split("=", 1) for line in lines if "=" in line)
    assert variables["PERENNIAL_LEDGER"] == "postgresql://ledger.example/x"
    assert variables["PGPASSWORD"] == "secret"
    made_by_shells = {"PWD", "OLDPWD", "SHLVL", "_"}
    given = {"PATH", "HOME", "LANG", "KFP_POD_NAME", "KFP_POD_UID", "NAMESPACE", "PERENNIAL_LEDGER", "PGPASSWORD"}
    assert variables.keys() - made_by_shells - {"TMPDIR"} == given
    assert cluster.pods_of(run_id)[-1]["metadata"]["labels"]["component"] == "step"
    if isolated():
        assert lines[-2:] == [str(USER), "/tmp"]


def test_an_executor_starts_with_an_empty_disk(cluster: Kubeflow) -> None:
    run_id = post(
        cluster,
        two,
        first=f"touch left ${{TMPDIR:-/tmp}}/left $HOME/left; {DONE}",
        second=f"for one in . ${{TMPDIR:-/tmp}} $HOME; do test ! -e $one/left; done; {DONE}",
    )
    assert cluster.wait(run_id) == "SUCCEEDED", cluster.logs(run_id, "shell-2")


def test_without_root_an_executor_is_a_plain_process_with_folders_of_its_own(
    cluster: Kubeflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "isolated", lambda: False)
    run_id = post(cluster, talk)
    assert cluster.wait(run_id) == "SUCCEEDED", cluster.logs(run_id, "greet")


@pytest.mark.parametrize(
    ("image", "config", "reason"),
    [
        ("other", {}, 'ImagePullBackOff: Back-off pulling image "steps"'),
        (
            "steps",
            {"secretAsEnv": [{"secretName": "x", "keyToEnv": [{"secretKey": "a", "envVar": "A"}]}]},
            'secret "x" not found',
        ),
        (
            "steps",
            {"configMapAsEnv": [{"configMapName": "settings", "keyToEnv": [{"configMapKey": "a", "envVar": "A"}]}]},
            "couldn't find key a in configmap settings",
        ),
    ],
)
def test_what_is_missing_keeps_a_run_running_and_only_pods_and_events_say_why(
    kubeflow: Kubeflow, image: str, config: Tree, reason: str
) -> None:
    kubeflow.images[image] = Image()
    kubeflow.config_maps["settings"] = {"b": "c"}
    run_id = post(kubeflow, one, {"exec-shell": config}, script=DONE)
    until(kubeflow.events)
    waiting = kubeflow.pods()[-1]["status"]["containerStatuses"][0]["state"]["waiting"]
    assert reason in f"{waiting['reason']}: {waiting['message']}"
    time.sleep(0.2)
    answer = ask(kubeflow, "GET", f"runs/{run_id}")[1]
    assert (answer["state"], answer["finished_at"]) == ("RUNNING", ALIVE)
    assert waiting["message"] not in json.dumps(answer)
    ask(kubeflow, "POST", f"runs/{run_id}:terminate")
    assert kubeflow.wait(run_id) == "FAILED"


def test_a_run_that_was_told_to_stick_stays_running_until_it_is_terminated(cluster: Kubeflow) -> None:
    cluster.pod_seconds = HELD
    run_id = post(cluster, one, script=DONE)
    cluster.stick(run_id, "0/1 nodes are available: 1 Insufficient cpu")
    cluster.pod_seconds = 0.0
    until(cluster.events)
    condition = cluster.pods_of(run_id)[0]["status"]["conditions"][0]
    assert (condition["reason"], cluster.run(run_id).state) == ("Unschedulable", "RUNNING")
    cluster.terminate(run_id)
    assert cluster.wait(run_id) == "FAILED"


def test_a_failed_step_fails_the_run_and_only_its_log_says_why(cluster: Kubeflow) -> None:
    run_id = post(cluster, two, first="echo the $((3 - 1)) reasons; exit 3", second=DONE)
    assert cluster.wait(run_id) == "FAILED"
    assert cluster.logs(run_id, "shell") == "the 2 reasons\n"
    assert "the 2 reasons" not in json.dumps(ask(cluster, "GET", f"runs/{run_id}"))
    assert cluster.executors_of(run_id, "shell-2") == []
    assert b"the 2 reasons\n" in cluster.objects.values()


def test_a_step_that_writes_no_output_fails(cluster: Kubeflow) -> None:
    run_id = post(cluster, one, script="true")
    assert cluster.wait(run_id) == "FAILED"
    assert "failed to read output parameter" in cluster.logs(run_id, "shell")


def test_a_step_is_tried_again_as_its_policy_says_and_ends_at_its_deadline(cluster: Kubeflow) -> None:
    @pipeline("tried")
    def tried() -> None:
        shell(script="echo again; exit 1", given="").set_retry(2)

    run_id = post(cluster, tried)
    late = post(cluster, one, {"exec-shell": {"activeDeadlineSeconds": "1"}}, script=LONG)
    assert (cluster.wait(run_id), cluster.logs(run_id, "shell")) == ("FAILED", "again\n" * 3)
    assert cluster.wait(late) == "FAILED"
    assert "longer than the specified deadline" in cluster.pods_of(late)[-1]["status"]["message"]


@pytest.mark.parametrize(("said", "done", "skipped"), [("mine", "shell-2", "shell-3"), ("theirs", "shell-3", "shell-2")])
def test_a_condition_lets_one_branch_run(cluster: Kubeflow, said: str, done: str, skipped: str) -> None:
    run_id = post(cluster, choice, script=f"printf {said} > $0")
    assert cluster.wait(run_id) == "SUCCEEDED"
    assert (len(cluster.executors_of(run_id, done)), cluster.executors_of(run_id, skipped)) == (1, [])
    details = ask(cluster, "GET", f"runs/{run_id}")[1]["run_details"]["task_details"]
    assert [one["state"] for one in details].count("SKIPPED") == 1
    assert "RUNNING" in [one["state"] for one in details], "the details lag behind a run that has ended"


def test_conditions_are_read_and_never_evaluated_as_python() -> None:
    condition = "inputs.parameter_values['x'] == 'safe'"
    assert holds(condition, {"x": "safe"})
    assert not holds(condition, {"x": "y' or 'a'=='a"})
    assert holds("!(inputs.parameter_values['x'] == 'a') && int(inputs.parameter_values['n']) >= 2", {"x": "b", "n": "3"})
    assert not holds("inputs.parameter_values['n'] > 2.5 || false", {"n": 2})
    with pytest.raises(ValueError, match="not understood"):
        holds("__import__('os')", {})


def test_pods_and_nodes_are_those_that_argo_made_of_the_training_pipeline(cluster: Kubeflow) -> None:
    cluster.pod_seconds = 0.0
    run_id = post(cluster, training_like)
    assert cluster.wait(run_id) == "SUCCEEDED"
    assert (len(cluster.executors_of(run_id)), len(cluster.pods_of(run_id)), cluster.nodes_of(run_id)) == (10, 28, 92)
    run_id = post(cluster, one, script=DONE)
    assert cluster.wait(run_id) == "SUCCEEDED"
    assert (len(cluster.pods_of(run_id)), cluster.nodes_of(run_id)) == (3, 12)


def test_a_task_is_cached_unless_it_says_that_it_must_not_be(cluster: Kubeflow) -> None:
    first = post(cluster, cached, script=DONE)
    assert cluster.wait(first) == "SUCCEEDED"
    again, other, never = (
        post(cluster, cached, script=DONE),
        post(cluster, cached, script=f"{DONE} "),
        post(cluster, one, script=DONE),
    )
    assert [cluster.wait(run) for run in (again, other, never)] == ["SUCCEEDED"] * 3
    assert [len(cluster.executors_of(run)) for run in (again, other, never)] == [0, 1, 1]
    never = post(cluster, one, script=DONE)
    cluster.wait(never)
    assert len(cluster.executors_of(never)) == 1


# Ends and repeats


def test_terminating_kills_the_executor_and_runs_the_exit_handler(cluster: Kubeflow) -> None:
    run_id = post(cluster, guarded, script="echo $$; sleep 60")
    pod = cluster.wait_until_running(run_id, "shell-2")
    assert ask(cluster, "POST", f"runs/{run_id}:terminate") == (200, {})
    assert cluster.wait(run_id) == "FAILED"
    assert states(cluster, run_id) == ["PENDING", "RUNNING", "CANCELING", "FAILED"]
    assert pod.container is not None and pod.container.process is not None and pod.container.process.poll() is not None
    assert cluster.logs(run_id, "shell") == "tidied up\n"
    assert ask(cluster, "POST", f"runs/{run_id}:terminate")[1]["code"] == 3


def test_a_retry_starts_only_what_failed(cluster: Kubeflow, gate: Gate) -> None:
    run_id = post(cluster, two, first=DONE, second=f"test -e {gate.folder}/open; {DONE}")
    assert cluster.wait(run_id) == "FAILED"
    gate.open()
    assert ask(cluster, "POST", f"runs/{run_id}:retry") == (200, {})
    assert cluster.wait(run_id) == "SUCCEEDED"
    assert states(cluster, run_id) == ["PENDING", "RUNNING", "FAILED", "RUNNING", "SUCCEEDED"]
    assert [pod.task for pod in cluster.executors_of(run_id)] == ["shell", "shell-2", "shell-2"]
    assert len(cluster.pods_of(run_id)) == 1 + 2 + 3, "the driver of the failed step does not run again"
    status, answer = ask(cluster, "POST", f"runs/{run_id}:retry")
    assert (status, answer["code"]) == (409, 10)


def test_a_retry_of_a_terminated_run_starts_it_again(cluster: Kubeflow) -> None:
    run_id = post(cluster, one, script=LONG)
    cluster.wait_until_running(run_id)
    cluster.terminate(run_id)
    assert cluster.wait(run_id) == "FAILED"
    cluster.retry(run_id)
    cluster.wait_until_running(run_id)
    assert states(cluster, run_id)[-2:] == ["FAILED", "RUNNING"]


def test_a_killed_executor_runs_again_from_the_start_twice_at_most(cluster: Kubeflow) -> None:
    run_id = post(cluster, one, script=f"echo began; test ! -e left; touch left; {LONG}")
    for attempt in range(1, 4):
        until(lambda began=attempt: cluster.logs(run_id, "shell") == "began\n" * began)
        cluster.kill_executor(run_id)
    assert cluster.wait(run_id) == "FAILED"
    assert cluster.logs(run_id, "shell") == "began\n" * 3


def test_an_executor_killed_once_ends_well(cluster: Kubeflow, gate: Gate) -> None:
    run_id = post(cluster, one, script=gate.script)
    cluster.kill_executor(run_id)
    gate.open()
    assert cluster.wait(run_id) == "SUCCEEDED"


# Posts that go wrong


def test_the_same_id_again_says_500_and_runs_all_the_same(cluster: Kubeflow, gate: Gate) -> None:
    body = {**body_of(one, script=gate.script), "run_id": UNKNOWN.replace("0", "1")}
    assert ask(cluster, "POST", "runs", body)[0] == 200
    cluster.wait_until_running(body["run_id"])
    cluster.pod_seconds = HELD
    status, answer = ask(cluster, "POST", "runs", body)
    assert (status, answer["code"]) == (500, 13)
    assert "Duplicate entry" in answer["message"] and "for key 'PRIMARY'" in answer["message"]
    gate.open()
    until(lambda: cluster.run(body["run_id"]).state == "SUCCEEDED")
    cluster.pod_seconds = 0.0
    assert cluster.wait(body["run_id"]) == "SUCCEEDED"
    assert len(cluster.executors_of(body["run_id"])) == 2
    assert states(cluster, body["run_id"])[-3:] == ["SUCCEEDED", "RUNNING", "SUCCEEDED"], "the last reporter wins"


def test_the_same_id_again_fails_a_run_whose_steps_pass_data(cluster: Kubeflow, gate: Gate) -> None:
    body = {**body_of(two, first=gate.script, second=DONE), "run_id": UNKNOWN.replace("0", "2")}
    ask(cluster, "POST", "runs", body)
    ask(cluster, "POST", "runs", body)
    until(lambda: len(cluster.executors_of(body["run_id"])) == 2)
    gate.open()
    assert cluster.wait(body["run_id"]) == "FAILED"
    assert [workflow.phase for workflow in cluster.run(body["run_id"]).workflows] == ["FAILED", "FAILED"]
    assert 'two tasks have the same task name "shell"' in [pod["status"].get("message") for pod in cluster.pods()]


def test_one_post_may_be_delivered_twice(cluster: Kubeflow) -> None:
    cluster.deliver_twice()
    twice, once = post(cluster, one, script=DONE), post(cluster, one, script=DONE)
    assert (cluster.wait(twice), cluster.wait(once)) == ("SUCCEEDED", "SUCCEEDED")
    assert [len(cluster.executors_of(run)) for run in (twice, once)] == [2, 1]


def test_a_lost_answer_leaves_a_run_that_executes(cluster: Kubeflow) -> None:
    cluster.lose_answer_of_next_post()
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        post(cluster, one, script=DONE)
    (run_id,) = cluster.runs
    assert cluster.wait(run_id) == "SUCCEEDED"
    assert cluster.wait(post(cluster, one, script=DONE)) == "SUCCEEDED"


def test_a_post_may_fail_and_execute_without_a_row(cluster: Kubeflow) -> None:
    cluster.lose_row_of_next_post()
    body = {**body_of(one, script=DONE), "run_id": UNKNOWN.replace("0", "3")}
    assert ask(cluster, "POST", "runs", body)[0] == 500
    assert ask(cluster, "GET", f"runs/{body['run_id']}")[0] == 404
    until(lambda: [pod["status"]["phase"] for pod in cluster.pods()] == ["Succeeded"] * 3)
    assert cluster.pods()[0]["metadata"]["labels"]["pipeline/runid"] == body["run_id"]


def test_workflows_go_on_while_the_api_answers_500_or_is_away(cluster: Kubeflow) -> None:
    run_id = post(cluster, one, script=DONE)
    cluster.answer_500(HELD)
    status, answer = ask(cluster, "GET", f"runs/{run_id}")
    assert (status, answer["code"]) == (500, 13)
    cluster.answer_500(0.05)
    until(lambda: ask(cluster, "GET", f"runs/{run_id}")[0] == 200)
    cluster.go_away()
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", cluster.port), timeout=1):
        pass
    assert cluster.wait(run_id) == "SUCCEEDED"
    cluster.come_back()
    assert ask(cluster, "GET", f"runs/{run_id}")[1]["state"] == "SUCCEEDED"
