"""The history of decisions: each one opens to its evidence, as it was stored before anything acted on it."""

from collections.abc import Sequence

from perennial.loop.decision import Decision, Fact, Incident
from perennial.loop.window import Loss, WindowRecord
from perennial.reports.blocks import Block, FoldedBlock, Paragraph, Table, code, strong
from perennial.reports.formats import count, figure, or_dash


def history_of(decisions: Sequence[Decision], windows: Sequence[WindowRecord], incidents: Sequence[Incident]) -> list[Block]:
    """Every decision, newest first, or a sentence when there is none.

    Args:
        decisions: of a model, oldest first.
        windows: of the model, oldest first.
        incidents: of the model, oldest first.
    """
    if not decisions:
        return [Paragraph("Nothing was decided yet.")]
    intro = "Newest first. Each opens to its evidence: what was there at that time, stored before anything acted on it."
    return [Paragraph(intro), *(_entry(decision, windows, incidents) for decision in reversed(decisions))]


def _entry(decision: Decision, windows: Sequence[WindowRecord], incidents: Sequence[Incident]) -> FoldedBlock:
    """One decision: what and why in its title, its evidence below."""
    title = (f"{decision.number} · {decision.made:%Y-%m-%d} · ", strong(decision.title), f" · {decision.sentence}")
    open_then = [incident for incident in incidents if _was_open(incident, decision)]
    return FoldedBlock(
        title,
        (
            Paragraph((strong("What would have changed it"), f": {decision.otherwise}")),
            Paragraph((strong("What came of it"), f": {decision.outcome or decision.state}")),
            *(_incident(incident) for incident in open_then),
            _facts(decision.facts),
            _windows(decision, windows),
            Paragraph((f"Made on {decision.made:%Y-%m-%d %H:%M} from ", code(decision.cause), ".")),
        ),
    )


def _was_open(incident: Incident, decision: Decision) -> bool:
    """Whether a decision opened an incident or was made while it was open."""
    return incident.opened <= decision.made and (incident.closed is None or incident.closed > decision.made)


def _incident(incident: Incident) -> Paragraph:
    ended = "it is open" if incident.closed is None else f"closed on {incident.closed:%Y-%m-%d}: {incident.closing}"
    excluded = f"requests of {incident.excluded_from:%Y-%m-%d} to {incident.excluded_until:%Y-%m-%d} do not train"
    name = strong(f"Incident {incident.number}")
    return Paragraph(
        (name, f", open at that time: {incident.seen.removesuffix('.')}; {incident.owner} acts; {excluded}; {ended}.")
    )


def _facts(facts: Sequence[Fact]) -> Table:
    rows = [(fact.name, _number(fact.value), _number(fact.limit), fact.sentence) for fact in facts]
    head = ("fact", "value", "limit", "what was seen")
    return Table(head, rows, "No fact is stored with it.", "What it rests on.", head[1:3])


def _number(value: float | None) -> str:
    return "–" if value is None else figure(value)


def _windows(decision: Decision, windows: Sequence[WindowRecord]) -> Table:
    """The windows that a decision looked at for the first time, with what each showed."""
    measured_starts, judged_starts = set(decision.windows), set(decision.judged)
    rows = [
        _window(record, record.start in judged_starts) for record in windows if record.start in measured_starts | judged_starts
    ]
    head = ("window", "predictions", "alarms", "failed checks", "AUC", "log loss", "degraded?")
    caption = "The windows that it looked at for the first time, or whose labels had matured since."
    return Table(head, rows, "It looked at no new window.", caption, ("predictions", "AUC", "log loss"))


def _window(record: WindowRecord, is_judged: bool) -> tuple[str, ...]:
    performance = record.performance if is_judged else None
    metrics = {} if performance is None else performance.metrics
    degradation = "labels not matured" if performance is None else _degradation(performance.loss)
    return (
        f"{record.start:%Y-%m-%d}",
        count(record.measurement.rows),
        ", ".join(column.column for column in record.measurement.alarms) or "–",
        ", ".join(check.title for check in record.measurement.broken) or "–",
        or_dash(metrics.get("auc")),
        or_dash(metrics.get("log_loss")),
        degradation,
    )


def _degradation(loss: Loss | None) -> str:
    return "not judged" if loss is None else "yes" if loss.degraded else "no"
