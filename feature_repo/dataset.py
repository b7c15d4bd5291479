"""The training set: requests, the features they could have read, and the labels known by now. One join through Feast's own API.

Whether the sources can be used is checked in `source_checks`, the join itself in `checks`; whether the result is fit to train on
in `perennial.data.validation`.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pyarrow.compute

from feature_repo.asof import AsofRetrievalJob, Joined
from feature_repo.checks import Treated, check_conservation, treat
from feature_repo.plan import plan_of
from feature_repo.project import Project, load
from feature_repo.reading import source_checks
from feature_repo.service import ServiceInfo
from feature_repo.sources import TIME, frame_of, opened
from feature_repo.store import open_private
from perennial.data.dataset import Dataset, DatasetInfo, exclusion_note, values_digest
from perennial.errors import DataError, PlatformError
from perennial.moment import Moment
from perennial.settings import Settings
from perennial.spec import Model, Sliding
from perennial.spec.columns import Column

LABEL, KNOWN_AT, PROBABILITY, BLOCK = "label", "label_known_at", "probability", "block"
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Span:
    """The time that a dataset covers; all at midnight UTC."""

    start: datetime
    evaluation_start: datetime
    end: datetime


def build(settings: Settings, model: Model, moment: Moment, excluded: Sequence[tuple[datetime, datetime]] = ()) -> Dataset:
    """The dataset of `model` as it could have been made at `moment.now`.

    Args:
        settings: where sources and definitions are.
        model: the spec.
        moment: no label or feature that was published after `now` is in it; source rows from after `wall_clock` are an error.
        excluded: times [from, until) whose requests are left out: incidents broke their data.

    Returns:
        The frame, one row for each request of [start, end), sorted by id, and what it is. Columns: id, `event_timestamp`, join
        keys, features and request-time fields (numbers and booleans as float64, strings as objects), `<view>_observed_at`,
        `label` (boolean, null where none is known at `now`), `label_known_at`.

    Raises:
        NotFoundError: there are no definitions.
        DataError: a definition or a source is wrong, history is too short, no label is known, or the join broke a rule.
        PlatformError: `now` lies in the future.
    """
    now, wall_clock = moment
    if now > wall_clock:
        raise PlatformError(
            f"now is {now.isoformat()}, but it is {wall_clock.isoformat()}: a dataset of the future cannot be built"
        )
    project = load(settings)
    service = project.service(model.spec.features.service)
    columns = model_columns(model, service)
    checked = source_checks.check(settings, model, service, moment)
    span = span_of(settings, model, now, checked.since)
    every = read_requests(settings, model, service, span)
    requests = without(every, excluded)
    if requests.empty:
        raise DataError(
            f"none of the requests in [{iso(span.start)}, {iso(span.end)}) trains{exclusion_note(model.name, len(every))}"
        )
    treated = with_features(settings, project, model, columns, requests)
    frame = add_labels(settings, model, treated.frame[treated.kept].reset_index(drop=True), now, checked.since)
    frame = frame[ordered(model, service, columns)]
    info = DatasetInfo(
        digest=values_digest(frame),
        model=model.name,
        id_column=model.spec.requests.id,
        join_keys=service.join_keys,
        columns=columns,
        service=service.name,
        service_digest=service.digest,
        definitions_digest=project.digest,
        now=iso(now),
        start=iso(span.start),
        evaluation_start=iso(span.evaluation_start),
        end=iso(span.end),
        rows=len(frame),
        labelled=int(frame[LABEL].notna().sum()),
        rejected=int((~treated.kept).sum()),
        excluded=len(every) - len(requests),
        notes=checked.notes,
        views=treated.counts,
        plan=plan_of(project, model),
    )
    if info.labelled == 0:
        raise DataError(
            f"{settings.source(model.spec.label.source)}: none of the {info.rows:,} requests in [{info.start}, {info.end}) "
            f"has a label known by {info.now}; do the ids of {model.spec.requests.source} and {model.spec.label.source} match?"
            f"{exclusion_note(info.model, info.excluded)}"
        )
    return Dataset(frame, info)


def spans(text: str) -> list[tuple[datetime, datetime]]:
    """Times [from, until) from JSON.

    >>> spans('[["2013-04-01T00:00:00+00:00", "2013-04-08T00:00:00+00:00"]]')[0][1].day
    8
    """
    return [(datetime.fromisoformat(start), datetime.fromisoformat(end)) for start, end in json.loads(text)]


def without(requests: pd.DataFrame, excluded: Sequence[tuple[datetime, datetime]]) -> pd.DataFrame:
    """The requests outside the excluded times [from, until)."""
    row_mask = pd.Series(True, index=requests.index)
    for start, end in excluded:
        row_mask &= ~requests[TIME].between(start, end, inclusive="left")
    return requests[row_mask].reset_index(drop=True)


def model_columns(model: Model, service: ServiceInfo) -> tuple[Column, ...]:
    """Every column that a model may see: features in the service's order, then request-time fields.

    Raises:
        DataError: two names that meet in a dataset are the same or differ only in case, or the label is a field of the request.
    """
    spec = model.spec
    request_columns = tuple(Column(name=field.name, dtype=field.dtype, view=None) for field in spec.requests.fields)
    columns = (*service.columns, *request_columns)
    if spec.label.source == spec.requests.source and spec.label.column in {column.name for column in request_columns}:
        raise DataError(
            f"model {model.name!r}: the field {spec.label.column!r} of the request is the label itself; take it out of "
            "requests.fields: nobody knows it when the request is made"
        )
    owners: dict[str, tuple[str, str]] = {}
    for name, subject, role in _names(model, service, columns):
        other, other_role = owners.setdefault(name.casefold(), (name, role))
        if (other, other_role) != (name, role):
            also = other_role if other == name else f"{other_role} but for case, {other!r}"
            raise DataError(f"model {model.name!r}: {subject} is also {also}; rename one of them")
    return columns


def _names(model: Model, service: ServiceInfo, columns: Sequence[Column]) -> Iterator[tuple[str, str, str]]:
    """Everything that has a name in a dataset: the name, and what it is called as the second and as the first of its name.

    A join key may be the id, and a field of the request a join key: the request brings the value once. A feature may not be one:
    its values would hide the key's.
    """
    identifier = model.spec.requests.id
    dataset_columns = [(identifier, "the id"), (TIME, "the time"), (LABEL, "the label"), (KNOWN_AT, "the label's time")]
    monitoring_columns = ((PROBABILITY, "the model's own output"), (BLOCK, "the blocks that monitoring keeps of a training"))
    for name, role in (*dataset_columns, *monitoring_columns):
        yield name, f"the name {name!r} of {role}", role
    for view in service.sources:
        yield view.observed_at, f"the observation time of {view.name!r}", f"the observation time of {view.name!r}"
    keys = {key.name: view.name for view in service.sources for key in view.join_keys}
    for name, view_name in keys.items():
        if name != identifier:
            yield name, f"the join key {name!r} of {view_name!r}", f"a join key of {view_name!r}"
    for column in columns:
        if column.view is not None:
            yield column.name, f"the column {column.name!r} of view {column.view!r}", f"a column of {column.view!r}"
        elif column.name not in keys or column.name == identifier:
            yield column.name, f"the column {column.name!r} of the request", "a field of the request"


def span_of(settings: Settings, model: Model, now: datetime, since: datetime) -> Span:
    """The days of a dataset built at `now`.

    Args:
        settings: where the requests are.
        model: the spec.
        now: UTC.
        since: begin of the history: no request before it is believed.

    Raises:
        DataError: no whole day has matured before the evaluation block; says what there is and what is needed.
    """
    path, spec = settings.source(model.spec.requests.source), model.spec
    end = midnight(now - timedelta(hours=spec.label.maturity_hours))
    time = pyarrow.compute.field(TIME)
    with opened(path) as requests:
        times = requests.to_table(columns=[TIME], filter=(time >= since) & (time < end)).column(TIME)
    first = pyarrow.compute.min(times).as_py()
    matured = f"days mature {spec.label.maturity_hours:g} hours after their end, so the newest matured day ends at {iso(end)}"
    if first is None:
        raise DataError(f"{path}: no requests before {iso(end)}: not enough history at {iso(now)}; {matured}")
    start = midnight(first)
    if isinstance(spec.training.window, Sliding):
        start = max(start, end - spec.training.window.days * DAY)
    evaluation_start = end - spec.evaluation.days * DAY
    if evaluation_start <= start:
        raise DataError(
            f"{path}: not enough history at {iso(now)}: requests begin at {iso(start)}, {matured}: {(end - start).days} days, "
            f"of which the evaluation takes {spec.evaluation.days}; it needs at least {spec.evaluation.days + 1}, more for folds"
        )
    return Span(start, evaluation_start, end)


def read_requests(settings: Settings, model: Model, service: ServiceInfo, span: Span) -> pd.DataFrame:
    """The requests of the span, sorted by id; only the columns that are needed are read.

    Raises:
        DataError: there are none.
    """
    path, identifier = settings.source(model.spec.requests.source), model.spec.requests.id
    fields = [field.name for field in model.spec.requests.fields]
    columns = list(dict.fromkeys([identifier, TIME, *service.join_keys, *fields]))
    time = pyarrow.compute.field(TIME)
    with opened(path) as requests:
        table = requests.to_table(columns=columns, filter=(time >= span.start) & (time < span.end))
    if table.num_rows == 0:
        raise DataError(f"{path}: no requests in [{iso(span.start)}, {iso(span.end)})")
    return frame_of(table.sort_by(identifier))


def with_features(
    settings: Settings, project: Project, model: Model, columns: tuple[Column, ...], requests: pd.DataFrame
) -> Treated:
    """Each request with the features that it could have read and its fields, after the freshness policy; no row is lost.

    Raises:
        DataError: the join broke a rule.
    """
    service, identifier = project.service(model.spec.features.service), model.spec.requests.id
    joined = read_features(settings, project, service, requests[[identifier, TIME, *service.join_keys]])
    frame = shaped(frame_of(joined.table), columns, service)
    check_conservation(requests, frame, identifier)
    for name in (column.name for column in columns if column.view is None):
        frame[name] = requests[name].to_numpy()
    frame = shaped(frame, columns, service)
    return treat(frame, service, model.spec.features.freshness, joined.matched, identifier, TIME)


def read_features(settings: Settings, project: Project, service: ServiceInfo, entities: pd.DataFrame) -> Joined:
    """Each request with the features that it could have read, and when each was published."""
    with open_private(settings, project) as store:
        job = store.get_historical_features(entity_df=entities, features=store.get_feature_service(service.name))
        if not isinstance(job, AsofRetrievalJob):
            raise DataError(f"the offline store answered with a {type(job).__name__}; expected an AsofRetrievalJob")
        return kept_in(job.join(), service)


def kept_in(joined: Joined, service: ServiceInfo) -> Joined:
    """The features as the online store keeps them: a number that is declared as float32 has 24 bits here too."""
    table = joined.table
    for field in (field for view in service.sources for field in view.features if field.kind == "float32"):
        index = table.column_names.index(field.name)
        rounded = table.column(index).cast(pa.float64()).cast(pa.float32(), safe=False)
        table = table.set_column(index, field.name, rounded)
    return Joined(table, joined.matched)


def shaped(frame: pd.DataFrame, columns: tuple[Column, ...], service: ServiceInfo) -> pd.DataFrame:
    """The frame in the types of a dataset: numbers and booleans float64, strings objects with None, times in microseconds UTC."""
    series: dict[str, object] = {str(name): frame[name] for name in frame.columns}
    for column in columns:
        if column.name not in frame:
            continue
        values = frame[column.name]
        if column.dtype == "string":
            series[column.name] = values.astype(object).where(values.notna(), None)
        else:
            series[column.name] = values.astype("float64")
    for name in (TIME, *(view.observed_at for view in service.sources)):
        series[name] = pd.to_datetime(frame[name], utc=True).dt.as_unit("us")
    return pd.DataFrame(series)


def add_labels(settings: Settings, model: Model, frame: pd.DataFrame, now: datetime, since: datetime) -> pd.DataFrame:
    """The frame with `label` and `label_known_at`, null where no label was known at `now`; none before `since` is believed."""
    identifier, column = model.spec.requests.id, model.spec.label.column
    time = pyarrow.compute.field(TIME)
    with opened(settings.source(model.spec.label.source)) as source:
        table = source.to_table(columns=[identifier, TIME, column], filter=(time >= since) & (time <= now))
    every = frame_of(table).dropna(subset=[column])
    labels = every.sort_values(TIME, kind="stable").drop_duplicates(identifier).set_index(identifier)
    label_rows = labels.reindex(frame[identifier])
    frame[LABEL] = label_rows[column].astype("boolean").to_numpy()
    frame[LABEL] = frame[LABEL].astype("boolean")
    frame[KNOWN_AT] = pd.to_datetime(label_rows[TIME], utc=True).dt.as_unit("us").to_numpy()
    frame[KNOWN_AT] = pd.to_datetime(frame[KNOWN_AT], utc=True).dt.as_unit("us")
    return frame


def ordered(model: Model, service: ServiceInfo, columns: tuple[Column, ...]) -> list[str]:
    """Columns of a dataset's frame, in order; a join key that is also a request-time field comes once."""
    names = [model.spec.requests.id, TIME, *service.join_keys, *(column.name for column in columns)]
    return list(dict.fromkeys([*names, *(view.observed_at for view in service.sources), LABEL, KNOWN_AT]))


def midnight(time: datetime) -> datetime:
    """The begin of the UTC day of `time`.

    >>> midnight(datetime(2013, 4, 2, 3, tzinfo=UTC)).isoformat()
    '2013-04-02T00:00:00+00:00'
    """
    return time.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def iso(time: datetime) -> str:
    """ISO 8601 in UTC."""
    return time.astimezone(UTC).isoformat()
