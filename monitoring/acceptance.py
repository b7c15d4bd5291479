"""Accepting a change: what the windows of an incident showed, and limits that include it.

A lasting change of an input is not an incident for ever. When a person says that the data are like this now, what was seen
becomes part of what a window is checked against; a version trained on these data knows them by itself.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import numpy as np

from monitoring.statistics import Values, present
from monitoring.windows import Log
from perennial.decision import AcceptedCheck, Incident
from perennial.settings import Settings
from perennial.spec.model import Model
from perennial.thresholds import ColumnLimits
from perennial.window import WindowRecord

MOST_CATEGORIES = 1000
"""Categories that are listed; with more, new ones are no sign of anything."""


def observed(
    settings: Settings, model: Model, incident: Incident, records: Iterable[WindowRecord], now: datetime
) -> tuple[AcceptedCheck, ...]:
    """What the broken windows of an incident showed, for each check that failed; values of columns are read from the log.

    Args:
        settings: where the log is.
        model: the spec.
        incident: whose windows are meant.
        records: every window of the model.
        now: UTC.
    """
    own = [record for record in records if incident.covers(record.start) and record.measurement.broken]
    widest: dict[tuple[str, str], float] = {}
    for record in own:
        for check in record.measurement.broken:
            key = check.name, check.subject
            widest[key] = max(check.value, widest.get(key, check.value))
    if not widest:
        return ()
    windows = [record.window for record in own]
    log = Log.read(settings, model, windows, now)
    logged = [log.window(window) for window in windows]
    found = []
    for (name, subject), value in sorted(widest.items()):
        accepted = AcceptedCheck(name=name, subject=subject, value=value)
        if name in ("range", "new categories"):
            columns = [one.values(subject, is_text=name == "new categories") for one in logged]
            held = [present(values) for values in columns if values is not None and len(present(values))]
            accepted = accepted.model_copy(update=_seen(name, held))
        found.append(accepted)
    return tuple(found)


def _seen(name: str, held: Sequence[Values]) -> dict[str, object]:
    if not held:
        return {}
    if name == "range":
        return {"low": min(float(np.min(values)) for values in held), "high": max(float(np.max(values)) for values in held)}
    texts = sorted({str(value) for values in held for value in values})
    return {"categories": tuple(texts) if len(texts) <= MOST_CATEGORIES else None}


def by_check(incidents: Iterable[Incident]) -> dict[tuple[str, str], tuple[AcceptedCheck, ...]]:
    """Everything that was accepted of a model, by check and subject."""
    found: dict[tuple[str, str], tuple[AcceptedCheck, ...]] = {}
    for incident in incidents:
        for check in incident.accepted.checks if incident.accepted is not None else ():
            key = check.name, check.subject
            found[key] = (*found.get(key, ()), check)
    return found


def widened(limits: ColumnLimits, accepted: Mapping[tuple[str, str], Sequence[AcceptedCheck]]) -> ColumnLimits:
    """A column's limits, and what was accepted beyond them.

    >>> limits = ColumnLimits(column="a", max_null_share=0.2, low=0.0, high=1.0, categories=None, max_new_share=0.05)
    >>> wider = widened(limits, {("range", "a"): (AcceptedCheck(name="range", subject="a", value=1.0, low=5.0, high=9.0),)})
    >>> wider.low, wider.high, widened(limits, {}) == limits
    (0.0, 9.0, True)
    """
    name = limits.column
    nulls = [check.value for check in accepted.get(("nulls", name), ())]
    lows = [check.low for check in accepted.get(("range", name), ()) if check.low is not None]
    highs = [check.high for check in accepted.get(("range", name), ()) if check.high is not None]
    categories = limits.categories
    for check in accepted.get(("new categories", name), ()):
        is_listed = categories is not None and check.categories is not None
        categories = tuple(sorted({*(categories or ()), *(check.categories or ())})) if is_listed else None
    return limits.model_copy(
        update={
            "max_null_share": max([limits.max_null_share, *nulls]),
            "low": None if limits.low is None else min([limits.low, *lows]),
            "high": None if limits.high is None else max([limits.high, *highs]),
            "categories": categories,
        }
    )
