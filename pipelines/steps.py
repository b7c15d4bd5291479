"""Steps on this machine: each a process of its own, forked from the run's process, which has imported what the step needs.

Nearly all of a small run is Python starting and importing, once a step. KFP's local runner starts each step as a command; here a
fork carries the same command out: the same source, KFP's own executor, the same files. The run's process imports and computes
nothing, so that a fork copies no lock that is held and no thread that works. What a step breaks with is written into the run's
folder as a record: nobody reads a type out of a log.
"""

import ast
import builtins
import importlib
import logging
import multiprocessing
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from perennial.loop.failure import Failure
from perennial.outages import translated

FAILURE = "failure.json"
"""File in a run's folder: what its last start broke with."""
MODULE = "ephemeral_component"
"""How KFP calls the module that holds a step's source."""
PRINT = builtins.print
"""As it was before KFP's runner put one in its place that indents."""
EXECUTE = "--executor_input"
"""The first argument of KFP's executor; what stands before it is the step's source."""


class Steps:
    """Carries out the steps of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        """The run's; a failure is written there."""
        self._fork = multiprocessing.get_context("fork")

    def run(self, full_command: Sequence[str], env_vars: Mapping[str, str] | None = None) -> int:
        """Carry out KFP's command of a step; returns its exit code. What it prints is printed here.

        Args:
            full_command: as KFP's local runner would start it.
            env_vars: variables of this step alone.
        """
        index = list(full_command).index(EXECUTE)
        source, arguments = full_command[index - 1], list(full_command[index:])
        for name in imports_of(source):
            with suppress(Exception):  # the step itself says what is wrong
                importlib.import_module(name)
        reading, writing = self._fork.Pipe(duplex=False)
        process = self._fork.Process(target=_inside, args=(self.folder, source, arguments, dict(env_vars or {}), writing))
        process.start()
        writing.close()
        with os.fdopen(os.dup(reading.fileno()), encoding="utf-8", errors="replace") as printed:
            reading.close()
            for line in printed:
                print(line, end="")  # noqa: T201 - KFP catches what is printed, and indents it
        process.join()
        return process.exitcode or 0


def imports_of(source: str) -> Iterator[str]:
    r"""Modules that the body of a step imports, as they stand.

    >>> list(imports_of("def f():\n    from a.b import c\n    import d.e"))
    ['a.b', 'd.e']
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def report_of(run_id: str, step: str) -> str:
    """What whoever reports a broken run sends along; the step may be empty."""
    return f"what `perennial logs {run_id}{' ' * bool(step)}{step}` shows"


def read_failure(folder: Path) -> Failure | None:
    """What a step of the run's last start broke with; None where none did, or one was killed."""
    path = folder / FAILURE
    return Failure.read(path) if path.exists() else None


def _inside(folder: Path, source: str, arguments: list[str], variables: dict[str, str], writing: Connection) -> None:
    """In the step's own process: KFP's executor on its source, or the record of what it broke with."""
    from kfp.dsl.executor_main import executor_main

    # As in a process that was started: what prints and logs here knows nothing of the run's own.
    os.dup2(writing.fileno(), 1)
    os.dup2(writing.fileno(), 2)
    builtins.print = PRINT
    logging.getLogger().handlers.clear()
    os.environ.update({"_KFP_RUNTIME": "true", **variables})
    step = arguments[arguments.index("--function_to_execute") + 1].replace("_", "-")
    with tempfile.TemporaryDirectory(prefix="perennial-step-") as directory:
        module = Path(directory) / f"{MODULE}.py"
        module.write_text(source, encoding="utf-8")
        sys.argv = [MODULE, "--component_module_path", str(module), *arguments]
        try:
            executor_main()
        except Exception as error:
            traceback.print_exc()
            failed = Failure.of(translated(error, step, report_of(folder.name, step)), step)
            failed.write(folder / FAILURE)
            raise SystemExit(1) from None
