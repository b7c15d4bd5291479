"""Revisions and tables say the same, and a ledger from another time is upgraded or refused."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, Table, insert, inspect, select, text

from perennial.errors import PlatformError
from perennial.ledger import Ledger
from perennial.ledger.tables import HEAD, VERSION_TABLE, decisions, metadata, rollouts, runs, versions, windows
from perennial.ledger.upgrade import MIGRATIONS
from perennial.loop.failure import Failure
from tests.perennial.ledger.conftest import directly, migrate

NOW = datetime(2024, 5, 1, tzinfo=UTC)


def test_head_is_the_newest_revision() -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_heads() == [HEAD]


def constraints(connection: Connection) -> list[tuple[str, str, str]]:
    """Checks and references of the ledger's tables, with what they say."""
    seen = inspect(connection)
    return sorted(
        (table, str(found["name"]), str(found.get("sqltext", found.get("referred_table"))))
        for table in metadata.tables
        for found in (*seen.get_check_constraints(table), *seen.get_foreign_keys(table))
    )


def test_the_revisions_make_exactly_the_tables(url: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    Ledger.open(url).close()
    with directly(url) as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, "compare_type": True})
        assert compare_metadata(context, metadata) == []
        made = constraints(connection)
    other = f"sqlite:///{tmp_path / 'other.db'}"
    if not url.startswith("sqlite"):
        other = request.getfixturevalue("postgresql").database()
    with directly(other) as connection:
        metadata.create_all(connection)
        assert made == constraints(connection)


def test_what_an_older_ledger_held_is_kept(url: str) -> None:
    run = {"run_id": "r1", "model": "churn", "mode": "search", "started": NOW, "finished": NOW, "state": "succeeded"}
    run |= {"outcome": "registered", "spec": "s", "now": NOW, "reason": "well", "folder": "/r"}
    recipe = {"kind": "logistic", "parameters": {"c": 1.0}, "columns": ["amount"]}
    version = {"model": "churn", "number": 1, "run_key": "k", "digest": "d", "created": NOW, "run_id": "r1", "recipe": recipe}
    rollout = {"model": "churn", "number": 1, "attempt": 1, "digest": "d", "state": "champion", "previous": None}
    with directly(url) as older:
        migrate(older, "0001", "0002")
        older.execute(insert(runs).values(**run))
        older.execute(insert(versions).values(**version, searched_at=NOW, trained_until=NOW))
        older.execute(insert(rollouts).values(**rollout, requested=NOW, moved=NOW, reason="passed"))
    with Ledger.open(url) as ledger:
        run_now, champion = ledger.run("r1"), ledger.champion("churn")
        assert (run_now.outcome, run_now.reason, run_now.claim, run_now.decision) == ("registered", "well", None, None)
        assert (run_now.host, run_now.heartbeat) == (None, None)
        assert champion is not None
        assert champion == ledger.version("churn", 1)
        assert (champion.created, champion.recipe.columns) == (NOW, ("amount",))
        assert (ledger.windows("churn"), ledger.open_claims("churn"), ledger.decisions("churn")) == ((), (), ())
        assert ledger.intend("churn/manual/r2", model="churn", owner="r2", decision=None, now=NOW) is not None


@pytest.mark.parametrize(
    ("reason", "kind", "retry", "sentence"),
    [
        ("DataError: pair.parquet: empty", "DataError", False, "pair.parquet: empty"),
        ("UnexpectedError: train: ValueError: no", "UnexpectedError", False, "train: ValueError: no"),
        ("FencedError: taken", "FencedError", True, "taken"),
        ("PlatformError: given up: it had not come to its end", "given up", True, "it had not come to its end"),
        ("Looked dead.", "PlatformError", True, "Looked dead."),
        ("ValueError: of a release long ago", "PlatformError", True, "ValueError: of a release long ago"),
    ],
)
def test_a_run_that_failed_before_has_a_failure(url: str, reason: str, kind: str, retry: bool, sentence: str) -> None:
    run = {"run_id": "r1", "model": "churn", "mode": "search", "started": NOW, "finished": NOW, "state": "failed"}
    with directly(url) as older:
        migrate(older, "0001", "0002", "0003", "0004")
        older.execute(insert(runs).values(**run, spec="s", now=NOW, reason=reason, folder="/r"))
    with Ledger.open(url) as ledger:
        failure = ledger.run("r1").failure
    assert failure == Failure(kind=kind, retry=retry, step="", sentence=sentence)


def test_words_of_an_older_release_are_those_of_today(url: str) -> None:
    spent = {"sentence": "It hurts.", "otherwise": "", "facts": [], "windows": [], "judged": [], "state": "done", "outcome": ""}
    measured = {"rows": 9, "versions": {}, "lost": 0, "damaged": [], "repeated": 0, "champion": "d", "blocks": 8}
    loss = {"value": 0.7, "limit": 0.6, "blocks": 8, "basis": "since the champion's evaluation began", "sentence": "It hurts."}
    judged = {"labels": {"matured_at": NOW.isoformat(), "arrived": 9, "missing": 0}, "label_rate": 0.2}
    estimates = {"naive_brier": {"value": 0.2, "low": 0.1, "high": 0.3, "standard_error": 0.05}}
    judged |= {"metrics": estimates, "alone": estimates, "missing": {"naive_utility": "no label"}, "alone_reason": "none"}
    column = {"column": "amount", "method": "ks", "step": 0.4, "threshold": 0.3, "size_sd": 0.2, "distance": None}
    column |= {"verdict": "alarm", "sentence": "It moved."}
    window = {"model": "churn", "end": NOW, "measured_at": NOW, "measurement": {**measured, "columns": [column], "checks": []}}
    with directly(url) as older:
        migrate(older, "0001", "0002", "0003", "0004", "0005", "0006")
        incidents_before = Table("incidents", MetaData(), autoload_with=older)
        for number, reason in enumerate(("hurt", "drift"), 1):
            values = {"model": "churn", "number": number, "cause": reason, "made": NOW, "kind": "retrain", "reason": reason}
            older.execute(insert(decisions).values(**values, **spent))
        for days, performance in (
            (14, {**judged, "loss": {**loss, "hurt": True, "naive": 0.65}}),
            (7, {**judged, "loss": None}),
            (0, None),
        ):
            older.execute(insert(windows).values(**window, start=NOW - timedelta(days=days), performance=performance))
        held = {"model": "churn", "number": 1, "decision": 1, "opened": NOW, "owner": "o", "seen": "s", "subjects": []}
        held |= {"needed": 2, "clean": 0, "closing": "", "barred_from": NOW, "barred_until": NOW + timedelta(days=7)}
        older.execute(insert(incidents_before).values(**held))
    with Ledger.open(url) as ledger:
        assert ledger.excluded("churn") == ((NOW, NOW + timedelta(days=7)),)
        assert [decision.reason for decision in ledger.decisions("churn")] == ["drift", "degraded"]
        young, unlabelled, old = ledger.windows("churn")
        assert young.performance is None and unlabelled.performance is not None and unlabelled.performance.loss is None
        assert old.performance is not None and old.performance.loss is not None and old.performance.loss.degraded
        assert [column.window_over_window for column in old.measurement.columns] == [0.4]
        assert (old.performance.loss.baseline, old.performance.frozen_reason) == (0.65, "none")
        assert [*old.performance.metrics, *old.performance.frozen, *old.performance.missing] == [
            "baseline_brier",
            "baseline_brier",
            "baseline_utility",
        ]
        assert old.performance.loss.sentence == "It hurts.", "what was said stays"
    with directly(url) as connection:
        stored = connection.scalar(select(windows.c.performance).where(windows.c.start == NOW - timedelta(days=14)))
        assert stored is not None and stored["loss"]["degraded"] is True and "hurt" not in stored["loss"]


def test_a_ledger_of_a_newer_release_is_refused_untouched(url: str) -> None:
    Ledger.open(url).close()
    with directly(url) as connection:
        connection.execute(text(f"update {VERSION_TABLE} set version_num = '9999'"))
    with pytest.raises(
        PlatformError, match=r"ledger .*: written by a newer release \(its revision is 9999, this one knows up to"
    ):
        Ledger.open(url)
    with directly(url) as connection:
        assert connection.scalar(text(f"select version_num from {VERSION_TABLE}")) == "9999"


def test_opening_a_ledger_that_is_up_to_date_imports_no_alembic(url: str) -> None:
    code = (
        "import sys; from perennial.ledger import Ledger; ledger = Ledger.open(sys.argv[1]); ledger.runs(); ledger.close();"
        "heavy = {'alembic', 'mlflow', 'numpy', 'pandas', 'scipy', 'sklearn'};"
        "print(*sorted({name.split('.')[0] for name in sys.modules} & heavy))"
    )
    found = [
        subprocess.run([sys.executable, "-c", code, url], check=True, capture_output=True, text=True).stdout.strip()
        for _ in range(2)
    ]
    assert found == ["alembic", ""]
