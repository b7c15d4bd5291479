"""The second project, trained once through the command line; what tests break, they break in a copy."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from perennial.settings import Settings
from perennial.stores.bucket import Bucket
from pipelines.run import COLD
from tests.second_project import NAME, NOW, ODD, write_project
from tests.servers.postgresql import PostgreSQL
from tests.servers.s3 import S3


@dataclass(frozen=True)
class Project:
    """A project folder and the commands run in it."""

    folder: Path

    @property
    def settings(self) -> Settings:
        return Settings.from_environment({"PERENNIAL_PROJECT": str(self.folder)})

    def perennial(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command as a user in the project's folder would."""
        return subprocess.run(
            [sys.executable, "-m", "console.cli", *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**os.environ, "PYTHONSAFEPATH": "1", **environment},
            check=False,
        )

    def train(self, *arguments: str) -> tuple[int, dict[str, Any], str]:
        """Train at the project's time: exit code, the printed JSON (empty after an error), what was said on standard error."""
        run = self.perennial("train", NAME, "--now", NOW.isoformat(), "--json", *arguments)
        return run.returncode, json.loads(run.stdout) if run.stdout else {}, run.stderr

    def change(self, source: str, change: Callable[[Any], Any]) -> None:
        """Replace a source by what `change` makes of its frame."""
        import pandas as pd

        path = self.settings.source(source)
        change(pd.read_parquet(path)).to_parquet(path, index=False, coerce_timestamps="us", allow_truncated_timestamps=True)


def on_servers(project: Path, folder: Path, s3: S3, postgresql: PostgreSQL) -> tuple[Project, dict[str, str]]:
    """A copy of a project without its state, and the variables that name its stores: empty, but for its sources in the bucket.

    Args:
        project: its sources lie below `.perennial/sources`.
        folder: of the copy.
        s3: has the bucket.
        postgresql: has the databases.
    """
    uri, copy = s3.bucket(), Project(folder)
    stores = {f"PERENNIAL_{name}": postgresql.database() for name in ("LEDGER", "FEATURE_REGISTRY", "TRACKING")}
    shutil.copytree(project, folder, ignore=shutil.ignore_patterns(".perennial", "modules"))
    for source in (project / ".perennial" / "sources").glob("*.parquet"):
        Bucket(f"{uri}/sources").put(source.name, source)
    return copy, stores | {"PERENNIAL_BUCKET": uri}


NOTE_MODULES = """
import atexit, os, sys

def note():
    if "--function_to_execute" in sys.argv:
        step = sys.argv[sys.argv.index("--function_to_execute") + 1]
        with open(os.path.join(os.environ["MODULES"], step), "w") as file:
            print(*sorted({name.partition(".")[0] for name in sys.modules}), sep="\\n", file=file)

atexit.register(note)
"""
"""Written as `sitecustomize`: each step notes at its end what it has imported."""


def cold(noted: Path) -> dict[str, str]:
    """Variables by which each step of a run is started by itself, and notes in this folder what it imported."""
    return {"PYTHONPATH": str(noted), "MODULES": str(noted), COLD: "1"}


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The second project with one registered version."""
    project = Project(write_project(tmp_path_factory.mktemp("second") / ODD))
    noted = project.folder / "modules"
    noted.mkdir()
    (noted / "sitecustomize.py").write_text(NOTE_MODULES)
    run = project.perennial("train", NAME, "--now", NOW.isoformat(), **cold(noted))
    assert run.returncode == 0, run.stdout + run.stderr
    return project


@pytest.fixture
def copied(trained: Project, tmp_path: Path) -> Project:
    """A copy of the trained project, to be broken."""
    shutil.copytree(trained.folder, tmp_path / ODD)
    return Project(tmp_path / ODD)
