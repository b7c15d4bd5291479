"""Labels: those of a window as they were known when it matured, and what became of them since.

Performance is judged on the first alone; which labels came late or were changed is shown to people, and decides nothing.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

import pandas as pd
import pyarrow as pa
import pyarrow.compute

from feature_repo.online_store.layout import Kind
from feature_repo.reading.kinds import check_type, identifier_kind
from feature_repo.sources import TIME, frame_of, opened
from monitoring.log.collect import identifiers
from monitoring.reference.blocks import PROBABILITY
from monitoring.windows import LoggedWindow, WindowLog, matures
from perennial.errors import DataError
from perennial.loop.window import windows
from perennial.prediction_log.rows import FIELDS
from perennial.record import Record
from perennial.settings import Settings
from perennial.spec.model import Model


def labels_by(settings: Settings, model: Model, start: datetime, until: datetime) -> pd.DataFrame:
    """The first label of each request, of those that were published from `start` to `until`, both inclusive.

    Columns: the id, `label` (bool), `event_timestamp`.

    Raises:
        NotFoundError: there is no source of labels.
        DataError: it lacks a column, or one has another type than training takes.
    """
    return published(settings, model, start, until).drop_duplicates(model.spec.requests.id).reset_index(drop=True)


def published(settings: Settings, model: Model, start: datetime, until: datetime) -> pd.DataFrame:
    """Every label that was published from `start` to `until`, both inclusive, in that order; a request may have several.

    Columns: the id, `label` (bool), `event_timestamp`.

    Raises:
        NotFoundError: there is no source of labels.
        DataError: it lacks a column, or one has another type than training takes.
    """
    spec, path = model.spec, settings.source(model.spec.label.source)
    names, time = [spec.requests.id, TIME, spec.label.column], pyarrow.compute.field(TIME)
    with opened(path) as labels:
        missing = [name for name in names if name not in labels.schema.names]
        if missing:
            raise DataError(f"{path}: no column {', '.join(missing)}; labels need {', '.join(names)}")
        types = {name: labels.schema.field(name).type for name in names}
        kinds: tuple[Kind, ...] = (identifier_kind(types[spec.requests.id]), "timestamp", "bool")
        for name, kind in zip(names, kinds, strict=True):
            check_type(path, name, types[name], kind)
        table = labels.to_table(columns=names, filter=(time >= pd.Timestamp(start)) & (time <= pd.Timestamp(until)))
    frame = frame_of(table).dropna(subset=[spec.requests.id, spec.label.column]).sort_values(TIME, kind="stable")
    return frame.rename(columns={spec.label.column: "label"}).reset_index(drop=True)


def labelled(logged: LoggedWindow, labels: pd.DataFrame, id_column: str) -> pd.DataFrame:
    """The window's predictions with `label`, null where none was known; rows that got no prediction are left out.

    Args:
        logged: the window.
        labels: as `labels_by` gives them.
        id_column: name of the request's id.
    """
    frame = logged.frame[logged.frame[PROBABILITY].notna()].reset_index(drop=True)
    name = FIELDS + id_column
    if name not in frame or not len(labels):
        return frame.assign(label=pd.array([None] * len(frame), dtype="boolean"))
    request_ids, label_ids = identifiers(frame[name]), identifiers(labels[id_column])
    if any(isinstance(identifier, str) for identifier in request_ids) != any(
        isinstance(identifier, str) for identifier in label_ids
    ):
        # The id's type changed since: a whole number is its digits.
        request_ids, label_ids = (
            [None if identifier is None else str(identifier) for identifier in request_ids],
            [str(identifier) for identifier in label_ids],
        )
    label_of = dict(zip(label_ids, labels["label"].astype(bool).tolist(), strict=True))
    values = [None if identifier is None else label_of.get(identifier) for identifier in request_ids]
    return frame.assign(label=pd.array(values, dtype="boolean"))


def without_label(logged: LoggedWindow, labels: pd.DataFrame, id_column: str) -> list[int | str]:
    """Ids of the window's predictions whose label is not known; arguments as of `labelled`."""
    frame, name = labelled(logged, labels, id_column), FIELDS + id_column
    every = identifiers(frame.loc[frame["label"].isna(), name]) if name in frame else []
    return [identifier for identifier in every if identifier is not None]


def too_early(settings: Settings, model: Model, unlabelled: Mapping[int | str, datetime]) -> str:
    """What labels have a time before the window of their request, so that they are none, in a sentence; empty where none have.

    Args:
        settings: where the labels are.
        model: the spec.
        unlabelled: ids of predictions without a label, each with the begin of its window.
    """
    if not unlabelled:
        return ""
    spec, path, begins = (
        model.spec,
        settings.source(model.spec.label.source),
        {str(identifier): at for identifier, at in unlabelled.items()},
    )
    early = []
    with opened(path) as labels:
        before = pyarrow.compute.field(TIME) < pd.Timestamp(max(begins.values()))
        for batch in labels.to_batches(columns=[spec.requests.id, TIME, spec.label.column], filter=before):
            frame = frame_of(pa.Table.from_batches([batch])).dropna(subset=[spec.requests.id, spec.label.column])
            ids = frame[spec.requests.id].astype(str)
            pairs = zip(ids[ids.isin(begins)], frame.loc[ids.isin(begins), TIME], strict=True)
            early += [(time, identifier) for identifier, time in pairs if time < begins[identifier]]
    if not early:
        return ""
    (time, identifier), labels_are = min(early), "1 label is" if len(early) == 1 else f"{len(early):,} labels are"
    return (
        f"{labels_are} set aside for a time before the window of the request, "
        f"as {spec.requests.id} {identifier} of {time.isoformat()}; correct the clock or the zone that wrote them"
    )


class LabelCount(Record):
    """The labels of a window as they stand now."""

    start: datetime
    """Begin of the window, UTC."""
    end: datetime
    """End, exclusive."""
    matures_at: datetime
    """Labels that were known then count; later ones do not."""
    is_matured: bool
    """Whether that time has come."""
    predictions: int
    """Requests that got a prediction; the first answer to each."""
    anonymous: int
    """Those that carried no id: no label can be found for them."""
    arrived: int
    """Those with a label by maturity, or by now where that lies ahead."""
    missing: int
    """Those without one then."""
    late: int
    """Those of the missing whose label has come since."""
    changed: int
    """Those of the arrived whose label is another one now."""


def label_counts(settings: Settings, model: Model, now: datetime) -> tuple[LabelCount, ...]:
    """The labels of every closed window of the log, oldest first; none without a log.

    Args:
        settings: where log and labels are.
        model: the spec.
        now: UTC; no label published later is seen.

    Raises:
        NotFoundError: there is no source of labels.
        DataError: it lacks a column, or one has another type than training takes.
        PlatformError: the log cannot be read.
    """
    first = WindowLog.first_time(settings, model.name, now)
    closed = [] if first is None else list(windows(first, now, model.spec.monitoring.window_days))
    if not closed:
        return ()
    log, labels = WindowLog.read(settings, model, closed, now), published(settings, model, closed[0].start, now)
    return tuple(counts(model, (log.window(window) for window in closed), labels, now))


def counts(model: Model, logged: Iterable[LoggedWindow], labels: pd.DataFrame, now: datetime) -> Iterable[LabelCount]:
    """The labels of each window.

    Args:
        model: the spec.
        logged: the windows.
        labels: as `published` gives them: several for a request whose label was changed.
        now: UTC.
    """
    identifier = model.spec.requests.id
    latest = labels.drop_duplicates(identifier, keep="last")
    for window in logged:
        due = matures(window.window, model)
        then = labelled(window, labels[labels[TIME] <= due].drop_duplicates(identifier), identifier)
        since = labelled(window, latest, identifier)["label"]
        is_labelled, name = then["label"].notna(), FIELDS + identifier
        yield LabelCount(
            start=window.window.start,
            end=window.window.end,
            matures_at=due,
            is_matured=now >= due,
            predictions=len(then),
            anonymous=int(then[name].isna().sum()) if name in then else len(then),
            arrived=int(is_labelled.sum()),
            missing=int((~is_labelled).sum()),
            late=int((~is_labelled & since.notna()).sum()),
            changed=int((then["label"] != since)[is_labelled].sum()),
        )
