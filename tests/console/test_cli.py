"""The command line: help with an example, light imports, exit codes, errors without traces."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from console.cli import app
from perennial.ledger import Ledger
from tests.made_up import NAME, settings_in, write_year

HEAVY = (
    "pandas",
    "numpy",
    "sklearn",
    "feast",
    "mlflow",
    "evidently",
    "kfp",
    "pyarrow",
    "matplotlib",
    "alembic",
    "pandera",
    "duckdb",
    "scipy",
)
"""What `--help`, `status` and `explain` must not import: each costs a tenth of a second to seconds."""

GROUPS = {
    "features": ("upload", "apply", "materialize", "parity"),
    "decisions": ("list", "close", "accept", "accept-change"),
    "cluster": ("check",),
}
COMMANDS = (
    "validate",
    "train",
    "serve",
    "rollback",
    "models",
    "card",
    "runs",
    "logs",
    "report",
    "status",
    "explain",
    "monitor",
    "labels",
    "tick",
    "watch",
)
CALLS = [(name,) for name in COMMANDS] + [(group, name) for group, names in GROUPS.items() for name in names]


def perennial(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "console.cli", *arguments]
    environment = {**os.environ, "PERENNIAL_PROJECT": str(project)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_the_list_of_commands_is_complete() -> None:
    found = get_command(app).commands  # type: ignore[attr-defined]
    assert set(found) == {*COMMANDS, *GROUPS}
    for group, names in GROUPS.items():
        assert set(found[group].commands) == set(names)


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_help_has_an_example_and_json(call: tuple[str, ...], tmp_path: Path) -> None:
    run = perennial(tmp_path, *call, "--help")
    assert run.returncode == 0
    assert f"Example: perennial {' '.join(call)}" in run.stdout
    assert call == ("serve",) or "--json" in run.stdout  # a server answers by HTTP


@pytest.mark.parametrize("arguments", [("--help",), ("status",), ("explain", NAME), ("decisions", NAME)], ids=" ".join)
def test_help_status_and_explain_import_nothing_heavy(arguments: tuple[str, ...], tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with Ledger.open(settings.ledger) as ledger:  # the ledger is made here: that is not what is looked at
        write_year(ledger, weeks=6)
    program = (
        "import sys\nfrom console.cli import main\n"
        f"sys.argv = ['perennial', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    environment = {**os.environ, "PERENNIAL_PROJECT": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert arguments == ("--help",) or NAME in run.stdout
    assert run.stdout.rstrip().endswith("HEAVY []")


def test_an_empty_project_is_told_what_to_do(tmp_path: Path) -> None:
    run = perennial(tmp_path, "status")
    assert run.returncode == 0
    assert "No model" in run.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("validate", "nothing"), 4, "no such spec"),
        (("train", "nothing"), 4, "models/nothing.yaml"),
        (("card", "nothing"), 4, "has no version"),
        (("logs", "nothing"), 4, "no run 'nothing'"),
        (("report", "nothing"), 4, "no run 'nothing'"),
        (("explain", "nothing"), 4, "no model 'nothing'"),
        (("decisions", "close", "nothing"), 2, "--reason is missing"),
        (("monitor", "nothing"), 4, "models/nothing.yaml"),
        (("train", "nothing", "--now", "yesterday"), 2, "ISO 8601"),
        (("features", "apply"), 4, "definitions"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_errors_are_a_sentence_and_an_exit_code(arguments: tuple[str, ...], code: int, said: str, tmp_path: Path) -> None:
    run = perennial(tmp_path, *arguments)
    assert run.returncode == code, run.stderr
    assert said in run.stderr
    assert "Traceback" not in run.stderr


def test_an_unknown_setting_is_named(tmp_path: Path) -> None:
    environment = {**os.environ, "PERENNIAL_PROJECT": str(tmp_path), "PERENNIAL_STAET": "x"}
    run = subprocess.run(
        [sys.executable, "-m", "console.cli", "status"], capture_output=True, text=True, env=environment, check=False
    )
    assert run.returncode == 2
    assert "PERENNIAL_STAET is not a setting" in run.stderr
