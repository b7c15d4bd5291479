"""Rollouts. The newest version of each model, which counted as its champion until now, stays it."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

CHAMPIONS = """
insert into rollouts (model, number, attempt, digest, state, previous, requested, moved, reason)
select model, number, 1, digest, 'champion', null, created, created, 'It was the newest version when rollouts were introduced.'
from versions
where number = (select max(newer.number) from versions as newer where newer.model = versions.model)
"""


def upgrade() -> None:
    """The table of rollouts exists."""
    time = sa.DateTime(timezone=True)
    op.create_table(
        "rollouts",
        sa.Column("model", sa.String(63), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("previous", sa.Integer),
        sa.Column("requested", time, nullable=False),
        sa.Column("moved", time, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("model", "number", "attempt", name="pk_rollouts"),
        sa.ForeignKeyConstraint(["model", "number"], ["versions.model", "versions.number"], name="fk_rollouts_model"),
        sa.CheckConstraint("state in ('requested', 'checked', 'champion', 'refused', 'rolled back')", name="ck_rollouts_state"),
    )
    op.create_index("ix_rollouts_model_state_moved", "rollouts", ["model", "state", "moved"])
    op.execute(CHAMPIONS)
