"""Where a run executes, and when its process last said so: a controller on another disk must not take it for dead."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """A run may have a host and a heartbeat; none has one yet."""
    op.add_column("runs", sa.Column("host", sa.String(200)))
    op.add_column("runs", sa.Column("heartbeat", sa.DateTime(timezone=True)))
