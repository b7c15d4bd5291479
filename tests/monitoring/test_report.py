"""The report of a window: Evidently's page and numbers, with what cannot be shown named instead of ending it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitoring.evidence import Newest, reference
from monitoring.report import show
from monitoring.windows import LoggedWindow
from tests.monitoring.world import NAME, World

pytestmark = pytest.mark.xdist_group("watched model")


def newest(world: World, **changed: Any) -> Newest:
    logged, before = world.logged(4)
    frame = logged.frame.assign(**changed)
    return Newest(LoggedWindow(logged.window, frame, 0, 0, ()), before, reference(world.settings.versions / NAME / world.digest))


def shown(found: Newest | None, world: World, folder: Path) -> tuple[str, Any]:
    show(found, world.model, html=folder / "report.html", json=folder / "report.json")
    return (folder / "report.html").read_text(encoding="utf-8"), json.loads((folder / "report.json").read_text(encoding="utf-8"))


def test_every_watched_column_is_shown_with_its_own_method(world: World, tmp_path: Path) -> None:
    page, numbers = shown(newest(world), world, tmp_path)
    assert "window 2024-05-06 to 2024-05-13 against the four before it" in page
    assert numbers["metadata"]["left_out"] == {}
    names = [metric["metric_name"] for metric in numbers["metrics"]]
    assert [name for name in names if "road_speed" in name and "wasserstein" in name]
    assert [name for name in names if "road_kind" in name and "jensenshannon" in name]
    assert [name for name in names if name.startswith("MeanValue") and "express" in name]
    assert len(names) == 5


def test_a_column_without_a_value_is_left_out_and_named(world: World, tmp_path: Path) -> None:
    page, numbers = shown(newest(world, **{"fields.weight": np.nan}), world, tmp_path)
    assert numbers["metadata"]["left_out"] == {"weight": "no value in the window"}
    assert "weight (no value in the window)" in page
    assert len(numbers["metrics"]) == 4


def test_without_a_new_window_it_says_so(world: World, tmp_path: Path) -> None:
    page, numbers = shown(None, world, tmp_path)
    assert "No window of parcel-late has closed since the last run" in page
    assert numbers["metrics"] == []
