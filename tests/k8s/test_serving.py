"""What KServe is told agrees with what the runtime, the fetcher and the deployer do."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

from perennial.versions.store import SCHEME
from serving.deployers.inference_service import GRACE_SECONDS, RUNTIME, SERVICE_ACCOUNT
from serving.runtime.application import Application
from serving.runtime.batches import Batches
from serving.runtime.metrics import Metrics
from serving.runtime.process import FINISH_SECONDS
from serving.runtime.watcher import Watcher
from tests.k8s.rendered import Object, of_kind, overlay


def runtime_container() -> Object:
    found: Object = of_kind(overlay("lab"), "ServingRuntime")["perennial"]["spec"]["containers"][0]
    return found


def test_kserve_is_told_what_the_deployer_says() -> None:
    objects = overlay("lab")
    runtime = of_kind(objects, "ServingRuntime")[RUNTIME]["spec"]
    assert [known["name"] for known in runtime["supportedModelFormats"]] == [RUNTIME]
    assert [container["name"] for container in runtime["containers"]] == ["kserve-container"]
    assert SERVICE_ACCOUNT in of_kind(objects, "ServiceAccount")
    storage = of_kind(objects, "ClusterStorageContainer")[RUNTIME]["spec"]
    assert storage["supportedUriFormats"] == [{"prefix": SCHEME}]
    assert (storage["container"]["name"], storage["workloadType"]) == ("storage-initializer", "initContainer")
    assert storage["container"]["command"] == ["python", "-m", "serving.runtime.fetch"]


def test_the_runtime_knows_its_arguments() -> None:
    container = runtime_container()
    assert container["command"] == ["python", "-m", "serving.runtime"]
    told = subprocess.run([sys.executable, "-m", "serving.runtime", "--help"], capture_output=True, text=True, check=True).stdout
    for argument in container["args"]:
        assert re.search(rf"^  {argument.partition('=')[0]} ", told, re.MULTILINE), argument
    settings = of_kind(overlay("lab"), "ConfigMap")["perennial-settings"]["data"]
    assert set(re.findall(r"\$\((\w+)\)", " ".join(container["args"]))) <= set(settings)


def test_probes_ask_what_the_runtime_answers(tmp_path: Path) -> None:
    container = runtime_container()
    metrics = Metrics("m")
    watcher = Watcher(tmp_path / "current", "m", str(tmp_path / "online.db"), metrics)
    watcher.look()
    application = Application("m", watcher, cast(Batches, None), metrics, lambda: 0.0, 1000, False)

    async def status(path: str) -> int:
        answers: list[Any] = []

        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": b""}

        async def send(message: object) -> None:
            answers.append(message)

        await application({"path": path, "method": "GET", "headers": []}, receive, send)
        return int(answers[0]["status"])

    asked = {name: container[name]["httpGet"]["path"].replace("{{.Name}}", "m") for name in ("livenessProbe", "readinessProbe")}
    assert asyncio.run(status(asked["livenessProbe"])) == 200
    assert asyncio.run(status(asked["readinessProbe"])) == 503  # there is no version yet
    assert container["startupProbe"]["httpGet"] == container["livenessProbe"]["httpGet"]


def test_the_end_fits_into_the_grace() -> None:
    container = runtime_container()
    before_the_signal = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain, last_ship = 2, 10
    assert before_the_signal + drain + FINISH_SECONDS + last_ship < GRACE_SECONDS
