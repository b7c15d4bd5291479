"""Logging runs and versions to MLflow through its client; its process-wide state is never touched."""

import logging
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from perennial import sqlite
from perennial.errors import PlatformError
from perennial.outages import is_outage, translated
from perennial.registry.server import server_version
from perennial.settings import Settings
from perennial.stores import postgresql
from perennial.stores.exclusion import alone
from perennial.versions.store import name_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

NAME = "MLflow"
"""Its name in messages."""

WAIT_SECONDS = 10.0
"""How long a locked database is waited for. Writes take milliseconds; longer means that something hangs."""

RUN_TAG = "perennial.run_id"
"""Tag of an MLflow run that holds our run id; by it a repeated call finds the run."""

NUMBER_TAG = "perennial.version"
"""Tag of an MLflow model version that holds the number in our ledger, which is the one that counts."""

BATCH = 100
"""Most parameters or tags that MLflow takes in one call."""

WRITABLE = "make it writable, or set PERENNIAL_STATE to a folder that is"


@dataclass(frozen=True)
class RunEntry:
    """What people see of a run in MLflow."""

    run_id: str
    """Our run."""
    model: str
    """Name of the model."""
    parameters: Mapping[str, object]
    """Values by name; written as text."""
    metrics: Mapping[str, float]
    """Finite numbers by name."""
    tags: Mapping[str, str]
    """Texts by name (digests, outcome)."""
    artifacts: Path
    """Folder whose files are copied (plots, reports); no model files."""


def log_run(settings: Settings, entry: RunEntry, *, now: datetime, wait_seconds: float = WAIT_SECONDS) -> str:
    """The run is in MLflow with all that belongs to it; its id there. A call that repeats or completes another finds its run.

    The first call of an installation makes MLflow's tables, which takes seconds.

    Args:
        settings: where MLflow's database and artifacts are; their names.
        entry: what people see of it.
        now: when it is logged, aware.
        wait_seconds: how long a locked database is waited for.

    Raises:
        PlatformError: the database is locked, or something cannot be written.
    """
    models = sorted(path.name for path in entry.artifacts.rglob("*.skops"))
    if models:
        raise ValueError(f"{entry.artifacts}: {models[0]} is a model file; MLflow gets a link to the version folder instead")
    moment = int(now.astimezone(UTC).timestamp() * 1000)
    with _client(settings, wait_seconds) as client:
        experiment = _experiment(client, settings)
        runs = client.search_runs([experiment], f"tags.`{RUN_TAG}` = '{entry.run_id}'", max_results=1)
        if runs and runs[0].info.status == "FINISHED":
            return str(runs[0].info.run_id)
        if runs:
            run_id = str(runs[0].info.run_id)
        else:
            run = client.create_run(experiment, start_time=moment, tags={RUN_TAG: entry.run_id}, run_name=entry.run_id)
            run_id = str(run.info.run_id)
        _log(client, run_id, entry.parameters, entry.metrics, {**entry.tags, "perennial.model": entry.model}, moment)
        client.log_artifacts(run_id, str(entry.artifacts))
        client.set_terminated(run_id, "FINISHED", end_time=moment)
        return run_id


def add_version(
    settings: Settings,
    *,
    model: str,
    number: int,
    source: str,
    mlflow_run_id: str,
    tags: Mapping[str, str],
    wait_seconds: float = WAIT_SECONDS,
) -> str:
    """The version is in MLflow's registry as a link to its folder; its number there. A repeated call finds it.

    MLflow counts for itself; its number differs from ours when its database was lost. Ours is in the tag `perennial.version`.

    Args:
        settings: where MLflow's database is.
        model: name of the model.
        number: the version's number in the ledger.
        source: URI of the version's folder. A server is told the version's name instead of a file's URI.
        mlflow_run_id: MLflow's run that made it.
        tags: texts by name.
        wait_seconds: how long a locked database is waited for.

    Raises:
        PlatformError: the database is locked or cannot be written.
    """
    from mlflow.exceptions import MlflowException

    with _client(settings, wait_seconds) as client:
        try:
            client.create_registered_model(model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        for version in client.search_model_versions(f"name = '{model}'"):
            if version.tags.get(NUMBER_TAG) == str(number):
                return str(version.version)
        all_tags = {**tags, NUMBER_TAG: str(number)}
        if _is_server(settings.tracking) and source.startswith("file:"):
            # It refuses links into a file system, which could be its own.
            source = name_of(model, number, source.rpartition("/")[2])
        new_version = client.create_model_version(model, source, run_id=mlflow_run_id, tags=all_tags)
        return str(new_version.version)


def set_champion(settings: Settings, *, model: str, number: int, wait_seconds: float = WAIT_SECONDS) -> bool:
    """MLflow's alias `champion` points to the version with that number in our ledger; false where MLflow does not know it.

    Args:
        settings: where MLflow's database is.
        model: name of the model.
        number: the version's number in the ledger.
        wait_seconds: how long a locked database is waited for.

    Raises:
        PlatformError: the database is locked or cannot be written.
    """
    with _client(settings, wait_seconds) as client:
        for version in client.search_model_versions(f"name = '{model}'"):
            if version.tags.get(NUMBER_TAG) == str(number):
                client.set_registered_model_alias(model, "champion", str(version.version))
                return True
        return False


def _log(
    client: "MlflowClient",
    logged: str,
    parameters: Mapping[str, object],
    metrics: Mapping[str, float],
    tags: Mapping[str, str],
    moment: int,
) -> None:
    from mlflow.entities import Metric, Param, RunTag

    client.log_batch(logged, metrics=[Metric(name, value, moment, 0) for name, value in sorted(metrics.items())])
    values = [Param(name, str(value)) for name, value in sorted(parameters.items())]
    for first in range(0, len(values), BATCH):
        client.log_batch(logged, params=values[first : first + BATCH])
    client.log_batch(logged, tags=[RunTag(name, value) for name, value in sorted(tags.items())])


def _experiment(client: "MlflowClient", settings: Settings) -> str:
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(settings.name)
    if experiment is None:
        try:
            # A server keeps the artifacts of its runs itself, and shows them.
            location = None if _is_server(settings.tracking) else settings.tracking_artifacts.as_uri()
            return client.create_experiment(settings.name, artifact_location=location)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            experiment = client.get_experiment_by_name(settings.name)
    if experiment is None or experiment.lifecycle_stage != "active":
        raise PlatformError(
            f"MLflow {settings.tracking}: the experiment {settings.name!r} was deleted there; "
            "restore it in MLflow, or set PERENNIAL_NAME to another name"
        )
    return str(experiment.experiment_id)


@contextmanager
def _client(settings: Settings, wait_seconds: float) -> "Iterator[MlflowClient]":
    """A client on the installation's MLflow.

    What a platform fails in leaves the block as PlatformError, what MLflow refuses as UnexpectedError.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # before the import: it is read there
    if settings.tracking.startswith(
        "sqlite:"
    ):  # else MLflow keeps a connection open to each file for as long as the process lives
        os.environ.setdefault("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
    _check(settings.tracking, wait_seconds)
    # It would print its errors with a traceback beside raising them, and two lines at the first start.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        with _tables_made_once(settings.tracking):
            client = MlflowClient(tracking_uri=settings.tracking, registry_uri=settings.tracking)
        yield client
    except MlflowException as error:
        if not is_outage(error):
            raise translated(error, f"MLflow {settings.tracking}") from error
        first = str(error).splitlines()[0]
        raise PlatformError(f"MLflow {settings.tracking}: {first}; the same call may work later") from error
    except OSError as error:
        is_artifact_path = isinstance(error.filename, str) and Path(error.filename).is_relative_to(settings.tracking_artifacts)
        if not (is_artifact_path or is_outage(error)):
            raise translated(error, f"MLflow {settings.tracking}") from error
        raise PlatformError(
            f"MLflow {error.filename or settings.tracking_artifacts}: {error.strerror or error}; {WRITABLE}"
        ) from error


def _is_server(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def _tables_made_once(url: str) -> AbstractContextManager[None]:
    """MLflow makes its tables with its first client, and fails where another process does."""
    return nullcontext() if _is_server(url) else alone(NAME, url)


def _check(url: str, wait_seconds: float) -> None:
    """What is behind the URL answers. MLflow itself tries again for minutes, and prints pages."""
    if url.startswith(postgresql.SCHEME):
        with postgresql.answering(NAME, url, wait_seconds):
            return
    if _is_server(url):
        server_version(url, os.environ, wait_seconds)
    elif (file := sqlite.file_of(url)) is not None:
        _check_file(file, wait_seconds)


def _check_file(file: Path, wait_seconds: float) -> None:
    """An SQLite database can be written now."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(file, timeout=wait_seconds, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except OSError as error:
        raise PlatformError(f"MLflow {file}: {error.strerror}: {error.filename}; {WRITABLE}") from error
    except sqlite3.DatabaseError as error:
        remedy = WRITABLE
        if "locked" in str(error):
            remedy = f"another process has held it for more than {wait_seconds:g} s: wait for its end (`fuser {file}` names it)"
        elif "not a database" in str(error) or "malformed" in str(error):
            remedy = "put a backup in its place, or move it away: the ledger and the version folders do not need it"
        raise PlatformError(f"MLflow {file}: {error}; {remedy}") from error
