"""What is kept of runs and versions: card, report, logs."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markdown import Markdown

from console.display.output import console, print_json
from perennial.errors import NotFoundError, PlatformError
from perennial.ledger import Ledger, Run, Version
from perennial.loop.window import WindowRecord
from perennial.settings import Settings
from perennial.versions import store as version_store
from perennial.versions.folder import VersionFolder, open_version
from pipelines.kept import log_lines, log_of, results_of
from pipelines.log import read_steps

if TYPE_CHECKING:
    from perennial.reports.service_page import History, StatusLine


def show_card(settings: Settings, model: str, number: int | None, summary: bool, html: bool, json: bool) -> None:
    """Print the card, or the page for everyone, of a version; rendered on a terminal, Markdown when piped.

    The page for everyone ends with what the version has earned lately. `html` writes a page instead and prints where it lies.
    """
    with Ledger.open(settings.ledger) as ledger:
        version, windows = ledger.version(model, number), ledger.windows(model) if summary else ()
    folder, role = open_version(version_store.folder(settings, model, version.digest)), "summary" if summary else "card"
    if html:
        path = settings.report(model).parent / model / f"version-{version.number}-{role}.html"
        text = write_page(path, page_of_version(folder, version, windows, summary))
    else:
        path = folder.file(role)
        text = path.read_text(encoding="utf-8")
        text += lately_of(folder, version, windows) if summary else ""
    if json:
        print_json({"version": version.model_dump(mode="json"), "path": str(path), "text": text})
    elif html:
        console().print(f"{model} version {version.number}: {role}\n{path}", soft_wrap=True)
    elif sys.stdout.isatty():
        console().print(Markdown(text))
    else:
        sys.stdout.write(text)


def lately_of(folder: VersionFolder, version: Version, windows: Sequence[WindowRecord]) -> str:
    """What a version has earned lately, as Markdown that follows its summary."""
    from perennial.reports.markdown import markdown
    from perennial.reports.summary import lately
    from perennial.versions.findings import Findings

    return "\n" + markdown(lately(Findings.of_version(folder), windows, version.digest))


def page_of_version(folder: VersionFolder, version: Version, windows: Sequence[WindowRecord], summary: bool) -> str:
    """The card of a version, or its page for everyone, as HTML from what its folder holds."""
    from perennial.reports.card import card_page
    from perennial.reports.summary import summary_page
    from perennial.versions.findings import Findings
    from perennial.versions.thresholds import Thresholds

    findings = Findings.of_version(folder)
    if summary:
        return summary_page(findings, windows, version.digest)
    thresholds = Thresholds.of_version(folder)
    return card_page(findings, () if thresholds is None else thresholds.unjudged)


def show_logs(settings: Settings, run: str, step: str | None, json: bool) -> None:
    """Print what a run or one of its steps printed.

    Raises:
        NotFoundError: there is no such run, or it has no such step.
    """
    with Ledger.open(settings.ledger) as ledger:
        found = ledger.run(run)
    run_id = found.run_id
    text = log_of(settings, run_id)
    if text is None and found.host is not None and settings.pipelines is None:
        pod = found.host.partition("/")[0]
        raise NotFoundError(
            f"run {run_id}: its log is on {found.host} and not on this machine; on a cluster, as long as that pod is there: "
            f"kubectl exec {pod} -- perennial logs {run_id}"
        )
    lines = log_lines(settings, run_id) if text is None else text.splitlines()
    if step is None and not json:
        sys.stdout.write("\n".join(lines) + "\n")
        return
    finished = [logged_step for logged_step in read_steps(lines) if logged_step.state != "running"]
    chosen = [logged_step for logged_step in finished if step in (None, logged_step.name)]
    if step is not None and not chosen:
        raise NotFoundError(
            f"run {run_id} has no finished step {step!r}; it has: "
            f"{', '.join(logged_step.name for logged_step in finished) or 'none'}"
        )
    if json:
        print_json([{"step": s.name, "state": s.state, "seconds": s.seconds, "lines": list(s.lines)} for s in chosen])
    else:
        sys.stdout.write("\n".join(line for logged_step in chosen for line in logged_step.lines) + "\n")


def show_report(settings: Settings, name: str, now: datetime, clock: datetime, json: bool) -> None:
    """Print where a page lies: of a model in service, made anew; before its first window, of its newest run; or of a run.

    Args:
        settings: where things are.
        name: of a model, or id of a run.
        now: the time for which it is made, UTC: what began later is left out. The page of a run that is named is of any time.
        clock: the real time, UTC.
        json: print JSON instead of sentences.

    Raises:
        NotFoundError: there is none.
    """
    with Ledger.open(settings.ledger) as ledger:
        windows = windows_at(ledger.windows(name), now)
        if windows:
            path = write_year(settings, ledger, name, windows, now, clock)
            of, title = {"model": name}, f"{name}: in service"
        else:
            ended = [run for run in ledger.runs(name) if run.state == "succeeded" and run.mode != "monitor"]
            of_model = [run for run in ended if run.now <= now]
            run = of_model[0] if of_model else ledger.run(name)
            of, title = {"run": run.run_id, "outcome": run.outcome or run.state}, f"{run.run_id}: {run.outcome or run.state}"
            path = page_of_run(settings, run)
    if json:
        print_json({**of, "report": str(path)})
    else:
        console().print(f"{title}\n{path}", soft_wrap=True)


def page_of_run(settings: Settings, run: Run) -> Path:
    """The page that a run left; of a monitoring run Evidently's.

    Raises:
        NotFoundError: it left none.
    """
    path = results_of(settings, run.run_id) / "report.html"
    if not path.exists():
        raise NotFoundError(f"{path}: run {run.run_id} left no report ({run.outcome or run.state}: {run.why})")
    return path


def windows_at(records: Sequence[WindowRecord], now: datetime) -> tuple[WindowRecord, ...]:
    """The windows that were measured by then, in their order; one whose labels matured later has no performance yet."""
    return tuple(
        record.model_copy(update={"performance": None})
        if record.performance is not None and record.performance.labels.matured_at > now
        else record
        for record in records
        if record.measured_at <= now
    )


def write_year(
    settings: Settings, ledger: Ledger, model: str, windows: Sequence[WindowRecord], now: datetime, clock: datetime
) -> Path:
    """Write the page of a model in service from what had begun by then; how it ended is said as the ledger has it. Its path.

    Args:
        settings: where things are.
        ledger: the ledger.
        model: name of the model.
        windows: those that were measured by then, newest first; at least one.
        now: the time for which it is made, UTC.
        clock: the real time, UTC.

    Raises:
        PlatformError: it cannot be written.
    """
    from perennial.reports.service_page import History, reigns, year
    from perennial.spec.read import read

    history = History(
        model=read(settings.models / f"{model}.yaml"),
        windows=tuple(windows[::-1]),
        decisions=tuple(decision for decision in ledger.decisions(model)[::-1] if decision.made <= now),
        incidents=tuple(incident for incident in ledger.incidents(model)[::-1] if incident.opened <= now),
        reigns=tuple(
            reign.model_copy(update={"until": None}) if reign.until is not None and reign.until > now else reign
            for reign in reigns(ledger.rollouts(model))
            if reign.since <= now
        ),
    )
    path = settings.report(model)
    write_page(path, year(history, status_line(settings, ledger, history, now, clock)))
    return path


def status_line(settings: Settings, ledger: Ledger, history: "History", now: datetime, clock: datetime) -> "StatusLine":
    """How a model is and what happens next, as `perennial status` says it, of the windows and decisions that its page shows."""
    from console.display.status import WORDS
    from controller.runner import open_runner
    from controller.stored import stored_of
    from controller.ticked import LEASE
    from perennial.reports.service_page import StatusLine
    from perennial.status.condition import ORDINARY
    from perennial.status.installation import controller_condition
    from perennial.status.model_status import status_of
    from serving.deployers.reading import open_reading

    is_watching = controller_condition(ledger.lease(LEASE), clock).status == "True"
    stored = replace(
        stored_of(settings, open_reading(settings), ledger, history.model.name, open_runner(settings, lambda: clock)),
        windows=history.windows[::-1],
        decisions=history.decisions[::-1],
        incidents=tuple(incident for incident in history.incidents if incident.closed is None),
    )
    first = status_of(stored, is_watching, now).headline
    return StatusLine(state=WORDS[first.reason], how=first.message, next=first.next, is_ordinary=first.reason in ORDINARY)


def write_page(path: Path, text: str) -> str:
    """Write a page whole or not at all; returns its text.

    Raises:
        PlatformError: it cannot be written.
    """
    draft = path.with_suffix(".draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise PlatformError(f"{path}: cannot be written: {error.strerror}; give PERENNIAL_STATE a folder that can") from error
    return text
