"""The page of a run: everything that it found, as one HTML file that needs nothing else, no script and no network."""

from typing import TYPE_CHECKING

from perennial.reports import run_plots as plots
from perennial.reports import run_tables
from perennial.reports.blocks import Banner, Block, Gallery, Heading, Paragraph, Picture, Points, Table, strong
from perennial.reports.formats import count, day, figure, kind, last_day, parameters, percent, sentence
from perennial.reports.html import page
from perennial.reports.run_tables import METRIC_NAMES, metric_value

if TYPE_CHECKING:
    from perennial.evaluation.metrics import BlockEvaluation
    from perennial.spec.model import Model
    from perennial.training.recipe import SearchResult
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
    blocks = [*_head(findings), Heading("Gates"), run_tables.gates(findings), *_data(findings)]
    if judgement is not None and candidate is not None:
        blocks += [*_metrics(judgement.evaluation), *run_tables.against_champion(judgement)]
        blocks += [Heading("Groups"), *run_tables.groups(judgement.analysis)]
        blocks += [Heading("Pictures"), _pictures(judgement, candidate)]
    if candidate is not None:
        blocks += _search(candidate)
    blocks += [Heading("How to make it again"), run_tables.digests(findings)]
    return page(f"{findings.model.name}: what the run found", blocks)


def plots_page(model: "Model", judgement: "Judgement", candidate: "CandidateSummary") -> str:
    """The page of a run's pictures alone.

    Args:
        model: the spec.
        judgement: what was found on the evaluation block.
        candidate: what is stored of the candidate.
    """
    title = f"{model.name}: pictures of the evaluation"
    return page(title, [Heading(title, 1), _pictures(judgement, candidate)])


def _head(findings: "Findings") -> list[Block]:
    spec, stopping = findings.model.spec, [result.name for result in findings.results if result.verdict in ("fail", "undecided")]
    if findings.registered:
        state = Banner(strong("Registered: every gate passed or was not applicable."), "registered")
    else:
        why = f"Not registered. What stopped it: {', '.join(stopping) or 'it did not come to its end'}."
        state = Banner(strong(why), "stopped")
    return [
        Heading(f"{findings.model.name}: what the run found", 1),
        state,
        Paragraph(sentence(spec.description)),
        Paragraph(
            (
                strong("Question"),
                f": {sentence(spec.objective.question)} ",
                strong("On a yes"),
                f": {sentence(spec.objective.action)} ",
                strong("Owner"),
                f": {sentence(spec.owner)}",
            )
        ),
    ]


def _data(findings: "Findings") -> list[Block]:
    info = findings.info
    lists = [Points(notes) for notes in (info.notes, findings.validation.findings) if notes]
    return [Heading("Data"), Paragraph(run_tables.requests(info)), run_tables.look_ups(info), *lists]


def _metrics(block: "BlockEvaluation") -> list[Block]:
    rows = [
        (METRIC_NAMES[name], metric_value(name, block), _baseline(name, block)) for name in METRIC_NAMES if name in block.metrics
    ]
    explanation = (
        f"{count(block.rows)} labelled requests on {count(block.days)} days, {day(block.start)} to {last_day(block.end)}; "
        f"{percent(block.label_rate)} true; {count(block.unlabelled)} without a label are in no metric. In brackets the range "
        f"that holds the true value with a certainty of {percent(2 * block.confidence - 1)}. It acts from "
        f"{percent(block.threshold)} on. Utility is per 1,000 requests, beyond the better of always and never acting."
    )
    missing = [Paragraph(f"{METRIC_NAMES.get(name, name)}: {sentence(why)}") for name, why in sorted(block.missing.items())]
    head = ("metric", "value", "baseline")
    metrics = Table(head, rows, "Nothing could be measured.", "How good it is on the newest days.", head[1:])
    return [Heading("How good it is"), Paragraph(explanation), metrics, *missing]


def _baseline(name: str, block: "BlockEvaluation") -> str:
    baseline = block.metrics.get(f"baseline_{name}")
    return "–" if baseline is None or name == "utility" else figure(baseline.value)


def _pictures(judgement: "Judgement", candidate: "CandidateSummary") -> Block:
    images = plots.draw(judgement, candidate)
    if not images:
        return Paragraph("There is nothing to draw.")
    return Gallery(tuple(Picture(content, f"{plots.TITLES[name]}. {ALT[name]}") for name, content in images.items()))


def _search(candidate: "CandidateSummary") -> list[Block]:
    recipe = candidate.search.recipe
    choice = f"{kind(recipe.kind)} with {parameters(recipe)}, on {count(len(recipe.columns))} columns"
    return [
        Heading("How it was found"),
        Paragraph(f"Taken: {choice}. Fitted on {count(candidate.rows)} labelled rows."),
        _trials(candidate.search),
        _columns(candidate.search),
    ]


def _trials(search: "SearchResult") -> Table:
    rows = [
        (
            kind(trial.recipe.kind),
            parameters(trial.recipe),
            *(figure(value) for value in (trial.log_loss, trial.auc, trial.fit_seconds)),
        )
        for trial in sorted(search.trials, key=lambda trial: trial.log_loss)
    ]
    head = ("candidate", "parameters", "log loss", "AUC", "seconds to fit")
    spent = " The time ended before everything was tried." if search.budget_spent else ""
    caption = f"Best first, each predicted on blocks of time by a model that had seen only what came before.{spent}"
    return Table(head, rows, "Nothing was searched: the champion's recipe was fitted again.", caption, head[2:])


def _columns(search: "SearchResult") -> Table:
    rows = [
        (column.column, figure(column.mean), figure(column.standard_error), "yes" if column.selected else "no")
        for column in run_tables.ranked(search.importances)
    ]
    head, note = ("column", "rise of the log loss", "standard error", "kept"), sentence(search.selection_note)
    return Table(head, rows, note, note, head[1:3])
