"""`python -m pipelines.run RUN`: execute one prepared run in this process, with KFP's local runner.

The run's folder holds everything: `parameters.json` before, `log.txt` and `steps/` while it runs, `lock` held by the process that
runs it.
"""

import os
import sys
import warnings
from pathlib import Path

from perennial.errors import PerennialError
from perennial.settings import Settings
from pipelines import runs


def execute(folder: Path, parameters: dict[str, str]) -> None:
    """Run the training pipeline to its end.

    Args:
        folder: the run's folder; artifacts go to `steps/` in it.
        parameters: the pipeline's parameters.

    Raises:
        RuntimeError: a step failed; its error is in the log.
    """
    from kfp import local

    from pipelines.training import training

    os.environ.update(runs.ENVIRONMENT)
    warnings.simplefilter("ignore")
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(folder / "steps"), raise_on_error=True)
    training(**parameters)


def main(arguments: list[str]) -> int:
    """Run the run named by the first argument; returns the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m pipelines.run RUN\n")
        return 2
    try:
        return runs.execute_locked(Settings.from_environment(), arguments[0], execute)
    except PerennialError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
