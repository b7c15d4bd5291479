"""Revisions and tables say the same, and a ledger from another time is upgraded or refused."""

import io
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from perennial.errors import PlatformError
from perennial.ledger import Ledger
from perennial.ledger.tables import HEAD, VERSION_TABLE, metadata
from perennial.ledger.upgrade import MIGRATIONS

NOW = datetime(2024, 5, 1, tzinfo=UTC)


def test_head_is_the_newest_revision() -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_heads() == [HEAD]


def test_the_revisions_make_exactly_the_tables(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    Ledger.open(url).close()
    with create_engine(url, poolclass=NullPool).connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, "compare_type": True})
        assert compare_metadata(context, metadata) == []
    with sqlite3.connect(tmp_path / "ledger.db") as made, sqlite3.connect(tmp_path / "expected.db") as expected:
        metadata.create_all(create_engine(f"sqlite:///{tmp_path / 'expected.db'}", poolclass=NullPool))
        query = "select count(*) from sqlite_master where sql like '%CHECK%' or sql like '%REFERENCES%'"
        assert made.execute(query).fetchone() == expected.execute(query).fetchone()
    made.close()
    expected.close()


def test_the_revisions_can_be_written_for_postgresql() -> None:
    text = io.StringIO()
    context = MigrationContext.configure(dialect_name="postgresql", opts={"as_sql": True, "output_buffer": text})
    with Operations.context(context):
        for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions():
            script.module.upgrade()
    assert text.getvalue().count("CREATE TABLE") == len(metadata.tables)
    assert "TIMESTAMP WITH TIME ZONE NOT NULL" in text.getvalue()


def test_what_an_older_ledger_held_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    with create_engine(f"sqlite:///{file}", poolclass=NullPool).begin() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        scripts = ScriptDirectory(str(MIGRATIONS))
        with Operations.context(context):
            for revision in ("0001", "0002"):
                scripts.get_revision(revision).module.upgrade()
            context.stamp(scripts, "0002")
    time = "2024-05-01 06:00:00.000000"
    with closing(sqlite3.connect(file)) as older:
        values = ("r1", "churn", time, time, time)
        older.execute(
            "insert into runs (run_id, model, mode, started, finished, state, outcome, spec, now, reason, folder)"
            " values (?, ?, 'search', ?, ?, 'succeeded', 'registered', 's', ?, 'well', '/r')",
            values,
        )
        recipe = '{"kind": "logistic", "parameters": {"c": 1.0}, "columns": ["amount"]}'
        older.execute("insert into versions values ('churn', 1, 'k', 'd', ?, 'r1', ?, ?, ?)", (time, recipe, time, time))
        older.execute("insert into rollouts values ('churn', 1, 1, 'd', 'champion', null, ?, ?, 'passed')", (time, time))
        older.commit()
    with Ledger.open(f"sqlite:///{file}") as ledger:
        run, champion = ledger.run("r1"), ledger.champion("churn")
        assert (run.outcome, run.reason, run.claim, run.decision) == ("registered", "well", None, None)
        assert champion is not None
        assert champion == ledger.version("churn", 1)
        assert (ledger.windows("churn"), ledger.open_claims("churn"), ledger.decisions("churn")) == ((), (), ())
        assert ledger.intend("churn/manual/r2", model="churn", owner="r2", decision=None, now=NOW) is not None


def test_a_ledger_of_a_newer_release_is_refused_untouched(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    Ledger.open(url).close()
    connection = sqlite3.connect(tmp_path / "ledger.db")
    connection.execute(f"update {VERSION_TABLE} set version_num = '9999'")
    connection.commit()
    with pytest.raises(
        PlatformError, match=r"ledger\.db: written by a newer release \(its revision is 9999, this one knows up to"
    ):
        Ledger.open(url)
    assert connection.execute(f"select version_num from {VERSION_TABLE}").fetchone() == ("9999",)
    connection.close()


def test_opening_a_ledger_that_is_up_to_date_imports_no_alembic(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
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
