"""Fixtures of the whole suite: the year of flights, prepared once for all workers."""

import fcntl
import tempfile
from pathlib import Path

import pytest

from examples.flights.prepare import code_digest, prepare
from examples.flights.raw import version

pytest_plugins = ["tests.servers.kubeflow.fixture", "tests.servers.postgresql", "tests.servers.redis", "tests.servers.s3"]


@pytest.fixture(scope="session")
def flights_sources() -> Path:
    """Folder of the flights' sources. Shared by workers and runs: named by what makes it, so a change makes a new one."""
    folder = Path(tempfile.gettempdir()) / f"perennial-flights-{version()}-{code_digest()[:16]}"
    folder.mkdir(exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        prepare(folder)
    return folder
