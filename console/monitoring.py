"""`perennial monitor` and `labels`: a monitoring run in the foreground, the windows that it looked at, and their labels since."""

from collections.abc import Sequence
from datetime import datetime

from rich.console import Console

from console.asking import Clock, ask_for_run
from console.decisions import show_decision
from console.display.output import console, minute, print_json, table
from perennial.errors import NotFoundError
from perennial.ledger import Ledger
from perennial.loop.request import Monitor
from perennial.loop.window import WindowRecord
from perennial.reports.formats import interval
from perennial.settings import Settings
from perennial.spec.read import read

WAITS_FOR = {
    "claim": "the ledger",
    "measure": "Evidently, and its statistics of every watched column",
    "perform": "scores of the matured windows, resamples of their days",
    "decide": "the policy, the ledger",
}
"""What each step of the monitoring pipeline spends its time on."""


def monitor_and_show(settings: Settings, name: str, now: datetime, clock: Clock, json: bool) -> None:
    """Ask for a look at the windows that are due, and print them and the decision.

    Where nothing is due, nothing is asked: the newest windows and the last decision are printed.

    Args:
        settings: where things are.
        name: the model.
        now: the time for which it is done.
        clock: gives the real time.
        json: print JSON instead of tables.

    Raises:
        NotFoundError: the model has no champion, or nothing was logged.
        PlatformError: another run of the model is in flight.
        PerennialError: a step failed; the error is that step's own.
    """
    from monitoring.log.collect import require_log
    from monitoring.windows import due

    model = read(settings.models / f"{name}.yaml")
    with Ledger.open(settings.ledger) as ledger:
        if ledger.champion(name) is None:
            raise NotFoundError(f"{name} has no champion to watch; `perennial train {name}` makes one")
        require_log(settings, name)
        if not due(settings, model, ledger.windows(name), now).any:
            sentence = (
                f"Nothing is due at {minute(now)}: no window closed or matured since the last run, or its rows are to come."
            )
            _show(ledger, name, sentence, json)
            return
    request, _ = ask_for_run(settings, name, Monitor(), now, clock, None if json else WAITS_FOR)
    with Ledger.open(settings.ledger) as ledger:
        _show(ledger, name, f"run {request.run}: {request.outcome}", json, request.key)


def _show(ledger: Ledger, name: str, said: str, json: bool, cause: str | None = None) -> None:
    """Print the windows that a monitoring run looked at, and its decision; without its key the newest of each."""
    decisions = ledger.decisions(name)
    decision = next((decision for decision in decisions if cause in (None, decision.cause)), None)
    looked_at = set() if decision is None else {*decision.windows, *decision.judged}
    windows = [record for record in ledger.windows(name) if record.start in looked_at]
    if json:
        shown = {"said": said, "windows": [record.model_dump(mode="json") for record in windows]}
        print_json(shown | {"decision": None if decision is None else decision.model_dump(mode="json")})
        return
    out = console()
    out.print(said, soft_wrap=True)
    if windows:
        show_windows(out, windows)
    if decision is not None:
        show_decision(out, ledger, decision)


def show_windows(out: Console, windows: Sequence[WindowRecord]) -> None:
    """Print windows as a table, newest first."""
    columns = ("window", "rows", "unlabelled", "AUC", "log loss", "utility", "alarms", "failed checks")
    out.print(table("Windows", columns, [window_row(record) for record in windows], numbers=("rows", "unlabelled")))


def window_row(record: WindowRecord) -> tuple[str, ...]:
    """A window in words, a cell for each column of the table."""
    measured, performance = record.measurement, record.performance
    rows = f"{measured.rows:,}" + (f" ({measured.lost:,} lost)" if measured.lost else "")
    alarms = ", ".join(column.column for column in measured.alarms)
    unjudged = sum(column.verdict == "not judged" for column in measured.columns)
    gap = f"{unjudged} of {len(measured.columns)} not judged" if unjudged else ""
    broken = ", ".join(check.title for check in measured.broken)
    flagged = ("; ".join(part for part in (alarms, gap) if part) or "–", broken or "–")
    if performance is None:
        return (f"{record.start:%Y-%m-%d}", rows, "not matured", "–", "–", "–", *flagged)
    labels = performance.labels
    share = f"{labels.missing / (labels.arrived + labels.missing):.1%}" if labels.arrived + labels.missing else "–"
    metrics = [
        interval(estimate) if (estimate := performance.metrics.get(name)) else "–" for name in ("auc", "log_loss", "utility")
    ]
    return (f"{record.start:%Y-%m-%d}", rows, share, *metrics, *flagged)


def show_labels(settings: Settings, name: str, now: datetime, json: bool) -> None:
    """Print for each closed window how many labels came in time, came late, and were changed since.

    Raises:
        NotFoundError: there is no log, or no source of labels.
    """
    from monitoring.labels import label_counts
    from monitoring.log.collect import require_log

    model = read(settings.models / f"{name}.yaml")
    require_log(settings, name)
    counts = label_counts(settings, model, now)
    if json:
        print_json([count.model_dump(mode="json") for count in counts])
        return
    out = console()
    if not counts:
        out.print(f"No window has closed at {minute(now)}.")
        return
    rows = [
        (
            f"{count.start:%Y-%m-%d}",
            minute(count.matures_at),
            f"{count.predictions:,}",
            f"{count.arrived:,}",
            f"{count.missing:,}" if count.is_matured else f"{count.missing:,} not yet",
            f"{count.late:,}" if count.is_matured else "–",
            f"{count.changed:,}" if count.is_matured else "–",
        )
        for count in counts
    ]
    columns = ("window", "matures", "predictions", "arrived by then", "missing then", "late since", "changed since")
    out.print(table(f"Labels of {name}, as known at {minute(now)}", columns, rows, numbers=columns[2:]))
    anonymous = sum(count.anonymous for count in counts)
    if anonymous:
        field = model.spec.requests.id
        out.print(
            f"{anonymous:,} predictions carried no {field!r}: their labels cannot be found. A request brings it as a field."
        )
    out.print(
        "Late labels train; of a changed one the first counts, in training too. What was decided on a window stays as it was."
    )
