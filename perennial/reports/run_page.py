"""The page of a run: everything that it found, as one HTML file that needs nothing else, no script and no network."""

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

from perennial.reports import run_plots as plots
from perennial.reports.card import METRIC_NAMES, metric_value
from perennial.reports.formats import (
    count,
    day,
    figure,
    interval,
    kind,
    last_day,
    parameters,
    percent,
    percent_interval,
    rival,
    sentence,
)
from perennial.reports.html import page, picture, table

if TYPE_CHECKING:
    from perennial.evaluation.metrics import BlockEvaluation, Comparison, SegmentResult
    from perennial.spec.model import Model
    from perennial.versions.findings import CandidateSummary, Findings, Judgement

ALT = {
    "roc": "Curve of true cases found against false alarms; the numbers stand in the table of metrics.",
    "precision_recall": "Curve of true alarms against true cases found; the numbers stand in the table of metrics.",
    "reliability": "Stated probability against what came true, in ten groups of equal size.",
    "importance": "Importance of each column; the numbers stand in the table of columns.",
    "segments": "Difference of the log loss by group; the numbers stand in the tables of groups.",
}
"""What a picture shows, for those who do not see it."""


def report(findings: "Findings") -> str:
    """The page of a run, however far it came.

    Args:
        findings: what the run found.
    """
    candidate, judgement = findings.candidate, findings.judgement
    parts = [*_head(findings), *_gates(findings), *_data(findings)]
    if judgement is not None and candidate is not None:
        parts += [*_metrics(judgement.evaluation), *_comparison(judgement), *_groups(judgement)]
        parts += ["<h2>Pictures</h2>", _pictures(judgement, candidate)]
    if candidate is not None:
        parts += _search(candidate)
    return page(f"{findings.model.name}: what the run found", [*parts, *_digests(findings)])


def plots_page(model: "Model", judgement: "Judgement", candidate: "CandidateSummary") -> str:
    """The page of a run's pictures alone.

    Args:
        model: the spec.
        judgement: what was found on the evaluation block.
        candidate: what is stored of the candidate.
    """
    title = f"{model.name}: pictures of the evaluation"
    return page(title, [f"<h1>{escape(title)}</h1>", _pictures(judgement, candidate)])


def _head(findings: "Findings") -> list[str]:
    model, stopping = findings.model, [result.name for result in findings.results if result.verdict in ("fail", "undecided")]
    if findings.registered:
        state, said = "registered", "Registered: every gate passed or was not applicable."
    else:
        state, said = "stopped", f"Not registered. What stopped it: {', '.join(stopping) or 'it did not come to its end'}."
    return [
        f"<h1>{escape(model.name)}: what the run found</h1>",
        f"<p>{escape(sentence(model.spec.description))}</p>",
        f'<p class="state {state}"><span><strong>{escape(said)}</strong></span></p>',
        f"<p><strong>Question</strong>: {escape(sentence(model.spec.objective.question))} "
        f"<strong>On a yes</strong>: {escape(sentence(model.spec.objective.action))} "
        f"<strong>Owner</strong>: {escape(sentence(model.spec.owner))}</p>",
    ]


def _gates(findings: "Findings") -> list[str]:
    rows = [[result.name, result.verdict, sentence(result.sentence)] for result in findings.results]
    caption = "What must be passed before a version is registered."
    return ["<h2>Gates</h2>", table(caption, ["gate", "verdict", "what was found"], rows, "No gate was reached.")]


def _data(findings: "Findings") -> list[str]:
    info = findings.info
    views = [
        [view.view, count(view.lost), count(view.stale), "–" if view.median_age_hours is None else figure(view.median_age_hours)]
        for view in info.views
    ]
    head = ["view", "nothing found", "older than its limit", "median age in hours"]
    caption = "What the look-up of features found, by request."
    parts = [
        "<h2>Data</h2>",
        f"<p>{count(info.rows)} requests from {day(info.start)} to {last_day(info.end)}, {count(info.labelled)} of them with a "
        f"label; {count(info.rejected)} more were left out because a value they may not do without was too old. Nothing known "
        f"after {day(info.now)} is in it.</p>",
        table(caption, head, views, "Nothing is looked up: the request brings all.", head[1:]),
    ]
    for listed in (info.notes, findings.validation.findings):
        if listed:
            parts.append(f"<ul>{''.join(f'<li>{escape(found)}</li>' for found in listed)}</ul>")
    return parts


def _metrics(block: "BlockEvaluation") -> list[str]:
    rows = [
        [METRIC_NAMES[name], metric_value(name, block), _naive(name, block)] for name in METRIC_NAMES if name in block.metrics
    ]
    caption = (
        f"{count(block.rows)} labelled requests on {count(block.days)} days, {day(block.start)} to {last_day(block.end)}; "
        f"{percent(block.label_rate)} true; {count(block.unlabelled)} without a label are in no metric. In brackets the range "
        f"that holds the true value with a certainty of {percent(2 * block.confidence - 1)}. It acts from "
        f"{percent(block.threshold)} on. Utility is per 1,000 requests, beyond the better of always and never acting."
    )
    missing = [
        f"<p>{escape(METRIC_NAMES.get(name, name))}: {escape(sentence(why))}</p>" for name, why in sorted(block.missing.items())
    ]
    head = ["metric", "value", "naive rule"]
    return ["<h2>How good it is</h2>", table(caption, head, rows, "Nothing could be measured.", head[1:]), *missing]


def _naive(name: str, block: "BlockEvaluation") -> str:
    naive = block.metrics.get(f"naive_{name}")
    return "–" if naive is None or name == "utility" else figure(naive.value)


def _comparison(judgement: "Judgement") -> list[str]:
    comparison = judgement.comparison
    if comparison is None:
        return ["<h2>Against the champion</h2>", f"<p>Not compared: {escape(sentence(judgement.no_comparison))}</p>"]
    caption = f"{sentence(comparison.basis)} {count(comparison.rows)} rows on {count(comparison.days)} days, both models on each."
    head = ["challenger less champion", "difference", "how to read it"]
    differences = table(caption, head, _differences(comparison), "", ["difference"])
    return ["<h2>Against the champion</h2>", differences]


def _differences(comparison: "Comparison") -> list[list[str]]:
    auc = comparison.auc_difference
    return [
        ["log loss", percent_interval(comparison.log_loss_ratio), "below 0 is better"],
        ["AUC", "not measured" if auc is None else interval(auc), "above 0 is better"],
        ["utility per 1,000 requests", interval(comparison.utility_difference), "above 0 is better"],
    ]


def _groups(judgement: "Judgement") -> list[str]:
    analysis = judgement.analysis
    note = [f"<p>{escape(sentence(analysis.note))}</p>"] if analysis.note else []
    return [
        "<h2>Groups</h2>",
        _group_table("Groups that the spec names.", analysis.declared, "The spec names no groups."),
        _group_table("The worst groups found by searching all columns.", analysis.found, "No group was found that stands out."),
        *note,
    ]


def _group_table(caption: str, groups: Iterable["SegmentResult"], otherwise: str) -> str:
    head = ["group", "rows", "days", "came true", "log loss", "difference", "compared with", "enough to judge"]
    rows = [
        [
            group.name,
            count(group.rows),
            count(group.days),
            percent(group.label_rate),
            figure(group.log_loss),
            percent_interval(group.excess),
            rival(group.rival),
            "yes" if group.judged else "no",
        ]
        for group in groups
    ]
    return table(f"{caption} Above 0 is worse.", head, rows, otherwise, head[1:6])


def _pictures(judgement: "Judgement", candidate: "CandidateSummary") -> str:
    figures = []
    for name, content in plots.draw(judgement, candidate).items():
        figures.append(picture(content, f"{plots.TITLES[name]}. {ALT[name]}"))
    return f'<div class="plots">\n{"".join(figures)}\n</div>' if figures else "<p>There is nothing to draw.</p>"


def _search(candidate: "CandidateSummary") -> list[str]:
    search = candidate.search
    trials = sorted(search.trials, key=lambda trial: trial.log_loss)
    rows = [
        [
            kind(trial.recipe.kind),
            parameters(trial.recipe),
            *(figure(value) for value in (trial.log_loss, trial.auc, trial.fit_seconds)),
        ]
        for trial in trials
    ]
    head = ["candidate", "parameters", "log loss", "AUC", "seconds to fit"]
    spent = " The time ended before everything was tried." if search.budget_spent else ""
    caption = f"Best first, each predicted on blocks of time by a model that had seen only what came before.{spent}"
    columns = [
        [found.column, figure(found.mean), figure(found.standard_error), "yes" if found.selected else "no"]
        for found in sorted(search.importances, key=lambda found: (-found.mean, found.column))
    ]
    names = ["column", "rise of the log loss", "standard error", "kept"]
    taken = f"{kind(search.recipe.kind)} with {parameters(search.recipe)}, on {count(len(search.recipe.columns))} columns"
    return [
        "<h2>How it was found</h2>",
        f"<p>Taken: {escape(taken)}. Fitted on {count(candidate.rows)} labelled rows.</p>",
        table(caption, head, rows, "Nothing was searched: the champion's recipe was fitted again.", head[2:]),
        table(sentence(search.selection_note), names, columns, sentence(search.selection_note), names[1:3]),
    ]


def _digests(findings: "Findings") -> list[str]:
    info = findings.info
    rows = [["dataset (values)", info.digest], ["feature definitions", info.definitions_digest]]
    rows.append([f"feature service {info.service}", info.service_digest])
    if findings.contract is not None:
        rows.insert(0, ["run key", findings.contract.run_key])
    return ["<h2>How to make it again</h2>", table("What the result depends on.", ["what", "SHA-256"], rows, "")]
