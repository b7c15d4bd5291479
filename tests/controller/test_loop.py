"""The second project's whole loop: trained, served, looked at, decided, trained again, and the new version answers."""

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from feature_repo import store
from perennial.ledger import Ledger
from perennial.settings import Settings
from tests.pipelines.conftest import Project
from tests.second_project import FIRST_DAY, NAME, NOW, TRAINED, write_project
from tests.servers.port import free_port

pytestmark = [
    pytest.mark.local,
    pytest.mark.xdist_group("loop"),
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),  # Feast's own, at its import
    pytest.mark.filterwarnings("ignore:.*:FutureWarning"),
]

POLICY = "retraining: {reasons: [degraded, scheduled, manual], max_age_days: 20, cool_down_days: 7}"


@contextmanager
def server(project: Project) -> Iterator[http.client.HTTPConnection]:
    port = free_port()
    command = [sys.executable, "-m", "console.cli", "serve", NAME, "--port", str(port), "--replay"]
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    process = subprocess.Popen(command, cwd=project.folder, env=environment, stdout=subprocess.DEVNULL)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        until = time.monotonic() + 60
        while True:
            try:
                connection.request("GET", f"/v2/models/{NAME}/ready")
                if connection.getresponse().read() is not None:
                    break
            except OSError:
                connection.close()
                assert time.monotonic() < until
                time.sleep(0.2)
        yield connection
    finally:
        connection.close()
        process.terminate()
        process.wait(60)


def ask(connection: http.client.HTTPConnection, rows: list[dict[str, Any]], now: datetime) -> dict[str, Any]:
    headers = {"Content-Type": "application/json", "Perennial-Time": now.isoformat()}
    connection.request("POST", f"/v1/models/{NAME}:predict", json.dumps({"instances": rows}), headers)
    response = connection.getresponse()
    text = response.read()
    assert response.status == 200, text
    answer: dict[str, Any] = json.loads(text)
    return answer


def source(settings: Settings, name: str, start: datetime, end: datetime) -> pd.DataFrame:
    frame = pd.read_parquet(settings.source(name))
    return frame[(frame["event_timestamp"] >= start) & (frame["event_timestamp"] < end)].reset_index(drop=True)


def play(settings: Settings, connection: http.client.HTTPConnection, start: datetime, end: datetime) -> int:
    """Send the payments day by day, each with its id, after publishing what was known in the morning; returns how many."""
    sent = 0
    while start < end:
        following = start + timedelta(days=1)
        store.write_online(settings.online_store, "pair", source(settings, "pair", start, following))
        payments = source(settings, "payments", start, following)
        names = ["payment_id", "customer_id", "shop_code", "amount", "method"]
        for hour, rows in payments.groupby(payments["event_timestamp"].dt.ceil("h")):
            ask(connection, [dict(zip(names, row, strict=True)) for row in rows[names].values.tolist()], hour.to_pydatetime())
            sent += len(rows)
        start = following
    return sent


def test_the_second_project_retrains_by_itself_and_the_new_version_answers(tmp_path: Path) -> None:
    project = Project(write_project(tmp_path / "project"))
    path = project.settings.models / f"{NAME}.yaml"
    # For orders of a pair that lie further apart than the project's thirty days, no view would be called stale.
    spec = path.read_text().replace("max_age_hours: 720", "max_age_hours: 2400").splitlines()
    path.write_text("\n".join(f"  {POLICY}" if line.startswith("  retraining:") else line for line in spec) + "\n")
    settings = project.settings
    for arguments in (
        ("train", NAME, "--now", TRAINED.isoformat()),
        ("features", "apply"),
        ("features", "materialize", "--start", "2023-01-01T00:00:00Z", "--end", TRAINED.isoformat()),
    ):
        run = project.perennial(*arguments)
        assert run.returncode == 0, run.stdout + run.stderr
    with server(project) as connection:
        sent = play(settings, connection, TRAINED, FIRST_DAY + timedelta(days=100))
        assert sent > 3000
        run = project.perennial("tick", "--now", NOW.isoformat(), "--wait")
        assert run.returncode == 0, run.stdout + run.stderr
        with Ledger.open(settings.ledger) as ledger:
            windows, decisions, champion = ledger.windows(NAME), ledger.decisions(NAME), ledger.champion(NAME)
            trainings = [run for run in ledger.runs(NAME) if run.mode != "monitor" and run.decision == decisions[0].number]
        assert len(windows) >= 3
        assert all(record.performance is not None and record.performance.labels.arrived > 0 for record in windows)
        assert decisions[0].kind == "retrain"
        assert decisions[0].reason in ("degraded", "scheduled")
        assert decisions[0].state == "done"
        assert len(trainings) == 1
        assert champion is not None
        assert (trainings[0].outcome, champion.number) == ("registered", 2)
        connection.close()  # the server closed it while the loop worked; the next request opens it again
        until, payment = time.monotonic() + 20, source(settings, "payments", TRAINED, NOW).iloc[-1]
        names = ["payment_id", "customer_id", "shop_code", "amount", "method"]
        row = {name: payment[name].item() if hasattr(payment[name], "item") else payment[name] for name in names}
        while ask(connection, [row], NOW)["model_version"] != champion.digest:
            assert time.monotonic() < until, "the server does not take the champion up"
            time.sleep(0.2)
