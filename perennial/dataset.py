"""A dataset: one immutable training set, named by the hash of its values."""

from perennial.columns import Column
from perennial.record import Record


class ViewCounts(Record):
    """What the point-in-time join found in one feature view."""

    view: str
    """Name of the view."""
    lost: int
    """Requests without any row of the view before them: unknown keys, or nothing published yet."""
    stale: int
    """Requests whose observation was older than the freshness limit."""
    median_age_hours: float | None
    """Median age of the observation at the time of the request; null where none was found."""


class DatasetInfo(Record):
    """What a dataset is."""

    digest: str
    """SHA-256 of its values, schema included, rows sorted by id."""
    model: str
    """Name of the model that it was built for."""
    id_column: str
    """Column that identifies a request."""
    columns: tuple[Column, ...]
    """Every column that a model may see: features in the service's order, then request-time fields."""
    service: str
    """Name of the feature service."""
    service_digest: str
    """SHA-256 of the service's views, fields and types."""
    definitions_digest: str
    """SHA-256 of the definitions' text."""
    now: str
    """Time at which it was built, ISO 8601 UTC: nothing known later is in it."""
    start: str
    """Begin of the first day, ISO 8601 UTC."""
    evaluation_start: str
    """Begin of the evaluation block; training rows lie before it."""
    end: str
    """End of the newest matured day, exclusive."""
    rows: int
    """Requests in it."""
    labelled: int
    """Of these, with a label."""
    rejected: int
    """Requests left out because a view with `on_stale: reject` was stale."""
    views: tuple[ViewCounts, ...]
    """What the join found, by view."""
