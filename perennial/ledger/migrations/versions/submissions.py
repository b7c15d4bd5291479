"""What was submitted to a pipeline server."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Submissions have a table; before there were runs of this machine only."""
    op.create_table(
        "submissions",
        sa.Column("run_id", sa.String(200), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("pipeline_run", sa.String(64), nullable=False),
        sa.Column("posted", sa.DateTime(timezone=True), nullable=False),
        sa.Column("refusal", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "attempt", name="pk_submissions"),
        sa.UniqueConstraint("pipeline_run", name="uq_submissions_pipeline_run"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_submissions_run_id"),
    )
