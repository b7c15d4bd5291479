"""Feast's offline store on DuckDB, joining as of a time; plugged in through `offline_store.type` of Feast's configuration.

Feast's own embedded stores join by inequality or on the key alone: slow, and one of them drops rows. Here DuckDB reads a source
once, and a binary search (`matches`) finds the row for each entity row, whose order stays. Parquet only, in files or in S3; SQL
entities and created-timestamp cuts are refused.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet
from feast import FeatureView
from feast.data_source import DataSource
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import FileSource, SavedDatasetFileStorage
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from feast.saved_dataset import SavedDatasetStorage
from pydantic import StrictInt

from feature_repo.matches import NONE, Integers, newest
from feature_repo.reading.sql import MICROSECOND, attach, connect, literal, quoted
from feature_repo.sources import REMOTE, opened
from perennial.errors import DataError

TIME = "__time"


class AsofOfflineStoreConfig(FeastConfigBaseModel):
    """The `offline_store` part of Feast's configuration."""

    type: Literal["feature_repo.asof.AsofOfflineStore"] = "feature_repo.asof.AsofOfflineStore"
    threads: StrictInt = 1
    """Threads of a join. One by default: what else runs on the machine is not ours to slow down."""


@dataclass(frozen=True)
class Joined:
    """What a job found: the result, and when each matched row was published."""

    table: pa.Table
    """Entity rows in their order, then the features."""
    matched: dict[str, pa.Array]
    """For each view the event timestamp of the row that was found (microseconds UTC), null where none was or it was too old."""


class AsofRetrievalJob(RetrievalJob):
    """A query that runs when its result is asked for."""

    def __init__(
        self,
        query: Callable[[], Joined],
        full_feature_names: bool = False,
        on_demand: list[OnDemandFeatureView] | None = None,
        metadata: RetrievalMetadata | None = None,
    ) -> None:
        self._query = query
        self._full_feature_names = full_feature_names
        self._on_demand = on_demand or []
        self._metadata = metadata

    def join(self) -> Joined:
        """The result with the time of every match; on-demand features are not in it."""
        return self._query()

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:  # noqa: ARG002 - there is no timeout
        return self._query().table

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        frame: pd.DataFrame = self._to_arrow_internal(timeout).to_pandas()
        return frame

    @property
    def full_feature_names(self) -> bool:
        """Whether a feature's column carries the name of its view."""
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """Views that Feast computes from the result."""
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata | None:
        """What was asked for."""
        return self._metadata

    def persist(
        self,
        storage: SavedDatasetStorage,
        allow_overwrite: bool = False,
        timeout: int | None = None,
    ) -> None:
        """The result is a Parquet file at the storage's path.

        Raises:
            SavedDatasetLocationAlreadyExists: there is a file, and `allow_overwrite` is false.
        """
        if not isinstance(storage, SavedDatasetFileStorage):
            raise DataError(
                f"a saved dataset of {type(storage).__name__} cannot be written here; allowed: SavedDatasetFileStorage"
            )
        path = Path(storage.file_options.uri)
        if path.exists() and not allow_overwrite:
            raise SavedDatasetLocationAlreadyExists(location=str(path))
        pyarrow.parquet.write_table(self.to_arrow(timeout=timeout), path, coerce_timestamps="us")


class AsofOfflineStore(OfflineStore):
    """Point-in-time joins and materialisation reads on Parquet files."""

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        **refused: Any,
    ) -> AsofRetrievalJob:
        """A job that finds, for each entity row, the newest row of each view at or before its time, within the view's TTL.

        Every entity row is in the result once, in its place. A row whose key is unknown, or has only later rows, has nulls.
        Of rows with the same key and time the one created last counts.

        Raises:
            DataError: no frame of entities was given, or an argument that would be ignored.
        """
        if refused:
            raise DataError(
                f"{', '.join(sorted(refused))}: not supported by AsofOfflineStore. A source's event_timestamp is the time from "
                "which a row can be read, so no cut by creation time is needed; entities are given as a frame"
            )
        if not isinstance(entity_df, pd.DataFrame):
            raise DataError(f"entity_df: expected a pandas frame, found {type(entity_df).__name__}; AsofOfflineStore runs no SQL")
        time_column = infer_event_timestamp_from_entity_df({str(name): dtype for name, dtype in entity_df.dtypes.items()})
        times = pd.to_datetime(entity_df[time_column], utc=True)
        views = [wanted(config, view, feature_refs, full_feature_names) for view in feature_views]
        metadata = RetrievalMetadata(
            features=feature_refs,
            keys=[name for name in entity_df.columns if name != time_column],
            min_event_timestamp=times.min().to_pydatetime(),
            max_event_timestamp=times.max().to_pydatetime(),
        )
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        return AsofRetrievalJob(
            lambda: join(entity_df, times, views, threads_of(config)), full_feature_names, on_demand, metadata
        )

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> AsofRetrievalJob:
        """A job that reads the newest row of each key with a time in [start_date, end_date]."""
        newest = [f"{quoted(timestamp_field)} desc"]
        if created_timestamp_column:
            newest.append(f"{quoted(created_timestamp_column)} desc")
        keys = ", ".join(map(quoted, join_key_columns))
        partition = f"partition by {keys} " if keys else ""
        return _pull(
            config,
            data_source,
            [*join_key_columns, *feature_name_columns],
            [timestamp_field, *filter(None, [created_timestamp_column])],
            (start_date, end_date),
            f" qualify row_number() over ({partition}order by {', '.join(newest)}) = 1",
        )

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> AsofRetrievalJob:
        """A job that reads every row with a time in [start_date, end_date]; an absent bound is no bound."""
        return _pull(
            config,
            data_source,
            [*join_key_columns, *feature_name_columns],
            [timestamp_field, *filter(None, [created_timestamp_column])],
            (start_date, end_date),
            "",
        )

    def get_table_column_names_and_types_from_data_source(
        self, config: RepoConfig, data_source: DataSource
    ) -> Iterable[tuple[str, str]]:
        """Columns of a source with their Arrow types; Feast takes the types of join keys from it when it applies a view.

        Raises:
            NotFoundError: there is no such source.
        """
        with opened(source_of(config, data_source)) as dataset:
            return [(field.name, str(field.type)) for field in dataset.schema]


@dataclass(frozen=True)
class Wanted:
    """What is read of one view."""

    name: str
    source: str
    """Path or URI of its Parquet file."""
    keys: tuple[tuple[str, str], ...]
    """Column of the entity frame, column of the source."""
    time: str
    created: str | None
    features: tuple[tuple[str, str], ...]
    """Column of the source, column of the result."""
    ttl: timedelta | None


def wanted(config: RepoConfig, view: FeatureView, feature_refs: list[str], full_feature_names: bool) -> Wanted:
    """What `feature_refs` ask of `view`, in names of its source.

    Raises:
        DataError: the view has no source.
    """
    source = view.batch_source
    if source is None:
        raise DataError(f"view {view.name!r} has no batch source")
    view_name = view.projection.name_alias or view.name
    original = {new: old for old, new in source.field_mapping.items()}
    feature_names = [ref.split(":", 1)[1] for ref in feature_refs if ref.startswith(f"{view_name}:")]
    key_map = view.projection.join_key_map or {}
    return Wanted(
        name=view_name,
        source=source_of(config, source),
        keys=tuple(
            (key_map.get(column.name, column.name), original.get(column.name, column.name)) for column in view.entity_columns
        ),
        time=original.get(source.timestamp_field, source.timestamp_field),
        created=original.get(source.created_timestamp_column, source.created_timestamp_column) or None,
        features=tuple(
            (original.get(name, name), f"{view_name}__{name}" if full_feature_names else name) for name in feature_names
        ),
        ttl=view.ttl or None,
    )


def join(entities: pd.DataFrame, times: "pd.Series[pd.Timestamp]", views: list[Wanted], threads: int) -> Joined:
    """Every entity row once, in its order, with the features of each view at its time. As many views at once as threads."""
    table = pa.Table.from_pandas(entities, preserve_index=False).replace_schema_metadata(None)
    moments = pa.array(times.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy("datetime64[us]"), pa.timestamp("us", "UTC"))
    with ThreadPoolExecutor(threads) as pool:
        lookups = list(pool.map(lambda view: look_up(table, moments, view), views))
    matched: dict[str, pa.Array] = {}
    for view, rows in zip(views, lookups, strict=True):
        for index, (_, name) in enumerate(view.features):
            table = table.append_column(name, rows.column(f"f{index}"))
        matched[view.name] = rows.column(TIME).combine_chunks()
    return Joined(table, matched)


def look_up(entities: pa.Table, moments: pa.Array, view: Wanted) -> pa.Table:
    """For each entity row the view's time and features, null where nothing was found; columns as in `source_query`."""
    with connect(threads=1) as database:
        attach(database, view.source)
        source = database.execute(source_query(view, moments)).to_arrow_table()
    keys = [f"k{index}" for index in range(len(view.keys))]
    positions = newest(
        entities.select([key for key, _ in view.keys]),
        microseconds(moments),
        source.select(keys),
        microseconds(source.column(TIME)),
        None if view.ttl is None else view.ttl // MICROSECOND,
    )
    return source.drop_columns(keys).take(pa.array(positions, mask=positions == NONE))


def microseconds(times: pa.Array | pa.ChunkedArray) -> Integers:
    """Times as numbers; a missing one is older than all others."""
    numbers: Integers = times.cast(pa.int64()).fill_null(np.iinfo(np.int64).min).to_numpy()
    return numbers


def source_query(view: Wanted, moments: pa.Array) -> str:
    """SQL that reads what the entity rows can find: keys `k0`..., features `f0`..., and the time."""
    keys = [quoted(source) for _, source in view.keys]
    time = f"{quoted(view.time)}::timestamptz"
    columns = [f"{key} as k{index}" for index, key in enumerate(keys)]
    columns += [f"{quoted(source)} as f{index}" for index, (source, _) in enumerate(view.features)]
    # Only what can be found is read: nothing later than the last entity row, nothing older than the first one's TTL.
    bounds = pyarrow.compute.min_max(moments).as_py()
    conditions = ["false" if bounds["max"] is None else f"{time} <= {literal(bounds['max'])}"]
    if view.ttl is not None and bounds["min"] is not None:
        conditions.append(f"{time} >= {literal(bounds['min'] - view.ttl)}")
    conditions += [f"{key} is not null" for key in keys]
    last_created = (
        f" qualify row_number() over (partition by {', '.join([*keys, time])} order by {quoted(view.created)} desc) = 1"
        if view.created
        else ""
    )
    selection = f"{', '.join([*columns, f'{time} as {TIME}'])} from {quoted(view.source)}"
    return f"select {selection} where {' and '.join(conditions)}{last_created}"


def _pull(
    config: RepoConfig,
    source: DataSource,
    columns: list[str],
    times: list[str],
    bounds: tuple[datetime | None, datetime | None],
    qualify: str,
) -> AsofRetrievalJob:
    """A job that reads `columns` and `times` of the rows within `bounds`, in one chunk."""
    time = f"{quoted(times[0])}::timestamptz"
    conditions = [
        f"{time} {sign} {literal(bound)}" for sign, bound in zip((">=", "<="), bounds, strict=True) if bound is not None
    ]
    selection = [*map(quoted, columns), *(f"{quoted(name)}::timestamptz as {quoted(name)}" for name in times)]
    location = source_of(config, source)
    query = f"select {', '.join(selection)} from {quoted(location)} where {' and '.join(conditions) or 'true'}{qualify}"

    def run() -> Joined:
        with connect(threads_of(config)) as database:
            attach(database, location)
            # Feast writes only the first chunk of a table online, and drops the others in silence.
            return Joined(widened(database.execute(query).to_arrow_table()).combine_chunks(), {})

    return AsofRetrievalJob(run)


def widened(table: pa.Table) -> pa.Table:
    """The table with numbers of 64 bits, which Feast takes for a field of any width; of fewer bits it takes only the same."""
    types = pa.types
    wide = {
        field.name: pa.float64() if types.is_floating(field.type) else pa.int64()
        for field in table.schema
        if types.is_floating(field.type) or (types.is_integer(field.type) and field.type != pa.uint64())
    }
    return table.cast(pa.schema([field.with_type(wide.get(field.name, field.type)) for field in table.schema]))


def threads_of(config: RepoConfig) -> int:
    """Threads of a join."""
    return int(config.offline_store.threads)


def source_of(config: RepoConfig, source: DataSource) -> str:
    """Path or URI of a source's Parquet file or folder of them.

    Raises:
        DataError: the source is of another kind.
    """
    if not isinstance(source, FileSource):
        raise DataError(f"source {source.name!r} is a {type(source).__name__}; AsofOfflineStore reads FileSource (Parquet) only")
    path = str(FileSource.get_uri_for_file_path(repo_path=config.repo_path, uri=source.file_options.uri))
    if "://" in path and not path.startswith(REMOTE):
        raise DataError(f"source {source.name!r}: {path}: AsofOfflineStore reads files and {REMOTE} only")
    return path
