"""Accepting a change: limits that include what the windows of an incident showed (`observed`).

A lasting change of an input is not an incident for ever. When a person says that the data are like this now, what was seen
becomes part of what a window is checked against; a version trained on these data knows them by itself.
"""

from collections.abc import Iterable, Mapping, Sequence

from perennial.loop.decision import AcceptedCheck, Incident
from perennial.versions.thresholds import ColumnLimits

ROOM = 0.1
"""How far a share of nulls or stale rows may lie beyond what was accepted: the next window is never the same to the row."""
MAX_CATEGORIES = 1000
"""Categories that are listed; with more, new ones are no sign of anything."""


def by_check(incidents: Iterable[Incident]) -> dict[tuple[str, str], tuple[AcceptedCheck, ...]]:
    """Everything that was accepted of a model, by check and subject."""
    checks: dict[tuple[str, str], tuple[AcceptedCheck, ...]] = {}
    for incident in incidents:
        for check in incident.accepted.checks if incident.accepted is not None else ():
            key = check.name, check.subject
            checks[key] = (*checks.get(key, ()), check)
    return checks


def widened(limits: ColumnLimits, accepted: Mapping[tuple[str, str], Sequence[AcceptedCheck]]) -> ColumnLimits:
    """A column's limits, and what was accepted beyond them.

    >>> limits = ColumnLimits(column="a", max_null_share=0.2, low=0.0, high=1.0, categories=None, max_new_share=0.05)
    >>> wider = widened(limits, {("range", "a"): (AcceptedCheck(name="range", subject="a", value=1.0, low=5.0, high=9.0),)})
    >>> wider.low, wider.high, widened(limits, {}) == limits
    (0.0, 9.0, True)
    """
    name = limits.column
    nulls = [min(1.0, check.value + ROOM) for check in accepted.get(("nulls", name), ())]
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
