"""What people ask the controller for."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Requests have a table; of those before there were only the decisions that they became."""
    time = sa.DateTime(timezone=True)
    op.create_table(
        "requests",
        sa.Column("model", sa.String(63), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("wish", sa.JSON, nullable=False),
        sa.Column("made", time, nullable=False),
        sa.Column("now", time, nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("subject", sa.Integer),
        sa.Column("run", sa.String(200)),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("failure", sa.JSON),
        sa.PrimaryKeyConstraint("model", "number", name="pk_requests"),
        sa.CheckConstraint("state in ('open', 'acting', 'done')", name="ck_requests_state"),
    )
