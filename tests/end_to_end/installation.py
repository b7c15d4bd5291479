"""A test installation on a cluster: the overlay `lab` in a namespace of its own, an operator's pod and a caller's pod in it.

Everything that people do is done in the operator's pod, which has the controller's rights, the installation's settings and
secrets, and a project in a folder. Works on any cluster that a kubeconfig names and that has the three images.
"""

import base64
import json
import math
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster import apply
from cluster.client import Client

ROOT = Path(__file__).parents[2]
NAMESPACE = "perennial-end-to-end"
STEPS = os.environ.get("PERENNIAL_TEST_STEPS_IMAGE", "localhost/perennial/steps:lab")
CANARIES = {
    "perennial-s3": {"AWS_ACCESS_KEY_ID": "canary-key", "AWS_SECRET_ACCESS_KEY": "canary-s3"},
    "perennial-redis": {"REDISCLI_AUTH": "canary-redis"},
    "perennial-postgresql": {"PGPASSWORD": "canary-postgresql"},
}
"""Secrets by variable: each gets a random end, so that wherever it is found it came from there."""
STRICT = {
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "runAsGroup": 10001,
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}

Object = dict[str, Any]


@dataclass
class Installation:
    """What tests work with."""

    client: Client
    namespace: str
    secrets: dict[str, str] = field(default_factory=dict)
    """Values by variable."""

    def kubectl(self, *arguments: str, given: str | None = None, seconds: float = 120) -> str:
        """Standard output of kubectl in the namespace."""
        return run("kubectl", "-n", self.namespace, *arguments, given=given, seconds=seconds)

    def operator(self, *command: str, given: str | None = None, seconds: float = 900) -> str:
        """Standard output of a command in the operator's pod."""
        return self.kubectl("exec", "-i", "operator", "--", *command, given=given, seconds=seconds)

    def python(self, code: str, *arguments: str, seconds: float = 600) -> Any:
        """What a piece of Python in the operator's pod prints last, as JSON."""
        said = self.operator("python", "-", *arguments, given=code, seconds=seconds)
        return json.loads(said.strip().splitlines()[-1])

    @contextmanager
    def asking(self, code: str, *arguments: str) -> Iterator[Callable[[str], str]]:
        """Python in the operator's pod that answers each line with a line, for as long as the block runs."""
        command = ["kubectl", "-n", self.namespace, "exec", "-i", "operator", "--", "python", "-c", code, *arguments]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None and process.stdout is not None
            told, said = process.stdin, process.stdout

            def ask(line: str) -> str:
                told.write(f"{line}\n")
                told.flush()
                return said.readline().rstrip("\n")

            yield ask
            told.close()
            assert process.wait(60) == 0

    def serving_pods(self, model: str) -> list[Object]:
        """Pods of a model that are not being deleted."""
        found = apply.list_by_label(self.client, "v1", "Pod", self.namespace, {"serving.kserve.io/inferenceservice": model})
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def serving_containers(self, model: str) -> set[tuple[str, int]]:
        """Name of each of these pods, and how often its container was started again."""
        return {
            (pod["metadata"]["name"], status["restartCount"])
            for pod in self.serving_pods(model)
            for status in pod["status"]["containerStatuses"]
            if status["name"] == "kserve-container"
        }

    @contextmanager
    def calls(self, model: str, rows: Sequence[Mapping[str, Any]], rate: float, seconds: float = 0) -> Iterator["Calls"]:
        """Requests of another pod while the block runs, for `seconds` at least; they are collected at its end."""
        address = f"{model}-predictor.{self.namespace}.svc.cluster.local:80"
        command = ["kubectl", "-n", self.namespace, "exec", "-i", "caller", "--"]
        command += ["python", "-u", "/tests/caller.py", address, model, str(rate)]
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, text=True)
            assert process.stdin is not None
            begin, calls = time.monotonic(), Calls([])
            try:
                process.stdin.write(json.dumps(list(rows)) + "\n")
                process.stdin.flush()
                yield calls
                time.sleep(max(0.0, seconds - (time.monotonic() - begin)))
                process.stdin.close()
                assert process.wait(60) == 0
            finally:
                process.kill()
                process.wait()
            output.seek(0)
            calls.answers += complete([json.loads(line) for line in output], rate)


@dataclass
class Calls:
    """What callers were told."""

    answers: list[Object]

    @property
    def failed(self) -> list[Object]:
        """Requests that got no prediction."""
        return [answer for answer in self.answers if answer["status"] != 200]

    def mixed(self, expected: Mapping[tuple[str, int], float]) -> list[Object]:
        """Answers that are not what the version that they name says of their row.

        The last digits of a probability depend on how many rows were multiplied together; versions differ in the first ones.
        """
        return [
            answer
            for answer in self.answers
            if answer["status"] == 200
            and not math.isclose(expected[answer["version"], answer["row"]], answer["probability"], rel_tol=1e-9)
        ]

    @property
    def ids(self) -> set[str]:
        """Ids of the predictions that callers have."""
        return {answer["id"] for answer in self.answers if answer["status"] == 200}


def complete(lines: Sequence[Object], rate: float) -> list[Object]:
    """The answers that a caller told of: one for each request, and as many requests as its rate promises.

    Args:
        lines: everything that it printed.
        rate: requests per second.
    """
    *answers, end = lines
    assert "sent" in end, f"the caller did not come to its end; it said last: {end}"
    assert len(answers) == end["sent"], f"{end['sent']} requests were sent, of {len(answers)} it was told what became of them"
    promised = rate * end["seconds"]
    assert end["sent"] >= 0.9 * promised, (
        f"{end['sent']} requests in {end['seconds']} s: the caller did not keep up with {rate:g}/s"
    )
    return answers


def run(*command: str, given: str | None = None, seconds: float = 120) -> str:
    """Standard output of a command that ends well."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, f"{' '.join(command)[:300]}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def until(seconds: float, what: str, is_so: Callable[[], Any], pause: float = 0.5) -> Any:
    """What a question says once it is true; it is asked again until then."""
    end = time.monotonic() + seconds
    while True:
        found = is_so()
        if found:
            return found
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}; last seen: {found!r}"
        time.sleep(pause)


def install(client: Client, namespace: str = NAMESPACE) -> Installation:
    """The overlay `lab` runs in an empty namespace, with both pods."""
    apply.delete(client, "v1", "Namespace", namespace, wait_seconds=180)
    rendered = run("kubectl", "kustomize", str(overlay(namespace)))
    made = Installation(client, namespace)
    run("kubectl", "create", "namespace", namespace)
    for name, variables in CANARIES.items():
        values = {variable: f"{word}-{secrets.token_hex(8)}" for variable, word in variables.items()}
        made.secrets |= values
        coded = {variable: base64.b64encode(value.encode()).decode() for variable, value in values.items()}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "data": coded}
        apply.apply(client, secret)
    made.kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=platform", "-f", "-", given=rendered)
    script = (Path(__file__).parent / "caller.py").read_text()
    apply.apply(client, config_map("caller", namespace, {"caller.py": script}))
    for name, account, component in (("operator", "perennial-controller", "controller"), ("caller", "default", "caller")):
        apply.apply(client, pod(name, namespace, account, component))
    for stateful in ("postgresql", "redis", "s3"):
        made.kubectl("rollout", "status", f"statefulset/{stateful}", "--timeout=300s", seconds=320)
    made.kubectl("rollout", "status", "deployment/mlflow", "--timeout=300s", seconds=320)
    made.kubectl("rollout", "status", "deployment/mlflow", "--timeout=300s", seconds=320)
    for name in ("operator", "caller"):
        made.kubectl("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=120s", seconds=130)
    return made


def overlay(namespace: str) -> Path:
    """A folder with an overlay over the lab's, in another namespace."""
    folder = Path(tempfile.mkdtemp(prefix="perennial-overlay-"))
    shutil.copytree(ROOT / "k8s", folder / "k8s")
    text = f"namespace: {namespace}\nresources: [../k8s/overlays/lab]\ntransformers: [../k8s/transformers]\n"
    (folder / "test").mkdir()
    (folder / "test" / "kustomization.yaml").write_text(text)
    return folder / "test"


def config_map(name: str, namespace: str, data: dict[str, str]) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}


def pod(name: str, namespace: str, account: str, component: str) -> Object:
    """A pod of the steps image that waits for commands; the operator's has what a controller has, the caller's nothing."""
    is_operator = component == "controller"
    sources = [{"configMapRef": {"name": "perennial-settings"}}, *({"secretRef": {"name": each}} for each in CANARIES)]
    volumes = [
        {"name": "tmp", "emptyDir": {}},
        {"name": "project", "emptyDir": {}},
        {"name": "tests", "configMap": {"name": "caller"}},
    ]
    container = {
        "name": "main",
        "image": STEPS,
        "command": ["python", "-c", "import signal; signal.sigwait([signal.SIGTERM])"],
        "envFrom": sources if is_operator else [],
        "env": [{"name": "PERENNIAL_PROJECT", "value": "/project"}] if is_operator else [],
        "workingDir": "/project",
        "securityContext": STRICT,
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "3Gi"}},
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "project", "mountPath": "/project"},
            {"name": "tests", "mountPath": "/tests"},
        ],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/component": component}},
        "spec": {
            "serviceAccountName": account,
            "automountServiceAccountToken": is_operator,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"fsGroup": 10001},
            "containers": [container],
            "volumes": volumes,
        },
    }
