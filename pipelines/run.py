"""`python -m pipelines.run RUN`: execute one prepared run with KFP's local runner, in a process group of its own.

The run's folder holds everything: `parameters.json` before, `log.txt` and `steps/` while it runs, `lock` held by the process that
runs it. Started again after it was killed, it first kills the steps that outlived it, then begins from its first step.
"""

import os
import sys
import warnings
from pathlib import Path
from typing import IO

from perennial.outages import exit_code_after
from perennial.settings import Settings
from pipelines import runs
from pipelines.heartbeat import beating
from pipelines.kept import LOG, lines_of
from pipelines.lock import MARK

COLD = "PIPELINE_COLD"
"""Variable that lets KFP start each step as a command, which imports by itself as on a cluster. Tests look at what it imports."""
USAGE = "usage: python -m pipelines.run RUN\n"

OLD_NAMES = {"barred": "excluded"}
"""Names of parameters in a run that an older release prepared, each with the one of today."""


def execute(folder: Path, parameters: dict[str, str]) -> None:
    """Run the pipeline of these parameters to its end.

    Args:
        folder: the run's folder; artifacts go to `steps/` in it.
        parameters: the pipeline's parameters.

    Raises:
        RuntimeError: a step failed; its error is in the log.
    """
    from kfp import local
    from kfp.local import subprocess_task_handler

    from pipelines.steps import Steps

    os.environ.update({**runs.ENVIRONMENT, MARK: folder.name})
    warnings.simplefilter("ignore")
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(folder / "steps"), raise_on_error=True)
    if not os.environ.get(COLD):
        subprocess_task_handler.run_local_subprocess = Steps(folder).run
    if "recipe" in parameters:
        from pipelines.training import training

        training(**renamed(parameters))
    else:
        from pipelines.monitoring import monitoring

        monitoring(**parameters)


def renamed(parameters: dict[str, str]) -> dict[str, str]:
    """The parameters by the names of today.

    >>> renamed({"champion": "", "barred": "[]"})
    {'champion': '', 'excluded': '[]'}
    """
    return {OLD_NAMES.get(name, name): value for name, value in parameters.items()}


def hold(descriptor: int) -> IO[str]:
    """The open file of a lock that this process was born with; its forks do not hold it.

    Who holds the lock executes the run, and a step that outlives its run does not.
    """
    os.register_at_fork(after_in_child=lambda: os.close(descriptor))
    return os.fdopen(descriptor, "a+")


def show(settings: Settings, run_id: str) -> int:
    """Start a run and show what it prints; returns its exit code. It goes on when this process is stopped."""
    log = settings.runs / run_id / LOG
    begin = log.stat().st_size if log.exists() else 0
    process = runs.start(settings, run_id)
    for line in lines_of(settings, run_id, lambda: process.poll() is not None, begin):
        sys.stdout.write(line + "\n")
    return process.wait()


def main(arguments: list[str]) -> int:
    """Run the run named by the first argument; returns the exit code."""
    try:
        settings = Settings.from_environment()
        match arguments:
            case [run_id]:
                return show(settings, run_id)
            case [run_id, "--lock", descriptor]:
                lock = hold(int(descriptor))
                with beating(settings.ledger, run_id):
                    return runs.execute_locked(settings, run_id, execute, lock)
            case _:
                sys.stderr.write(USAGE)
                return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the run goes on: `perennial runs`\n")
        return 130
    except Exception as error:
        return exit_code_after(error, "python -m pipelines.run")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
