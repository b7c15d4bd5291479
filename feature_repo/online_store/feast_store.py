"""Feast's online store on our packed one; plugged in through `online_store.type` of Feast's configuration.

Translation between Feast's protobuf values and `layout` only. Asynchronous and versioned reads are not offered.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from feast import Entity, FeatureView
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from feast.types import FeastType, PrimitiveFeastType
from pydantic import StrictStr

from feature_repo.online_store.database import is_redis, open_database
from feature_repo.online_store.layout import Field, Kind, Layout, Value
from perennial.errors import DataError

KEY_VERSION = 3
KINDS: dict[PrimitiveFeastType, Kind] = {
    PrimitiveFeastType.FLOAT32: "float32",
    PrimitiveFeastType.FLOAT64: "float64",
    PrimitiveFeastType.INT32: "int32",
    PrimitiveFeastType.INT64: "int64",
    PrimitiveFeastType.BOOL: "bool",
    PrimitiveFeastType.STRING: "string",
    PrimitiveFeastType.UNIX_TIMESTAMP: "timestamp",
}
_PROTO: dict[Kind, str] = {
    "float32": "float_val",
    "float64": "double_val",
    "int32": "int32_val",
    "int64": "int64_val",
    "bool": "bool_val",
    "string": "string_val",
    "timestamp": "unix_timestamp_val",
}
MICROSECONDS = 1_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class PackedOnlineStoreConfig(FeastConfigBaseModel):
    """The `online_store` part of Feast's configuration."""

    type: Literal["feature_repo.online_store.feast_store.PackedOnlineStore"] = (
        "feature_repo.online_store.feast_store.PackedOnlineStore"
    )
    path: StrictStr
    """File, relative to the repository's folder, or URL of a Redis."""


class PackedOnlineStore(OnlineStore):
    """One packed value for each view and entity key."""

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[tuple[EntityKey, dict[str, ValueProto], datetime, datetime | None]],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Each row is stored unless a newer one of its key is."""
        layout = layout_of(table)
        rows = [
            (
                serialize_entity_key(key, entity_key_serialization_version=KEY_VERSION),
                to_microseconds(time),
                layout.encode([from_proto(values.get(field.name)) for field in layout.fields]),
            )
            for key, values, time, _ in data
        ]
        with open_database(path_of(config)) as database:
            database.write(layout, rows)
        if progress is not None:
            progress(len(rows))

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, ValueProto] | None]]:
        """Event timestamp and values of each key; (None, None) where there is none.

        Raises:
            DataError: a value was packed by another layout.
        """
        layout = layout_of(table)
        feature_names = {field.name for field in layout.fields} if requested_features is None else set(requested_features)
        keys = [serialize_entity_key(key, entity_key_serialization_version=KEY_VERSION) for key in entity_keys]
        with open_database(path_of(config), write=False) as database:
            rows = database.read(layout.view, keys)
        answers: list[tuple[datetime | None, dict[str, ValueProto] | None]] = []
        for row in rows:
            if row is None:
                answers.append((None, None))
                continue
            try:
                values = layout.decode(row[1])
            except ValueError as error:
                raise DataError(f"{path_of(config)}: {error}; `perennial features apply`, then materialise again") from error
            pairs = zip(layout.fields, values, strict=True)
            answers.append(
                (
                    EPOCH + timedelta(microseconds=row[0]),
                    {field.name: to_proto(field.kind, value) for field, value in pairs if field.name in feature_names},
                )
            )
        return answers

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],  # noqa: ARG002 - Feast passes it by name
        entities_to_keep: Sequence[Entity],  # noqa: ARG002
        partial: bool,  # noqa: ARG002
    ) -> None:
        """The layouts of the kept views are current; values of others stay, since a version that serves may read them."""
        with open_database(path_of(config)) as database:
            database.forget(view.name for view in tables_to_delete)
            database.keep_layouts(layout_of(view) for view in tables_to_keep)

    def teardown(
        self,
        config: RepoConfig,
        tables: Sequence[FeatureView],
        entities: Sequence[Entity],  # noqa: ARG002
    ) -> None:
        """Nothing is stored of these views any more."""
        with open_database(path_of(config)) as database:
            database.drop(view.name for view in tables)


def path_of(config: RepoConfig) -> str:
    """Path of the store's file, or URL of its Redis."""
    path = str(config.online_store.path)
    return path if is_redis(path) else str(Path(config.repo_path or ".") / path)


def layout_of(view: FeatureView) -> Layout:
    """How the view's values are packed: its features in the order of their definition.

    Raises:
        DataError: a field's type is not one that the store holds.
    """
    return Layout(
        view=view.name,
        join_keys=tuple(
            Field(name=column.name, kind=kind_of(view.name, column.name, column.dtype)) for column in view.entity_columns
        ),
        fields=tuple(Field(name=field.name, kind=kind_of(view.name, field.name, field.dtype)) for field in view.features),
    )


def kind_of(view: str, name: str, dtype: FeastType) -> Kind:
    """Type of a field in the layout.

    Raises:
        DataError: the type is not one that the store holds.
    """
    kind = KINDS.get(dtype) if isinstance(dtype, PrimitiveFeastType) else None
    if kind is None:
        allowed = ", ".join(sorted(primitive.name for primitive in KINDS))
        raise DataError(f"view {view!r}: the type of {name!r} is {dtype}; allowed: {allowed}")
    return kind


def from_proto(value: ValueProto | None) -> Value:
    """A protobuf value as a plain one; None when it holds nothing."""
    kind = None if value is None else value.WhichOneof("val")
    if value is None or kind is None:
        return None
    plain_value: Value = getattr(value, kind)
    return plain_value


def to_proto(kind: Kind, value: Value) -> ValueProto:
    """A plain value as a protobuf one; empty when it is None."""
    proto = ValueProto()
    if value is not None:
        setattr(proto, _PROTO[kind], value)
    return proto


def to_microseconds(time: datetime) -> int:
    """Microseconds since 1970; a time without zone is UTC.

    >>> to_microseconds(datetime(1970, 1, 1, 0, 0, 1, 5))
    1000005
    """
    since = (time if time.tzinfo else time.replace(tzinfo=UTC)) - EPOCH
    return (since.days * 86_400 + since.seconds) * MICROSECONDS + since.microseconds
