"""The year, month by month: traffic is played, the controller ticks at the end of each month, and what came of it is kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.table import Table

from examples.flights import traffic
from examples.flights.policies import LOOP, NEVER, PolicyResult
from feature_repo.sources import opened
from perennial.ledger import Ledger
from perennial.loop.decision import Decision
from perennial.loop.window import WindowRecord
from perennial.settings import Settings
from perennial.spec.model import Model
from serving.replay.play import Played


@dataclass(frozen=True)
class Month:
    """What was sent in a month, and what the loop made of it at its end."""

    begin: datetime
    """Begin, UTC."""
    predictions: int
    """Flights that were sent."""
    unlabelled: int
    """Of these, without a label: cancelled, diverted or lost."""
    flagged: str
    """What monitoring saw in the windows that it looked at."""
    decision: str
    """What was decided, and what came of it."""
    champion: int
    """Number of the version that had the traffic after it."""


def play_year(
    settings: Settings,
    model: Model,
    url: str,
    spans: Sequence[tuple[datetime, datetime]],
    tick: Callable[[datetime], datetime],
    lap: Callable[[str], None],
) -> tuple[Month, ...]:
    """Play month after month; at the end of each the controller does everything that is due.

    Args:
        settings: where sources, log and ledger are.
        model: the spec.
        url: the server's address.
        spans: the months, as `traffic.months` gives them.
        tick: lets the controller tick at the end of a month until nothing is due; returns the time for which it ticked.
        lap: ends a part of the demo that is timed.
    """
    found = []
    for begin, end in spans:
        played = traffic.play(settings, model, url, begin, end)
        lap("play the traffic")
        ticked = tick(end)
        lap("tick: monitor, decide, train, roll out")
        found.append(month_of(settings, model, begin, ticked, played))
    return tuple(found)


def month_of(settings: Settings, model: Model, begin: datetime, ticked: datetime, played: Played) -> Month:
    """What the ledger says after the tick at the end of a month."""
    identifier = model.spec.requests.id
    with opened(settings.source(model.spec.label.source)) as labels:
        known = labels.to_table(columns=[identifier]).column(identifier).to_pandas()
    with Ledger.open(settings.ledger) as ledger:
        made = [decision for decision in ledger.decisions(model.name) if decision.made == ticked]
        windows = {record.start: record for record in ledger.windows(model.name)}
        champion = ledger.champion(model.name)
    assert champion is not None, "the training before registered one"
    decision = made[0] if made else None
    return Month(
        begin=begin,
        predictions=len(played.answers),
        unlabelled=int((~played.answers[identifier].isin(known)).sum()),
        flagged="nothing was due" if decision is None else flagged([windows[start] for start in decision.windows]),
        decision="none" if decision is None else said(decision),
        champion=champion.number,
    )


def flagged(windows: Sequence[WindowRecord]) -> str:
    """What was seen in some windows: alarms by column, failed checks, degraded losses; counted in windows."""
    seen: dict[str, int] = {}
    for record in windows:
        names = {f"drift {alarm.column}" for alarm in record.measurement.alarms}
        names |= {check.title for check in record.measurement.broken}
        names |= {"columns not judged" for column in record.measurement.columns if column.verdict == "not judged"}
        if record.performance is not None and record.performance.loss is not None and record.performance.loss.degraded:
            names.add("log loss")
        for name in names:
            seen[name] = seen.get(name, 0) + 1
    parts = [f"{name} ({count})" for name, count in sorted(seen.items(), key=lambda item: (-item[1], item[0]))]
    return f"{len(windows)} windows: {', '.join(parts) or 'nothing'}"


def said(decision: Decision) -> str:
    """A decision and its outcome, short."""
    reason = f" ({decision.reason})" if decision.reason else ""
    outcome = f": {decision.outcome.partition(':')[0]}" if decision.outcome else ""
    return f"{decision.kind}{reason}{outcome}"


def alarm_months(settings: Settings, model: Model, spans: Sequence[tuple[datetime, datetime]]) -> tuple[datetime, ...]:
    """Ends of the months at which m of the newest n windows alarmed for drift, as the policy counts."""
    spec = model.spec.retraining
    with Ledger.open(settings.ledger) as ledger:
        windows = ledger.windows(model.name)
    found = []
    for _, end in spans:
        newest = [record for record in windows if record.end <= end][: spec.windows_considered]
        if sum(bool(record.measurement.alarms) for record in newest) >= spec.windows_required:
            found.append(end)
    return tuple(found)


def year_table(months: Sequence[Month], results: Sequence[PolicyResult]) -> Table:
    """The year: what was sent, how the loop and the frozen baseline did, what was flagged and decided.

    Args:
        months: as `play_year` gives them.
        results: of `policies.compare`; the loop and *never* are shown.
    """
    scores = {result.name: dict(result.months) for result in results}
    made = Table(title="The year, month by month: the loop | the frozen baseline")
    columns = ("month", "sent", "no label", "late", "AUC", "log loss", "utility", "flagged", "decision", "champion")
    for name in columns:
        text = name in ("month", "flagged", "decision")
        made.add_column(name, justify="left" if text else "right", overflow="fold")
    for month in months:
        loop, frozen = scores[LOOP][month.begin], scores[NEVER][month.begin]
        made.add_row(
            f"{month.begin:%b}",
            f"{month.predictions:,}",
            f"{month.unlabelled / month.predictions:.1%}",
            f"{loop.label_rate:.1%}",
            f"{loop.auc:.3f} | {frozen.auc:.3f}",
            f"{loop.log_loss:.3f} | {frozen.log_loss:.3f}",
            f"{loop.utility:.0f} | {frozen.utility:.0f}",
            month.flagged,
            month.decision,
            f"v{month.champion}",
        )
    return made
