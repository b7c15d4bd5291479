"""One installation for all tests of this folder, with a project whose first version is trained and served."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cluster import apply
from cluster.client import Client
from serving.deployers.on_kserve import KServeDeployer
from tests.end_to_end.installation import Installation, install, until
from tests.second_project import DAYS, NAME, write_project

ROWS = 60
"""Payments that callers ask about, again and again."""

UPLOAD = """
import json
from pathlib import Path
from perennial.stores.bucket import Bucket
from perennial.settings import Settings
settings = Settings.from_environment()
bucket = Bucket(settings.bucket)
files = sorted(Path("/project/.perennial/sources").glob("*.parquet"))
print(json.dumps([bucket.put(f"sources/{file.name}", file) for file in files]))
"""


@dataclass
class Story:
    """The installation and what was done in it."""

    installation: Installation
    rows: list[dict[str, Any]]
    """Instances of V1 requests, with their ids."""
    versions: dict[int, str]
    """Digests by number."""
    expected: dict[tuple[str, int], float]
    """What a version says of a row."""

    def train(self, now: datetime) -> None:
        """Another version is registered and champion."""
        said = self.installation.operator("perennial", "train", NAME, "--now", now.isoformat(), "--json", seconds=1200)
        assert '"outcome": "registered"' in said, said[-4000:]
        found = json.loads(self.installation.operator("perennial", "models", "--json"))
        self.versions = {version["number"]: version["digest"] for version in found[NAME]}

    def standing(self) -> tuple[str, str]:
        """How far the traffic is."""
        found = KServeDeployer(self.installation.client, self.installation.namespace).standing(NAME)
        return found.state, found.sentence

    def is_serving(self, number: int) -> str | None:
        """The sentence that says that all of the traffic is with a version; None while it is not."""
        state, sentence = self.standing()
        return sentence if state == "serving" and sentence.startswith(f"version {number}:") else None

    def learn(self, number: int) -> None:
        """What the version that serves alone says of each row is expected from now on."""
        time.sleep(10)  # pods of the version before answer until they have drained
        with self.installation.calls(NAME, self.rows, rate=50, seconds=10) as calls:
            pass
        assert {answer["row"] for answer in calls.answers} == set(range(ROWS))
        assert not calls.failed, calls.failed[:3]
        assert {answer["version"] for answer in calls.answers} == {self.versions[number]}
        self.expected |= {(answer["version"], answer["row"]): answer["probability"] for answer in calls.answers}


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    with Client.open() as opened:
        yield opened


@pytest.fixture(scope="session")
def installation(client: Client) -> Iterator[Installation]:
    made = install(client)
    yield made
    apply.delete(client, "v1", "Namespace", made.namespace, wait_seconds=0)


@pytest.fixture(scope="session")
def first_day() -> datetime:
    """First day of the project's data, so that it ends today."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=DAYS + 3)


@pytest.fixture(scope="session")
def story(installation: Installation, tmp_path_factory: pytest.TempPathFactory, first_day: datetime) -> Story:
    """The second project on the cluster, its features in Redis, version 1 trained there and served by KServe."""
    folder = write_project(tmp_path_factory.mktemp("end-to-end") / "project", first_day=first_day)
    rows = rows_of(folder)
    for each in sorted(folder.iterdir()):
        installation.kubectl("cp", str(each), f"operator:/project/{each.name}")
    assert installation.python(UPLOAD) == [True] * 4
    installation.operator("perennial", "features", "apply")
    begin = first_day - timedelta(days=2)  # what is known of customers was published once, a day before
    bounds = ("--start", begin.isoformat(), "--end", datetime.now(UTC).isoformat(timespec="seconds"))
    installation.operator("perennial", "features", "materialize", *bounds)
    story = Story(installation, rows, {}, {})
    story.train(first_day + timedelta(days=73))
    until(180, "version 1 serves", lambda: story.is_serving(1), pause=2)
    story.learn(1)
    return story


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """The newest payments as V1 instances."""
    frame = pd.read_parquet(folder / ".perennial" / "sources" / "payments.parquet").tail(ROWS)
    names = ["payment_id", "customer_id", "shop_code", "amount", "method"]
    found: list[dict[str, Any]] = json.loads(frame[names].to_json(orient="records"))
    return found
