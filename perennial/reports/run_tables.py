"""Parts of what a run found that its page and its card share: gates, requests, look-ups, differences, groups, digests."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from perennial.reports.blocks import Document, Heading, Paragraph, Table, Text, code
from perennial.reports.formats import comparator, count, day, figure, interval, last_day, percent, percent_interval, sentence

if TYPE_CHECKING:
    from perennial.data.dataset import DatasetInfo
    from perennial.evaluation.metrics import BlockEvaluation, Comparison, ErrorAnalysis, SegmentResult
    from perennial.training.recipe import ColumnImportance
    from perennial.versions.findings import Findings, Judgement

METRIC_NAMES = {
    "auc": "Ranking (AUC)",
    "average_precision": "Average precision",
    "log_loss": "Log loss",
    "brier": "Brier score",
    "calibration_gap": "Calibration gap",
    "utility": "Utility",
    "unlabelled_share": "Requests without a label",
}
"""Metrics of page and card in their order, with their names."""


def metric_value(name: str, block: "BlockEvaluation") -> str:
    """A metric with its interval, in its unit."""
    estimate = block.metrics[name]
    return percent_interval(estimate) if name == "unlabelled_share" else interval(estimate)


def gates(findings: "Findings") -> Table:
    """What each gate said, in order."""
    rows = [(result.name, result.verdict, sentence(result.sentence)) for result in findings.results]
    caption = "What must be passed before a version is registered."
    return Table(("gate", "verdict", "what was found"), rows, "No gate was reached.", caption)


def requests(info: "DatasetInfo") -> str:
    """Which requests the run learned from and was judged on, in some sentences."""
    return (
        f"{count(info.rows)} requests from {day(info.start)} to {last_day(info.end)}; {count(info.labelled)} of them have a "
        f"label, {count(info.rejected)} more were left out because a value they may not do without was too old. "
        f"Nothing that became known after {day(info.now)} is in it."
    )


def look_ups(info: "DatasetInfo") -> Table:
    """What was found for the requests in each view."""
    rows = [
        (
            view.view,
            count(view.lost),
            count(view.stale),
            "none found" if view.median_age_hours is None else figure(view.median_age_hours),
        )
        for view in info.views
    ]
    head = ("view", "nothing found", "older than its limit", "median age in hours")
    caption = "What the look-up of features found, by request."
    return Table(head, rows, "Nothing is looked up: the request brings all.", caption, head[1:])


def ranked(importances: Iterable["ColumnImportance"]) -> list["ColumnImportance"]:
    """Columns by their importance, the largest first."""
    return sorted(importances, key=lambda column: (-column.mean, column.column))


def against_champion(judgement: "Judgement") -> list[Document]:
    """The section that sets the challenger beside the champion, or says why it does not."""
    comparison, head = judgement.comparison, Heading("Against the champion")
    if comparison is None:
        return [head, Paragraph(f"Not compared: {sentence(judgement.no_comparison)}")]
    basis = comparison.basis[:1].upper() + comparison.basis[1:]
    return [head, Paragraph(sentence(basis)), _differences(comparison)]


def _differences(comparison: "Comparison") -> Table:
    auc = comparison.auc_difference
    rows = [
        ("log loss", percent_interval(comparison.log_loss_ratio), "below 0 is better"),
        ("AUC", "not measured" if auc is None else interval(auc), "above 0 is better"),
        ("utility per 1,000 requests", interval(comparison.utility_difference), "above 0 is better"),
    ]
    caption = f"{count(comparison.rows)} rows on {count(comparison.days)} days, both models on each."
    return Table(("challenger less champion", "difference", "how to read it"), rows, caption=caption, numbers=("difference",))


def worst(analysis: "ErrorAnalysis") -> tuple["SegmentResult", ...]:
    """The groups of the search that are shown to be worse, worst first: the whole interval of their excess lies above 0."""
    return tuple(group for group in analysis.found if group.excess.low > 0)


def groups(analysis: "ErrorAnalysis") -> list[Document]:
    """The groups that the spec names, the worst of those that were searched, and what the search cannot say."""
    shown = worst(analysis)
    parts: list[Document] = [
        _groups("Groups that the spec names.", analysis.declared, "The spec names no groups."),
        _groups("The worst groups found by searching all columns.", shown, "No group was found that is shown to be worse."),
    ]
    silent = [group.name for group in analysis.found if group not in shown]
    if silent:
        lead = "The search found these too, but their intervals do not lie above 0, so that nothing shows them to be worse: "
        parts.append(Paragraph(f"{lead}{'; '.join(silent)}."))
    return [*parts, Paragraph(sentence(analysis.note))] if analysis.note else parts


def _groups(caption: str, found: Iterable["SegmentResult"], otherwise: str) -> Table:
    head = ("group", "rows", "days", "positive", "log loss", "difference", "compared with", "enough to judge")
    rows = [
        (
            group.name,
            count(group.rows),
            count(group.days),
            percent(group.label_rate),
            figure(group.log_loss),
            percent_interval(group.excess),
            comparator(group.comparator),
            "yes" if group.judged else "no",
        )
        for group in found
    ]
    return Table(head, rows, otherwise, f"{caption} Above 0 is worse.", head[1:6])


def digests(findings: "Findings") -> Table:
    """What the result depends on."""
    info, contract = findings.info, findings.contract
    rows: list[tuple[str, Text]] = [] if contract is None else [("run key", code(contract.run_key))]
    rows += [
        ("dataset (values)", code(info.digest)),
        ("feature definitions", code(info.definitions_digest)),
        (f"feature service {info.service}", code(info.service_digest)),
        ("seed", str(findings.model.spec.training.seed)),
    ]
    return Table(("what", "value"), rows, caption="What the result depends on; digests are SHA-256.")
