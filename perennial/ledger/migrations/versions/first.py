"""Runs, versions and gate results."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """The first tables exist."""
    time = sa.DateTime(timezone=True)
    op.create_table(
        "runs",
        sa.Column("run_id", sa.String(200), nullable=False),
        sa.Column("model", sa.String(63), nullable=False),
        sa.Column("mode", sa.String(20), nullable=False),
        sa.Column("started", time, nullable=False),
        sa.Column("finished", time),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("outcome", sa.String(40)),
        sa.Column("run_key", sa.String(64)),
        sa.Column("dataset", sa.String(64)),
        sa.Column("spec", sa.String(64), nullable=False),
        sa.Column("now", time, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("folder", sa.Text, nullable=False),
        sa.Column("mlflow_run_id", sa.String(64)),
        sa.PrimaryKeyConstraint("run_id", name="pk_runs"),
        sa.CheckConstraint("state in ('running', 'succeeded', 'failed')", name="ck_runs_state"),
        sa.CheckConstraint("(outcome is not null) = (state = 'succeeded')", name="ck_runs_outcome"),
    )
    op.create_index("ix_runs_model_started", "runs", ["model", "started"])
    op.create_table(
        "versions",
        sa.Column("model", sa.String(63), nullable=False),
        sa.Column("number", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("run_key", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("created", time, nullable=False),
        sa.Column("run_id", sa.String(200), sa.ForeignKey("runs.run_id", name="fk_versions_run_id"), nullable=False),
        sa.Column("recipe", sa.JSON, nullable=False),
        sa.Column("searched_at", time, nullable=False),
        sa.Column("trained_until", time, nullable=False),
        sa.PrimaryKeyConstraint("model", "number", name="pk_versions"),
        sa.UniqueConstraint("model", "run_key", name="uq_versions_model_run_key"),
    )
    op.create_table(
        "gate_results",
        sa.Column("run_id", sa.String(200), sa.ForeignKey("runs.run_id", name="fk_gate_results_run_id"), nullable=False),
        sa.Column("position", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("verdict", sa.String(20), nullable=False),
        sa.Column("sentence", sa.Text, nullable=False),
        sa.Column("numbers", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "position", name="pk_gate_results"),
        sa.UniqueConstraint("run_id", "name", name="uq_gate_results_run_id_name"),
    )
