"""The training pipeline, run by kfp.local on a second project through the command line."""

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kfp import compiler

from perennial.data.dataset import Dataset, DatasetInfo
from perennial.data.rows import from_dataset
from perennial.ledger import Ledger
from perennial.lifecycle.refit import same_answers
from perennial.sqlite import file_of
from perennial.training import model_file
from perennial.versions.contract import Contract
from perennial.versions.folder import open_version
from perennial.versions.thresholds import Thresholds
from pipelines.training import training
from tests.pipelines.conftest import Project
from tests.second_project import NAME

pytestmark = [pytest.mark.local, pytest.mark.xdist_group("second project")]


def reference(project: Project, digest: str) -> pd.DataFrame:
    return pd.read_parquet(open_version(project.settings.versions / NAME / digest).file("reference"))


def test_the_graph_compiles_to_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.yaml", "two.yaml"):
        compiler.Compiler().compile(training, str(tmp_path / name))
    one, two = (hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("one.yaml", "two.yaml"))
    assert one == two


def test_a_candidate_that_passes_becomes_a_version_with_its_contract_and_card(trained: Project) -> None:
    with Ledger.open(trained.settings.ledger) as ledger:
        version = ledger.version(NAME)
        run = ledger.run(version.run_id)
        gates = {result.name: result.verdict for result in ledger.gates(version.run_id)}
    assert (run.state, run.outcome, version.number) == ("succeeded", "registered", 1)
    assert gates["data"] == gates["criterion:ranks-well"] == gates["model-file"] == gates["serving"] == "pass"
    assert gates["non-inferiority:auc"] == "not applicable"
    folder = open_version(trained.settings.versions / NAME / version.digest)
    contract = Contract.read(folder.file("contract"))
    assert contract.join_keys == ("customer_id", "shop_code")
    assert contract.threshold == pytest.approx(4 / 44)
    assert contract.run_key == version.run_key
    assert Thresholds.read(folder.file("thresholds")).blocks == 14
    assert "payments team" in folder.file("card").read_text(encoding="utf-8")
    assert trained.perennial("card", NAME).stdout == folder.file("card").read_text(encoding="utf-8")


HEAVY = {"feast", "duckdb", "evidently", "mlflow", "sklearn", "pandas", "pandera", "sqlalchemy", "matplotlib", "skops", "kserve"}
"""Libraries whose import costs a step seconds or memory."""

IMPORTS = {
    "claim": {"sqlalchemy"},
    "build_dataset": {"feast", "duckdb", "pandas", "sqlalchemy"},
    "validate_data": {"evidently", "pandas", "pandera", "sklearn"},
    "train": {"pandas", "sklearn", "skops"},
    "evaluate": {"pandas", "sklearn", "skops", "matplotlib"},
    "gate": set(),
    "refit": {"pandas", "sklearn", "skops"},
    "set_thresholds": {"evidently", "pandas", "sklearn", "skops"},
    "check": {"pandas", "sklearn", "skops"},
    "record": {"mlflow", "sqlalchemy", "pandas", "matplotlib"},
}
"""What each step has imported of these when it ends."""


@pytest.mark.parametrize("step", IMPORTS)
def test_a_step_imports_only_what_it_needs(step: str, trained: Project) -> None:
    noted = (trained.folder / "modules" / step).read_text().split()
    assert HEAVY & set(noted) == IMPORTS[step]


def test_status_runs_logs_and_report_speak_of_the_run(trained: Project) -> None:
    assert "version 1" in trained.perennial("status").stdout
    with Ledger.open(trained.settings.ledger) as ledger:
        run = ledger.version(NAME).run_id
    assert run in trained.perennial("runs", "--json").stdout
    assert "trial 1 of 2" in trained.perennial("logs", run, "train").stdout
    report = trained.perennial("report", NAME)
    assert Path(report.stdout.splitlines()[-1]).read_text(encoding="utf-8").startswith("<!")
    missing = trained.perennial("logs", run, "trian")
    assert missing.returncode == 4
    assert "build-dataset" in missing.stderr


def test_the_gate_on_the_model_file_fires_on_another_answer_and_is_silent_on_the_same(trained: Project) -> None:
    with Ledger.open(trained.settings.ledger) as ledger:
        version = open_version(trained.settings.versions / NAME / ledger.version(NAME).digest)
    model, contract = model_file.load(version.file("model")), Contract.read(version.file("contract"))
    info, sample = DatasetInfo.read(version.file("dataset")), pd.read_parquet(version.file("reference"))
    matrix = from_dataset(Dataset(sample, info)).matrix
    assert same_answers(model, contract, sample, matrix, info).verdict == "pass"
    other = sample.assign(probability=sample["probability"].where(sample.index != 0, sample["probability"] + 1e-6))
    assert same_answers(model, contract, other, matrix, info).verdict == "fail"


def test_the_same_run_key_gives_the_same_predictions_and_no_second_version(copied: Project) -> None:
    with Ledger.open(copied.settings.ledger) as ledger:
        first = ledger.version(NAME)
    # as on another machine: the ledger is new, so that the run is the first again, with the same key
    Path(str(file_of(copied.settings.ledger))).unlink()
    code, _, said = copied.train()
    assert code == 0, said
    with Ledger.open(copied.settings.ledger) as ledger:
        second = ledger.version(NAME)
    assert second.run_key == first.run_key
    one, two = (reference(copied, version.digest)["probability"].to_numpy() for version in (first, second))
    assert np.array_equal(one, two)


def test_training_again_right_away_is_a_result_that_changes_nothing(copied: Project) -> None:
    code, printed, _ = copied.train()
    verdicts = {gate["name"]: gate for gate in printed["gates"]}
    assert code == 3
    assert printed["run"]["outcome"] == "stopped"
    assert "rolling origins" not in verdicts["utility"]["sentence"] or verdicts["utility"]["verdict"] == "fail"
    assert verdicts["utility"]["verdict"] == "fail"  # a tie with itself earns nothing
    assert verdicts["superiority"]["verdict"] == "not applicable"
    with Ledger.open(copied.settings.ledger) as ledger:
        assert len(ledger.versions(NAME)) == 1


def test_shuffled_labels_are_stopped_and_the_result_is_kept(copied: Project) -> None:
    random = np.random.default_rng(3)
    copied.change("outcomes", lambda frame: frame.assign(charged_back=random.permutation(frame["charged_back"].to_numpy())))
    code, printed, _ = copied.train("--search")
    assert code == 3
    stopped = {gate["name"] for gate in printed["gates"] if gate["verdict"] in ("fail", "undecided")}
    assert "criterion:ranks-well" in stopped
    assert "rank-agreement" not in {gate["name"] for gate in printed["gates"]}  # it was never refitted
    run = printed["run"]["run_id"]
    assert (copied.settings.results / run / "judgement.json").exists()
    with closing(sqlite3.connect(str(file_of(copied.settings.tracking)))) as database:
        logged = database.execute("select value from tags where key = 'outcome' order by value").fetchall()
    assert logged == [("registered",), ("stopped",)]
    with Ledger.open(copied.settings.ledger) as ledger:
        assert len(ledger.versions(NAME)) == 1


def test_a_column_that_is_all_null_is_invalid_data(copied: Project) -> None:
    copied.change("account", lambda frame: frame.assign(account_country=None).astype({"account_country": "string"}))
    code, printed, _ = copied.train()
    assert code == 3
    assert printed["run"]["outcome"] == "invalid data"
    assert [gate["name"] for gate in printed["gates"]] == ["data"]
    assert "account_country" in (copied.settings.results / printed["run"]["run_id"] / "validation.json").read_text()
    assert "invalid data" in copied.perennial("report", printed["run"]["run_id"]).stdout


def test_a_missing_source_ends_the_run_with_its_name_and_the_log_to_read(copied: Project) -> None:
    Path(copied.settings.source("pair")).unlink()
    code, _, error = copied.train()
    assert code == 2, error
    assert "pair.parquet" in error
    assert "perennial logs" in error
    assert "Traceback" not in error
    with Ledger.open(copied.settings.ledger) as ledger:
        assert ledger.runs(NAME, limit=1)[0].state == "failed"
        assert len(ledger.versions(NAME)) == 1


def test_a_feature_service_that_does_not_exist_is_named(copied: Project) -> None:
    spec = copied.settings.models / f"{NAME}.yaml"
    spec.write_text(spec.read_text(encoding="utf-8").replace("service: chargeback", "service: chargebakc"), encoding="utf-8")
    validated = copied.perennial("validate")
    assert validated.returncode == 2
    assert "chargebakc" in validated.stdout + validated.stderr
    code, _, error = copied.train()
    assert code == 2
    assert "chargebakc" in error


def test_a_corrupted_champion_ends_the_run_with_its_file(copied: Project) -> None:
    with Ledger.open(copied.settings.ledger) as ledger:
        folder = open_version(copied.settings.versions / NAME / ledger.version(NAME).digest)
    model = folder.file("model")
    model.chmod(0o644)
    model.write_bytes(model.read_bytes()[:-100])
    code, _, error = copied.train()
    assert code == 2
    assert model.name in error


def test_a_locked_ledger_is_said_and_may_be_tried_again(copied: Project) -> None:
    holder = sqlite3.connect(str(file_of(copied.settings.ledger)), isolation_level=None)
    holder.execute("begin immediate")
    try:
        code, _, error = copied.train()
    finally:
        holder.close()
    assert code == 75
    assert "locked" in error
    assert "ledger.db" in error
