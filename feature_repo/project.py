"""A project's Feast definitions, loaded by path from every file of its `feature_repo/definitions/`.

Never by package name: a project may have folders of the same names as ours. What is wrong in a definition is said here, with its
file, before Feast sees it.
"""

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType

from feast import BatchFeatureView, Entity, FeatureService, FeatureView, FileSource, OnDemandFeatureView, StreamFeatureView
from feast import Field as FeastField
from feast.data_format import ParquetFormat
from feast.feature_view_projection import FeatureViewProjection
from feast.types import PrimitiveFeastType
from feast.value_type import ValueType

from feature_repo.online_store.feast_store import kind_of
from feature_repo.online_store.layout import Field, Kind
from feature_repo.service import ServiceInfo, ViewInfo
from feature_repo.sources import sources_of
from perennial import digests
from perennial.errors import DataError, NotFoundError, PerennialError
from perennial.outages import is_outage, translated
from perennial.settings import Settings

ROLE = "observed_at"
"""Value of the tag `role` that marks the field with the observation's time."""
KEY_KINDS: dict[ValueType, Kind] = {ValueType.STRING: "string", ValueType.INT32: "int32", ValueType.INT64: "int64"}


@dataclass(frozen=True)
class Project:
    """What the definitions define."""

    folder: Path
    files: tuple[Path, ...]
    digest: str
    """SHA-256 of the files: names below the folder, and bytes."""
    entities: dict[str, Entity]
    views: dict[str, FeatureView]
    services: dict[str, FeatureService]

    def service(self, name: str) -> ServiceInfo:
        """What the service `name` gives.

        Raises:
            DataError: there is no such service, or a rule about views and names is broken.
        """
        if name not in self.services:
            service_names = ", ".join(sorted(self.services)) or "none"
            raise DataError(f"{self.folder}: no feature service {name!r}; defined: {service_names}")
        service = self.services[name]
        views = tuple(_view_info(self, service, projection) for projection in service.feature_view_projections)
        owners: dict[str, str] = {}
        for view in views:
            for feature in [*(field.name for field in view.features), view.observed_at]:
                if feature in owners:
                    raise DataError(
                        f"{self.folder}: service {name!r}: the feature {feature!r} is in the views {owners[feature]!r} and "
                        f"{view.name!r}; a model sees a column by its name alone: rename one, as in {view.name}_{feature}"
                    )
                owners[feature] = view.name
        return ServiceInfo(name, views)


def load(settings: Settings) -> Project:
    """What the definitions of the project define.

    Files and folders whose name begins with a dot are left out: a mounted ConfigMap keeps a second copy of its files in one.

    Raises:
        NotFoundError: there are no definitions.
        DataError: a file cannot be imported, two files use one name, or an object is of a kind that is not supported.
    """
    folder = settings.definitions
    found = sorted(path for path in folder.glob("**/*.py") if path.name != "__init__.py")
    files = tuple(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))
    if not files:
        raise NotFoundError(f"{folder}: no definitions; write entities, views and services into <name>.py files there")
    owners: dict[tuple[str, str], tuple[object, Path]] = {}
    for file in files:
        for thing in _defined_in(_import(settings, file)):
            kind = _kind(thing, file)
            key = (kind, str(thing.name))
            owner = owners.setdefault(key, (thing, file))
            if owner[0] is not thing:
                where = f"twice in {file}" if owner[1] == file else f"in {owner[1]} and in {file}"
                raise DataError(f"the {kind} {thing.name!r} is defined {where}; a name belongs to one definition")
    things = [thing for thing, _ in owners.values()]
    return Project(
        folder=folder,
        files=files,
        digest=digests.of_files(list(files), folder),
        entities={thing.name: thing for thing in things if isinstance(thing, Entity)},
        views={thing.name: thing for thing in things if isinstance(thing, FeatureView)},
        services={thing.name: thing for thing in things if isinstance(thing, FeatureService)},
    )


Definition = Entity | FeatureView | FeatureService | OnDemandFeatureView


def _import(settings: Settings, file: Path) -> ModuleType:
    """The module of `file`, imported afresh under a name that no package has."""
    name = f"_perennial_definitions_{digests.of_text(str(file))[:16]}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise DataError(f"{file}: cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with sources_of(settings):
            spec.loader.exec_module(module)
    except PerennialError:
        raise
    except Exception as error:
        if is_outage(error):
            raise translated(error, str(file)) from error
        lines = [frame.tb_lineno for frame in _frames(error) if frame.tb_frame.f_code.co_filename == str(file)]
        where = f"{file}:{lines[-1]}" if lines else str(file)
        raise DataError(f"{where}: cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        del sys.modules[name]
    return module


def _frames(error: BaseException) -> Iterator[TracebackType]:
    frame = error.__traceback__
    while frame is not None:
        yield frame
        frame = frame.tb_next


def _defined_in(module: ModuleType) -> list[Definition]:
    return [thing for thing in vars(module).values() if isinstance(thing, Definition)]


def _kind(thing: Definition, file: Path) -> str:
    if isinstance(thing, OnDemandFeatureView | StreamFeatureView | BatchFeatureView):
        raise DataError(
            f"{file}: {type(thing).__name__} {thing.name!r} is not supported; write its values into a Parquet source and define "
            "a FeatureView on it: training and serving then read the same values"
        )
    if isinstance(thing, Entity):
        return "entity"
    return "feature view" if isinstance(thing, FeatureView) else "feature service"


def _view_info(project: Project, service: FeatureService, projection: FeatureViewProjection) -> ViewInfo:
    where = f"{project.folder}: service {service.name!r}"
    if projection.name_alias or projection.join_key_map:
        raise DataError(
            f"{where}: view {projection.name!r} is renamed or joined by other keys; define a view of that name instead"
        )
    if projection.name not in project.views:
        raise DataError(f"{where}: view {projection.name!r} is in none of the files; bind it to a name at the module's top level")
    view = project.views[projection.name]
    source = view.batch_source
    if not isinstance(source, FileSource) or not source.timestamp_field or source.field_mapping:
        raise DataError(
            f"{where}: the source of view {view.name!r} must be a FileSource with timestamp_field, without field_mapping"
        )
    _check_served_alike(where, view, source)
    observed = f"{view.name}_observed_at"
    _check_observed_at(where, view.name, observed, list(projection.features))
    return ViewInfo(
        name=str(view.name),
        path=str(source.path),
        time=str(source.timestamp_field),
        join_keys=tuple(sorted((_join_key(project, view, name) for name in view.entities), key=lambda key: key.name)),
        features=tuple(_feature(where, view.name, field) for field in projection.features if field.name != observed),
    )


def _check_served_alike(where: str, view: FeatureView, source: FileSource) -> None:
    """Nothing is asked of a view that training and serving would not both do.

    Raises:
        DataError: says what, and how to have it on both sides.
    """
    refusals = {
        f"ttl={view.ttl}": (
            bool(view.ttl),
            "it would cut in training what serving still answers; leave it out, and give the model an age limit that both sides "
            f"keep: features.freshness: [{{view: {view.name}, max_age_hours: …, on_stale: default}}]",
        ),
        "online=False": (not view.online, "its values could be trained on and never served; leave it out"),
        "created_timestamp_column": (
            bool(source.created_timestamp_column),
            "a row counts from its timestamp_field on, on both sides; publish a correction as a row of a later time",
        ),
        "date_partition_column": (bool(source.date_partition_column), "a source is read whole; leave it out"),
        "file_format": (
            not isinstance(source.file_format, ParquetFormat | None),
            "sources are Parquet; write it as Parquet and leave file_format out",
        ),
        "s3_endpoint_override": (bool(source.s3_endpoint_override), "AWS_ENDPOINT_URL says where the store is; leave it out"),
    }
    for what, (is_asked, remedy) in refusals.items():
        if is_asked:
            raise DataError(f"{where}: view {view.name!r} has {what}: {remedy}")


def _check_observed_at(where: str, view: str, observed: str, fields: Sequence[FeastField]) -> None:
    matches = [field for field in fields if field.name == observed]
    remedy = f'add Field(name="{observed}", dtype=UnixTimestamp, tags={{"role": "{ROLE}"}}) to it: freshness is measured on it'
    if not matches:
        raise DataError(f"{where}: view {view!r} has no field {observed!r}; {remedy}")
    if matches[0].dtype != PrimitiveFeastType.UNIX_TIMESTAMP or matches[0].tags.get("role") != ROLE:
        raise DataError(
            f"{where}: view {view!r}: the field {observed!r} is {matches[0].dtype} with tags {matches[0].tags}; {remedy}"
        )


def _feature(where: str, view: str, field: FeastField) -> Field:
    kind = kind_of(view, field.name, field.dtype)
    if kind == "timestamp":
        raise DataError(
            f"{where}: view {view!r}: the feature {field.name!r} is a timestamp; a model sees numbers, strings and booleans: "
            "publish an age in hours instead"
        )
    return Field(name=field.name, kind=kind)


def _join_key(project: Project, view: FeatureView, name: str) -> Field:
    """The join key of the view's entity `name`, with the type of the schema's field, else of the entity."""
    if name not in project.entities:
        raise DataError(f"{project.folder}: view {view.name!r}: the entity {name!r} is in none of the files")
    entity = project.entities[name]
    kinds = [kind_of(view.name, column.name, column.dtype) for column in view.entity_columns if column.name == entity.join_key]
    kind = kinds[0] if kinds else KEY_KINDS.get(entity.value_type)
    if kind not in KEY_KINDS.values():
        raise DataError(
            f"{project.folder}: entity {name!r}: its type is {kind or entity.value_type.name}; "
            "give it value_type=ValueType.STRING, INT32 or INT64"
        )
    return Field(name=str(entity.join_key), kind=kind)
