"""Customers, and customers at a shop."""

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Bool, Float64, Int64, String, UnixTimestamp

from feature_repo.sources import path

customer = Entity(name="customer_id", join_keys=["customer_id"], value_type=ValueType.INT64)
shop = Entity(name="shop_code", join_keys=["shop_code"], value_type=ValueType.STRING)


def source(name: str) -> FileSource:
    """The source of this name, read by the time from which a row can be read."""
    return FileSource(name=name, path=path(name), timestamp_field="event_timestamp")


account = FeatureView(
    name="account",
    entities=[customer],
    source=source("account"),
    schema=[
        Field(name="account_days", dtype=Int64),
        Field(name="account_vip", dtype=Bool),
        Field(name="account_country", dtype=String),
        Field(name="account_observed_at", dtype=UnixTimestamp, tags={"role": "observed_at"}),
    ],
)
pair = FeatureView(
    name="pair",
    entities=[shop, customer],
    source=source("pair"),
    schema=[
        Field(name="pair_orders", dtype=Int64),
        Field(name="pair_spend", dtype=Float64),
        Field(name="pair_observed_at", dtype=UnixTimestamp, tags={"role": "observed_at"}),
    ],
)
chargeback = FeatureService(name="chargeback", features=[account, pair])
