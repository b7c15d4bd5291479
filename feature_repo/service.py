"""What a feature service gives: its views, their keys and features, as plain values. How Feast says it is known to `project`."""

from dataclasses import dataclass

from feature_repo.online_store.layout import Field, Kind
from perennial import digests
from perennial.spec.columns import Column
from perennial.spec.features import DType

DTYPES: dict[Kind, DType] = {
    "float32": "float",
    "float64": "float",
    "int32": "int",
    "int64": "int",
    "bool": "bool",
    "string": "string",
}


@dataclass(frozen=True)
class ViewInfo:
    """One feature view, as far as the service uses it."""

    name: str
    path: str
    """Path or URI of its Parquet source."""
    time: str
    """Column of the source: the time from which a row can be read."""
    join_keys: tuple[Field, ...]
    """Sorted by name."""
    features: tuple[Field, ...]
    """In the service's order, without the observation time."""

    @property
    def observed_at(self) -> str:
        """Column that says when the row's values were observed."""
        return f"{self.name}_observed_at"


@dataclass(frozen=True)
class ServiceInfo:
    """One feature service."""

    name: str
    sources: tuple[ViewInfo, ...]
    """Its views, in its order."""

    @property
    def views(self) -> tuple[str, ...]:
        """Names of its views, in its order."""
        return tuple(view.name for view in self.sources)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Its features as a model may see them, in its order."""
        return tuple(
            Column(name=field.name, dtype=DTYPES[field.kind], view=view.name) for view in self.sources for field in view.features
        )

    @property
    def join_keys(self) -> tuple[str, ...]:
        """Join keys of its views, sorted."""
        return tuple(sorted({key.name for view in self.sources for key in view.join_keys}))

    @property
    def digest(self) -> str:
        """SHA-256 of views, join keys, fields and types; where the sources are does not matter."""
        return digests.of_json(
            [
                {
                    "view": view.name,
                    "join_keys": [[key.name, key.kind] for key in view.join_keys],
                    "features": [[field.name, field.kind] for field in view.features],
                    "observed_at": view.observed_at,
                }
                for view in self.sources
            ]
        )
