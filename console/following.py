"""A run in the foreground: its steps are shown while it runs, and its error is the command's."""

import subprocess
import sys
from collections.abc import Iterator, Mapping

from rich.live import Live
from rich.spinner import Spinner

from console.display.output import console
from perennial import errors
from perennial.ledger import Ledger, Run
from perennial.settings import Settings
from pipelines import runs
from pipelines.log import Step


def run_and_show(settings: Settings, run_id: str, waits_for: Mapping[str, str], quiet: bool) -> tuple[Run, list[Step]]:
    """A prepared run has come to its end: its row in the ledger, and its steps.

    Args:
        settings: where things are.
        run_id: the run.
        waits_for: what each step spends its time on.
        quiet: show nothing.

    Raises:
        PerennialError: a step failed; the error is that step's own.
    """
    process = runs.start(settings, run_id)
    try:
        steps = list(_shown(settings, run_id, process, waits_for, quiet))
    except KeyboardInterrupt:
        console().print(f"\nThe run goes on without you: `perennial logs {run_id}`, `perennial runs`.")
        raise SystemExit(130) from None
    process.wait()
    with Ledger.open(settings.ledger) as ledger:
        run = ledger.run(run_id)
    if run.state != "succeeded":
        raise error_of(run, process.returncode)
    return run, steps


def _shown(
    settings: Settings, run_id: str, process: subprocess.Popen[bytes], waits_for: Mapping[str, str], quiet: bool
) -> Iterator[Step]:
    """The finished steps; each is shown while it runs and when it has ended."""
    printer = console()
    with Live(console=printer, transient=True, refresh_per_second=8) as live:
        for step in runs.follow(settings, run_id, process):
            if step.state == "running":
                if not quiet and sys.stdout.isatty():
                    live.update(Spinner("dots", f"{step.name}: waits for {waits_for.get(step.name, 'its work')}"))
                continue
            if not quiet:
                live.update("")
                printer.print(f"  {'✓' if step.state == 'succeeded' else '✗'} {step.name:<14} {step.seconds:6.1f} s")
            yield step


def error_of(run: Run, code: int | None) -> errors.PerennialError:
    """The error that ended a run, with the command that shows more."""
    hint = f"perennial logs {run.run_id}"
    if run.failure is None:
        return errors.PlatformError(f"run {run.run_id} ended without a result (exit code {code}): it was killed; see {hint}")
    failure = run.failure
    return failure.model_copy(update={"sentence": f"{failure.sentence}\n  the run's log: {hint}"}).error()
