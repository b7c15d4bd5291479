"""The model card: what a version is for, how it was judged and where it ends, in plain words, from stored findings only.

The same findings give the same bytes. A table that would be empty is a sentence instead. The page for a reader who knows no
statistics is `perennial.reports.summary`.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from perennial.reports.formats import (
    count,
    day,
    figure,
    interval,
    kind,
    last_day,
    of_100,
    parameters,
    percent,
    percent_interval,
    rival,
    sentence,
)
from perennial.reports.markdown import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perennial.data.dataset import DatasetInfo
    from perennial.evaluation.metrics import BlockEvaluation, Comparison, SegmentResult
    from perennial.spec.model import Model
    from perennial.training.recipe import SearchResult, Trial
    from perennial.versions.findings import CandidateSummary, Findings, Judgement

METRIC_NAMES = {
    "auc": "Ranking (AUC)",
    "average_precision": "Average precision",
    "log_loss": "Log loss",
    "brier": "Brier score",
    "calibration_gap": "Calibration gap",
    "utility": "Utility",
    "unlabelled_share": "Requests without a label",
}
"""Metrics of the card in their order, with their names."""


def card(findings: "Findings", unjudged: "Sequence[str]" = ()) -> str:
    """The model card as Markdown.

    Args:
        findings: what the run found; it came to its gates.
        unjudged: what no window of the version can be judged by, a sentence each.
    """
    candidate, judgement = findings.candidate, findings.judgement
    if candidate is None or judgement is None:
        raise ValueError("a card needs a candidate that was judged; the run did not come so far")
    parts = [
        *_head(findings),
        *_purpose(findings.model),
        *_data(findings.model, findings.info, judgement.evaluation),
        *_candidates(candidate),
        *_metrics(findings.model, candidate, judgement.evaluation),
        *_comparison(judgement),
        *_segments(judgement),
        *_gates(findings),
        *_limits(findings, unjudged),
        *_care(findings.model),
        *_reproduction(findings),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(findings: "Findings") -> list[str]:
    model, contract = findings.model, findings.contract
    if contract is None:
        state = "This candidate was **not registered**: a gate stopped it. Nothing of it is shipped."
    else:
        state = (
            f"A registered version, trained on {day(contract.trained_from)} to {last_day(contract.trained_until)}. "
            f"Run key `{contract.run_key}`."
        )
    return [f"# Model card: {model.name}", sentence(model.spec.description), state, f"Owner: {sentence(model.spec.owner)}"]


def _purpose(model: "Model") -> list[str]:
    objective = model.spec.objective
    utility = objective.utility
    worth = [
        ["acted, and it came true", figure(utility.true_positive)],
        ["acted, and it did not", figure(utility.false_positive)],
        ["did not act, and it came true", figure(utility.false_negative)],
        ["did not act, and it did not", figure(utility.true_negative)],
    ]
    criteria = [
        [
            criterion.name,
            "success" if criterion in objective.success_criteria else "guard-rail",
            METRIC_NAMES[criterion.metric],
            f"at least {figure(criterion.at_least)}"
            if criterion.at_least is not None
            else f"at most {figure(criterion.at_most or 0.0)}",
            sentence(criterion.why),
        ]
        for criterion in objective.criteria
    ]
    return [
        "## What it is for",
        f"**The question**: {sentence(objective.question)}",
        f"**What is done on a yes**: {sentence(objective.action)}",
        f"**What an answer is worth**, in {utility.unit} per request:",
        table(["what happened", "worth"], worth, ""),
        "**When it earns its keep**:",
        table(["criterion", "kind", "measured by", "bound", "why"], criteria, "No criterion is named."),
        (
            "**Intended use**: to answer this question for single requests like those it was trained on, for the action above. "
            "**Not intended**: any other question or action, requests of another kind or from elsewhere, or a decision about a "
            "person that nobody can contest."
        ),
    ]


def _data(model: "Model", info: "DatasetInfo", block: "BlockEvaluation") -> list[str]:
    views = [
        [
            view.view,
            count(view.lost),
            count(view.stale),
            "none found" if view.median_age_hours is None else figure(view.median_age_hours),
        ]
        for view in info.views
    ]
    limits = [[limit.view, figure(limit.max_age_hours), ON_STALE[limit.on_stale]] for limit in model.spec.features.freshness]
    return [
        "## Data",
        (
            f"{count(info.rows)} requests from {day(info.start)} to {last_day(info.end)}; {count(info.labelled)} of them have a "
            f"label, {count(info.rejected)} more were left out because a value they may not do without was too old. "
            f"Nothing that became known after {day(info.now)} is in it."
        ),
        *(f"**Left out or missing in the sources**: {note}." for note in info.notes),
        f"**When a label never comes**: {sentence(model.spec.label.never)}",
        (
            f"It was judged on the newest {count(block.days)} days, {day(block.start)} to {last_day(block.end)}: "
            f"{count(block.rows)} labelled requests, {percent(block.label_rate)} of them true; {count(block.unlabelled)} without "
            "a label are in no metric below."
        ),
        "What was looked up for each request, as it could be read at that time:",
        table(
            ["view", "nothing found", "older than its limit", "median age in hours"],
            views,
            "Nothing is looked up: the request brings all.",
        ),
        "How old a looked-up value may be:",
        table(["view", "limit in hours", "beyond it"], limits, "No view has a limit."),
    ]


ON_STALE = {
    "reject": "no prediction is made",
    "default": "the value counts as missing",
    "last_known": "the old value is used, and the answer says so",
}
"""What happens with a value that is too old, in words."""


def _candidates(candidate: "CandidateSummary") -> list[str]:
    search, calibrator = candidate.search, candidate.calibrator
    recipe = search.recipe
    chosen = f"**Taken**: {kind(recipe.kind)} with {parameters(recipe)}, on {count(len(recipe.columns))} columns."
    calibration = {
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
    fitted = f"The judged model was fitted on {count(candidate.rows)} labelled rows from before those days."
    return ["## How it was found", *_search(search), chosen, *_importances(search), calibration, fitted]


def _search(search: "SearchResult") -> list[str]:
    if search.mode == "refit":
        return ["Nothing was searched: the champion's recipe was fitted again on newer rows."]
    best: dict[str, Trial] = {}
    for trial in search.trials:
        if trial.recipe.kind not in best or trial.log_loss < best[trial.recipe.kind].log_loss:
            best[trial.recipe.kind] = trial
    tried = [trial.recipe.kind for trial in search.trials]
    rows = [
        [
            kind(name),
            count(tried.count(trial.recipe.kind)),
            parameters(trial.recipe),
            figure(trial.log_loss),
            figure(trial.auc),
            figure(trial.fit_seconds),
        ]
        for name, trial in best.items()
    ]
    head = ["candidate", "tried", "its best parameters", "log loss (lower is better)", "AUC (higher is better)", "seconds to fit"]
    spent = (
        "The time for the search ended before everything was tried." if search.budget_spent else "Everything planned was tried."
    )
    return [
        f"Candidates were compared on blocks of time, each predicted by a model that had seen only what came before it. {spent}",
        table(head, rows, "No candidate was tried."),
    ]


def _importances(search: "SearchResult") -> list[str]:
    ranked = sorted(search.importances, key=lambda found: (-found.mean, found.column))
    rows = [
        [found.column, f"{figure(found.mean)} ± {figure(found.standard_error)}", "yes" if found.selected else "no"]
        for found in ranked
    ]
    if not rows:
        return [sentence(search.selection_note)]
    return [
        f"What it looks at: how much the log loss rises when a column is shuffled. {sentence(search.selection_note)}",
        table(["column", "rise ± standard error", "kept"], rows, ""),
    ]


def _metrics(model: "Model", candidate: "CandidateSummary", block: "BlockEvaluation") -> list[str]:
    means = _meanings(model, candidate, block)
    rows = [[METRIC_NAMES[name], metric_value(name, block), means[name]] for name in METRIC_NAMES if name in block.metrics]
    parts = [
        "## How good it is",
        (
            f"In brackets the range that holds the true value with a certainty of {percent(2 * block.confidence - 1)}; it comes "
            f"from the differences between whole days, {count(block.days)} of them. The model acts from a probability of "
            f"{percent(block.threshold)} on, which follows from what an answer is worth."
        ),
        table(["metric", "value", "what it means"], rows, "Nothing could be measured on these days."),
    ]
    parts += [
        f"{METRIC_NAMES.get(name, name)} could not be measured: {sentence(why)}" for name, why in sorted(block.missing.items())
    ]
    if block.invalid:
        parts.append(f"**{count(block.invalid)} probabilities were not numbers between 0 and 1**: such a model is broken.")
    return parts


def metric_value(name: str, block: "BlockEvaluation") -> str:
    """A metric with its interval, in its unit."""
    estimate = block.metrics[name]
    return percent_interval(estimate) if name == "unlabelled_share" else interval(estimate)


def _meanings(model: "Model", candidate: "CandidateSummary", block: "BlockEvaluation") -> dict[str, str]:
    def beside(name: str) -> str:
        naive = block.metrics.get(f"naive_{name}")
        return "" if naive is None else f" The naive rule, the same probability for every request, has {figure(naive.value)}."

    auc = block.metrics.get("auc")
    pairs = "" if auc is None else of_100(auc.value)
    constant = "always" if candidate.naive.acts else "never"
    return {
        "auc": f"Of a true and another case it gives the true one the higher probability in {pairs} pairs; a coin does in 50.",
        "average_precision": (
            "Share of true ones among its first alarms, averaged over all lengths of the list; a random list has "
            f"{percent(block.label_rate)}."
        ),
        "log_loss": (
            "Distance of the probabilities from what came true, where *sure and wrong* counts most; lower is better."
            f"{beside('log_loss')}"
        ),
        "brier": f"Mean squared distance of the probabilities from what came true; lower is better.{beside('brier')}",
        "calibration_gap": "Difference between the mean probability and the share that came true; 0 is right on average.",
        "utility": (
            f"What acting on it earns per 1,000 requests, in {model.spec.objective.utility.unit}, beyond what {constant} acting "
            "earns, the better of the two rules that need no model."
        ),
        "unlabelled_share": "Nobody knows what came true for these; they are in no other metric.",
    }


def _comparison(judgement: "Judgement") -> list[str]:
    comparison = judgement.comparison
    if comparison is None:
        return ["## Against the champion", f"Not compared: {sentence(judgement.no_comparison)}"]
    return ["## Against the champion", sentence(comparison.basis), _differences(comparison)]


def _differences(comparison: "Comparison") -> str:
    auc = comparison.auc_difference
    rows = [
        ["log loss", percent_interval(comparison.log_loss_ratio), "below 0 is better"],
        ["AUC", "not measured" if auc is None else interval(auc), "above 0 is better"],
        ["utility per 1,000 requests", interval(comparison.utility_difference), "above 0 is better"],
    ]
    return table(["challenger less champion", "difference", "how to read it"], rows, "")


def _segments(judgement: "Judgement") -> list[str]:
    analysis = judgement.analysis
    parts = [
        "## Groups",
        (
            "For each group, how much higher (worse) or lower (better) its log loss is than the rival's in the same rows. Groups "
            "that the spec names:"
        ),
        _groups(analysis.declared, "The spec names no groups."),
        "The worst groups that were found by searching all columns:",
        _groups(analysis.found, "No group was found that stands out."),
    ]
    return [*parts, sentence(analysis.note)] if analysis.note else parts


def _groups(groups: Iterable["SegmentResult"], otherwise: str) -> str:
    rows = [
        [
            group.name,
            count(group.rows),
            count(group.days),
            percent(group.label_rate),
            percent_interval(group.excess),
            rival(group.rival),
            "yes" if group.judged else "no",
        ]
        for group in groups
    ]
    return table(["group", "rows", "days", "came true", "excess", "rival", "enough to judge"], rows, otherwise)


def _gates(findings: "Findings") -> list[str]:
    rows = [[result.name, result.verdict, sentence(result.sentence)] for result in findings.results]
    return ["## Gates", table(["gate", "verdict", "what was found"], rows, "No gate was reached.")]


def _limits(findings: "Findings", unjudged: "Sequence[str]") -> list[str]:
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
    lines += [f"Not watched while it serves: {said}." for said in unjudged]
    return ["## Limits", "\n".join(f"- {line}" for line in lines)]


def _care(model: "Model") -> list[str]:
    monitoring, retraining, serving = model.spec.monitoring, model.spec.retraining, model.spec.serving
    age = "" if retraining.max_age_days is None else f" (*scheduled* at {count(retraining.max_age_days)} days)"
    who = "starts by itself" if retraining.mode == "automatic" else "waits for a person's word"
    return [
        "## How it is looked after",
        (
            f"It is watched in windows of {count(monitoring.window_days)} days. It is trained again for these reasons: "
            f"{', '.join(retraining.reasons)}{age}; such a training {who}, and the gates decide what becomes of it. "
            f"An answer should come within {figure(serving.p95_ms)} ms in 95 % of the cases."
        ),
    ]


def _reproduction(findings: "Findings") -> list[str]:
    info, contract = findings.info, findings.contract
    rows = [
        ["dataset (values)", f"`{info.digest}`"],
        ["feature definitions", f"`{info.definitions_digest}`"],
        [f"feature service {info.service}", f"`{info.service_digest}`"],
        ["seed", str(findings.model.spec.training.seed)],
    ]
    if contract is not None:
        rows.insert(0, ["run key", f"`{contract.run_key}`"])
    return [
        "## How to make it again",
        (
            "A training with the same spec, definitions, dataset, code and seed has the same run key and gives the same "
            "predictions. The exact versions of Python and of every library stand in the version's `environment` file."
        ),
        table(["what", "digest"], rows, ""),
    ]
