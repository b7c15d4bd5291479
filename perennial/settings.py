"""Where things are: folders, URIs, threads. From the environment, read once per process; never what a model is.

What a model *is* stands in its spec (`perennial.spec`). Every variable begins with `PERENNIAL_`.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from perennial.errors import SpecError

PREFIX = "PERENNIAL_"


class Settings(BaseModel):
    """Where one installation keeps its things. One installation = one team."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    project: Path
    """Folder of the team's project: `models/`, `feature_repo/definitions/`. `PERENNIAL_PROJECT`, else the working directory."""
    state: Path
    """Folder of everything that Perennial writes. `PERENNIAL_STATE`, else `.perennial/` in the project."""
    sources: Path
    """Folder of the Parquet sources. `PERENNIAL_SOURCES`, else `sources/` in the state."""
    name: str = Field("perennial", pattern=r"^[a-z][a-z0-9_]*$")
    """Name of the installation: Feast project, MLflow experiment. `PERENNIAL_NAME`."""
    threads: int = Field(1, ge=1)
    """Threads of one fit. One by default: two OpenMP threads on a busy machine were eight times slower. `PERENNIAL_THREADS`."""

    @property
    def models(self) -> Path:
        """Folder of the model specs."""
        return self.project / "models"

    @property
    def definitions(self) -> Path:
        """Folder of the Feast definitions."""
        return self.project / "feature_repo" / "definitions"

    @property
    def feature_registry(self) -> str:
        """SQLAlchemy URL of Feast's registry."""
        return f"sqlite:///{self.state / 'feast' / 'registry.db'}"

    @property
    def online_store(self) -> Path:
        """File of the packed online store."""
        return self.state / "feast" / "online.db"

    @property
    def ledger(self) -> str:
        """SQLAlchemy URL of the ledger."""
        return f"sqlite:///{self.state / 'ledger.db'}"

    @property
    def tracking(self) -> str:
        """MLflow's tracking and registry URL."""
        return f"sqlite:///{self.state / 'mlflow' / 'mlflow.db'}"

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
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """Settings of this process.

        Args:
            environment: variables; the process's own when absent.

        Raises:
            SpecError: a variable with our prefix is unknown or its value is not allowed.

        >>> Settings.from_environment({"PERENNIAL_PROJECT": "/team"}).sources.as_posix()
        '/team/.perennial/sources'
        >>> Settings.from_environment({"PERENNIAL_STAET": "/x"})
        Traceback (most recent call last):
            ...
        perennial.errors.SpecError: environment: PERENNIAL_STAET is not a setting; allowed: PERENNIAL_NAME, ...
        """
        found = os.environ if environment is None else environment
        given = {key: value for key, value in found.items() if key.startswith(PREFIX)}
        allowed = {PREFIX + name.upper(): name for name in cls.model_fields}
        for key in given:
            if key not in allowed:
                raise SpecError(f"environment: {key} is not a setting; allowed: {', '.join(sorted(allowed))}")
        project = Path(given.get("PERENNIAL_PROJECT", ".")).absolute()
        state = Path(given.get("PERENNIAL_STATE", project / ".perennial")).absolute()
        sources = Path(given.get("PERENNIAL_SOURCES", state / "sources")).absolute()
        values = {allowed[key]: value for key, value in given.items()}
        try:
            return cls.model_validate({**values, "project": project, "state": state, "sources": sources})
        except ValidationError as error:
            first = error.errors()[0]
            raise SpecError(
                f"environment: {PREFIX}{str(first['loc'][0]).upper()}: {first['msg']}; found {first['input']!r}"
            ) from error

    def to_environment(self) -> dict[str, str]:
        """The variables that give a child process these settings."""
        return {PREFIX + name.upper(): str(value) for name, value in self}
