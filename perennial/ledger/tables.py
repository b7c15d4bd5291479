"""The ledger's tables as they are now. How they came to be stands in `migrations/versions`; a test holds both equal."""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

HEAD = "0009"
"""Revision that these tables have. Here, so that opening a ledger needs Alembic only when it must be upgraded."""

VERSION_TABLE = "ledger_revision"
"""Table in which Alembic keeps the revision; its own name, because a database may hold others' tables."""


class UtcTime(TypeDecorator[datetime]):
    """An aware datetime. A naive one is refused; SQLite, which has no time zones, keeps UTC without one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The value as the database keeps it."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; the ledger takes aware datetimes only")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - its signature
        """The value as the caller gets it: in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

runs = Table(
    "runs",
    metadata,
    Column("run_id", String(200), primary_key=True),
    Column("model", String(63), nullable=False),
    Column("mode", String(20), nullable=False),
    Column("started", UtcTime, nullable=False),
    Column("finished", UtcTime),
    Column("state", String(20), nullable=False),
    Column("outcome", String(40)),
    Column("run_key", String(64)),
    Column("dataset", String(64)),
    Column("spec", String(64), nullable=False),
    Column("now", UtcTime, nullable=False),
    Column("reason", Text, nullable=False),
    Column("folder", Text, nullable=False),
    Column("mlflow_run_id", String(64)),
    Column("claim", String(200)),
    Column("decision", Integer),
    Column("failure_kind", String(60)),
    Column("failure_retry", Boolean),
    Column("failure_step", String(100)),
    Column("host", String(200)),
    Column("heartbeat", UtcTime),
    CheckConstraint("state in ('running', 'succeeded', 'failed')", name="state"),
    CheckConstraint("(outcome is not null) = (state = 'succeeded')", name="outcome"),
    Index(None, "model", "started"),
)

versions = Table(
    "versions",
    metadata,
    Column("model", String(63), nullable=False),
    Column("number", Integer, nullable=False, autoincrement=False),
    Column("run_key", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("created", UtcTime, nullable=False),
    Column("run_id", String(200), ForeignKey("runs.run_id"), nullable=False),
    Column("recipe", JSON, nullable=False),
    Column("searched_at", UtcTime, nullable=False),
    Column("trained_until", UtcTime, nullable=False),
    PrimaryKeyConstraint("model", "number"),
    UniqueConstraint("model", "run_key"),
)

gate_results = Table(
    "gate_results",
    metadata,
    Column("run_id", String(200), ForeignKey("runs.run_id"), nullable=False),
    Column("position", Integer, nullable=False, autoincrement=False),
    Column("name", String(200), nullable=False),
    Column("verdict", String(20), nullable=False),
    Column("sentence", Text, nullable=False),
    Column("numbers", JSON, nullable=False),
    PrimaryKeyConstraint("run_id", "position"),
    UniqueConstraint("run_id", "name"),
)

rollouts = Table(
    "rollouts",
    metadata,
    Column("model", String(63), nullable=False),
    Column("number", Integer, nullable=False, autoincrement=False),
    Column("attempt", Integer, nullable=False, autoincrement=False),
    Column("digest", String(64), nullable=False),
    Column("state", String(20), nullable=False),
    Column("previous", Integer),
    Column("requested", UtcTime, nullable=False),
    Column("moved", UtcTime, nullable=False),
    Column("reason", Text, nullable=False),
    PrimaryKeyConstraint("model", "number", "attempt"),
    ForeignKeyConstraint(["model", "number"], ["versions.model", "versions.number"]),
    CheckConstraint("state in ('requested', 'checked', 'champion', 'refused', 'rolled back')", name="state"),
    Index(None, "model", "state", "moved"),
)

windows = Table(
    "windows",
    metadata,
    Column("model", String(63), nullable=False),
    Column("start", UtcTime, nullable=False),
    Column("end", UtcTime, nullable=False),
    Column("measured_at", UtcTime, nullable=False),
    Column("measurement", JSON, nullable=False),
    Column("performance", JSON(none_as_null=True)),
    PrimaryKeyConstraint("model", "start"),
)

decisions = Table(
    "decisions",
    metadata,
    Column("model", String(63), nullable=False),
    Column("number", Integer, nullable=False, autoincrement=False),
    Column("cause", String(200), nullable=False),
    Column("made", UtcTime, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("reason", String(20)),
    Column("sentence", Text, nullable=False),
    Column("otherwise", Text, nullable=False),
    Column("facts", JSON, nullable=False),
    Column("windows", JSON, nullable=False),
    Column("judged", JSON, nullable=False),
    Column("state", String(20), nullable=False),
    Column("outcome", Text, nullable=False),
    PrimaryKeyConstraint("model", "number"),
    UniqueConstraint("model", "cause"),
    CheckConstraint("kind in ('leave', 'retrain', 'fix data')", name="kind"),
    CheckConstraint("state in ('open', 'waits for a person', 'acting', 'done', 'failed')", name="state"),
    CheckConstraint("(reason is not null) = (kind = 'retrain')", name="reason"),
)

incidents = Table(
    "incidents",
    metadata,
    Column("model", String(63), nullable=False),
    Column("number", Integer, nullable=False, autoincrement=False),
    Column("decision", Integer, nullable=False),
    Column("opened", UtcTime, nullable=False),
    Column("owner", Text, nullable=False),
    Column("seen", Text, nullable=False),
    Column("subjects", JSON, nullable=False),
    Column("excluded_from", UtcTime, nullable=False),
    Column("excluded_until", UtcTime, nullable=False),
    Column("needed", Integer, nullable=False),
    Column("clean", Integer, nullable=False),
    Column("closed", UtcTime),
    Column("closing", Text, nullable=False),
    Column("accepted", JSON(none_as_null=True)),
    PrimaryKeyConstraint("model", "number"),
    UniqueConstraint("model", "decision"),
    ForeignKeyConstraint(["model", "decision"], ["decisions.model", "decisions.number"]),
)

IS_OPEN = text("state not in ('done', 'failed')")
"""A claim that is not over. A model has at most one."""

claims = Table(
    "claims",
    metadata,
    Column("key", String(200), primary_key=True),
    Column("model", String(63), nullable=False),
    Column("owner", String(200), nullable=False),
    Column("token", Integer, nullable=False),
    Column("state", String(20), nullable=False),
    Column("starts", Integer, nullable=False),
    Column("decision", Integer),
    Column("moved", UtcTime, nullable=False),
    CheckConstraint("state in ('intended', 'submitted', 'seen', 'done', 'failed')", name="state"),
    Index("uq_claims_open", "model", unique=True, sqlite_where=IS_OPEN, postgresql_where=IS_OPEN),
)

requests = Table(
    "requests",
    metadata,
    Column("model", String(63), nullable=False),
    Column("number", Integer, nullable=False, autoincrement=False),
    Column("wish", JSON, nullable=False),
    Column("made", UtcTime, nullable=False),
    Column("now", UtcTime, nullable=False),
    Column("state", String(20), nullable=False),
    Column("subject", Integer),
    Column("run", String(200)),
    Column("outcome", Text, nullable=False),
    Column("failure", JSON(none_as_null=True)),
    PrimaryKeyConstraint("model", "number"),
    CheckConstraint("state in ('open', 'acting', 'done')", name="state"),
)

submissions = Table(
    "submissions",
    metadata,
    Column("run_id", String(200), ForeignKey("runs.run_id"), nullable=False),
    Column("attempt", Integer, nullable=False, autoincrement=False),
    Column("pipeline_run", String(64), nullable=False, unique=True),
    Column("posted", UtcTime, nullable=False),
    Column("refusal", Text, nullable=False),
    PrimaryKeyConstraint("run_id", "attempt"),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("holder", String(200), nullable=False),
    Column("token", Integer, nullable=False),
    Column("expires", UtcTime, nullable=False),
    Column("ticked", UtcTime),
)
