"""Alarm thresholds of a version: computed at its training, kept with it. The records; `monitoring` computes and applies them."""

from typing import Self

from perennial.record import Record
from perennial.versions.folder import VersionFolder

MIN_LOSSES = 2
"""Windows of the training without which there is no limit for the log loss."""


class ColumnThreshold(Record):
    """What is normal for one watched column, from the weekly blocks of the training."""

    column: str
    """Its name; `probability` is the model's output."""
    method: str
    """Evidently's method."""
    limit: float | None
    """Largest window-over-window drift that is no alarm; null where no rate can be claimed (the reason says why)."""
    reason: str
    """Why there is no limit; empty when there is one."""
    standard_deviation: float | None
    """Of the reference's values, by which the size of a drift is measured; null for texts."""


class ColumnLimits(Record):
    """What a column may look like before its data counts as broken."""

    column: str
    """Its name."""
    max_null_share: float
    """Largest share of nulls."""
    low: float | None
    """Smallest value of the reference; null for texts."""
    high: float | None
    """Largest value of the reference; null for texts."""
    categories: tuple[str, ...] | None
    """Every text of the reference, sorted; null for numbers, and where there are too many to list."""
    max_new_share: float
    """Largest share of values that are new: outside the range, or of a category that was never seen."""


class WeekLoss(Record):
    """Mean log loss of one week of predictions by a model that had not seen them."""

    start: str
    """Begin of the week, ISO 8601 UTC."""
    rows: int
    """Labelled rows."""
    log_loss: float
    """Mean log loss of calibrated probabilities."""


class Thresholds(Record):
    """Everything that monitoring holds against a window."""

    @classmethod
    def of_version(cls, version: VersionFolder) -> Self | None:
        """Those of a version; None of one from before they were kept.

        Raises:
            DataError: the file is not what it should be.
        """
        return cls.read(version.file("thresholds")) if version.has("thresholds") else None

    block_days: int
    """Length of a block, as of a window."""
    block_rows: int
    """Rows of each sample; a window with fewer is not judged."""
    blocks: int
    """Blocks of the reference."""
    rate_per_test: float
    """False alarm rate of one column in one window; the budget is split among all columns and the loss (Sidak)."""
    columns: tuple[ColumnThreshold, ...]
    """One for each watched column."""
    limits: tuple[ColumnLimits, ...]
    """One for each column of the contract."""
    out_of_fold: tuple[WeekLoss, ...]
    """Weeks of the training, predicted out of fold."""
    evaluated: tuple[WeekLoss, ...]
    """Weeks of the evaluation block, predicted by the judged candidate."""
    seed: int
    """Seed of the samples."""

    @property
    def unjudged(self) -> tuple[str, ...]:
        """What no window of the version can be judged by, and why; a sentence each, none where all is judged."""
        sentences = [
            f"{column.column} ({column.method}) never alarms: {column.reason}" for column in self.columns if column.limit is None
        ]
        if not self.columns:
            sentences.append("no column is watched (monitoring.columns is empty), so that no drift can be seen")
        if len(self.evaluated) < MIN_LOSSES and len(self.out_of_fold) < MIN_LOSSES:
            weeks = max(len(self.evaluated), len(self.out_of_fold))
            sentences.append(
                f"degradation by the log loss: the training has {weeks} windows of labelled rows, a limit needs {MIN_LOSSES}"
            )
        return tuple(sentences)
