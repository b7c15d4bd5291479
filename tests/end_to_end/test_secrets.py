"""The canary strings in the installation's secrets, after everything else that is done on the cluster."""

import pytest

from cluster import apply
from tests.end_to_end.conftest import Story

pytestmark = pytest.mark.cluster

DUMP = """
import os
from pathlib import Path
from sqlalchemy import create_engine, inspect, text
from perennial.bucket import Bucket
from perennial.settings import Settings
settings = Settings.from_environment()
for url in (settings.ledger, settings.feature_registry, settings.ledger.removesuffix("ledger") + "mlflow"):
    engine = create_engine(url)
    with engine.connect() as connection:
        for table in inspect(engine).get_table_names():
            print(table, [tuple(row) for row in connection.execute(text(f'select * from "{table}"'))])
bucket = Bucket(settings.bucket)
for key in bucket.keys(""):
    if not key.endswith((".parquet", ".png")):
        print(key, bucket.get(key))
for path in sorted(Path("/project/.perennial").rglob("*")):
    if path.is_file() and path.suffix not in (".parquet", ".png", ".db"):
        print(path, path.read_bytes())
"""


def test_no_secret_is_found_where_people_look(story: Story) -> None:
    """Logs of every pod, the objects, the ledger, MLflow, reports and the prediction log."""
    where = story.installation
    said = [where.kubectl("get", "pods,inferenceservices,deployments,configmaps,events,servingruntimes", "-o", "json")]
    for pod in apply.list_by_label(where.client, "v1", "Pod", where.namespace):
        said.append(where.kubectl("logs", pod["metadata"]["name"], "--all-containers", "--tail=-1"))
    said.append(where.operator("python", "-", given=DUMP, seconds=300))
    text = "\n".join(said)
    assert story.versions[1] in text  # what is looked through is not empty
    found = [variable for variable, value in where.secrets.items() if value in text]
    assert found == []
