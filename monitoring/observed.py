"""What the windows of an incident showed: read from the log, for a person who says that the data are like this now."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import numpy as np

from monitoring.reference.acceptance import MAX_CATEGORIES
from monitoring.reference.statistics import Values, present
from monitoring.windows import WindowLog
from perennial.loop.decision import AcceptedCheck, Incident
from perennial.loop.window import WindowRecord
from perennial.settings import Settings
from perennial.spec.model import Model


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
    broken_records = [record for record in records if incident.covers(record.start) and record.measurement.broken]
    widest: dict[tuple[str, str], float] = {}
    for record in broken_records:
        for check in record.measurement.broken:
            key = check.name, check.subject
            further = min if check.name == "volume" else max  # fewer rows are further from what is usual
            widest[key] = further(check.value, widest.get(key, check.value))
    if not widest:
        return ()
    windows = [record.window for record in broken_records]
    log = WindowLog.read(settings, model, windows, now)
    logged = [log.window(window) for window in windows]
    checks = []
    for (name, subject), value in sorted(widest.items()):
        accepted = AcceptedCheck(name=name, subject=subject, value=value)
        if name in ("range", "new categories"):
            columns = [window.values(subject, is_text=name == "new categories") for window in logged]
            held = [present(values) for values in columns if values is not None and len(present(values))]
            accepted = accepted.model_copy(update=_seen(name, held))
        checks.append(accepted)
    return tuple(checks)


def _seen(name: str, held: Sequence[Values]) -> dict[str, object]:
    if not held:
        return {}
    if name == "range":
        return {"low": min(float(np.min(values)) for values in held), "high": max(float(np.max(values)) for values in held)}
    texts = sorted({str(value) for values in held for value in values})
    return {"categories": tuple(texts) if len(texts) <= MAX_CATEGORIES else None}
