"""The page of a model in service: how it is, what comes next, how good it was by window, what was decided on what evidence.

Made from what the ledger holds and from the line that it is given. The page of one run is `run_page`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from perennial.evaluation.estimate import Estimate, total
from perennial.loop.decision import Decision, Incident
from perennial.loop.rollout import Rollout
from perennial.loop.window import WindowRecord
from perennial.record import Record
from perennial.reports import service_plots
from perennial.reports.blocks import Banner, Block, Heading, Mark, Paragraph, Picture, Points, Table, commands, marks, strong
from perennial.reports.decision_history import history_of
from perennial.reports.formats import count, figure, interval, or_dash, percent, sentence
from perennial.reports.html import page
from perennial.reports.service_plots import unlabelled
from perennial.spec.model import Model

ALT = {
    "performance": "AUC, log loss and utility of each window with intervals; numbers and unit stand in the table of windows.",
    "decisions": "Champions, incidents and decisions on a time axis; they stand in the tables and in the history of decisions.",
    "columns": "Step of each watched column in each window; the alarms stand in the table of columns.",
    "labels": "Predictions of each window and the share without a label; the numbers stand in the table of windows.",
}
"""What a picture shows, for those who do not see it."""


@dataclass(frozen=True)
class StatusLine:
    """The line that the page begins with."""

    state: str
    """How the model is, in a word or two."""
    how: str
    """What that is concluded from, in one sentence. Commands stand between backticks, here and in `next`."""
    next: str
    """What happens next, and who does it, in one sentence."""
    is_ordinary: bool
    """Whether nobody need do anything."""


class Reign(Record):
    """A stretch of time in which one version had the traffic."""

    number: int
    """Number of the version."""
    since: datetime
    """Begin, UTC."""
    until: datetime | None
    """End; null while it lasts."""


@dataclass(frozen=True)
class History:
    """What is stored about a model in service."""

    model: Model
    """Its spec, as it is now."""
    windows: tuple[WindowRecord, ...]
    """Its windows, oldest first; at least one."""
    decisions: tuple[Decision, ...]
    """What was decided, oldest first."""
    incidents: tuple[Incident, ...]
    """Its incidents, oldest first."""
    reigns: tuple[Reign, ...]
    """Who had the traffic, oldest first."""

    @property
    def begin(self) -> datetime:
        """Begin of the first window."""
        return self.windows[0].start

    @property
    def until(self) -> datetime:
        """End of the last window, or the last decision where it is later."""
        return max(self.windows[-1].end, *(decision.made for decision in self.decisions), self.windows[0].end)

    @property
    def unit(self) -> str:
        """Unit of the utility."""
        return self.model.spec.objective.utility.unit


def reigns(rollouts: Sequence[Rollout]) -> tuple[Reign, ...]:
    """Who had the traffic when, oldest first, from every request for traffic of a model.

    A version that was rolled back had it from about its request on; after it the champion before has it again.

    Args:
        rollouts: in any order.
    """
    events: list[tuple[datetime, int]] = []
    for rollout in rollouts:
        if rollout.state == "champion":
            events.append((rollout.moved, rollout.number))
        elif rollout.state == "rolled back":
            events.append((rollout.requested, rollout.number))
            if rollout.previous is not None:
                events.append((rollout.moved, rollout.previous))
    succession: list[Reign] = []
    for since, number in sorted(events):
        if succession and succession[-1].number == number:
            continue
        if succession:
            succession[-1] = succession[-1].model_copy(update={"until": since})
        succession.append(Reign(number=number, since=since, until=None))
    return tuple(succession)


def year(history: History, status: StatusLine) -> str:
    """The page of a model that has at least one window.

    Args:
        history: what is stored about it.
        status: how it is, and what happens next.
    """
    images = service_plots.draw(history)
    pictures = {name: Picture(content, f"{service_plots.TITLES[name]}. {ALT[name]}") for name, content in images.items()}
    performance, columns = ([pictures[name]] if name in pictures else [] for name in ("performance", "columns"))
    blocks: list[Block] = [*_head(history, status), pictures["decisions"], *performance, pictures["labels"], *columns]
    blocks += [Heading("History of decisions"), *history_of(history.decisions, history.windows, history.incidents)]
    blocks += [Heading("Champions"), _champions(history), Heading("Incidents"), _incidents(history)]
    blocks += [Heading("Columns"), _columns(history.windows), Heading("Windows"), _held(history.windows), _performances(history)]
    return page(f"{history.model.name}: in service", blocks)


def _head(history: History, status: StatusLine) -> list[Block]:
    spec = history.model.spec
    return [
        Heading(f"{history.model.name}: in service", 1),
        _line(status),
        Paragraph(sentence(spec.description)),
        Paragraph((strong("Question"), f": {sentence(spec.objective.question)} ", strong("Owner"), f": {sentence(spec.owner)}")),
        Points(_facts(history)),
        Paragraph(
            "All times are UTC. Intervals hold the true value with a certainty of 95 % where the spec says nothing else, from "
            "resamples of whole days. Dotted lines: another version took the traffic."
        ),
    ]


def _line(status: StatusLine) -> Banner:
    """How the model is and what happens next, as the first line of the page."""
    how, following = (marks(commands(sentence(text))) for text in (status.how, status.next))
    text: tuple[str | Mark, ...] = (strong(f"{status.state.capitalize()}:"), " ", *how, " ", strong("Next:"), " ", *following)
    return Banner(text, "registered" if status.is_ordinary else "stopped")


def _facts(history: History) -> tuple[str, ...]:
    """What the page says in short, a sentence or two each."""
    windows, kinds = history.windows, Counter(decision.kind for decision in history.decisions)
    tally = ", ".join(f"{count(number)} to {kind}" for kind, number in sorted(kinds.items())) or "none"
    still = [incident for incident in history.incidents if incident.closed is None]
    predictions = sum(record.measurement.rows for record in windows)
    incident = f"An incident is open: {still[0].owner} acts." if still else "No incident is open."
    return (
        f"{count(len(windows))} window{'s' * (len(windows) > 1)} from {windows[0].start:%Y-%m-%d} to {windows[-1].end:%Y-%m-%d}, "
        f"{count(predictions)} predictions.",
        f"Decisions: {tally}. Versions that had the traffic: {count(len({reign.number for reign in history.reigns}))}.",
        f"Incidents: {count(len(history.incidents))}. {incident}",
        gain_in_words(windows, history.unit),
    )


def gain(windows: Sequence[WindowRecord]) -> Estimate | None:
    """Utility of what was served less that of the frozen baseline, over all windows in which both are known.

    The windows are taken as independent. None where no window has both.
    """
    return total(
        [
            (record.performance.gain, record.performance.labels.arrived / 1000)
            for record in windows
            if record.performance is not None and record.performance.gain is not None
        ]
    )


def gain_in_words(windows: Sequence[WindowRecord], unit: str) -> str:
    """What the trainings since the first have brought, in one sentence."""
    estimate = gain(windows)
    if estimate is None:
        return (
            "What training again has brought cannot be said: no window has both the champion's and the first version's utility."
        )
    comparisons = sum(record.performance is not None and record.performance.gain is not None for record in windows)
    verdict = "more" if estimate.low > 0 else "more, which may be chance"
    if estimate.high < 0:
        verdict = "less"
        estimate = estimate.model_copy(update={"value": -estimate.value, "low": -estimate.high, "high": -estimate.low})
    return (
        f"Beside the frozen baseline, the first version, training again has brought {interval(estimate)} {unit} {verdict}, over "
        f"{count(comparisons)} window{'s, taken as independent' * (comparisons > 1)}."
    )


def _held(windows: Sequence[WindowRecord]) -> Table:
    """What each window held, as a table."""
    rows = []
    for record in windows:
        measurement, performance, share = record.measurement, record.performance, unlabelled(record)
        rate = None if performance is None else performance.label_rate
        rows.append(
            [
                f"{record.start:%Y-%m-%d}",
                count(measurement.rows),
                count(measurement.lost),
                "not matured" if performance is None else "–" if share is None else percent(share),
                "–" if rate is None else percent(rate),
                ", ".join(column.column for column in measurement.alarms) or "–",
                ", ".join(check.title for check in measurement.broken) or "–",
            ]
        )
    head = ["window", "predictions", "lost", "without a label", "positive", "alarms", "failed checks"]
    caption = "Each window begins on the day it is named by. Labels count as they were known when it matured; later ones do not."
    return Table(head, rows, "No window was measured.", caption, head[1:5])


def _performances(history: History) -> Table:
    """How good each matured window was, as a table."""
    rows = []
    for record in history.windows:
        performance = record.performance
        if performance is None:
            continue
        served = [or_dash(performance.metrics.get(name)) for name in ("auc", "log_loss", "utility")]
        frozen = [or_dash(performance.frozen.get(name)) for name in ("auc", "log_loss")]
        rows.append([f"{record.start:%Y-%m-%d}", *served, *frozen, or_dash(performance.gain)])
    head = ["window", "AUC", "log loss", "utility", "frozen baseline: AUC", "frozen baseline: log loss", "gain in utility"]
    caption = (
        f"Utility and gain are in {history.unit} per 1,000 labelled predictions; the gain is what was served less the "
        "frozen baseline, the first version never trained again, on the same predictions."
    )
    return Table(head, rows, "No window has matured yet.", caption, head[1:])


def _champions(history: History) -> Table:
    rows = [
        [f"version {reign.number}", f"{reign.since:%Y-%m-%d %H:%M}", f"{reign.until:%Y-%m-%d %H:%M}" if reign.until else "now"]
        for reign in history.reigns
    ]
    head = ["champion", "since", "until"]
    return Table(head, rows, "No version had traffic.", "Which version had the traffic.", head[1:])


def _incidents(history: History) -> Table:
    rows = [
        [
            str(incident.number),
            f"{incident.opened:%Y-%m-%d}",
            incident.seen,
            incident.owner,
            f"{incident.excluded_from:%Y-%m-%d} to {incident.excluded_until:%Y-%m-%d}",
            f"{incident.closed:%Y-%m-%d}: {incident.closing}"
            if incident.closed
            else f"open: {incident.clean} of {incident.needed} clean",
        ]
        for incident in history.incidents
    ]
    head = ["number", "opened", "what was seen", "who acts", "requests that never train", "how it was closed"]
    return Table(head, rows, "The data was never broken.", "Times in which the data was broken.", ["opened"])


def _columns(windows: Sequence[WindowRecord]) -> Table:
    names = list(dict.fromkeys(column.column for record in windows for column in record.measurement.columns))
    rows = []
    for name in names:
        measurements = [(record, column) for record in windows for column in record.measurement.columns if column.column == name]
        verdicts = [(record, column) for record, column in measurements if column.verdict != "not judged"]
        alarms = [record.start for record, column in measurements if column in record.measurement.alarms]
        shares = [
            column.window_over_window / column.threshold
            for _, column in verdicts
            if column.window_over_window is not None and column.threshold
        ]
        when = ", ".join(f"{start:%Y-%m-%d}" for start in alarms) or "–"
        rows.append(
            [
                name,
                measurements[-1][1].method,
                count(len(verdicts)),
                count(len(alarms)),
                figure(max(shares)) if shares else "–",
                when,
            ]
        )
    head = ["column", "method", "windows judged", "alarms", "largest drift, in thresholds", "windows that alarmed"]
    caption = (
        "Window-over-window drift: each window against the four weeks before it. An alarm is above the threshold and of material "
        "size, in a column whose data is not broken; ! in the picture. ×: the column's data is broken."
    )
    return Table(head, rows, "No column is watched.", caption, head[2:5])
