"""The second project's monitoring pipeline through the command line: windows, a decision, a report; what each step imports."""

import json
import sqlite3
from contextlib import closing
from typing import Any

import pandas as pd
import pytest

from perennial.ledger import Ledger
from perennial.prediction_log import LogRow, LogWriter
from perennial.sqlite import file_of
from perennial.versions.folder import open_version
from tests.pipelines.conftest import Project
from tests.second_project import NAME, NOW

pytestmark = [pytest.mark.local, pytest.mark.xdist_group("second project")]

FIRST = pd.Timestamp("2024-03-04", tz="UTC")
"""Earlier, few customers had orders at a shop: more nulls than on the average of the training."""
HEAVY = {"feast", "duckdb", "evidently", "mlflow", "sklearn", "pandas", "pandera", "sqlalchemy", "matplotlib", "skops", "kserve"}
IMPORTS = {
    "measure": {"evidently", "pandas", "sklearn", "sqlalchemy"},
    "perform": {"pandas", "sklearn", "skops", "sqlalchemy"},
    "decide": {"sqlalchemy"},
}
"""What each step has imported of these when it ends."""


def answer_the_past(project: Project) -> int:
    """The last weeks of the version's reference sample become its prediction log; returns the rows.

    In the ledger the version is older than them: rows from before a version existed are not believed.
    """
    with closing(sqlite3.connect(str(file_of(project.settings.ledger)))) as database, database:
        database.execute("update versions set trained_until = ?", (FIRST.strftime("%Y-%m-%d %H:%M:%S.%f"),))
    with Ledger.open(project.settings.ledger) as ledger:
        version = open_version(project.settings.versions / NAME / ledger.version(NAME).digest)
    sample = pd.read_parquet(version.file("reference")).sort_values("event_timestamp")
    sample = sample[sample["event_timestamp"] >= FIRST]
    features = ["account_days", "account_vip", "account_country", "pair_orders", "pair_spend"]

    def given(row: dict[Any, Any], names: list[str]) -> dict[str, Any]:
        return {name: None if row[name] is None or row[name] != row[name] else row[name] for name in names}

    rows = [
        LogRow(
            prediction_id=str(place),
            time=row["event_timestamp"].timestamp(),
            version=version.digest,
            keys={"customer_id": row["customer_id"], "shop_code": row["shop_code"]},
            fields={**given(row, ["amount", "method"]), "payment_id": row["payment_id"]},
            features=given(row, features),
            observed_at={"account": None, "pair": None},
            stale={},
            probability=row["probability"],
            decision=False,
        )
        for place, row in enumerate(sample.to_dict("records"))
    ]
    with LogWriter(project.settings.prediction_log(NAME), lambda: NOW.timestamp()) as writer:
        assert writer.append(rows) == 0
    return len(rows)


def test_a_monitoring_run_ends_in_one_decision(copied: Project) -> None:
    rows = answer_the_past(copied)
    noted = copied.folder / "modules"
    run = copied.perennial(
        "monitor", NAME, "--now", NOW.isoformat(), "--json", PYTHONPATH=str(noted), MODULES=str(noted), PIPELINE_COLD="1"
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)
    with Ledger.open(copied.settings.ledger) as ledger:
        windows, decisions = ledger.windows(NAME), ledger.decisions(NAME)
        runs = [run for run in ledger.runs(NAME) if run.mode == "monitor"]
    assert sum(window.measurement.rows for window in windows) == rows - _of_the_open_week(copied)
    assert all(window.performance is not None for window in windows)
    assert {column.verdict for window in windows for column in window.measurement.columns} >= {"quiet"}
    monitored = [decision for decision in decisions if "/monitor/" in decision.cause]
    assert [(decision.kind, decision.state) for decision in monitored] == [("leave", "done")], monitored
    assert [(run.state, run.outcome) for run in runs] == [("succeeded", "leave")]
    assert list((copied.settings.runs / runs[0].run_id).glob("**/report*")), "Evidently's report is kept"
    for step, expected in IMPORTS.items():
        assert HEAVY & set((noted / step).read_text().split()) == expected, step


def _of_the_open_week(project: Project) -> int:
    """Logged rows of the week that has not closed yet."""
    from monitoring.log.collect import load

    frame = load(project.settings.prediction_tables(NAME))
    begin = pd.Timestamp("2024-04-08", tz="UTC")
    return int((frame["time"] >= begin).sum())
