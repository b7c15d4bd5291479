"""What became of the labels since, by window: which came late, which were changed. Shown to people; nothing is decided on it."""

from collections.abc import Iterable
from datetime import datetime

import pandas as pd

from monitoring.windows import TIME, Log, LoggedWindow, labelled, matures, published
from perennial.prediction_log.rows import FIELDS
from perennial.record import Record
from perennial.settings import Settings
from perennial.spec.model import Model
from perennial.window import windows


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
        DataError: it lacks a column.
        PlatformError: the log cannot be read.
    """
    first = Log.first_time(settings, model.name, now)
    closed = [] if first is None else list(windows(first, now, model.spec.monitoring.window_days))
    if not closed:
        return ()
    log, labels = Log.read(settings, model, closed, now), published(settings, model, closed[0].start, now)
    return tuple(counts(model, (log.window(window) for window in closed), labels, now))


def counts(model: Model, logged: Iterable[LoggedWindow], labels: pd.DataFrame, now: datetime) -> Iterable[LabelCount]:
    """The labels of each window.

    Args:
        model: the spec.
        logged: the windows.
        labels: as `monitoring.windows.published` gives them: several for a request whose label was changed.
        now: UTC.
    """
    identifier = model.spec.requests.id
    latest = labels.drop_duplicates(identifier, keep="last")
    for one in logged:
        due = matures(one.window, model)
        then = labelled(one, labels[labels[TIME] <= due].drop_duplicates(identifier), identifier)
        since = labelled(one, latest, identifier)["label"]
        known, name = then["label"].notna(), FIELDS + identifier
        yield LabelCount(
            start=one.window.start,
            end=one.window.end,
            matures_at=due,
            is_matured=now >= due,
            predictions=len(then),
            anonymous=int(then[name].isna().sum()) if name in then else len(then),
            arrived=int(known.sum()),
            missing=int((~known).sum()),
            late=int((~known & since.notna()).sum()),
            changed=int((then["label"] != since)[known].sum()),
        )
