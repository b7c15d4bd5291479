"""A decision in words, from what is stored and nothing else: what, why, what would have changed it, what came of it."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from perennial.loop.decision import Decision, Fact, Incident
from perennial.loop.outcome import incident_state, outcome_of

MAX_LINES = 15
"""A decision is read on one screen."""


def explanation(decision: Decision, incident: Incident | None) -> tuple[str, ...]:
    """The decision in at most 15 lines; its sentences are those that are stored.

    Args:
        decision: as it is stored.
        incident: the incident that it opened or extended, if any.
    """
    time = f"{decision.made:%Y-%m-%d %H:%M}"
    lines = [
        f"{decision.model}, decision {decision.number} of {time}: {decision.title} ({decision.state})",
        f"  {decision.sentence}",
        f"New windows: {begins(decision.windows)}; newly scored windows: {begins(decision.judged)}",
    ]
    ending = [
        f"What would have changed it: {decision.otherwise}",
        f"What came of it: {outcome_of(decision)}",
        *(() if incident is None else (f"Incident {incident.number}: {incident_state(incident)}",)),
    ]
    if decision.facts:
        lines.append("It rests on:")
    return (*lines, *facts_in(decision, MAX_LINES - len(lines) - len(ending)), *ending)


def begins(starts: Sequence[datetime]) -> str:
    """When windows begin, in a few words.

    >>> days = [datetime(2013, 4, day) for day in (1, 8, 15, 22, 29)]
    >>> begins(days[:2]), begins(days), begins(())
    ('from 2013-04-01 and 2013-04-08', 'from 2013-04-01 to 2013-04-29 (5)', 'from none')
    """
    days = [f"{start:%Y-%m-%d}" for start in sorted(starts)]
    if len(days) > 3:
        return f"from {days[0]} to {days[-1]} ({len(days)})"
    return f"from {' and '.join(days) or 'none'}"


def facts_in(decision: Decision, room: int) -> tuple[str, ...]:
    """The facts, a line each; where there is no room for all, those beyond their limit first, and how many are left out."""
    facts = decision.facts
    shown = list(facts)
    if len(shown) > room:
        indices = sorted(range(len(shown)), key=lambda place: (not is_beyond(shown[place]), place))[: room - 1]
        shown = [shown[index] for index in sorted(indices)]
    width = max((len(fact.name) for fact in shown), default=0)
    lines = [f"  {fact.name:<{width}}  {numbers_of(fact)}  {fact.sentence}" for fact in shown]
    remainder = len(facts) - len(shown)
    return tuple(
        [*lines, f"  … and {remainder} more: perennial explain {decision.model} {decision.number} --json"] if remainder else lines
    )


def is_beyond(fact: Fact) -> bool:
    """Whether what was found is above what it was held against.

    >>> fact = Fact(name="age", value=63.0, limit=61.0, sentence="63 days old.")
    >>> is_beyond(fact), is_beyond(fact.model_copy(update={"limit": None}))
    (True, False)
    """
    return fact.value is not None and fact.limit is not None and fact.value > fact.limit


def numbers_of(fact: Fact) -> str:
    """What was found and its limit, in a fixed width.

    >>> numbers_of(Fact(name="age", value=63.0, limit=61.0, sentence="63 days old."))
    '     63 against 61     '
    >>> numbers_of(Fact(name="window", value=None, limit=None, sentence="No label yet."))
    '      –                '
    """
    value = "–" if fact.value is None else f"{fact.value:.4g}"
    limit = "" if fact.limit is None else f"against {fact.limit:.4g}"
    return f"{value:>7} {limit:<15}"


def incident_of(decision: Decision, incidents: Iterable[Incident]) -> Incident | None:
    """The incident that a decision to fix data opened, or that was open when it was made; none for another decision."""
    if decision.kind != "fix data":
        return None
    for incident in sorted(incidents, key=lambda found: found.number, reverse=True):
        if incident.opened <= decision.made and (incident.closed is None or incident.closed >= decision.made):
            return incident
    return None
