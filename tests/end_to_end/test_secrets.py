"""The canary strings in the installation's secrets, after everything else that is done on the cluster."""

import json
import subprocess

import pytest

from cluster import apply
from tests.end_to_end.conftest import Story
from tests.end_to_end.installation import Installation
from tests.second_project import NAME

pytestmark = pytest.mark.cluster

OBJECTS = "pods,inferenceservices,deployments,replicasets,statefulsets,services,configmaps,events,servingruntimes"
SOURCES = {
    "objects": "digest",
    "logs": "digest",
    "ledger": "digest",
    "feature registry": "model",
    "MLflow's tables": "run",
    "MLflow's artifacts": "model",
    "bucket": "digest",
    "names in the bucket": "digest",
    "run folder": "run",
    "names in the run folder": "run",
    "Parquet in the bucket": "column",
    "Parquet in the run folder": "digest",
}
"""Where is looked, and a word that is there: what is empty, or cannot be read, passes for nothing."""

LOOK = """
import json, sys
from pathlib import Path

words = {label: word.encode() for label, word in json.load(sys.stdin).items()}
found = {}

def look(source, content):
    found.setdefault(source, set()).update(label for label, word in words.items() if word in content)
"""
IN_MLFLOW = """
for path in Path("/data").rglob("*"):
    if path.is_file():
        look("MLflow's artifacts", path.read_bytes())
"""
IN_OPERATOR = """
import io
import pyarrow as pa
import pyarrow.parquet
from sqlalchemy import create_engine, inspect, text
from perennial.stores.bucket import Bucket
from perennial.settings import Settings

def look_into_parquet(source, content):
    table = pyarrow.parquet.read_table(io.BytesIO(content))
    look(source, repr((table.schema.names, table.schema.metadata)).encode())
    for column in table.columns:
        kind = column.type
        if not (pa.types.is_primitive(kind) or pa.types.is_null(kind)):
            values = column if pa.types.is_nested(kind) else column.unique()
            look(source, repr(values.to_pylist()).encode())

def look_into(source, name, content):
    look(f"names in the {source}", name.encode())
    look(source, content)
    if name.endswith(".parquet"):
        look_into_parquet(f"Parquet in the {source}", content)

settings = Settings.from_environment()
databases = {
    "ledger": settings.ledger,
    "feature registry": settings.feature_registry,
    "MLflow's tables": settings.ledger.removesuffix("ledger") + "mlflow",
}
for source, url in databases.items():
    engine = create_engine(url)
    with engine.connect() as connection:
        for table in inspect(engine).get_table_names():
            rows = connection.execute(text(f'select * from "{table}"'))
            look(source, repr([tuple(row) for row in rows]).encode())
bucket = Bucket(settings.bucket)
for key in bucket.keys(""):
    look_into("bucket", key, bucket.get(key))
for path in settings.state.rglob("*"):
    if path.is_file():
        look_into("run folder", str(path), path.read_bytes())
"""
SAY = "print(json.dumps({source: sorted(labels) for source, labels in found.items()}))"


def test_no_secret_is_found_where_people_look(story: Story) -> None:
    """Logs of every pod, the objects, the ledger, MLflow, reports, the prediction log; in each a word is found that is there."""
    where = story.installation
    runs = json.loads(where.operator("perennial", "runs", NAME, "--json"))
    run = next(run["run_id"] for run in reversed(runs) if run["outcome"] == "registered")
    words = {"digest": story.versions[1], "model": NAME, "run": run, "column": "customer_id", **where.secrets}
    assert len(words) == 4 + len(where.secrets) == 8

    def in_pod(pod: str, code: str) -> dict[str, list[str]]:
        command = ("exec", "-i", pod, "--", "python", "-c", LOOK + code + SAY)
        said: dict[str, list[str]] = json.loads(where.kubectl(*command, given=json.dumps(words), seconds=300).splitlines()[-1])
        return said

    texts = {"objects": where.kubectl("get", OBJECTS, "-o", "json"), "logs": logs(where)}
    found = {source: [label for label, word in words.items() if word in text] for source, text in texts.items()}
    found |= in_pod("operator", IN_OPERATOR) | in_pod("deployment/mlflow", IN_MLFLOW)
    assert {source: word for source, word in SOURCES.items() if word not in found.get(source, [])} == {}, found
    assert set(found) == set(SOURCES)
    assert {source: leaked for source in found if (leaked := sorted(set(found[source]) & set(where.secrets)))} == {}


def logs(where: Installation) -> str:
    """What every container has said, and before it was started again."""
    said = []
    for pod in apply.list_by_label(where.client, "v1", "Pod", where.namespace):
        name = pod["metadata"]["name"]
        if pod["status"].get("phase") == "Pending":
            continue  # the controller's pods wait for a project, which this installation has in its workbench
        said.append(where.kubectl("logs", name, "--all-containers", "--tail=-1"))
        status = pod.get("status", {})
        for container in (*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])):
            if container["restartCount"]:
                command = ["kubectl", "-n", where.namespace, "logs", name, "-c", container["name"], "--previous"]
                # It fails where nothing is left of that container.
                said.append(subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout)
    return "\n".join(said)
