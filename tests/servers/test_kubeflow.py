"""The stand-in of Kubeflow Pipelines behaves as the real one was seen to."""

import functools

import kfp
import pytest
from kfp import dsl

from pipelines.training import pipeline
from tests.servers.kubeflow.container import Image
from tests.servers.kubeflow.fixture import Kubeflow

pytestmark = pytest.mark.filterwarnings("ignore:This client only works:FutureWarning")

component = functools.partial(dsl.component, base_image="steps", install_kfp_package=False)
container = functools.partial(dsl.container_component)


@component
def greet(times: float, said: dsl.Output[dsl.Artifact]) -> str:
    """Say hello, and how the parameter came."""
    from pathlib import Path

    Path(said.path).write_text("hello", encoding="utf-8")
    said.metadata["times"] = times
    return f"{times!r}"


@container
def read(said: dsl.Input[dsl.Artifact], job: str, text: dsl.OutputPath(str)):  # type: ignore[no-untyped-def, valid-type]
    """Copy an artifact into a parameter and print the rest."""
    return dsl.ContainerSpec(image="steps", command=["sh", "-ec", 'cp "$0" "$1"; echo "$2"', said.path, text, job])


@pipeline("talk")
def talk(times: float = 1.5) -> None:
    greeted = greet(times=times)
    read(said=greeted.outputs["said"], job=dsl.PIPELINE_JOB_ID_PLACEHOLDER)


def test_the_stock_client_runs_a_pipeline(kubeflow: Kubeflow, capsys: pytest.CaptureFixture[str]) -> None:
    kubeflow.images["steps"] = Image()
    client = kfp.Client(host=kubeflow.url)
    posted = client.create_run_from_pipeline_func(talk, arguments={"times": 2.0}, experiment_name="talks", enable_caching=False)
    assert posted.run_info.state == "PENDING"
    run = client.wait_for_run_completion(posted.run_id, timeout=30, sleep_duration=0.05)
    assert run.state == "SUCCEEDED"
    assert [one.state for one in run.state_history] == ["PENDING", "RUNNING", "SUCCEEDED"]
    assert posted.run_id in kubeflow.logs(posted.run_id, "read")
