"""Feast, opened: the registry, materialisation, values written for a replay. The only place that makes a `FeatureStore`.

Everything goes through Feast's ordinary API with our two stores plugged in, so `feature_store.yaml` gives Feast's own command
line the same repository.
"""

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pandas as pd
from feast import Entity, FeatureService, FeatureStore, FeatureView
from feast.errors import FeastError
from feast.infra.registry.sql import SqlRegistry
from feast.repo_config import RepoConfig

from feature_repo import kept
from feature_repo.asof import source_of
from feature_repo.online_store.database import check_prefix, is_redis, open_database
from feature_repo.online_store.feast_store import to_microseconds
from feature_repo.online_store.packing import pack
from feature_repo.project import Project, load
from feature_repo.reading.source_checks import check_stretch
from feature_repo.service import ServiceInfo
from feature_repo.sources import make_registry_folder
from perennial.errors import DataError, PerennialError, PlatformError
from perennial.outages import is_outage, raised_by, translated
from perennial.settings import Settings
from perennial.stores import postgresql
from perennial.stores.exclusion import alone

REGISTRY = "feature registry"
"""Its name in messages."""
OF_DEFINITIONS, OF_DATA = (FeastError, ValueError), (FeastError, duckdb.Error)
"""How Feast and DuckDB refuse definitions and data; anything else that they raise nobody foresaw. A `ValueError` of others than
Feast is a bug."""
BATCH_ROWS = 10_000
"""Rows that Feast hands to the online store at once: bounds its memory, and each batch is one transaction."""


@dataclass(frozen=True)
class Applied:
    """What the registry holds now, sorted."""

    entities: tuple[str, ...]
    views: tuple[str, ...]
    services: tuple[str, ...]
    note: str = ""
    """What else a person should know; empty when nothing."""


def configuration(settings: Settings, registry: str | None = None, online: str | None = None) -> RepoConfig:
    """Feast's configuration for these settings.

    Args:
        settings: where things are.
        registry: SQLAlchemy URL of another registry than that of the settings.
        online: another online store than that of the settings.

    Raises:
        SpecError: the online store is that of an installation with another name.
    """
    if online is None and is_redis(settings.online_store):
        check_prefix(settings.online_store, settings.name)
    return RepoConfig(
        project=settings.name,
        provider="local",
        registry=_registry(registry or settings.feature_registry),
        offline_store={"type": "feature_repo.asof.AsofOfflineStore", "threads": settings.threads},
        online_store={"type": "feature_repo.online_store.feast_store.PackedOnlineStore", "path": online or settings.online_store},
        materialization={"pull_latest_features": True, "online_write_batch_size": BATCH_ROWS},
        entity_key_serialization_version=3,
        repo_path=settings.definitions.parent,
    )


@contextlib.contextmanager
def open(settings: Settings) -> Iterator[FeatureStore]:
    """Feast on the registry and the online store of these settings; both are made when absent.

    Raises:
        PlatformError: the registry is locked or cannot be written.
        SpecError: the online store is that of an installation with another name.
    """
    make_registry_folder(settings.feature_registry)
    with alone(REGISTRY, settings.feature_registry):  # it makes its tables, and fails where another process does
        store = _open(settings)
    with _closing(store):
        yield store


def _open(settings: Settings) -> FeatureStore:
    with _registry_errors(settings.feature_registry):
        return FeatureStore(config=configuration(settings))


@contextlib.contextmanager
def _closing(store: FeatureStore) -> Iterator[None]:
    """The registry's connections are closed, which Feast itself leaves to chance."""
    try:
        yield
    finally:
        if isinstance(store.registry, SqlRegistry):
            store.registry.write_engine.dispose()


def _registry(url: str) -> dict[str, object]:
    """Feast's configuration of a registry: a server that was started anew or is gone is noticed."""
    registry_config: dict[str, object] = {"registry_type": "sql", "path": url}
    if url.startswith(postgresql.SCHEME):
        options = postgresql.connect_options(postgresql.CONNECT_SECONDS)
        registry_config["sqlalchemy_config_kwargs"] = {"pool_pre_ping": True, "connect_args": options}
    return registry_config


@contextlib.contextmanager
def open_private(settings: Settings, project: Project) -> Iterator[FeatureStore]:
    """Feast on a registry of its own that holds exactly `project`, gone afterwards.

    A training set is made from the definitions as they are in the files, whose digest it carries, whatever was applied before.
    """
    with tempfile.TemporaryDirectory(prefix="perennial-") as folder:
        registry, online = f"sqlite:///{folder}/registry.db", f"{folder}/online.db"
        store = FeatureStore(config=configuration(settings, registry, online))
        with _closing(store):
            with _foreign_errors(project.folder, OF_DEFINITIONS):
                store.apply([*project.entities.values(), *project.views.values(), *project.services.values()])
            yield store


def apply(settings: Settings) -> Applied:
    """The registry holds the project's definitions and nothing else, the online store their layouts.

    A view whose fields or types were changed has no values by its new layout: materialise again. Those by its old one stay as
    long as a version needs them that serves or can be rolled back to.

    Raises:
        NotFoundError: there are no definitions.
        DataError: a definition is wrong.
        PlatformError: registry or online store is locked or cannot be written.
    """
    project = load(settings)
    for name in project.services:
        project.service(name)
    make_registry_folder(settings.feature_registry)
    silent = contextlib.redirect_stdout(io.StringIO())
    # Feast reads what there is and then writes: of two processes at once, one would fail in the middle.
    with (
        alone(REGISTRY, settings.feature_registry),
        _registry_errors(settings.feature_registry),
        _foreign_errors(project.folder, OF_DEFINITIONS),
        silent,
    ):
        store = _open(settings)
        with _closing(store):
            _replace(store, project)
    note = kept.purge(settings)
    entities, views, services = (
        tuple(sorted(definitions)) for definitions in (project.entities, project.views, project.services)
    )
    return Applied(entities, views, services, note)


def _replace(store: FeatureStore, project: Project) -> None:
    registered: list[Entity | FeatureView | FeatureService] = [
        *store.list_feature_services(),
        *store.list_feature_views(),
        *(entity for entity in store.list_entities() if entity.name != "__dummy"),
    ]
    ids = {id_of(thing) for definitions in (project.entities, project.views, project.services) for thing in definitions.values()}
    store.apply(
        [*project.entities.values(), *project.views.values(), *project.services.values()],
        objects_to_delete=[thing for thing in registered if id_of(thing) not in ids],
        partial=False,
    )


def id_of(thing: Entity | FeatureView | FeatureService) -> tuple[str, str]:
    """Kind and name of a definition."""
    return type(thing).__name__, str(thing.name)


def describe(settings: Settings, service: str) -> ServiceInfo:
    """What a feature service of the project's definitions gives.

    Raises:
        NotFoundError: there are no definitions.
        DataError: there is no such service, or a definition is wrong.
    """
    return load(settings).service(service)


def materialize(settings: Settings, start: datetime, end: datetime, progress: Callable[[str], None]) -> dict[str, int]:
    """The online store holds, for each key, the newest row published in (start, end], unless it already held a newer one.

    Intervals are explicit: a row that arrives late in an interval that is done would be missed by Feast's incremental way.

    Args:
        settings: where things are.
        start: exclusive begin, UTC.
        end: inclusive end, UTC.
        progress: told one sentence for each view.

    Returns:
        For each view the values of the interval that the store now holds.

    Raises:
        DataError: an empty interval, nothing applied, or a source that cannot be read.
        PlatformError: registry or online store is locked or cannot be written.
    """
    if start >= end:
        raise DataError(f"nothing lies in ({start.isoformat()}, {end.isoformat()}]; start must be before end")
    with open(settings) as store:
        with _registry_errors(settings.feature_registry):
            views = sorted(str(view.name) for view in store.list_feature_views())
        if not views:
            raise DataError(f"{settings.feature_registry}: no feature views; `perennial features apply` first")
        written: dict[str, int] = {}
        for view in views:
            progress(f"{view}: reading what was published after {start:%Y-%m-%d %H:%M}, until {end:%Y-%m-%d %H:%M}")
            with _registry_errors(settings.feature_registry), _foreign_errors(f"materialising {view!r}", OF_DATA):
                for note in _check(settings, store, view, start + timedelta(microseconds=1), end):
                    progress(f"{view}: {note}")
            silent = contextlib.redirect_stdout(io.StringIO())
            with _registry_errors(settings.feature_registry), _foreign_errors(f"materialising {view!r}", OF_DATA), silent:
                store.materialize(start + timedelta(microseconds=1), end, feature_views=[view])
            with open_database(settings.online_store, write=False) as database:
                written[view] = database.count(view, to_microseconds(start), to_microseconds(end))
        with _registry_errors(settings.feature_registry), _foreign_errors("materialising kept layouts", OF_DATA):
            kept.materialize(settings, store, start + timedelta(microseconds=1), end, progress)
    return written


def _check(settings: Settings, store: FeatureStore, name: str, start: datetime, end: datetime) -> list[str]:
    """What a view is about to store of [start, end] can be stored: Feast would fail without a word on where."""
    view = store.get_feature_view(name)
    if view.batch_source is None:
        return []
    with open_database(settings.online_store, write=False) as database:
        layout = database.layout(name)
    source = view.batch_source
    return check_stretch(source_of(store.config, source), layout, source.timestamp_field, start, end, settings.threads)


def write_online(online_store: str, view: str, frame: pd.DataFrame) -> int:
    """The online store holds the rows of `frame`, as `materialize` would have written them; returns their number.

    For replays: the same bytes, without a protobuf value for every field.

    Args:
        online_store: where it is.
        view: an applied view.
        frame: one row for each key: join keys, `event_timestamp` (UTC), every field of the view.

    Raises:
        NotFoundError: the view was not applied.
        DataError: a column is missing.
    """
    with open_database(online_store) as database:
        layout = database.layout(view)
        database.write(layout, pack(layout, frame))
        for other in database.held():
            # A kept layout of the same view, as far as the frame still has its columns in its types.
            is_kept = other.view == view and other.name != layout.name
            if is_kept and other.join_keys == layout.join_keys and set(other.fields) <= set(layout.fields):
                database.write(other, pack(other, frame))
    return len(frame)


@contextlib.contextmanager
def _registry_errors(registry: str) -> Iterator[None]:
    """Errors of the registry's database are a `PlatformError` with its place."""
    try:
        yield
    except Exception as error:
        if _is_of_database(error) and is_outage(error):
            cause, todo = error, "the file must be writable and not locked by another process: try again"
            if registry.startswith(postgresql.SCHEME):
                cause = getattr(error, "orig", None) or error
                todo = postgresql.remedy(cause, postgresql.CONNECT_SECONDS)
            raise PlatformError(f"{registry}: {postgresql.said(cause)}; {todo}") from error
        raise


@contextlib.contextmanager
def _foreign_errors(where: str | Path, refusals: tuple[type[Exception], ...]) -> Iterator[None]:
    """What Feast or DuckDB refuse is a `DataError` with its place; an outage is a `PlatformError`, a bug an `UnexpectedError`."""
    try:
        yield
    except PerennialError:
        raise
    except Exception as error:
        if _is_of_database(error):
            raise
        if not is_outage(error) and isinstance(error, refusals) and not _is_mistake(error):
            raise DataError(f"{where}: {type(error).__name__}: {error}") from error
        raise translated(error, str(where)) from error


def _is_mistake(error: Exception) -> bool:
    """Whether it is a `ValueError` that refuses nothing: Feast raises those itself, and never one about an encoding."""
    if isinstance(error, FeastError) or not isinstance(error, ValueError):
        return False
    return isinstance(error, UnicodeError) or not raised_by(error, "feast")


def _is_of_database(error: Exception) -> bool:
    """Whether it is the registry's: SQLAlchemy is Feast's business here, and known by the module its errors come from."""
    return any(kind.__module__.startswith(("sqlalchemy", "sqlite3", "psycopg")) for kind in type(error).__mro__)
