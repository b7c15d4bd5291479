"""The serving check on a version as a refit writes it: silent when all is well, and fired by everything that can be wrong."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from perennial.data.matrix import to_matrix
from perennial.data.rows import Rows
from perennial.errors import PlatformError
from perennial.evaluation.gates import GateResult
from perennial.training import model_file
from perennial.training.fitting import fit
from perennial.training.recipe import Recipe
from perennial.versions.contract import Contract
from serving.check import calls_of, check_serving
from tests.serving.world import FIELDS, LIMITS, NAME, make_version, plan

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


@pytest.fixture(scope="module")
def refitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a refit."""
    folder = tmp_path_factory.mktemp("refitted")
    made = make_version(folder / "made", 1, plan())
    files = folder / "files"
    files.mkdir()
    shutil.copy(folder / "made" / "1.skops", files / "model.skops")
    made.contract.write(files / "contract.json")
    answered(reference(), made.model, made.contract).to_parquet(files / "reference.parquet", index=False)
    return files


@pytest.fixture
def files(refitted: Path, tmp_path: Path) -> Path:
    """A copy, to be broken."""
    shutil.copytree(refitted, tmp_path / "files")
    return tmp_path / "files"


def own_servers() -> list[str]:
    """Server processes that this process started and has not ended."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            command = (folder / "cmdline").read_text()
        except OSError:
            continue
        if parent == str(os.getpid()) and "serving.runtime" in command:
            found.append(folder.name)
    return found


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    """Whatever the verdict, the server has ended."""
    yield
    assert own_servers() == []


def check(files: Path, p95_ms: float = BUDGET_MS, calls: int = 50) -> GateResult:
    return check_serving(files, model=NAME, run_key="7" * 64, p95_ms=p95_ms, calls=calls, warm_up=10)


def change_contract(files: Path, **changes: object) -> None:
    Contract.read(files / "contract.json").model_copy(update=changes).write(files / "contract.json")


def failed(result: GateResult) -> str:
    """The sentence of a result that is a `fail`."""
    assert (result.name, result.verdict) == ("serving", "fail"), result
    assert "\n" not in result.sentence
    return result.sentence


def test_passes_a_version_that_serves_what_was_trained(files: Path) -> None:
    result = check(files)
    assert (result.name, result.verdict) == ("serving", "pass"), result.sentence
    assert result.numbers["difference"] is not None
    assert result.numbers["difference"] < 1e-12
    assert (result.numbers["rows"], result.numbers["calls"], result.numbers["limit"]) == (60, 50, BUDGET_MS)
    assert 0 < (result.numbers["p95_ms"] or 0) < BUDGET_MS
    assert "on 60 rows" in result.sentence
    assert sorted(path.name for path in files.iterdir()) == ["contract.json", "model.skops", "reference.parquet"]


def test_fires_on_the_model_file_of_another_training(files: Path, tmp_path: Path) -> None:
    make_version(tmp_path / "other", 2, plan())
    shutil.copy(tmp_path / "other" / "2.skops", files / "model.skops")
    result = check(files)
    assert "does not give the outputs of the fitted model" in failed(result)
    assert (result.numbers["difference"] or 0) > 0.01
    assert "row order-" in result.sentence


def test_fires_on_two_columns_in_the_wrong_order(files: Path) -> None:
    columns = list(Contract.read(files / "contract.json").columns)
    names = [column.name for column in columns]
    one, two = names.index("amount"), names.index("pair_spend")
    columns[one], columns[two] = columns[two], columns[one]
    change_contract(files, columns=tuple(columns))
    assert "does not give the outputs" in failed(check(files))


def test_fires_on_a_calibrator_that_is_slightly_off(files: Path) -> None:
    calibrator = Contract.read(files / "contract.json").calibrator
    change_contract(files, calibrator=calibrator.model_copy(update={"slope": calibrator.slope * 1.0001}))
    assert "does not give the outputs" in failed(check(files))


def test_fires_on_a_slow_model_without_waiting_for_all_its_calls(files: Path) -> None:
    contract, frame = Contract.read(files / "contract.json"), reference()
    matrix = np.tile(to_matrix(frame, contract.columns), (5, 1))
    label = np.random.default_rng(3).uniform(size=len(matrix)) < 0.4
    time = np.datetime64("2023-01-01", "us") + np.arange(len(matrix))
    recipe = Recipe(
        kind="random_forest",
        parameters={"trees": 200, "rows": 200, "min_samples_leaf": 60, "max_features": 0.5},
        columns=contract.recipe.columns,
    )
    forest = fit(Rows(np.arange(len(matrix)), matrix, label, time, time), recipe, contract.columns, 1, 1)
    model_file.dump(forest, files / "model.skops")
    answered(frame, forest, contract).to_parquet(files / "reference.parquet", index=False)
    result = check(files, p95_ms=5)
    assert "does not answer 95 % of" in failed(result)
    assert "gives the outputs" in result.sentence
    assert (result.numbers["p95_ms"] or 0) > 5
    assert (result.numbers["calls"] or 0) < 50


@pytest.mark.parametrize("name", ["model.skops", "contract.json", "reference.parquet"])
def test_fires_on_a_corrupted_file_with_its_reason(files: Path, name: str) -> None:
    content = (files / name).read_bytes()
    (files / name).write_bytes(content[: len(content) // 2])
    sentence = failed(check(files))
    assert "does not serve the refitted files" in sentence
    assert name.partition(".")[0] in sentence


def test_fires_on_a_missing_file(files: Path) -> None:
    (files / "model.skops").unlink()
    assert "model.skops: no such file" in failed(check(files))


def test_fires_on_a_contract_without_a_read_plan(files: Path) -> None:
    change_contract(files, plan=None)
    assert "no read plan" in failed(check(files))


def test_fires_when_the_server_cannot_start(files: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))
    assert "the server ended with exit code 1 before it listened" in failed(check(files))


SERVER = """\
#!{python}
import http.server, sys

class Answers(http.server.BaseHTTPRequestHandler):
    def answer(self):
        body = b'{{"error": "said so"}}'
        self.send_response(200 if self.command == "GET" else {status})
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

server = http.server.HTTPServer(("127.0.0.1", 0), Answers)
print(f"serving {{sys.argv}} on http://127.0.0.1:{{server.server_port}}", flush=True)
server.serve_forever()
"""
"""A server whose every answer to a prediction has one status."""


def put_server(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """This script is started in the place of the server."""
    script = folder / "server"
    script.write_text(text)
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


@pytest.mark.parametrize("status", [500, 503])
def test_an_answer_that_may_come_later_says_nothing_of_the_version(
    files: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int
) -> None:
    put_server(tmp_path, monkeypatch, SERVER.format(python=sys.executable, status=status))
    if status == 500:
        assert "was answered with 500: said so" in failed(check(files))
    else:
        with pytest.raises(PlatformError, match="was answered with 503: said so"):
            check(files)


@pytest.mark.parametrize("code", [1, 70, 75])
def test_a_server_that_ends_because_a_platform_failed_says_nothing_of_the_version(
    files: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int
) -> None:
    put_server(tmp_path, monkeypatch, f"#!/bin/sh\necho the disk is full\nexit {code}\n")
    said = f"the server ended with exit code {code} before it listened; it said: the disk is full"
    if code == 75:
        with pytest.raises(PlatformError, match=said):
            check(files)
    else:
        assert said in failed(check(files))


@pytest.mark.parametrize(
    ("where", "error", "raised"),
    [
        ((subprocess, "Popen"), OSError(errno.ENOSPC, "No space left on device"), OSError),
        ((subprocess, "Popen"), KeyError("a bug"), KeyError),
        ((pd, "read_parquet"), OSError(errno.EIO, "Input/output error"), PlatformError),
    ],
    ids=["full disk", "bug", "disk that cannot be read"],
)
def test_what_is_nobodys_fault_is_no_verdict(
    files: Path, monkeypatch: pytest.MonkeyPatch, where: tuple[object, str], error: Exception, raised: type[Exception]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(*where, fail)
    with pytest.raises(raised, match=r"No space|a bug|reference\.parquet: OSError: .*Input/output"):
        check(files)


def test_fires_when_a_row_of_the_training_data_is_refused(files: Path) -> None:
    change_contract(files, plan=plan("reject"))
    assert "got no probability, although it was trained on; rejected for sky" in failed(check(files))


def test_fires_on_an_output_that_was_no_probability(files: Path) -> None:
    frame = pd.read_parquet(files / "reference.parquet")
    frame.loc[3, "probability"] = np.nan
    frame.to_parquet(files / "reference.parquet", index=False)
    assert "is no probability" in failed(check(files))


def test_a_call_brings_keys_and_fields_and_stores_what_was_found() -> None:
    frame = reference().assign(probability=0.5)
    calls = {call.id: call for call in calls_of(frame, plan(), ROWS)}
    for row in frame.to_dict("records"):
        call = calls[row["order"]]
        [instance] = json.loads(call.body)["instances"]
        assert list(instance) == ["amount", "hour", "method", "gift", "unseen", "customer", "shop"]
        assert instance["customer"] == row["customer"]
        found = [view.view for view in plan().views if not pd.isna(row[view.observed_at])]
        assert [layout.view for layout, _ in call.stored] == found
