"""An installation on servers whose pipelines run on the stand-in of Kubeflow: nothing is on a disk that two parties share."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller.runner import open_runner
from controller.watch import until_done
from perennial.ledger import Ledger, Submission
from perennial.loop.request import Request, Wish
from perennial.settings import Settings
from pipelines.kept import log_of
from pipelines.kubeflow.runner import KubeflowRunner
from tests.pipelines.conftest import on_servers
from tests.second_project import NAME, NOW, write_project
from tests.servers.kubeflow.container import Image
from tests.servers.kubeflow.fixture import Kubeflow
from tests.servers.postgresql import PostgreSQL
from tests.servers.s3 import S3

WAIT_SECONDS = 120.0
IMAGE = f"registry.example.com/perennial/steps@sha256:{'a' * 64}"


@dataclass(frozen=True)
class Installation:
    """Where its things are, and who executes its runs."""

    settings: Settings
    server: Kubeflow

    @property
    def runner(self) -> KubeflowRunner:
        runner = open_runner(self.settings)
        assert isinstance(runner, KubeflowRunner)
        return runner

    def ask(self, wish: Wish, now: datetime = NOW) -> Request:
        """The request, as a command writes it."""
        with Ledger.open(self.settings.ledger) as ledger:
            return ledger.add_request(NAME, wish, made=datetime.now(UTC), now=now)

    def done(self, request: Request) -> Request:
        """The request once a controller has brought it to its end."""
        *_, last = self.looks(request)
        return last

    def looks(self, request: Request) -> Iterator[Request]:
        """The request at each look of a controller."""
        return until_done(self.settings, request, lambda: datetime.now(UTC), runner=self.runner, pause_seconds=0.2)

    def begun(self, request: Request) -> tuple[Iterator[Request], str, Submission]:
        """The further looks at a request whose run was handed over, the run's id and its submission."""
        looks = self.looks(request)
        next(looks)
        with Ledger.open(self.settings.ledger) as ledger:
            run_id = ledger.claim(request.key).owner
            (submission,) = ledger.submissions(run_id)
        return looks, run_id, submission

    def until_logged(self, run_id: str, text: str) -> None:
        """Wait until the run's log in the bucket holds a text."""
        until = time.monotonic() + WAIT_SECONDS
        while text not in (log_of(self.settings, run_id) or ""):
            assert time.monotonic() < until, f"{text!r} never came"
            time.sleep(0.2)


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The second project, as a person has it on their disk; its sources lie below `.perennial/sources`."""
    return write_project(tmp_path_factory.mktemp("kubeflow") / "project")


@pytest.fixture
def installation(project: Path, tmp_path: Path, s3: S3, postgresql: PostgreSQL, kubeflow: Kubeflow) -> Installation:
    """Empty stores, the project's sources in the bucket, its definitions applied."""
    here, stores = on_servers(project, tmp_path / "project", s3, postgresql)
    stores |= {"PERENNIAL_ONLINE_STORE": str(tmp_path / "online.db"), "PERENNIAL_NAME": "perennial"}
    kubeflow.images[IMAGE] = Image(env={"PYTHONSAFEPATH": "1", "PERENNIAL_EMBEDDED": "never", "DO_NOT_TRACK": "true"})
    kubeflow.config_maps["perennial-settings"] = stores | {"AWS_ENDPOINT_URL": s3.endpoint, "AWS_REGION": "us-east-1"}
    kubeflow.secrets["perennial-postgresql"] = {"PGPASSWORD": postgresql.password}
    kubeflow.secrets["perennial-s3"] = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    stores |= {"PERENNIAL_PIPELINES": kubeflow.url, "PERENNIAL_STEPS_IMAGE": IMAGE}
    applied = here.perennial("features", "apply", **stores)
    assert applied.returncode == 0, applied.stdout + applied.stderr
    return Installation(Settings.from_environment({**stores, "PERENNIAL_PROJECT": str(here.folder)}), kubeflow)
