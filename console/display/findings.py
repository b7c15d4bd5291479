"""What a run found, as tables: candidates, metrics with intervals, gates, worst segments, time of each step, what to look at."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from console.display.output import table
from perennial.evaluation.gates import GateResult
from perennial.evaluation.metrics import BlockEvaluation, Estimate
from perennial.ledger import Run
from perennial.settings import Settings
from perennial.versions.findings import CandidateSummary, Findings, Judgement
from pipelines.log import Step

MARKS = {
    "pass": Text("pass", "green"),
    "fail": Text("fail", "red"),
    "undecided": Text("undecided", "yellow"),
    "not applicable": Text("n/a"),
}


def show_findings(out: Console, settings: Settings, run: Run, findings: Findings, steps: Sequence[Step]) -> None:
    """Print everything that a reader needs to judge a run."""
    info = findings.info
    out.print(
        f"\nDataset {info.digest[:16]}: {info.rows:,} requests from {info.start[:10]} to {info.end[:10]}, "
        f"{info.labelled:,} with a label; judged on {info.evaluation_start[:10]} to {info.end[:10]}"
    )
    for note in info.notes:
        out.print(f"  note     {note}", soft_wrap=True)
    if findings.candidate:
        show_candidates(out, findings.candidate)
    if findings.judgement:
        show_metrics(out, findings.judgement.evaluation)
        show_comparison(out, findings.judgement)
    show_gates(out, findings)
    if findings.judgement:
        show_segments(out, findings.judgement)
    if steps:
        timed = [(step.name, f"{step.seconds:.1f}") for step in steps] + [("all", f"{sum(step.seconds for step in steps):.1f}")]
        out.print(table("Time of each step", ("step", "seconds"), timed, numbers=("seconds",)))
    out.print(Text.assemble((str(run.outcome), "bold"), f": {run.reason}"))
    out.print(f"  report   {settings.results / run.run_id / 'report.html'}", soft_wrap=True)
    if findings.registered:
        out.print(f"  card     perennial card {run.model}      for everyone: perennial card {run.model} --summary")
    out.print(f"  logs     perennial logs {run.run_id}", soft_wrap=True)


def show_recorded(out: Console, run: Run, results: Sequence[GateResult]) -> None:
    """Print what the ledger knows of a run that executed on another host: its gates and its outcome, and where the rest is."""
    if results:
        _show_results(out, results)
    out.print(Text.assemble((str(run.outcome), "bold"), f": {run.reason}"), soft_wrap=True)
    out.print(f"  report   on {run.host or 'the host that executed it'}, as its log is: nothing of them is on this machine")
    if run.outcome == "registered":
        out.print(f"  card     perennial card {run.model}      for everyone: perennial card {run.model} --summary")


def show_candidates(out: Console, candidate: CandidateSummary) -> None:
    """Print the trials of the search, best first."""
    search = candidate.search
    if search.note:
        out.print(search.note, soft_wrap=True)
    if search.mode == "refit":
        out.print(f"The champion's recipe was taken: {search.recipe.kind} {settings_of(search.recipe.parameters)}")
        return
    rows = [
        (
            trial.recipe.kind,
            settings_of(trial.recipe.parameters),
            f"{trial.log_loss:.4f}",
            f"{trial.auc:.4f}",
            f"{trial.fit_seconds:.1f}",
        )
        for trial in sorted(search.trials, key=lambda trial: trial.log_loss)
    ]
    columns = ("candidate", "parameters", "log loss", "AUC", "fit seconds")
    out.print(table("Candidates, on time-ordered folds before the evaluation block", columns, rows, numbers=columns[2:]))
    out.print(f"{search.selection_note}{' The budget ended the search.' if search.budget_spent else ''}")


def settings_of(parameters: dict[str, float]) -> str:
    """Hyper-parameters on one line.

    >>> settings_of({"c": 0.1, "rows": 50000.0})
    'c=0.1 rows=50000'
    """
    return " ".join(f"{name}={value:g}" if value < 1e5 else f"{name}={value:.0f}" for name, value in parameters.items())


def interval(estimate: Estimate, digits: int = 4) -> str:
    """An interval in brackets."""
    return f"[{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def show_metrics(out: Console, evaluation: BlockEvaluation) -> None:
    """Print the metrics of a block, with intervals over its days."""
    digits = {"utility": 1, "baseline_utility": 1}
    rows = [
        (name, f"{estimate.value:.{digits.get(name, 4)}f}", interval(estimate, digits.get(name, 4)))
        for name, estimate in evaluation.metrics.items()
    ]
    share = f"{2 * evaluation.confidence - 1:.0%}"
    title = (
        f"Evaluation: {evaluation.rows:,} labelled requests of {evaluation.days} days, "
        f"{evaluation.unlabelled:,} without a label; label rate {evaluation.label_rate:.3f}, threshold {evaluation.threshold:.3f}"
    )
    out.print(table(title, ("metric", "value", f"{share} interval over days"), rows, numbers=("value",)))


def show_comparison(out: Console, judgement: Judgement) -> None:
    """Print the comparison with the champion, or why there is none."""
    share = f"{2 * judgement.evaluation.confidence - 1:.0%}"
    if judgement.comparison is None:
        out.print(f"No comparison with a champion: {judgement.no_comparison}.")
        return
    compared = judgement.comparison
    differences = (
        ("log loss, relative", compared.log_loss_ratio, 4),
        ("AUC", compared.auc_difference, 4),
        ("utility per 1000", compared.utility_difference, 1),
    )
    rows = [
        (name, "–", "not computable") if estimate is None else (name, f"{estimate.value:+.{places}f}", interval(estimate, places))
        for name, estimate, places in differences
    ]
    out.print(table("Challenger less champion", ("metric", "difference", f"{share} interval"), rows, numbers=("difference",)))
    out.print(f"Compared: {compared.basis}.")


def show_gates(out: Console, findings: Findings) -> None:
    """Print what each gate said."""
    _show_results(out, findings.results)
    for finding in findings.validation.findings:
        out.print(f"  data: {finding}")


def _show_results(out: Console, results: Sequence[GateResult]) -> None:
    rows = [(result.name, MARKS[result.verdict], result.sentence) for result in results]
    out.print(table("Gates", ("gate", "verdict", "why"), rows))


def show_segments(out: Console, judgement: Judgement) -> None:
    """Print the groups in which the candidate is worst."""
    rows = [
        (
            group.name,
            f"{group.rows:,}",
            str(group.days),
            f"{group.label_rate:.3f}",
            f"{group.log_loss:.4f}",
            f"{group.excess.value:+.3f}",
            interval(group.excess, 3),
        )
        for group in judgement.analysis.found
    ]
    columns = ("group", "rows", "days", "label rate", "log loss", "avoidable", "interval")
    out.print(table("Worst groups, found by search", columns, rows, numbers=columns[1:6]))
    out.print(judgement.analysis.note)
