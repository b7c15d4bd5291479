"""Revisions and tables say the same, and a ledger from another time is upgraded or refused."""

import io
import sqlite3
import subprocess
import sys
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
