"""Registration: what a run found is kept, and becomes a version when every gate let it through."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from perennial import registry
from perennial.data.dataset import DatasetInfo
from perennial.data.validation import Validation
from perennial.ledger import Ledger, Version
from perennial.lifecycle import claim
from perennial.lifecycle.ending import Ending
from perennial.reports import run_plots as plots
from perennial.reports.card import card
from perennial.reports.run_page import report
from perennial.reports.summary import summary
from perennial.settings import Settings
from perennial.spec.model import Model
from perennial.spec.read import digest
from perennial.versions import store as version_store
from perennial.versions.contract import Contract
from perennial.versions.findings import CandidateSummary, Findings, GateResults, Judgement
from perennial.versions.folder import environment, remove_drafts
from perennial.versions.thresholds import Thresholds

REGISTERED, STOPPED, INVALID = "registered", "stopped", "invalid data"
"""What can become of a run."""


def collect(
    model: Model,
    dataset: Path,
    validation: Path,
    candidate: Path | None,
    judgement: Path | None,
    gates: Path | None,
    version: Path | None,
) -> Findings:
    """The findings of a run, from what its steps wrote.

    Args:
        model: the spec.
        dataset: folder of the dataset.
        validation: file of the gate *data*.
        candidate: folder of the trained candidate, if the run came to it.
        judgement: file of the judgement, if the run came to it.
        gates: file of all gates, if the run came to it.
        version: folder of the refitted model, if the run came to it.
    """
    return Findings(
        model=model,
        info=DatasetInfo.read(dataset / "dataset.json"),
        validation=Validation.read(validation),
        candidate=None if candidate is None else CandidateSummary.read(candidate / "candidate.json"),
        judgement=None if judgement is None else Judgement.read(judgement),
        gates=None if gates is None else GateResults.read(gates),
        contract=None if version is None else Contract.read(version / "contract.json"),
    )


def outcome_of(findings: Findings) -> tuple[str, str]:
    """What became of a run, in a word and in a sentence."""
    if findings.registered:
        return REGISTERED, "every gate passed or was not applicable"
    failures = [result for result in findings.results if result.verdict not in ("pass", "not applicable")]
    verdicts = "; ".join(f"{result.name} {result.verdict}" for result in failures)
    return (INVALID if findings.gates is None else STOPPED), f"nothing registered: {verdicts}{_noted(findings)}"


def _noted(findings: Findings) -> str:
    """What people should know of the search, behind a sentence."""
    note = "" if findings.candidate is None else findings.candidate.search.note
    return f". {note.removesuffix('.')}" if note else ""


def register(
    settings: Settings,
    findings: Findings,
    ending: Ending,
    run_key: str,
    page: Path,
    version: Path | None = None,
    thresholds: Path | None = None,
) -> str:
    """Keep the findings of a run, register its version if it made one; returns what became of the run.

    Called again for the same run, or for another with the same run key, nothing is registered twice.

    Args:
        settings: where ledger, MLflow, results and versions are.
        findings: what the run found.
        ending: the run.
        run_key: key of the training.
        page: where the run's report is written besides.
        version: folder of the refitted model, if the run came to it.
        thresholds: folder of the version's alarm thresholds and weekly blocks; a version without them is not judged for drift.

    Raises:
        FencedError: the claim was taken since, by another start of the run or by another run.
        PlatformError: ledger, MLflow or a folder cannot be written; the step may be run again.
    """
    folder = settings.results / ending.run_id
    with Ledger.open(settings.ledger).with_fence(ending.fence) as ledger:
        ledger.check_fence()
        findings.write(folder)
        pictures = plots.write(findings, folder / "plots")
        text = report(findings)
        for path in (folder / "report.html", page):
            path.write_text(text, encoding="utf-8")
        outcome, reason = outcome_of(findings)
        mlflow_run_id = _log(settings, findings, ending, run_key, outcome)
        ledger.write_gates(ending.run_id, findings.results)
        if findings.registered and version is not None:
            files = {**_files(folder, version, thresholds), **pictures}
            reason = _add_version(settings, ledger, findings, files, ending, run_key, mlflow_run_id)
        fields = {"outcome": outcome, "reason": reason, "run_key": run_key, "dataset": findings.info.digest}
        run = ledger.finish_run(ending.run_id, finished=ending.finished, mlflow_run_id=mlflow_run_id, **fields)
        claim.end(ledger, run, ending.finished)
    return outcome


def _log(settings: Settings, findings: Findings, ending: Ending, run_key: str, outcome: str) -> str:
    """The run is in MLflow, with everything in its folder of results; returns its id there."""
    metrics = {} if findings.judgement is None else findings.judgement.evaluation.metrics
    entry = registry.RunEntry(
        run_id=ending.run_id,
        model=findings.model.name,
        parameters=_parameters(findings),
        metrics={name: estimate.value for name, estimate in metrics.items()},
        tags={"outcome": outcome, "run_key": run_key, "dataset": findings.info.digest, "spec": digest(findings.model)},
        artifacts=settings.results / ending.run_id,
    )
    return registry.log_run(settings, entry, now=ending.finished)


def _files(folder: Path, version: Path, thresholds: Path | None) -> dict[str, Path]:
    """Files of a version by role, but for card, summary and pictures."""
    environment().write(folder / "environment.json")
    roles = ("spec", "dataset", "validation", "candidate", "judgement", "gates", "environment")
    files = {name: folder / f"{name}.json" for name in roles} | {"report": folder / "report.html"}
    version_files = {"model": "model.skops", "contract": "contract.json", "reference": "reference.parquet"}
    files |= {role: version / name for role, name in version_files.items()}
    if thresholds is not None:
        files |= {"thresholds": thresholds / "thresholds.json", "blocks": thresholds / "blocks.parquet"}
    return files


def _add_version(
    settings: Settings,
    ledger: Ledger,
    findings: Findings,
    files: Mapping[str, Path],
    ending: Ending,
    run_key: str,
    logged: str,
) -> str:
    """Publish the folder, enter it into the ledger and MLflow; returns a sentence."""
    assert findings.candidate is not None and findings.contract is not None  # that is what registered means
    run_id = ending.run_id
    folder, name, recipe = settings.results / run_id, findings.model.name, findings.contract.recipe
    unjudged = Thresholds.read(files["thresholds"]).unjudged if "thresholds" in files else ()
    texts = {"card": card(findings, unjudged), "summary": summary(findings)}
    for role, text in texts.items():
        (folder / f"{role}.md").write_text(text, encoding="utf-8")
    run = ledger.run(run_id)
    remove_drafts(name, settings.versions, run.started)
    publication = version_store.keep(settings, {**files, **{role: folder / f"{role}.md" for role in texts}}, name, run_key)
    champion = ledger.champion(name)
    searched_at = run.now if findings.candidate.search.mode == "search" or champion is None else champion.searched_at
    number, is_new = ledger.add_version(
        model=name,
        run_key=run_key,
        digest=publication.digest,
        created=ending.finished,
        run_id=run_id,
        recipe=recipe,
        searched_at=searched_at,
        trained_until=datetime.fromisoformat(findings.info.end),
    )
    ledger.request_rollout(model=name, number=number, now=run.now, reason=f"run {run_id} passed every gate")
    version = ledger.version(name, number)
    registry.add_version(
        settings,
        model=name,
        number=number,
        source=version_store.uri(settings, name, version.digest),
        mlflow_run_id=logged,
        tags=_tags(version, findings),
    )
    repeat_note = "" if is_new else ", which the same run key had made before"
    return f"version {number}{repeat_note}: every gate passed or was not applicable{_noted(findings)}"


def _tags(version: Version, findings: Findings) -> dict[str, str]:
    """What MLflow shows of a version."""
    return {"digest": version.digest, "run_key": version.run_key, "run_id": version.run_id, "dataset": findings.info.digest}


def _parameters(findings: Findings) -> dict[str, object]:
    """What MLflow shows as a run's parameters."""
    info = findings.info
    parameters: dict[str, object] = {
        "start": info.start,
        "evaluation_start": info.evaluation_start,
        "end": info.end,
        "rows": info.rows,
    }
    if findings.candidate is not None:
        recipe = findings.candidate.search.recipe
        parameters |= {"kind": recipe.kind, "columns": len(recipe.columns), **recipe.parameters}
    return parameters
