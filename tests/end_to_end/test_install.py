"""docs/install.md, read as a program: its commands are run in their order, and print what stands below them."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cluster import apply
from cluster.client import Client
from tests.end_to_end.installation import ROOT, STEPS
from tests.second_project import DAYS, write_project

PAGE = ROOT / "docs" / "install.md"
NAMESPACE = "perennial-install"
BLOCKS = re.compile(r"^```sh\n(.*?)^```\n(?:```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
SECONDS = 1200
"""How long all of it may take; on a quiet machine it is a quarter of that."""
MARK = re.compile(r"^=== after (\d+) s\n", re.MULTILINE)
"""What the shell prints before each block, and after the last."""
VARYING = (
    (r"\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\dZ?)?)?", "TIME"),
    (r"\d{8}-\d{6}-[0-9a-f]{6}", "RUN"),
    (r"-[0-9a-f]{8,10}-[a-z0-9]{5}\b", "-POD"),
    (r"\b[0-9a-f]{16,64}\b", "ID"),
    (r"\b\d+(?:\.\d+)+", "NUMBER"),
    (r"\b\d+m?\d*s$", "AGE"),
    (r"([━─])\1*", r"\1"),
    (r" *([│┃]) *", r" \1 "),
    (r"\s+", " "),
)
"""What differs each time, and what takes its place before lines are compared."""


def told(line: str) -> str:
    """A line without what differs each time."""
    for pattern, word in VARYING:
        line = re.sub(pattern, word, line.strip())
    return line.strip()


def unsaid(expected: str, printed: str) -> list[str]:
    """Lines of a block that were not printed in their order; `…` stands for any lines between."""
    rest = iter([told(line) for line in printed.splitlines()])
    wanted = [told(line) for line in expected.splitlines() if line.strip() not in ("", "…")]
    return [line for line in wanted if line not in rest]


def test_a_line_that_was_not_printed_is_found() -> None:
    printed = "pod/a-6f58465d69-ccrhw is there\n│ rows │ 12 │\nversion 1: 2 of 2 pods answer at 2026-11-24 15:40, 0.77\n"
    assert unsaid("pod/a-5c47465d68-xxrhw is there\n…\nversion 1: 2 of 2 pods answer at 2027-01-02 03:04, 0.81", printed) == []
    assert unsaid("│  rows  │  13 │", printed) == ["│ rows │ 13 │"]
    assert unsaid("version 2: 2 of 2 pods answer", printed) == ["version 2: 2 of 2 pods answer"]
    assert unsaid("version 1: 2 of 2 pods answer at 2027-01-02 03:04, 1.5\npod/a-6f58465d69-ccrhw is there", printed) != []


def test_every_block_of_the_page_is_one_that_is_run() -> None:
    text = PAGE.read_text(encoding="utf-8")
    blocks = BLOCKS.findall(text)
    assert len(blocks) >= 10
    assert text.count("```") == 2 * sum(2 if expected else 1 for _, expected in blocks)
    assert all(expected for _, expected in blocks), "each says what it prints"


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Path]:
    """A folder with the manifests and a project whose data end today; before and after there is no such namespace."""
    shutil.copytree(ROOT / "k8s", tmp_path / "k8s")
    name, _, tag = STEPS.rpartition(":")
    lab = tmp_path / "k8s" / "overlays" / "lab" / "kustomization.yaml"
    text = lab.read_text(encoding="utf-8")
    lab.write_text(text.replace("newName: localhost/perennial/steps, newTag: lab", f"newName: {name}, newTag: {tag}"))
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    write_project(tmp_path / "project", first_day=today - timedelta(days=DAYS + 3))
    with Client.open() as client:
        apply.delete(client, "v1", "Namespace", NAMESPACE, wait_seconds=180)
        yield tmp_path
        apply.delete(client, "v1", "Namespace", NAMESPACE, wait_seconds=0)


@pytest.mark.cluster
def test_the_page_leads_to_a_served_model(workplace: Path) -> None:
    blocks = BLOCKS.findall(PAGE.read_text(encoding="utf-8"))
    mark = 'echo "=== after $SECONDS s"\n'
    script = mark.join(["set -euo pipefail\n", *(commands for commands, _ in blocks), ""])
    (workplace / "page.sh").write_text(script, encoding="utf-8")
    environment = {**os.environ, "NAMESPACE": NAMESPACE, "PROJECT": str(workplace / "project")}
    with (workplace / "printed").open("w+", encoding="utf-8") as output:
        command = ["bash", "page.sh"]
        ended = subprocess.run(
            command,
            cwd=workplace,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=SECONDS,
            check=False,
        )
        output.seek(0)
        printed = output.read()
    _, *found = MARK.split(printed)
    times, parts = [int(seconds) for seconds in found[::2]], found[1::2]
    for (commands, _), begin, end in zip(blocks, times, times[1:], strict=False):
        print(f"{end - begin:4} s  {commands.splitlines()[-1]}")
    assert ended.returncode == 0, f"block {len(parts)}:\n{blocks[len(parts) - 1][0]}\n{parts[-1][-3000:]}"
    different = {commands: unsaid(expected, part) for (commands, expected), part in zip(blocks, parts, strict=False)}
    assert {commands: lines for commands, lines in different.items() if lines} == {}, printed[-8000:]
    answered = re.findall(r'"model_version":"([0-9a-f]{64})"', printed)
    assert len(answered) == 2
    assert answered[0] == answered[1], "the version before answers again"
