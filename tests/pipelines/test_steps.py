"""A step is a process of its own, forked from the run's; what it broke with is a record, and nothing is read out of a log."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from perennial.loop.failure import Failure
from perennial.settings import Settings
from pipelines import lock

CARRY_OUT = """
import json, sys
from pathlib import Path
from pipelines.steps import Steps, read_failure
folder, source, warm = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
inputs = json.dumps({"inputs": {}, "outputs": {"outputFile": str(folder / "outputs.json")}})
code = Steps(folder).run(["sh", "-ec", "...", source, "--executor_input", inputs, "--function_to_execute", "build_dataset"])
print(f"exit code {code}", *(name in sys.modules for name in warm))
"""
BODY = "from kfp.dsl import *\ndef build_dataset():\n"


def carry_out(folder: Path, body: str, warm: Sequence[str] = ()) -> tuple[str, Failure | None]:
    """What a step with this body printed, with its exit code, and what it broke with; in a process without pytest's own."""
    from pipelines.steps import read_failure

    source = BODY + "".join(f"    {line}\n" for line in body.splitlines())
    command = [sys.executable, "-c", CARRY_OUT, str(folder), source, *warm]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return done.stdout, read_failure(folder)


OURS = 'from perennial.errors import DataError\nerror = DataError("orders.parquet: empty\\n  write it again")\n'
RETRIES = "urllib3.exceptions.MaxRetryError: HTTPConnectionPool(host='stats', port=80): Max retries exceeded"
FOUND: dict[str, tuple[str, str, bool, str]] = {
    # body of the step; kind of the failure, whether it is tried again, and how it begins
    "ours": (f"{OURS}raise error", "DataError", False, "orders.parquet: empty\n  write it again"),
    "ours, and after it an unrelated line that looks like an outage": (
        f'{OURS}try:\n    raise error\nfinally:\n    print("{RETRIES}")',
        "DataError",
        False,
        "orders.parquet: empty",
    ),
    "ours, after an outage that was got over": (
        f'print("Traceback (most recent call last):\\n{RETRIES}")\n{OURS}raise error',
        "DataError",
        False,
        "orders.parquet: empty",
    ),
    "ours, raised from a foreign one": (f'{OURS}raise error from KeyError("a")', "DataError", False, "orders.parquet: empty"),
    "a bug": ('raise ValueError("no")', "UnexpectedError", False, "build-dataset: ValueError: no ("),
    "an exception that says nothing": ("assert 1 > 2", "UnexpectedError", False, "build-dataset: AssertionError"),
    "an outage": (
        'import sqlite3\nraise sqlite3.OperationalError("database is locked")',
        "PlatformError",
        True,
        "build-dataset: sqlite3.OperationalError: database is locked; the same call may work later",
    ),
    "raised from an outage": (
        'raise RuntimeError("no") from TimeoutError("30 s")',
        "PlatformError",
        True,
        "build-dataset: RuntimeError: no",
    ),
    "fenced off": (
        'from perennial.errors import FencedError\nraise FencedError("taken")',
        "FencedError",
        True,
        "taken",
    ),
}


@pytest.mark.parametrize(("body", "kind", "retry", "said"), FOUND.values(), ids=FOUND)
def test_what_a_step_broke_with_is_what_it_raised(tmp_path: Path, body: str, kind: str, retry: bool, said: str) -> None:
    printed, failure = carry_out(tmp_path, body)
    assert failure is not None
    assert (failure.kind, failure.retry, failure.step) == (kind, retry, "build-dataset")
    assert failure.sentence.startswith(said)
    assert type(failure.error()).__name__ == kind
    assert printed.endswith("exit code 1\n") and "Traceback (most recent call last):" in printed


def test_a_step_that_ends_well_prints_as_it_goes_and_has_no_failure(tmp_path: Path) -> None:
    printed, failure = carry_out(tmp_path, 'import sys\nprint("hello")\nprint("beside", file=sys.stderr)')
    assert "hello\n" in printed and "beside\n" in printed and printed.endswith("exit code 0\n")
    assert failure is None


def test_a_step_that_is_killed_says_nothing(tmp_path: Path) -> None:
    printed, failure = carry_out(tmp_path, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    assert printed.endswith(f"exit code {-signal.SIGKILL}\n") and failure is None


def test_the_run_has_imported_what_a_step_imports_and_nothing_that_the_step_made(tmp_path: Path) -> None:
    body = "import colorsys\nimport no_such_module_of_anyone"
    printed, failure = carry_out(tmp_path, body, warm=["colorsys", "ephemeral_component"])
    assert printed.endswith("exit code 1 True False\n")
    assert failure is not None and "ModuleNotFoundError" in failure.sentence


EXECUTE = """
import json, os, sys, time
from pathlib import Path
from perennial.settings import Settings
from pipelines import lock
from pipelines.run import hold
from pipelines.steps import Steps
settings, run_id, source = Settings.from_environment(), sys.argv[1], sys.argv[2]
with lock.open_lock(settings.runs, run_id) as opened:
    held_by = hold(opened.fileno())
    with lock.held(held_by, run_id):
        command = ["sh", "-ec", "...", source, "--executor_input", "{}", "--function_to_execute", "train"]
        Steps(settings.runs / run_id).run(command)
"""


def test_a_step_that_outlives_its_run_holds_no_lock_and_is_killed_by_the_next_start(tmp_path: Path) -> None:
    run_id = "churn-1"
    settings = Settings.from_environment({"PERENNIAL_PROJECT": str(tmp_path)})
    (settings.runs / run_id).mkdir(parents=True)
    source = f"import time\nopen({str(tmp_path / 'begun')!r}, 'w').close()\ntime.sleep(300)\ndef train(): pass\n"
    environment = {**os.environ, **settings.to_environment(), "PYTHONPATH": str(Path(__file__).parents[2]), lock.MARK: run_id}
    run = subprocess.Popen([sys.executable, "-c", EXECUTE, run_id, source], env=environment, start_new_session=True)
    until = time.monotonic() + 120
    while not (tmp_path / "begun").exists():
        assert run.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    (step,) = (process for process in lock.living(run.pid, run_id) if process != run.pid)
    assert lock.is_executing(settings.runs, run_id)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert list(lock.living(run.pid, run_id)) == [step], "it lives on"
    assert not lock.is_executing(settings.runs, run_id), "who holds the lock executes the run, and it does not"
    assert lock.kill_left(run.pid, run_id) == (step,)
