"""What comes when: the next window, the next labels, the next scheduled training."""

from datetime import datetime, timedelta

from perennial.loop.window import window_at
from perennial.record import Record
from perennial.spec.model import Model
from perennial.status.stored import Stored


class Coming(Record):
    """Something that a date is known of."""

    when: datetime
    """When, UTC."""
    what: str
    """What, in a few words."""


def coming(stored: Stored, now: datetime) -> tuple[Coming, ...]:
    """What comes when, soonest first; empty without a champion or a valid spec. What is past is due.

    Args:
        stored: what is stored about the model.
        now: UTC.
    """
    if not isinstance(stored.spec, Model) or stored.champion is None:
        return ()
    spec, dates = stored.spec.spec, list[Coming]()
    if stored.logged or stored.windows:
        running = window_at(now, spec.monitoring.window_days)
        dates.append(Coming(when=running.end, what=f"the window from {running.start:%Y-%m-%d} closes"))
    maturity = timedelta(hours=spec.label.maturity_hours)
    for record in stored.windows[::-1]:
        if record.performance is None:
            dates.append(Coming(when=record.end + maturity, what=f"the labels of the window from {record.start:%Y-%m-%d} mature"))
            break
    if spec.retraining.max_age_days is not None:
        due = stored.champion.trained_until + timedelta(days=spec.retraining.max_age_days)
        dates.append(Coming(when=due, what="its scheduled retrain is due"))
    return tuple(sorted(dates, key=lambda date: date.when))
