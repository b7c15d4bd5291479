"""The files of a version as a refit writes them, and the check on them."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from perennial.data.matrix import to_matrix
from perennial.evaluation.gates import GateResult
from perennial.versions.contract import Contract
from serving.verification.gate import check_serving
from tests.serving.world import FIELDS, LIMITS, NAME, plan

ROWS = 60
BUDGET_MS = 2_000.0
"""No answer takes that long, however busy the machine: tests of the outputs must not fire for the latency."""


def reference() -> pd.DataFrame:
    """Requests of a few keys, so that one row's values are another's left-overs; without outputs.

    A third of the rows of each view was never published, and as many observations are older than their limit.
    """
    random, start = np.random.default_rng(5), datetime(2023, 3, 1, tzinfo=UTC)
    time = pd.Series([start + timedelta(minutes=17 * row, microseconds=125_000) for row in range(ROWS)])
    frame = pd.DataFrame({"order": [f"order-{row}" for row in range(ROWS)], "event_timestamp": time})
    frame["customer"] = random.integers(1, 4, ROWS)
    frame["shop"] = random.choice(np.array(["S1", "S2"], dtype=object), ROWS)
    for column in (*plan().features, *FIELDS):
        values: Any = np.round(random.normal(5, 4, ROWS), 2)
        if column.dtype == "int":
            values = np.round(values)
        elif column.dtype == "bool":
            values = (values > 5).astype(float)
        elif column.dtype == "string":
            values = random.choice(np.array(["card", "wallet", "DE", "ünknown"], dtype=object), ROWS)
        frame[column.name] = pd.Series(values).where(random.uniform(size=ROWS) > 0.1, None)
    frame["sky_rain"] = frame["sky_rain"].astype("float32").astype("float64")
    for view in plan().views:
        kind = random.integers(0, 3, ROWS)
        hours = np.where(kind == 1, 7.0, 0.5)
        observed = (time - pd.to_timedelta(hours, unit="h")).dt.floor("s")
        frame[view.observed_at] = observed.where(kind != 2)
        limit, policy = LIMITS.get(view.view) or (None, "default")
        gone = (kind == 2) | ((kind == 1) & (limit is not None) & (policy == "default"))
        for feature in view.features:
            frame[feature.name] = frame[feature.name].where(~gone, None if feature.dtype == "string" else np.nan)
    return frame


def answered(frame: pd.DataFrame, model: Any, contract: Contract) -> pd.DataFrame:
    """The reference with what this model answers."""
    raw = model.predict_proba(to_matrix(frame, contract.columns))[:, 1]
    return frame.assign(probability=contract.calibrator.apply(raw))


def check(files: Path, p95_ms: float = BUDGET_MS, calls: int = 50) -> GateResult:
    return check_serving(files, model=NAME, run_key="7" * 64, p95_ms=p95_ms, calls=calls, warm_up=10)


def change_contract(files: Path, **changes: object) -> None:
    Contract.read(files / "contract.json").model_copy(update=changes).write(files / "contract.json")


def failed(result: GateResult) -> str:
    """The sentence of a result that is a `fail`."""
    assert (result.name, result.verdict) == ("serving", "fail"), result
    assert "\n" not in result.sentence
    return result.sentence


def put_server(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """This script is started in the place of the server."""
    script = folder / "server"
    script.write_text(text)
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
