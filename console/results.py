"""What is kept of runs and versions: card, report, logs."""

import sys

from rich.markdown import Markdown

from console.output import console, print_json
from perennial.errors import NotFoundError
from perennial.ledger import Ledger
from perennial.settings import Settings
from perennial.version import open_version
from pipelines.log import read_steps
from pipelines.runs import log_lines


def show_card(settings: Settings, model: str, number: int | None, summary: bool, json: bool) -> None:
    """Print the card, or the page for everyone, of a version; rendered on a terminal, Markdown when piped."""
    with Ledger.open(settings.ledger) as ledger:
        version = ledger.version(model, number)
    folder = open_version(settings.versions / model / version.digest)
    path = folder.file("summary" if summary else "card")
    text = path.read_text(encoding="utf-8")
    if json:
        print_json({"version": version.model_dump(mode="json"), "path": str(path), "text": text})
    elif sys.stdout.isatty():
        console().print(Markdown(text))
    else:
        sys.stdout.write(text)


def show_logs(settings: Settings, run: str, step: str | None, json: bool) -> None:
    """Print what a run or one of its steps printed.

    Raises:
        NotFoundError: there is no such run, or it has no such step.
    """
    with Ledger.open(settings.ledger) as ledger:
        run_id = ledger.run(run).run_id
    lines = log_lines(settings, run_id)
    if step is None and not json:
        sys.stdout.write("\n".join(lines) + "\n")
        return
    finished = [found for found in read_steps(lines) if found.state != "running"]
    chosen = [found for found in finished if step in (None, found.name)]
    if step is not None and not chosen:
        raise NotFoundError(
            f"run {run_id} has no finished step {step!r}; it has: {', '.join(found.name for found in finished) or 'none'}"
        )
    if json:
        print_json([{"step": s.name, "state": s.state, "seconds": s.seconds, "lines": list(s.lines)} for s in chosen])
    else:
        sys.stdout.write("\n".join(line for found in chosen for line in found.lines) + "\n")


def show_report(settings: Settings, name: str, json: bool) -> None:
    """Print where the page of a run lies: of that run, or of a model's newest run that came to an end.

    Raises:
        NotFoundError: there is none.
    """
    with Ledger.open(settings.ledger) as ledger:
        of_model = [run for run in ledger.runs(name) if run.state == "succeeded"]
        run = of_model[0] if of_model else ledger.run(name)
    path = settings.results / run.run_id / "report.html"
    if not path.exists():
        raise NotFoundError(f"{path}: run {run.run_id} left no report ({run.outcome or run.state}: {run.reason})")
    if json:
        print_json({"run": run.run_id, "outcome": run.outcome, "report": str(path)})
    else:
        console().print(f"{run.run_id}: {run.outcome}\n{path}", soft_wrap=True)
