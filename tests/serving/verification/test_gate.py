"""The gate on a version as a refit writes it: silent when all is well, and fired by everything that can be wrong."""

import errno
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from perennial.data.matrix import to_matrix
from perennial.data.rows import Rows
from perennial.errors import PlatformError
from perennial.training import model_file
from perennial.training.fitting import fit
from perennial.training.recipe import Recipe
from perennial.versions.contract import Contract
from tests.serving.verification.refit import BUDGET_MS, answered, change_contract, check, failed, reference
from tests.serving.world import make_version, plan


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


def test_fires_on_an_output_that_was_no_probability(files: Path) -> None:
    frame = pd.read_parquet(files / "reference.parquet")
    frame.loc[3, "probability"] = np.nan
    frame.to_parquet(files / "reference.parquet", index=False)
    assert "is no probability" in failed(check(files))
