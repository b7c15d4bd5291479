"""One row of the prediction log, and the names of its columns in a table."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

Value = float | int | bool | str | None

KEYS, FIELDS, FEATURES, OBSERVED_AT, STALE = "keys.", "fields.", "features.", "observed_at.", "stale."
"""Beginnings of the columns that a row's mappings become in a table, as in `features.temperature`."""


@dataclass(frozen=True, slots=True)
class LogRow:
    """What was asked, seen and answered once. The order of the fields is that of a stored row."""

    prediction_id: str
    """Identifies the answer; the caller has it too."""
    time: float
    """Time of the request, Unix seconds UTC: the features are those of this moment."""
    version: str
    """Digest of the version folder that answered."""
    keys: Mapping[str, str | int]
    """Join keys as they were asked."""
    fields: Mapping[str, Value]
    """Request-time fields as they were asked."""
    features: Mapping[str, Value]
    """Features as the model saw them, after the freshness policy; null where missing."""
    observed_at: Mapping[str, float | None]
    """By view: when the value that was found was observed, Unix seconds UTC; null where none was."""
    stale: Mapping[str, str]
    """By view, only for those that were not fresh: `missing`, `stale` or `stale layout`."""
    probability: float | None
    """Calibrated probability; null when there was no prediction."""
    decision: bool | None
    """Whether the threshold was reached; null when there was no prediction."""


LENGTH = len(fields(LogRow))
"""How many values a stored row has."""


def row_of(values: object) -> LogRow:
    """The row of a stored list of values.

    Raises:
        ValueError: it is no such list.

    >>> row_of(["id", 1.5, "digest", {"shop": "S1"}, {}, {"orders": 3}, {"shop": 1.0}, {}, 0.25, False]).features
    {'orders': 3}
    >>> row_of(["id"])
    Traceback (most recent call last):
        ...
    ValueError: a row has 10 values; found ['id']
    """
    if not isinstance(values, list) or len(values) != LENGTH:
        raise ValueError(f"a row has {LENGTH} values; found {values!r:.60}")
    if not all(isinstance(part, dict) for part in values[3:8]):
        raise ValueError(f"keys, fields, features, observed_at and stale are mappings; found {values[3:8]!r:.60}")
    return LogRow(*values)


def flat(row: LogRow) -> dict[str, Value]:
    """A row as the values of one flat table; times stay Unix seconds.

    >>> row = LogRow("id", 1.5, "digest", {"shop": "S1"}, {}, {"orders": 3}, {"shop": None}, {"shop": "missing"}, 0.25, False)
    >>> [name for name in flat(row) if "." in name]
    ['keys.shop', 'features.orders', 'observed_at.shop', 'stale.shop']
    """
    values: dict[str, Value] = {"prediction_id": row.prediction_id, "time": row.time, "version": row.version}
    parts = ((KEYS, row.keys), (FIELDS, row.fields), (FEATURES, row.features), (OBSERVED_AT, row.observed_at), (STALE, row.stale))
    for beginning, part in parts:
        for name, value in part.items():
            values[beginning + name] = value
    return values | {"probability": row.probability, "decision": row.decision}
