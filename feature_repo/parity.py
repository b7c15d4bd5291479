"""Parity: whether logged predictions saw the features that training would give them. Value by value, never by a metric.

The features of each logged row are recomputed by the point-in-time join that makes training sets, as of the time of its request,
with the same freshness policy. Skew can raise a metric as well as lower it, so only values are compared. How a log is read stands
in `monitoring.log.collect`.
"""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_repo.checks import check_conservation, treat
from feature_repo.dataset import read_features, shaped
from feature_repo.online_store.layout import Kind
from feature_repo.project import load
from feature_repo.service import ServiceInfo
from feature_repo.sources import TIME, frame_of
from feature_repo.store import describe
from perennial.data.matrix import LARGEST, convert
from perennial.errors import DataError
from perennial.prediction_log.rows import FEATURES, KEYS, OBSERVED_AT
from perennial.record import Record
from perennial.settings import Settings
from perennial.spec import Model

MAX_SHARE = 0.005
"""Share of a column's values that may differ before it is flagged. Between what a clean system shows (at most 1 in 1,000, from
requests in the moment of a materialisation) and the smallest fault that must be found (1 in 100). A sample of 5,000 rows puts
both more than three standard deviations away from it."""
RELATIVE = 1e-9
"""Relative difference of two numbers that are the same: sums in another order."""
RELATIVE_FLOAT32 = 1.2e-7
"""The same for a feature declared as float32, which the online store rounds: one unit in the last of 24 bits."""
OBSERVED_SECONDS = 1.0
"""Difference of two observation times that are the same: the online store keeps whole seconds."""
EXAMPLES = 3
ID = "prediction_id"
Said = float | str | None


class Difference(Record):
    """One value that differs."""

    prediction_id: str
    """Of the logged prediction."""
    time: str
    """Of its request, ISO 8601 UTC."""
    keys: dict[str, str | int]
    """Its join keys."""
    logged: Said
    """What the model saw; null where missing. Times are Unix seconds."""
    expected: Said
    """What training would have given it."""


class ColumnParity(Record):
    """One feature, or the observation time of one view, compared."""

    name: str
    """Name of the feature, or `<view>_observed_at`."""
    view: str
    """View that it comes from."""
    values: int
    """Values that were compared."""
    differing: int
    """How many of them differ."""
    share: float
    """Share that agrees."""
    flagged: bool
    """Whether more than the allowed share differs."""
    examples: tuple[Difference, ...]
    """The first that differ."""


class Parity(Record):
    """What was served, beside what training would have given."""

    model: str
    """Name of the model."""
    rows: int
    """Logged predictions that were compared."""
    start: str | None
    """Earliest request, ISO 8601 UTC; null without rows."""
    end: str | None
    """Latest request."""
    values: int
    """Values that were compared."""
    differing: int
    """How many of them differ."""
    share: float | None
    """Share that agrees; null without rows."""
    columns: tuple[ColumnParity, ...]
    """Every column, the worst first."""
    not_logged: tuple[str, ...]
    """Features of the service that no row has: logged by versions of other definitions."""
    unknown: tuple[str, ...]
    """Logged features that the service does not have any more."""
    max_share: float
    """Share of a column's values that may differ."""
    flagged: bool
    """Whether a column is flagged."""

    @property
    def sentence(self) -> str:
        """The result in one sentence."""
        if not self.rows:
            return "No prediction was logged in this time: nothing to compare."
        begin = f"{self.values - self.differing:,} of {self.values:,} values agree ({_percent(self.differing, self.values)})"
        wrong = [f"{column.name} ({_percent(column.differing, column.values)})" for column in self.columns if column.flagged]
        if not wrong:
            return f"{begin}: what was served is what training would have used."
        return f"{begin}, but too many differ in {', '.join(wrong)}: the model did not see there what it was trained on."


def compare(settings: Settings, model: Model, rows: pd.DataFrame) -> Parity:
    """Every logged feature beside the one that training would have used.

    Missing on both sides agrees; missing on one side differs. Numbers agree within rounding (`RELATIVE`), which is that of
    float32 for a feature so declared; texts and booleans exactly. A column is flagged when more than `MAX_SHARE` of its values
    differ.

    Args:
        settings: where definitions and sources are. The sources must reach to the last request.
        model: the spec, whose freshness policy applies.
        rows: the log as `monitoring.log.collect.load` gives it: `prediction_id`, `time`, `keys.<name>`, `features.<name>`,
            `observed_at.<view>`. For more rows than memory holds, give a sample.

    Raises:
        NotFoundError: there are no definitions.
        DataError: a definition is wrong, a row lacks a join key, or a source cannot be read.
    """
    service = describe(settings, model.spec.features.service)
    return agreement(model.name, service, rows, recompute(settings, model, rows))


def recompute(settings: Settings, model: Model, rows: pd.DataFrame) -> pd.DataFrame:
    """For each logged row, in its order, what training would have given it: join keys, features, `<view>_observed_at`.

    Args:
        settings: where definitions and sources are.
        model: the spec, whose freshness policy applies. Rows that it rejects stay: they are logged as they were found.
        rows: the log, as for `compare`.

    Raises:
        NotFoundError: there are no definitions.
        DataError: a definition is wrong, a row lacks a join key, or a source cannot be read.
    """
    project = load(settings)
    service = project.service(model.spec.features.service)
    if rows.empty:
        return pd.DataFrame()
    requests = _requests(service, rows)
    joined = read_features(settings, project, service, requests)
    frame = shaped(frame_of(joined.table), service.columns, service)
    check_conservation(requests, frame, ID)
    return treat(frame, service, model.spec.features.freshness, joined.matched, ID, TIME).frame


def agreement(name: str, service: ServiceInfo, rows: pd.DataFrame, expected: pd.DataFrame) -> Parity:
    """Logged rows beside what training would have given them.

    Args:
        name: name of the model.
        service: its feature service.
        rows: the log, as for `compare`.
        expected: from `recompute`, of the same rows in the same order.
    """
    columns = _compared(service, rows, expected) if len(rows) else []
    feature_names = [column.name for column in service.columns]
    logged = [str(column).removeprefix(FEATURES) for column in rows.columns if str(column).startswith(FEATURES)]
    values, differing = sum(column.values for column in columns), sum(column.differing for column in columns)
    return Parity(
        model=name,
        rows=len(rows),
        start=_iso(rows["time"].min()) if len(rows) else None,
        end=_iso(rows["time"].max()) if len(rows) else None,
        values=values,
        differing=differing,
        share=(values - differing) / values if values else None,
        columns=tuple(sorted(columns, key=lambda column: (column.share, column.name))),
        not_logged=tuple(column for column in feature_names if column not in logged),
        unknown=tuple(column for column in logged if column not in feature_names),
        max_share=MAX_SHARE,
        flagged=any(column.flagged for column in columns),
    )


def _requests(service: ServiceInfo, rows: pd.DataFrame) -> pd.DataFrame:
    """Id, time and join keys of each logged row, in the types of the sources; row numbers as ids, which are unique."""
    columns: dict[str, object] = {ID: np.arange(len(rows)), TIME: pd.to_datetime(rows["time"], utc=True).dt.as_unit("us")}
    for key in {key.name: key for view in service.sources for key in view.join_keys}.values():
        if KEYS + key.name not in rows or rows[KEYS + key.name].isna().any():
            raise DataError(
                f"prediction log: not every row has the join key {key.name!r} of service {service.name!r}; was it logged by "
                "versions of other definitions? compare a time in which this service was used"
            )
        column = rows[KEYS + key.name]
        try:
            columns[key.name] = column.astype(str).astype(object) if key.kind == "string" else column.astype(np.dtype(key.kind))
        except (TypeError, ValueError) as error:
            raise DataError(f"prediction log: the join key {key.name!r} is a {key.kind}; {error}") from error
    return pd.DataFrame(columns)


def _compared(service: ServiceInfo, rows: pd.DataFrame, expected: pd.DataFrame) -> list[ColumnParity]:
    columns = []
    keys = expected[list(service.join_keys)]
    for view in service.sources:
        for feature in view.features:
            if FEATURES + feature.name in rows:
                logged_values = _as_seen(rows[FEATURES + feature.name], feature.kind)
                expected_values = _as_seen(expected[feature.name], feature.kind)
                differs = _differ(logged_values, expected_values, feature.kind)
                columns.append(_column(feature.name, view.name, logged_values, expected_values, differs, rows, keys))
        if OBSERVED_AT + view.name in rows:
            logged_values, expected_values = _seconds(rows[OBSERVED_AT + view.name]), _seconds(expected[view.observed_at])
            either = np.isnan(logged_values) | np.isnan(expected_values)
            differs = np.where(
                either,
                np.isnan(logged_values) != np.isnan(expected_values),
                np.abs(logged_values - expected_values) >= OBSERVED_SECONDS,
            )
            columns.append(_column(view.observed_at, view.name, logged_values, expected_values, differs, rows, keys))
    return columns


def _as_seen(values: "pd.Series[Any]", kind: Kind) -> NDArray[np.float64] | NDArray[np.object_]:
    """A column as a model sees it; a logged value of another type is infinite, which equals nothing that was stored."""
    if kind == "string":
        return values.astype(object).where(values.notna(), None).to_numpy()
    if values.dtype.kind in "fiub":
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        return np.where(np.abs(numbers) <= LARGEST, numbers, np.nan)
    floats = np.empty(len(values))
    for index, value in enumerate(values):
        try:
            floats[index] = convert(value, "float")
        except DataError:
            floats[index] = np.inf
    return floats


def _differ(
    seen: NDArray[np.float64] | NDArray[np.object_], right: NDArray[np.float64] | NDArray[np.object_], kind: Kind
) -> NDArray[np.bool_]:
    """Where two columns differ.

    >>> _differ(np.array([1.0, np.nan, np.nan, 0.1]), np.array([1.0, np.nan, 2.0, 0.1 + 1e-12]), "float64").tolist()
    [False, False, True, False]
    """
    if kind == "string":
        return np.array([text != other for text, other in zip(seen, right, strict=True)], dtype=bool)
    numbers, others = seen.astype(np.float64), right.astype(np.float64)
    relative = RELATIVE_FLOAT32 if kind == "float32" else RELATIVE
    return ~np.isclose(numbers, others, rtol=relative, atol=0.0, equal_nan=True)


def _column(
    name: str,
    view: str,
    seen: NDArray[np.float64] | NDArray[np.object_],
    right: NDArray[np.float64] | NDArray[np.object_],
    differs: NDArray[np.bool_],
    rows: pd.DataFrame,
    keys: pd.DataFrame,
) -> ColumnParity:
    values, differing = len(differs), int(differs.sum())
    return ColumnParity(
        name=name,
        view=view,
        values=values,
        differing=differing,
        share=(values - differing) / values,
        flagged=differing / values > MAX_SHARE,
        examples=tuple(
            Difference(
                prediction_id=str(rows[ID].iloc[index]),
                time=_iso(rows["time"].iloc[index]),
                keys={str(key): _key(keys[key].iloc[index]) for key in keys},
                logged=_said(seen[index]),
                expected=_said(right[index]),
            )
            for index in np.flatnonzero(differs)[:EXAMPLES].tolist()
        ),
    )


def _seconds(times: "pd.Series[Any]") -> NDArray[np.float64]:
    """Unix seconds; NaN where null."""
    aware = pd.to_datetime(times, utc=True).dt.tz_localize(None)
    whole = aware.to_numpy().astype("datetime64[us]")
    return np.where(np.isnat(whole), np.nan, whole.astype(np.int64) / 1e6)


def _said(value: object) -> Said:
    """A value for an example; what is not finite has no place in a record.

    >>> _said(float("nan")), _said(1.5), _said("a"), _said(float("inf"))
    (None, 1.5, 'a', 'a value of another type')
    """
    if value is None or isinstance(value, str):
        return value
    number = float(str(value))
    if np.isinf(number):
        return "a value of another type"
    return None if np.isnan(number) else number


def _key(value: object) -> str | int:
    return value if isinstance(value, str) else int(str(value))


def _iso(time: datetime) -> str:
    return time.astimezone(UTC).isoformat()


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.3%} differ"
