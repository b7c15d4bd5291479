"""What a person accepted of an incident: that its data are as the data are now."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """An incident may carry an acceptance; none does yet."""
    op.add_column("incidents", sa.Column("accepted", sa.JSON))
