"""Bringing a database to the tables of this release. Alembic is imported only here, and here only when there is work."""

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, column, inspect, select, table

from perennial.errors import PlatformError
from perennial.ledger.tables import HEAD, VERSION_TABLE

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

MIGRATIONS = Path(__file__).parent / "migrations"
"""Folder of the revisions, shipped inside the package."""


def upgrade(readers: Engine, writers: Engine, where: str) -> None:
    """The database has the tables of this release; processes that come at once wait for the first.

    Args:
        readers: engine whose transactions read.
        writers: engine whose transactions may write.
        where: the ledger's name in messages.

    Raises:
        PlatformError: the ledger was written by a newer release.
    """
    with readers.begin() as connection:
        if revision_of(connection) == HEAD:
            return
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(MIGRATIONS))
    revisions = {script.revision for script in scripts.walk_revisions()}  # read before others have to wait for it
    with writers.begin() as connection:
        revision = revision_of(connection)
        if revision is not None and revision not in revisions:
            raise PlatformError(
                f"ledger {where}: written by a newer release (its revision is {revision}, this one knows up to {HEAD}); "
                "install that release, or name another ledger"
            )
        if revision != HEAD:
            _migrate(connection, scripts, revision)


def revision_of(connection: Connection) -> str | None:
    """Revision of the tables; None where there are none yet."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    revision = connection.scalar(select(column("version_num")).select_from(table(VERSION_TABLE)))
    return None if revision is None else str(revision)


def _migrate(connection: Connection, scripts: "ScriptDirectory", current: str | None) -> None:
    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    with Operations.context(context):
        for script in reversed(list(scripts.iterate_revisions(HEAD, current or "base"))):
            script.module.upgrade()
            context.stamp(scripts, script.revision)
