"""README's way to a model of one's own, typed as it stands there: from a file to an answer by HTTP."""

import json
import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet
import pytest

from console.scaffold.sample import FILE, made_up
from tests.servers.port import free_port

ROOT = Path(__file__).parents[3]
SECTION = "## Your own model\n"
MAX_COMMANDS = 8
SECONDS = 500


def commands() -> list[str]:
    """The commands of the section, a line each."""
    _, found, rest = (ROOT / "README.md").read_text(encoding="utf-8").partition(SECTION)
    assert found
    block = re.search(r"^```sh\n(.*?)^```$", rest, re.DOTALL | re.MULTILINE)
    assert block is not None
    return block.group(1).splitlines()


def test_the_commands_are_few_and_lead_from_a_file_to_an_answer() -> None:
    lines = commands()
    assert len(lines) <= MAX_COMMANDS
    assert lines[0].startswith(f"perennial init churn --from {FILE} ")
    assert lines[-1].startswith("curl ")
    assert [line for line in lines[:-1] if not line.startswith("perennial ")] == []


@pytest.mark.local
@pytest.mark.xdist_group("own model")
def test_the_commands_as_they_stand_there_lead_to_a_probability(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(made_up(datetime.now(UTC)), tmp_path / FILE)
    script = "set -euo pipefail\n" + "\n".join(commands()).replace("8080", str(free_port())) + "\n"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PERENNIAL_")} | {"PATH": path}
    with (tmp_path / "printed").open("w+", encoding="utf-8") as printed:
        shell = subprocess.Popen(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=environment,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = shell.wait(timeout=SECONDS)
        finally:
            os.killpg(shell.pid, signal.SIGTERM)  # the server, which the shell left behind
        printed.seek(0)
        said = printed.read()
    assert code == 0, said[-3000:]
    answers = re.findall(r'\{"predictions":.*\}', said)
    assert len(answers) == 1, said[-3000:]
    (prediction,) = json.loads(answers[0])["predictions"]
    assert 0 < prediction["probability"] < 1
    assert prediction["not_fresh"] == {}
    assert prediction["feature_age_s"]["customer"] > 0
