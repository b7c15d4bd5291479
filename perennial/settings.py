"""Where things are: folders, URIs, threads. From the environment, read once per process; never what a model is.

What a model *is* stands in its spec (`perennial.spec`). Every variable begins with `PERENNIAL_`. A URL never holds a secret: the
clients read those from the variables that their own tools know, `PGPASSWORD` (PostgreSQL), `REDISCLI_AUTH` (Redis),
`AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` (S3; `AWS_ENDPOINT_URL` says where), `MLFLOW_TRACKING_PASSWORD` (MLflow).
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from perennial import sqlite
from perennial.errors import SpecError

PREFIX = "PERENNIAL_"
SECRETS = {
    "ledger": "PGPASSWORD",
    "feature_registry": "PGPASSWORD",
    "online_store": "REDISCLI_AUTH",
    "tracking": "PGPASSWORD or MLFLOW_TRACKING_PASSWORD",
}
"""Settings that are URLs, and the variable from which their client reads the password."""

STORES = ("ledger", "feature_registry", "online_store", "tracking", "bucket")
"""Settings that name a store. One that is not given is embedded: its store is a file of the state, on this machine."""

MAX_WORKERS = 4
"""Processes that fit side by side, unless a setting says more: a container sees all processors of its node."""


ModelsFrom = Literal["files", "cluster"]
"""Where people write specs: files of the project, or objects `Model` of the namespace."""

Fetch = Literal["storage-container", "init-container"]
"""Who brings a version's files to a serving pod."""


class Settings(BaseModel):
    """Where one installation keeps its things. One installation = one team."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    project: Path
    """Folder of the team's project: `models/`, `feature_repo/definitions/`. `PERENNIAL_PROJECT`, else the working directory."""
    state: Path
    """Folder of everything that Perennial writes. `PERENNIAL_STATE`, else `.perennial/` in the project."""
    sources: str = Field(pattern=r"^(/|s3://)")
    """Where the Parquet sources are: a folder, or `s3://<bucket>/<prefix>`. `PERENNIAL_SOURCES`, else `sources/` in the bucket,
    without a bucket in the state."""
    ledger: str = Field(pattern=r"^(sqlite|postgresql\+psycopg)://")
    """SQLAlchemy URL of the ledger. `PERENNIAL_LEDGER`, else SQLite in the state."""
    feature_registry: str = Field(pattern=r"^(sqlite|postgresql\+psycopg)://")
    """SQLAlchemy URL of Feast's registry. `PERENNIAL_FEATURE_REGISTRY`, else SQLite in the state."""
    online_store: str = Field(pattern=r"^(/|rediss?://)")
    """The packed online store: a file, or `redis://[user@]host[:port][/number][?prefix=<name>]` (`rediss` encrypts). Keys begin
    with the prefix, which must be the name of the installation. `PERENNIAL_ONLINE_STORE`, else a file in the state."""
    tracking: str = Field(pattern=r"^(sqlite|postgresql\+psycopg|https?)://")
    """MLflow's tracking and registry URL, never the ledger's database. `PERENNIAL_TRACKING`, else SQLite in the state."""
    bucket: str | None = Field(None, pattern=r"^s3://[a-z0-9.-]+(/[A-Za-z0-9._-]+)*$")
    """Where sources, datasets, versions and prediction logs are kept besides this machine: `s3://<bucket>/<prefix>`; the state
    keeps copies, each by its digest. None keeps all of it in the state alone. `PERENNIAL_BUCKET`."""
    namespace: str | None = Field(None, pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
    """Kubernetes namespace in which versions are served by KServe; None serves by a process of this machine.
    `PERENNIAL_NAMESPACE`."""
    fetch: Fetch = "storage-container"
    """How a version's files come to a serving pod of the namespace: by the ClusterStorageContainer, an object of the whole
    cluster, or by an init container of the InferenceService: that needs rights in the namespace only. `PERENNIAL_FETCH`."""
    models_from: ModelsFrom = "files"
    """Where the specs come from: `files`, those in `models/` of the project, or `cluster`: objects `Model` of the namespace,
    which the controller writes there as files; it answers in their status. `PERENNIAL_MODELS_FROM`."""
    name: str = Field("perennial", pattern=r"^[a-z][a-z0-9_]*$")
    """Name of the installation: Feast project, MLflow experiment. `PERENNIAL_NAME`."""
    threads: int = Field(1, ge=1)
    """Threads of one fit. One by default: two OpenMP threads on a busy machine were eight times slower. `PERENNIAL_THREADS`."""
    workers: int = Field(default_factory=lambda: min(MAX_WORKERS, len(os.sched_getaffinity(0))), ge=1)
    """Processes that fit side by side, where a fit has one thread: the folds of a trial, and the fit on everything beside them.
    As many as there are processors by default, at most four. Results do not depend on it. Each holds its rows in memory.
    `PERENNIAL_WORKERS`."""
    pipelines: str | None = Field(None, pattern=r"^https?://[^@?#]+$")
    """Address of Kubeflow Pipelines' API, which executes trainings and monitoring runs; None executes them on this machine.
    `PERENNIAL_PIPELINES`."""
    steps_image: str | None = Field(None, pattern=r"^[^\s@]+@sha256:[0-9a-f]{64}$")
    """Image of the steps that Kubeflow Pipelines executes, by digest: `<registry>/steps@sha256:<64 hex digits>`.
    `PERENNIAL_STEPS_IMAGE`."""
    embedded: Literal["allowed", "never"] = "allowed"
    """Whether a store without a setting may be files of the state: `allowed`, or `never`, as in the image `steps`: a pod's
    files go with the pod. `PERENNIAL_EMBEDDED`."""

    log: Literal["text", "json"] = "text"
    """How `perennial watch` and `tick` print what they do: `text` for people, or `json`, an object in each line for a
    collector of logs: `time`, `level`, `model`, `what`, `sentence`. `PERENNIAL_LOG`."""

    @property
    def models(self) -> Path:
        """Folder of the model specs."""
        return self.project / "models"

    @property
    def specs(self) -> list[Path]:
        """Files of the model specs, by name. Hidden ones are left out: editors and mounted ConfigMaps have some."""
        return sorted(path for path in self.models.glob("*.yaml") if not path.name.startswith("."))

    @property
    def definitions(self) -> Path:
        """Folder of the Feast definitions."""
        return self.project / "feature_repo" / "definitions"

    def source(self, name: str) -> str:
        """Path or URI of a source."""
        return f"{self.sources}/{name}.parquet"

    @property
    def tracking_artifacts(self) -> Path:
        """Folder of MLflow's artifacts (plots, reports; never model files)."""
        return self.state / "mlflow" / "artifacts"

    @property
    def datasets(self) -> Path:
        """Folder of dataset snapshots, each named by the hash of its values."""
        return self.state / "datasets"

    @property
    def versions(self) -> Path:
        """Folder of model versions: `<model>/<digest>/`."""
        return self.state / "versions"

    @property
    def results(self) -> Path:
        """Folder of what runs found: `<run id>/` with report, plots and stored records."""
        return self.state / "results"

    def report(self, model: str) -> Path:
        """Page of a model in service, made anew by `perennial report`."""
        return self.state / "reports" / f"{model}.html"

    @property
    def runs(self) -> Path:
        """Folder of local pipeline runs: `<run id>/`."""
        return self.state / "runs"

    def current(self, model: str) -> Path:
        """File that says which version the local server of a model serves."""
        return self.state / "serving" / model / "current"

    def server_address(self, model: str) -> Path:
        """File in which `perennial serve` notes where the local server of a model listens."""
        return self.state / "serving" / model / "address"

    def prediction_log(self, model: str) -> Path:
        """Folder of a model's prediction log."""
        return self.state / "predictions" / model

    def prediction_tables(self, model: str) -> Path:
        """Folder of a model's prediction log as Parquet files."""
        return self.state / "predictions" / f"{model}-parquet"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None, needs_stores: bool = True) -> "Settings":
        """Settings of this process.

        Args:
            environment: variables; the process's own when absent.
            needs_stores: whether the caller opens stores. Who reads the project alone, or says itself what is missing, does not.

        Raises:
            SpecError: a variable with our prefix is unknown or its value is not allowed, or a store that may not be embedded has
                no variable.

        >>> Settings.from_environment({"PERENNIAL_PROJECT": "/team"}).source("orders")
        '/team/.perennial/sources/orders.parquet'
        >>> Settings.from_environment({"PERENNIAL_BUCKET": "s3://team/prod"}).source("orders")
        's3://team/prod/sources/orders.parquet'
        >>> Settings.from_environment({"PERENNIAL_STAET": "/x"})
        Traceback (most recent call last):
            ...
        perennial.errors.SpecError: environment: PERENNIAL_STAET is not a setting; allowed: PERENNIAL_BUCKET, ...
        """
        all_variables = os.environ if environment is None else environment
        variables = {key: value for key, value in all_variables.items() if key.startswith(PREFIX)}
        field_names = {PREFIX + name.upper(): name for name in cls.model_fields}
        for key in variables:
            if key not in field_names:
                raise SpecError(f"environment: {key} is not a setting; allowed: {', '.join(sorted(field_names))}")
        if needs_stores and variables.get("PERENNIAL_EMBEDDED") == "never":
            _check_named(variables)
        project = Path(variables.get("PERENNIAL_PROJECT", ".")).absolute()
        state = Path(variables.get("PERENNIAL_STATE", project / ".perennial")).absolute()
        sources = variables.get("PERENNIAL_SOURCES", f"{variables.get('PERENNIAL_BUCKET', state)}/sources").rstrip("/")
        embedded = {
            "ledger": sqlite.url_of(state / "ledger.db"),
            "feature_registry": sqlite.url_of(state / "feast" / "registry.db"),
            "online_store": str(state / "feast" / "online.db"),
            "tracking": sqlite.url_of(state / "mlflow" / "mlflow.db"),
        }
        values = embedded | {field_names[key]: value for key, value in variables.items()}
        for name, variable in SECRETS.items():
            if _has_password(values[name]):
                raise SpecError(f"environment: {PREFIX}{name.upper()}: holds a password; give it as {variable}, from a secret")
        if values["tracking"].partition("?")[0] == values["ledger"].partition("?")[0]:
            raise SpecError("environment: PERENNIAL_TRACKING: names the ledger's database; both keep a table runs: make one more")
        if values.get("models_from") == "cluster" and "namespace" not in values:
            raise SpecError("environment: PERENNIAL_MODELS_FROM: cluster, but no PERENNIAL_NAMESPACE says in which namespace")
        if not sources.startswith("s3://"):
            sources = str(Path(sources).absolute())
        try:
            return cls.model_validate({**values, "project": project, "state": state, "sources": sources})
        except ValidationError as error:
            first = error.errors()[0]
            raise SpecError(
                f"environment: {PREFIX}{str(first['loc'][0]).upper()}: {first['msg']}; found {first['input']!r}"
            ) from error

    def to_environment(self) -> dict[str, str]:
        """The variables that give a child process these settings."""
        return {PREFIX + name.upper(): str(value) for name, value in self if value is not None}


def _check_named(given: Mapping[str, str]) -> None:
    """Every store is named by a setting.

    Raises:
        SpecError: says which are missing, all at once.
    """
    missing = [PREFIX + name.upper() for name in STORES if PREFIX + name.upper() not in given]
    if missing:
        raise SpecError(
            f"environment: not set: {', '.join(missing)}; with PERENNIAL_EMBEDDED=never, as in the image steps, no store is a "
            "file of this machine: set them in the installation's ConfigMap perennial-settings (k8s/README.md), from which pods "
            "take them, or allow files with PERENNIAL_EMBEDDED=allowed"
        )


def _has_password(url: str) -> bool:
    parts = urlsplit(url)
    return parts.password is not None or any("password" in name for name, _ in parse_qsl(parts.query))
