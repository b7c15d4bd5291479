"""What Kubeflow's page shows of a run beside its log: its report, what became of it in words, and its metrics."""

import html as escaping
import shutil
from pathlib import Path

from perennial.versions.findings import Findings
from pipelines.kubeflow.pod import PodEnd


def write_pages(ended: PodEnd, *, html: Path, markdown: Path) -> None:
    """Write the page of a run and its end in words. Both exist in any case: a server may refuse a step that leaves one out.

    Args:
        ended: what became of the pod.
        html: where the page goes.
        markdown: where the words go.
    """
    for path in (html, markdown):
        path.parent.mkdir(parents=True, exist_ok=True)
    report = None if ended.results is None else ended.results / "report.html"
    if report is not None and report.exists():
        shutil.copyfile(report, html)
    else:
        html.write_text(f"<p>{escaping.escape(ended.sentence)}</p>\n", encoding="utf-8")
    markdown.write_text(_words(ended), encoding="utf-8")


def metrics_of(ended: PodEnd) -> dict[str, float]:
    """Point estimates of the candidate, by name; empty where none was judged."""
    findings = _findings(ended)
    if findings is None or findings.judgement is None:
        return {}
    return {name: estimate.value for name, estimate in findings.judgement.evaluation.metrics.items()}


def _words(ended: PodEnd) -> str:
    lines = [f"**{ended.outcome}**: {ended.sentence}", ""]
    findings = _findings(ended)
    if findings is not None:
        lines += ["| gate | verdict | what it saw |", "|---|---|---|"]
        lines += [f"| {result.name} | {result.verdict} | {_cell(result.sentence)} |" for result in findings.results]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _findings(ended: PodEnd) -> Findings | None:
    """What a training found; none of a monitoring run, of one that broke, or where this pod executed nothing."""
    if ended.results is None or not (ended.results / "spec.json").exists():
        return None
    return Findings.read(ended.results)
