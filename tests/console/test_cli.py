"""The command line: help with an example, light imports, exit codes, errors without traces."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from console.cli import app
from perennial.errors import GATES_NOT_PASSED, DataError, NotFoundError, PlatformError, SpecError, UnexpectedError
from perennial.ledger import Ledger
from tests.made_up import NAME, settings_in, write_year
from tests.second_project import NAME as SECOND
from tests.second_project import write_project

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
"""What `--help`, `--version`, `status` and `explain` must not import: each costs a tenth of a second to seconds."""

GROUPS = {
    "features": ("upload", "apply", "materialize", "parity"),
    "decisions": ("list", "close", "accept", "accept-change"),
    "cluster": ("check",),
}
COMMANDS = (
    "init",
    "validate",
    "train",
    "compile",
    "serve",
    "rollback",
    "rollout",
    "retire",
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
    "replay",
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


LIGHT = [("--help",), ("--version",), ("status",), ("explain", NAME), ("decisions", NAME)]


@pytest.mark.parametrize("arguments", LIGHT, ids=" ".join)
def test_help_version_status_and_explain_import_nothing_heavy(arguments: tuple[str, ...], tmp_path: Path) -> None:
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
    assert arguments[0].startswith("--") or NAME in run.stdout
    assert run.stdout.rstrip().endswith("HEAVY []")


def test_the_version_is_that_of_the_installed_package(tmp_path: Path) -> None:
    run = perennial(tmp_path, "--version")
    assert (run.returncode, run.stdout, run.stderr) == (0, f"perennial {importlib.metadata.version('perennial')}\n", "")


def test_completion_is_offered(tmp_path: Path) -> None:
    said = perennial(tmp_path, "--help").stdout
    assert "--install-completion" in said
    assert "--show-completion" in said


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (("",), {*COMMANDS, *GROUPS}),
        (("tr",), {"train"}),
        (("features", ""), set(GROUPS["features"])),
        (("decisions", ""), set(GROUPS["decisions"])),
        (("decisions", "acc"), {"accept", "accept-change"}),
        (("decisions", "list", "--j"), {"--json"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_shell_completes_commands_and_options(words: tuple[str, ...], completed: set[str]) -> None:
    program = [sys.executable, "-c", "from console.cli import app; app(prog_name='perennial')"]
    line = {"COMP_WORDS": " ".join(("perennial", *words)), "COMP_CWORD": str(len(words)), "_PERENNIAL_COMPLETE": "complete_bash"}
    run = subprocess.run(program, capture_output=True, text=True, env={**os.environ, **line}, check=True)
    assert set(run.stdout.split()) == completed


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


def test_where_nothing_may_be_embedded_only_what_opens_no_store_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERENNIAL_EMBEDDED", "never")
    refused = perennial(tmp_path, "status")
    assert refused.returncode == SpecError.exit_code
    assert "PERENNIAL_LEDGER" in refused.stderr and "PERENNIAL_BUCKET" in refused.stderr
    assert not (tmp_path / ".perennial").exists()
    made = perennial(tmp_path, "init", "churn")
    assert made.returncode == 0, made.stderr
    assert "valid" in perennial(tmp_path, "validate", "churn").stdout
    assert perennial(tmp_path, "--help").returncode == 0


def test_an_unknown_setting_is_named(tmp_path: Path) -> None:
    environment = {**os.environ, "PERENNIAL_PROJECT": str(tmp_path), "PERENNIAL_STAET": "x"}
    run = subprocess.run(
        [sys.executable, "-m", "console.cli", "status"], capture_output=True, text=True, env=environment, check=False
    )
    assert run.returncode == 2
    assert "PERENNIAL_STAET is not a setting" in run.stderr


BROKEN_DRIVER = """
import os
from sqlite3 import dbapi2

def connect(*arguments, **options):
    raise eval(os.environ["RAISED"])

if "RAISED" in os.environ:
    dbapi2.connect = connect
"""
"""Written as `sitecustomize`: the driver of the ledger's database raises what `RAISED` says."""
BUG = "ValueError('the driver lost its way')"
ABOUT = ("card", "logs", "report", "explain", "rollback", "retire", "train", "decisions list")
WITH_LEDGER = [
    "status",
    "models",
    "runs",
    "tick",
    *(f"{command} {SECOND}" for command in ABOUT),
    f"rollout {SECOND} 1",
    f"decisions accept {SECOND} 1",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a project, and a driver that raises."""
    found = tmp_path_factory.mktemp("raising")
    (found / "broken").mkdir()
    (found / "broken" / "sitecustomize.py").write_text(BROKEN_DRIVER)
    write_project(found / "project", per_day=1)
    return found


def perennial_raising(folder: Path, raised: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a project with a model, where the driver of the ledger raises this."""
    command = [sys.executable, "-m", "console.cli", *arguments]
    environment = {"PERENNIAL_PROJECT": str(folder / "project"), "PYTHONPATH": str(folder / "broken"), "RAISED": raised}
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)


@pytest.mark.parametrize("command", WITH_LEDGER)
def test_a_bug_in_any_command_is_a_sentence_with_its_place_and_exit_code_70(command: str, folder: Path) -> None:
    run = perennial_raising(folder, BUG, *command.split())
    assert run.returncode == 70, run.stdout + run.stderr
    words = command.partition(f" {SECOND}")[0]
    assert run.stderr.startswith(f"perennial: {words}: ValueError: the driver lost its way (perennial/ledger/")
    assert "send what the same command prints after `perennial --debug`" in run.stderr
    assert (len(run.stderr.splitlines()), "Traceback" in run.stdout) == (1, False)


def test_an_outage_in_a_command_may_be_tried_again(folder: Path) -> None:
    run = perennial_raising(folder, "OSError(28, 'No space left on device')", "models")
    expected = "perennial: models: OSError: [Errno 28] No space left on device; the same call may work later\n"
    assert (run.returncode, run.stderr) == (75, expected)


@pytest.mark.parametrize("raised", [BUG, "dbapi2.OperationalError('database is locked')"])
def test_the_traceback_is_shown_with_debug(raised: str, folder: Path) -> None:
    run = perennial_raising(folder, raised, "--debug", "models")
    assert run.returncode in (70, 75)
    assert run.stderr.startswith("Traceback (most recent call last):")
    assert run.stderr.splitlines()[-1].startswith("perennial: ")


def test_an_interruption_ends_with_one_line(folder: Path) -> None:
    run = perennial_raising(folder, "KeyboardInterrupt()", "models")
    assert (run.returncode, run.stdout, run.stderr) == (130, "", "perennial: interrupted\n")


def test_a_store_s_broken_pipe_is_no_reader_that_has_gone(folder: Path) -> None:
    run = perennial_raising(folder, "BrokenPipeError(32, 'Broken pipe')", "models")
    assert run.returncode == 75
    assert "BrokenPipeError: [Errno 32] Broken pipe; the same call may work later" in run.stderr


@pytest.mark.parametrize("arguments", [("--help",), ("status",), ("runs", "--json")], ids=" ".join)
def test_a_reader_that_has_gone_ends_it_without_a_word(arguments: tuple[str, ...], tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "console.cli", *arguments]
    environment = {**os.environ, "PERENNIAL_PROJECT": str(tmp_path)}
    run = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, env=environment, check=False)
    os.close(writing)
    assert run.stderr == ""


def test_every_exit_code_is_told_by_help(tmp_path: Path) -> None:
    said = " ".join(perennial(tmp_path, "--help").stdout.split())
    codes = sorted({kind.exit_code for kind in (SpecError, DataError, NotFoundError, UnexpectedError, PlatformError)})
    assert codes == [2, 4, 70, 75]
    for code in (0, *codes, GATES_NOT_PASSED):
        assert f" {code} " in said.partition("Exit codes:")[2]


@pytest.mark.parametrize(
    "program",
    [
        ("pipelines.run", "nothing"),
        ("serving.runtime", "--model", NAME, "--current", "{folder}/current", "--online", "redis://nowhere:port/x"),
        ("serving.runtime.fetch", "nothing", "{folder}"),
    ],
    ids=lambda program: program[0],
)
def test_no_other_program_shows_a_traceback(program: tuple[str, ...], tmp_path: Path) -> None:
    command = [sys.executable, "-m", *(part.format(folder=tmp_path) for part in program)]
    environment = {**os.environ, "PERENNIAL_PROJECT": str(tmp_path), "PERENNIAL_BUCKET": "nowhere"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode in (2, 4, 70, 75)
    assert "Traceback" not in run.stderr
