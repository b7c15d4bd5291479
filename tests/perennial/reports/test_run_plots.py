"""Pictures are drawn from what is stored, the same bytes each time, and without matplotlib's process-wide state."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from perennial.evaluation.metrics import Curve, ErrorAnalysis
from perennial.reports import run_plots as plots
from perennial.training.recipe import ColumnImportance
from perennial.versions.findings import Findings
from perennial.versions.folder import SUFFIXES, publish


@pytest.fixture(scope="module")
def drawn(findings: Findings) -> dict[str, bytes]:
    return plots.draw(findings.judgement, findings.candidate)


def test_each_picture_has_a_title_and_shows_something(drawn: dict[str, bytes], tmp_path: Path) -> None:
    assert set(drawn) == set(plots.TITLES)
    for name, content in drawn.items():
        (tmp_path / f"{name}.png").write_bytes(content)
        pixels = image.imread(tmp_path / f"{name}.png")
        assert pixels.shape[1] > 700
        assert np.mean(np.all(pixels[..., :3] > 0.99, axis=-1)) < 0.98, name
        blue = np.array([0, 0x72, 0xB2]) / 255
        assert np.any(np.all(np.abs(pixels[..., :3] - blue) < 0.02, axis=-1)), name


def test_drawn_again_the_bytes_are_the_same(findings: Findings, drawn: dict[str, bytes]) -> None:
    assert plots.draw(findings.judgement, findings.candidate) == drawn
    assert not any(b"matplotlib" in content for content in drawn.values())


def test_files_are_ready_for_a_version(findings: Findings, tmp_path: Path) -> None:
    paths = plots.write(findings, tmp_path / "plots")
    assert {path.name for path in paths.values()} == {f"{name}.png" for name in plots.TITLES}
    files = {"model": tmp_path / "m.skops", "contract": tmp_path / "c.json"}
    for role, path in files.items():
        assert path.suffix == SUFFIXES[role]
        path.write_text("{}")
    publish({**files, **paths}, "delay", "k", tmp_path / "versions")


def test_what_there_is_not_is_not_drawn(findings: Findings, invalid: Findings) -> None:
    assert plots.draw(invalid.judgement, invalid.candidate) == {}
    assert findings.judgement is not None and findings.candidate is not None
    nothing = Curve(x=(), y=())
    block = findings.judgement.evaluation.model_copy(update={"roc": nothing, "precision_recall": nothing, "reliability": nothing})
    bare = findings.judgement.model_copy(update={"evaluation": block, "analysis": ErrorAnalysis(declared=(), found=())})
    search = findings.candidate.search.model_copy(update={"importances": ()})
    assert plots.draw(bare, findings.candidate.model_copy(update={"search": search})) == {}


def test_many_columns_and_groups_with_long_names_fit(findings: Findings) -> None:
    assert findings.judgement is not None
    columns = tuple(ColumnImportance(column=f"c{n}", mean=n / 1e3, standard_error=1e-4, selected=True) for n in range(60))
    assert plots.importance(columns).startswith(b"\x89PNG")
    group = findings.judgement.analysis.declared[0]
    declared = tuple(group.model_copy(update={"name": f"a very long name of a group indeed {n} " * 4}) for n in range(60))
    assert plots.segments(ErrorAnalysis(declared=declared, found=findings.judgement.analysis.found)).startswith(b"\x89PNG")


def test_drawing_does_not_load_pyplot() -> None:
    code = "import sys, perennial.reports.run_plots; print('matplotlib.pyplot' in sys.modules, 'pandas' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.split() == ["False", "False"]
