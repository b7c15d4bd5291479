"""What a run broke with: its kind, whether the same may work later, and the step, as columns."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

FOR_GOOD = ("SpecError", "DataError", "NotFoundError", "UnexpectedError")
KINDS = (*FOR_GOOD, "PlatformError", "FencedError", "PerennialError")
GIVEN_UP = "given up"


def upgrade() -> None:
    """A run that failed has a failure; of those before, it stood at the begin of the reason."""
    for column in (
        sa.Column("failure_kind", sa.String(60)),
        sa.Column("failure_retry", sa.Boolean),
        sa.Column("failure_step", sa.String(100)),
    ):
        op.add_column("runs", column)
    names = ("run_id", "state", "reason", "failure_kind", "failure_retry", "failure_step")
    runs = sa.table("runs", *map(sa.column, names))
    connection = op.get_bind()
    for run_id, reason in connection.execute(sa.select(runs.c.run_id, runs.c.reason).where(runs.c.state == "failed")).all():
        kind, separator, sentence = reason.partition(": ")
        if not separator or kind not in KINDS:
            kind, sentence = "PlatformError", reason
        if sentence.startswith(f"{GIVEN_UP}: "):
            kind, sentence = GIVEN_UP, sentence.removeprefix(f"{GIVEN_UP}: ")
        values = {"failure_kind": kind, "failure_retry": kind not in FOR_GOOD, "failure_step": "", "reason": sentence}
        connection.execute(sa.update(runs).where(runs.c.run_id == run_id).values(**values))
