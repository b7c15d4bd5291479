"""The compiled pipelines: the same bytes for the same input, by digest, and with the secrets that their code reads, no others."""

import json
import re
from pathlib import Path
from typing import Any

import kfp
import pytest
import yaml
from typer.testing import CliRunner

from components.step import IMAGE as LOCAL
from console.cli import app
from perennial.errors import PlatformError
from perennial.settings import Settings
from pipelines.kubeflow import graphs
from pipelines.kubeflow.api import PipelineServer
from pipelines.kubeflow.compiled import KINDS, Compilation, compilations, write
from tests.servers.kubeflow.fixture import Kubeflow

IMAGE = f"registry.example.com/perennial/steps@sha256:{'a' * 64}"
ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.filterwarnings("ignore:.*:FutureWarning")


def executor_of(pipeline: Compilation) -> tuple[dict[str, Any], dict[str, Any]]:
    """The container of its only step, and what Kubernetes gives that."""
    graph, platforms = yaml.safe_load_all(pipeline.text)
    ((name, executor),) = graph["deploymentSpec"]["executors"].items()
    return executor["container"], platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"][name]


def test_the_same_input_gives_the_same_bytes_and_another_one_another_version(tmp_path: Path) -> None:
    files = [write(tmp_path / name, compilations(IMAGE, "churn"), "team") for name in ("a", "b")]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]
    assert [path.name for path in files[0]] == [f"{kind}-churn{end}.yaml" for end in ("", ".objects") for kind in KINDS]
    one, other = Compilation("training", IMAGE), Compilation("training", IMAGE.replace("a" * 64, "b" * 64))
    assert len({one.version, other.version, Compilation("training", IMAGE, "churn").version}) == 3
    with pytest.raises(PlatformError, match="cannot be written"):
        write(files[0][0], compilations(IMAGE), None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pipeline_is_one_step_of_ours_that_nothing_caches_or_repeats(kind: str) -> None:
    pipeline = Compilation(kind, IMAGE)
    graph = pipeline.spec()["pipeline_spec"]
    container, given = executor_of(pipeline)
    (task,) = graph["root"]["dag"]["tasks"].values()
    assert task["cachingOptions"] == {}
    assert "retryPolicy" not in task
    assert container["image"] == IMAGE
    assert LOCAL not in pipeline.text
    assert "pip install" not in pipeline.text
    assert container["resources"]["resourceMemoryLimit"] == "4Gi"
    assert given["securityContext"] == {"runAsUser": "10001", "runAsGroup": "10001", "runAsNonRoot": True}
    assert [mount["mountPath"] for mount in given["emptyDirMounts"]] == ["/tmp"]
    assert int(given["activeDeadlineSeconds"]) == graphs.SECONDS[kind]
    inputs = graph["root"]["inputDefinitions"]["parameters"]
    assert [name for name, one in inputs.items() if not one.get("isOptional")] == ["model"], "all that a person must type"
    assert graph["pipelineInfo"]["displayName"].startswith("Perennial: ")


def test_a_pod_gets_every_setting_but_its_own_and_the_secrets_of_the_stores_that_it_opens() -> None:
    given = executor_of(Compilation("training", IMAGE))[1]
    (settings,) = given["configMapAsEnv"]
    names = {entry["envVar"] for entry in settings["keyToEnv"]}
    own = {f"PERENNIAL_{name.upper()}" for name in graphs.NOT_HANDED_ON}
    ours = {name for name in names if name.startswith("PERENNIAL_")}
    assert {f"PERENNIAL_{name.upper()}" for name in Settings.model_fields} == own | ours
    secrets = {entry["secretName"]: {key["envVar"] for key in entry["keyToEnv"]} for entry in given["secretAsEnv"]}
    assert secrets == {name: set(keys) for name, keys in graphs.SECRETS.items()}
    assert "REDISCLI_AUTH" not in str(given), "a run asks the online store for nothing"
    manifests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "k8s").rglob("*.yaml"))
    assert all(f"name: {name}" in manifests for name in secrets if name not in graphs.OPTIONAL)
    assert f"name: {graphs.CONFIG_MAP}" in manifests


def test_a_model_s_own_pipelines_name_it_in_their_form() -> None:
    graph = Compilation("monitoring", IMAGE, "churn").spec()["pipeline_spec"]
    assert graph["pipelineInfo"]["name"] == "monitoring-churn"
    assert graph["root"]["inputDefinitions"]["parameters"]["model"]["defaultValue"] == "churn"


def test_the_objects_of_kubernetes_name_each_other() -> None:
    pipeline = Compilation("training", IMAGE)
    objects = {one["kind"]: one for one in yaml.safe_load_all(pipeline.objects("team"))}
    version = objects["PipelineVersion"]
    assert version["metadata"]["name"] == pipeline.version
    assert version["spec"]["pipelineName"] == objects["Pipeline"]["metadata"]["name"] == "training"
    assert version["spec"]["pipelineSpec"] == pipeline.spec()["pipeline_spec"]


def test_an_upload_makes_a_version_only_where_a_byte_differs(kubeflow: Kubeflow) -> None:
    command = ["compile", "--upload", "--json"]

    def uploaded(digest: str) -> dict[str, str]:
        image = f"registry.example.com/perennial/steps@sha256:{digest * 64}"
        run = CliRunner().invoke(app, [*command, "--image", image], env={"PERENNIAL_PIPELINES": kubeflow.url})
        assert run.exit_code == 0, run.output
        versions: dict[str, str] = json.loads(run.stdout)["versions"]
        return versions

    assert set(uploaded("a").values()) == {"uploaded"}
    assert set(uploaded("a").values()) == {"on the server already"}
    assert set(uploaded("b").values()) == {"uploaded"}
    client = kfp.Client(host=kubeflow.url)
    pipeline = client.get_pipeline_id("training")
    assert len(client.list_pipeline_versions(pipeline).pipeline_versions) == 2
    kubeflow.go_away()
    with pytest.raises(PlatformError, match="Its platform team mends it"):
        PipelineServer(kubeflow.url).upload(Compilation("training", IMAGE), None)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["compile"], "neither --out nor --upload"),
        (["compile", "--out", "x"], "PERENNIAL_STEPS_IMAGE is not set"),
        (["compile", "--upload", "--image", IMAGE], "PERENNIAL_PIPELINES is not set"),
        (["compile", "--out", "x", "--image", "perennial/steps:latest"], "PERENNIAL_STEPS_IMAGE: String should match"),
        (["compile", "nobody", "--out", "x", "--image", IMAGE], "nobody.yaml: no such file"),
    ],
    ids=["nothing", "no image", "no server", "a tag", "no model"],
)
def test_what_cannot_be_compiled_is_said(arguments: list[str], said: str, tmp_path: Path) -> None:
    run = CliRunner().invoke(app, arguments, env={"PERENNIAL_PROJECT": str(tmp_path)})
    assert run.exit_code != 0
    assert re.sub(r"\s+", " ", str(run.exception) + run.output).find(said) >= 0, (run.output, run.exception)
    assert not (tmp_path / "x").exists()
