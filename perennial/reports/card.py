"""The model card: what a version is for, how it was judged and where it ends, in plain words, from stored findings only.

The same findings give the same bytes. A version keeps its card as Markdown; `card_page` is the same card as an HTML page. A table
that would be empty is a sentence instead. The page for a reader who knows no statistics is `perennial.reports.summary`.
"""

from typing import TYPE_CHECKING

from perennial.reports import run_tables
from perennial.reports.blocks import Document, Heading, Mark, Paragraph, Points, Table, Text, code, strong
from perennial.reports.formats import (
    count,
    day,
    figure,
    kind,
    last_day,
    of_100,
    parameters,
    percent,
    sentence,
)
from perennial.reports.html import page
from perennial.reports.markdown import markdown
from perennial.reports.run_tables import METRIC_NAMES, metric_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perennial.data.dataset import DatasetInfo
    from perennial.evaluation.calibration import Calibrator
    from perennial.evaluation.metrics import BlockEvaluation
    from perennial.spec.model import Model
    from perennial.training.recipe import SearchResult, Trial
    from perennial.versions.findings import CandidateSummary, Findings, Judgement


def card(findings: "Findings", unjudged: "Sequence[str]" = ()) -> str:
    """The model card as Markdown.

    Args:
        findings: what the run found; it came to its gates.
        unjudged: what no window of the version can be judged by, a sentence each.

    Raises:
        ValueError: there is no candidate, or it was not judged.
    """
    return markdown(_document(findings, unjudged))


def card_page(findings: "Findings", unjudged: "Sequence[str]" = ()) -> str:
    """The model card as an HTML page; arguments and errors as in `card`."""
    return page(f"Model card: {findings.model.name}", _document(findings, unjudged))


def _document(findings: "Findings", unjudged: "Sequence[str]") -> list[Document]:
    candidate, judgement = findings.candidate, findings.judgement
    if candidate is None or judgement is None:
        raise ValueError("a card needs a candidate that was judged; the run did not come so far")
    return [
        *_head(findings),
        *_purpose(findings.model),
        *_data(findings.model, findings.info, judgement.evaluation),
        *_candidates(candidate),
        *_metrics(findings.model, candidate, judgement.evaluation),
        *run_tables.against_champion(judgement),
        *_segments(judgement),
        Heading("Gates"),
        run_tables.gates(findings),
        *_limits(findings, unjudged),
        *_care(findings.model),
        *_reproduction(findings),
    ]


def _head(findings: "Findings") -> list[Document]:
    model, contract = findings.model, findings.contract
    state: tuple[str | Mark, ...]
    if contract is None:
        state = ("This candidate was ", strong("not registered"), ": a gate stopped it. Nothing of it is shipped.")
    else:
        period = f"{day(contract.trained_from)} to {last_day(contract.trained_until)}"
        state = (f"A registered version, trained on {period}. Run key ", code(contract.run_key), ".")
    return [
        Heading(f"Model card: {model.name}", 1),
        Paragraph(sentence(model.spec.description)),
        Paragraph(state),
        Paragraph(f"Owner: {sentence(model.spec.owner)}"),
    ]


def _purpose(model: "Model") -> list[Document]:
    objective = model.spec.objective
    return [
        Heading("What it is for"),
        Paragraph((strong("The question"), f": {sentence(objective.question)}")),
        Paragraph((strong("What is done on a yes"), f": {sentence(objective.action)}")),
        Paragraph((strong("What an answer is worth"), f", in {objective.utility.unit} per request:")),
        _worth(model),
        Paragraph((strong("When it earns its keep"), ":")),
        _criteria(model),
        Paragraph(
            (
                strong("Intended use"),
                ": to answer this question for single requests like those it was trained on, for the action above. ",
                strong("Not intended"),
                ": any other question or action, requests of another kind or from elsewhere, or a decision about a person that "
                "nobody can contest.",
            )
        ),
    ]


def _worth(model: "Model") -> Table:
    utility = model.spec.objective.utility
    rows = [
        ("acted, and the label is positive", figure(utility.true_positive)),
        ("acted, and it is negative", figure(utility.false_positive)),
        ("did not act, and the label is positive", figure(utility.false_negative)),
        ("did not act, and it is negative", figure(utility.true_negative)),
    ]
    return Table(("what happened", "worth"), rows, numbers=("worth",))


def _criteria(model: "Model") -> Table:
    objective = model.spec.objective
    rows = [
        (
            criterion.name,
            "success" if criterion in objective.success_criteria else "guard-rail",
            METRIC_NAMES[criterion.metric],
            f"at least {figure(criterion.at_least)}"
            if criterion.at_least is not None
            else f"at most {figure(criterion.at_most or 0.0)}",
            sentence(criterion.why),
        )
        for criterion in objective.criteria
    ]
    return Table(("criterion", "kind", "measured by", "bound", "why"), rows, "No criterion is named.")


def _data(model: "Model", info: "DatasetInfo", block: "BlockEvaluation") -> list[Document]:
    return [
        Heading("Data"),
        Paragraph(run_tables.requests(info)),
        *(Paragraph((strong("Left out or missing in the sources"), f": {note}.")) for note in info.notes),
        Paragraph((strong("When a label never comes"), f": {sentence(model.spec.label.never)}")),
        Paragraph(
            f"It was judged on the newest {count(block.days)} days, {day(block.start)} to {last_day(block.end)}: "
            f"{count(block.rows)} labelled requests, {percent(block.label_rate)} of them true; {count(block.unlabelled)} without "
            "a label are in no metric below."
        ),
        Paragraph("What was looked up for each request, as it could be read at that time:"),
        run_tables.look_ups(info),
        Paragraph("How old a looked-up value may be:"),
        Table(
            ("view", "limit in hours", "beyond it"),
            [(limit.view, figure(limit.max_age_hours), ON_STALE[limit.on_stale]) for limit in model.spec.features.freshness],
            "No view has a limit.",
            numbers=("limit in hours",),
        ),
    ]


ON_STALE = {
    "reject": "no prediction is made",
    "default": "the value counts as missing",
    "last_known": "the old value is used, and the answer says so",
}
"""What happens with a value that is too old, in words."""


def _candidates(candidate: "CandidateSummary") -> list[Document]:
    search, recipe = candidate.search, candidate.search.recipe
    return [
        Heading("How it was found"),
        *_search(search),
        Paragraph(
            (strong("Taken"), f": {kind(recipe.kind)} with {parameters(recipe)}, on {count(len(recipe.columns))} columns.")
        ),
        *_importances(search),
        Paragraph(_calibration(candidate.calibrator)),
        Paragraph(f"The judged model was fitted on {count(candidate.rows)} labelled rows from before those days."),
    ]


def _calibration(calibrator: "Calibrator") -> str:
    return {
        "none": "Its probabilities are used as they are.",
        "sigmoid": (
            f"Its log-odds are multiplied by {figure(calibrator.slope)} and shifted by {figure(calibrator.intercept)}, so that "
            "it says what comes true; both were fitted on predictions for rows that the model had not seen."
        ),
        "isotonic": (
            f"Its probabilities are mapped by a rising curve of {count(len(calibrator.x))} points, so that it says what comes "
            "true; they were fitted on predictions for rows that the model had not seen."
        ),
    }[calibrator.kind]


def _search(search: "SearchResult") -> list[Document]:
    if search.mode == "refit":
        return [Paragraph("Nothing was searched: the champion's recipe was fitted again on newer rows.")]
    spent = (
        "The time for the search ended before everything was tried." if search.budget_spent else "Everything planned was tried."
    )
    method = "Candidates were compared on blocks of time, each predicted by a model that had seen only what came before it."
    return [Paragraph(f"{method} {spent}"), _best(search.trials)]


def _best(trials: "Sequence[Trial]") -> Table:
    """The best trial of each kind of candidate, in the order in which the kinds were tried."""
    best: dict[str, Trial] = {}
    for trial in trials:
        if trial.recipe.kind not in best or trial.log_loss < best[trial.recipe.kind].log_loss:
            best[trial.recipe.kind] = trial
    kinds = [trial.recipe.kind for trial in trials]
    rows = [
        (
            kind(name),
            count(kinds.count(trial.recipe.kind)),
            parameters(trial.recipe),
            *(figure(value) for value in (trial.log_loss, trial.auc, trial.fit_seconds)),
        )
        for name, trial in best.items()
    ]
    head = ("candidate", "tried", "its best parameters", "log loss (lower is better)", "AUC (higher is better)", "seconds to fit")
    return Table(head, rows, "No candidate was tried.", numbers=(head[1], *head[3:]))


def _importances(search: "SearchResult") -> list[Document]:
    rows = [
        (column.column, f"{figure(column.mean)} ± {figure(column.standard_error)}", "yes" if column.selected else "no")
        for column in run_tables.ranked(search.importances)
    ]
    if not rows:
        return [Paragraph(sentence(search.selection_note))]
    rise = f"What it looks at: how much the log loss rises when a column is shuffled. {sentence(search.selection_note)}"
    head = ("column", "rise ± standard error", "kept")
    return [Paragraph(rise), Table(head, rows, numbers=head[1:2])]


def _metrics(model: "Model", candidate: "CandidateSummary", block: "BlockEvaluation") -> list[Document]:
    means = _meanings(model, candidate, block)
    rows = [(METRIC_NAMES[name], metric_value(name, block), means[name]) for name in METRIC_NAMES if name in block.metrics]
    return [
        Heading("How good it is"),
        Paragraph(
            f"In brackets the range that holds the true value with a certainty of {percent(2 * block.confidence - 1)}; it comes "
            f"from the differences between whole days, {count(block.days)} of them. The model acts from a probability of "
            f"{percent(block.threshold)} on, which follows from what an answer is worth."
        ),
        Table(("metric", "value", "what it means"), rows, "Nothing could be measured on these days.", numbers=("value",)),
        *(
            Paragraph(f"{METRIC_NAMES.get(name, name)} could not be measured: {sentence(why)}")
            for name, why in sorted(block.missing.items())
        ),
        *_invalid(block),
    ]


def _invalid(block: "BlockEvaluation") -> list[Document]:
    if not block.invalid:
        return []
    fault = strong(f"{count(block.invalid)} probabilities were not numbers between 0 and 1")
    return [Paragraph((fault, ": such a model is broken."))]


def _meanings(model: "Model", candidate: "CandidateSummary", block: "BlockEvaluation") -> dict[str, Text]:
    def beside(name: str) -> str:
        baseline = block.metrics.get(f"baseline_{name}")
        return "" if baseline is None else f" The baseline, the same probability for every request, has {figure(baseline.value)}."

    auc = block.metrics.get("auc")
    pairs = "" if auc is None else of_100(auc.value)
    constant = "always" if candidate.baseline.acts else "never"
    return {
        "auc": f"Of a true and another case it gives the true one the higher probability in {pairs} pairs; a coin does in 50.",
        "average_precision": (
            "Share of true ones among its first alarms, averaged over all lengths of the list; a random list has "
            f"{percent(block.label_rate)}."
        ),
        "log_loss": (
            "Distance of the probabilities from what came true, where ",
            Mark("sure and wrong", "em"),
            f" counts most; lower is better.{beside('log_loss')}",
        ),
        "brier": f"Mean squared distance of the probabilities from what came true; lower is better.{beside('brier')}",
        "calibration_gap": "Difference between the mean probability and the share of positives; 0 is right on average.",
        "utility": (
            f"What acting on it earns per 1,000 requests, in {model.spec.objective.utility.unit}, beyond what {constant} acting "
            "earns, the better of the two rules that need no model."
        ),
        "unlabelled_share": "Nobody knows what came true for these; they are in no other metric.",
    }


def _segments(judgement: "Judgement") -> list[Document]:
    says = (
        "For each group, how much higher (worse) or lower (better) its log loss is than the comparator's in the same rows: first "
        "for groups that the spec names, then for the worst groups that were found by searching all columns."
    )
    return [Heading("Groups"), Paragraph(says), *run_tables.groups(judgement.analysis)]


def _limits(findings: "Findings", unjudged: "Sequence[str]") -> list[Document]:
    lines = [
        f"It knows {day(findings.info.start)} to {last_day(findings.info.end)} only; other seasons it has not seen.",
        "It knows its columns only: a cause that none of them shows is invisible to it.",
        "A category that it never saw is treated as unknown, a missing value as missing.",
    ]
    if findings.judgement is not None:
        few = [group.name for group in findings.judgement.analysis.declared if not group.judged]
        if few:
            lines.append(f"Too few cases to judge: {', '.join(few)}.")
    if findings.contract is not None:
        lines.append(
            "The shipped model is not exactly the judged one: after the gates the same recipe was fitted again on all labelled "
            "rows, the judged days included. How well both agree stands among the gates."
        )
    lines += [f"Not watched while it serves: {reason}." for reason in unjudged]
    return [Heading("Limits"), Points(tuple(lines))]


def _care(model: "Model") -> list[Document]:
    monitoring, retraining, serving = model.spec.monitoring, model.spec.retraining, model.spec.serving
    age: tuple[str | Mark, ...] = ()
    if retraining.max_age_days is not None:
        age = (" (", Mark("scheduled", "em"), f" at {count(retraining.max_age_days)} days)")
    who = "starts by itself" if retraining.mode == "automatic" else "waits for a person's word"
    return [
        Heading("How it is looked after"),
        Paragraph(
            (
                f"It is watched in windows of {count(monitoring.window_days)} days. It is trained again for these reasons: "
                f"{', '.join(retraining.reasons)}",
                *age,
                f"; such a training {who}, and the gates decide what becomes of it. An answer should come within "
                f"{figure(serving.p95_ms)} ms in 95 % of the cases.",
            )
        ),
    ]


def _reproduction(findings: "Findings") -> list[Document]:
    return [
        Heading("How to make it again"),
        Paragraph(
            (
                "A training with the same spec, definitions, dataset, code and seed has the same run key and gives the same "
                "predictions. The exact versions of Python and of every library stand in the version's ",
                code("environment"),
                " file.",
            )
        ),
        run_tables.digests(findings),
    ]
