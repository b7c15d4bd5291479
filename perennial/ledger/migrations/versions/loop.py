"""The loop: windows, decisions, incidents, claims, leases; and which claim and decision a run carries out."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """The tables of the loop exist, empty."""
    time = sa.DateTime(timezone=True)
    op.add_column("runs", sa.Column("claim", sa.String(200)))
    op.add_column("runs", sa.Column("decision", sa.Integer))
    op.create_table(
        "windows",
        sa.Column("model", sa.String(63), nullable=False),
        sa.Column("start", time, nullable=False),
        sa.Column("end", time, nullable=False),
        sa.Column("measured_at", time, nullable=False),
        sa.Column("measurement", sa.JSON, nullable=False),
        sa.Column("performance", sa.JSON),
        sa.PrimaryKeyConstraint("model", "start", name="pk_windows"),
    )
    _create_decisions(time)
    op.create_table(
        "claims",
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("model", sa.String(63), nullable=False),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("token", sa.Integer, nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("starts", sa.Integer, nullable=False),
        sa.Column("decision", sa.Integer),
        sa.Column("moved", time, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_claims"),
        sa.CheckConstraint("state in ('intended', 'submitted', 'seen', 'done', 'failed')", name="ck_claims_state"),
    )
    is_open = sa.text("state not in ('done', 'failed')")
    op.create_index("uq_claims_open", "claims", ["model"], unique=True, sqlite_where=is_open, postgresql_where=is_open)
    op.create_table(
        "leases",
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("holder", sa.String(200), nullable=False),
        sa.Column("token", sa.Integer, nullable=False),
        sa.Column("expires", time, nullable=False),
        sa.Column("ticked", time),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )


def _create_decisions(time: sa.DateTime) -> None:
    op.create_table(
        "decisions",
        sa.Column("model", sa.String(63), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("cause", sa.String(200), nullable=False),
        sa.Column("made", time, nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("reason", sa.String(20)),
        sa.Column("sentence", sa.Text, nullable=False),
        sa.Column("otherwise", sa.Text, nullable=False),
        sa.Column("facts", sa.JSON, nullable=False),
        sa.Column("windows", sa.JSON, nullable=False),
        sa.Column("judged", sa.JSON, nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("model", "number", name="pk_decisions"),
        sa.UniqueConstraint("model", "cause", name="uq_decisions_model_cause"),
        sa.CheckConstraint("kind in ('leave', 'retrain', 'fix data')", name="ck_decisions_kind"),
        sa.CheckConstraint("state in ('open', 'waits for a person', 'acting', 'done', 'failed')", name="ck_decisions_state"),
        sa.CheckConstraint("(reason is not null) = (kind = 'retrain')", name="ck_decisions_reason"),
    )
    op.create_table(
        "incidents",
        sa.Column("model", sa.String(63), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("decision", sa.Integer, nullable=False),
        sa.Column("opened", time, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("seen", sa.Text, nullable=False),
        sa.Column("subjects", sa.JSON, nullable=False),
        sa.Column("barred_from", time, nullable=False),
        sa.Column("barred_until", time, nullable=False),
        sa.Column("needed", sa.Integer, nullable=False),
        sa.Column("clean", sa.Integer, nullable=False),
        sa.Column("closed", time),
        sa.Column("closing", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("model", "number", name="pk_incidents"),
        sa.UniqueConstraint("model", "decision", name="uq_incidents_model_decision"),
        sa.ForeignKeyConstraint(["model", "decision"], ["decisions.model", "decisions.number"], name="fk_incidents_model"),
    )
