"""Home words become the terms of the field, as docs/upgrading.md lists them. Sentences stay as they were written."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

LOSS = {"hurt": "degraded", "naive": "baseline"}
"""Keys of a window's loss: the old one, the one of today."""
METRICS = {f"naive_{name}": f"baseline_{name}" for name in ("log_loss", "brier", "utility")}
"""Names of metrics, likewise."""
COLUMN = {"step": "window_over_window"}
"""Keys of a column's drift, likewise."""
FROZEN = {"alone": "frozen", "alone_reason": "frozen_reason"}
"""Keys of how the model did in a window, likewise."""


def upgrade() -> None:
    """A retrain whose reason was *hurt* is one for *degraded*, as is a window's loss; what was barred is excluded."""
    for end in ("from", "until"):
        op.alter_column("incidents", f"barred_{end}", new_column_name=f"excluded_{end}")
    connection = op.get_bind()
    decisions = sa.table("decisions", sa.column("reason", sa.String))
    connection.execute(sa.update(decisions).where(decisions.c.reason == "hurt").values(reason="degraded"))
    windows = sa.table(
        "windows",
        sa.column("model", sa.String),
        sa.column("start", sa.DateTime(timezone=True)),
        sa.column("measurement", sa.JSON),
        sa.column("performance", sa.JSON(none_as_null=True)),
    )
    for row in connection.execute(sa.select(windows)).all():
        condition = (windows.c.model == row.model) & (windows.c.start == row.start)
        columns = [_renamed(column, COLUMN) for column in row.measurement["columns"]]
        measurement = {**row.measurement, "columns": columns}
        performance = None if row.performance is None else _performance(row.performance)
        connection.execute(sa.update(windows).where(condition).values(measurement=measurement, performance=performance))


def _performance(stored: dict[str, Any]) -> dict[str, Any]:
    """How the model did in a window, in the words of today."""
    names = dict.fromkeys(("metrics", "missing", "alone"), METRICS) | {"loss": LOSS}
    performance = {key: _renamed(value, names[key]) if value and key in names else value for key, value in stored.items()}
    return _renamed(performance, FROZEN)


def _renamed(stored: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {names.get(key, key): value for key, value in stored.items()}
