"""Windows: stretches of the prediction log by event time, and what was found in each. The records; monitoring fills them.

A window is *closed* when its time has passed, and *matured* a stated time later, when its labels can have arrived. Both go by the
clock, never by how much has come in.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import Field

from perennial.evaluation.estimate import OLD_METRICS, Estimate
from perennial.record import Record, old_keys

GRID = datetime(1970, 1, 5, tzinfo=UTC)
"""A Monday: windows of whole days are counted from here, so that weeks begin on Mondays everywhere."""


class Window(Record):
    """A stretch of time, [start, end)."""

    start: datetime
    """Begin, UTC midnight."""
    end: datetime
    """End, exclusive."""

    def is_closed(self, now: datetime) -> bool:
        """Whether its time has passed."""
        return now >= self.end

    def is_matured(self, now: datetime, maturity_hours: float) -> bool:
        """Whether its labels can have arrived."""
        return now >= self.end + timedelta(hours=maturity_hours)


def window_at(time: datetime, days: int) -> Window:
    """The window that holds a time.

    >>> found = window_at(datetime(2013, 4, 10, tzinfo=UTC), 7)
    >>> found.start.day, found.end.day
    (8, 15)

    Args:
        time: UTC.
        days: length of a window.
    """
    length = timedelta(days=days)
    start = GRID + (time - GRID) // length * length
    return Window(start=start, end=start + length)


def windows(first: datetime, now: datetime, days: int) -> Iterator[Window]:
    """The closed windows at `now`, oldest first, from the one that holds `first`.

    >>> found = list(windows(datetime(2013, 4, 2, 9, tzinfo=UTC), datetime(2013, 4, 15, tzinfo=UTC), 7))
    >>> [(window.start.day, window.end.day) for window in found]
    [(1, 8), (8, 15)]

    Args:
        first: time of the first logged prediction, UTC.
        now: UTC.
        days: length of a window.
    """
    window = window_at(first, days)
    while window.is_closed(now):
        yield window
        window = window_at(window.end, days)


SAME_FINDINGS = 4
"""Broken windows after which one and the same finding looks like a change of the data: a fault is found and mended in a month."""


class ColumnDrift(Record):
    """How one watched column stands in a window."""

    column: str
    """Its name; `probability` is the model's output."""
    method: str
    """Evidently's method."""
    window_over_window: float | None
    """Its statistic: this window against the four weeks before it. Null where it was not computed."""
    threshold: float | None
    """Largest value that is no alarm, from the weekly blocks of the reference; null where no rate is claimed."""
    size_sd: float | None
    """Size of the window-over-window drift in standard deviations of the reference."""
    distance: float | None
    """Its statistic: this window against the whole training reference. An effect size: no alarm rate is claimed of it."""
    verdict: Literal["alarm", "quiet", "not judged"]
    """`alarm`: above the threshold and of material size. `not judged`: the sentence says why."""
    sentence: str
    """What was seen, in one sentence."""
    _old = old_keys(step="window_over_window")


class Check(Record):
    """A property of a window's data with its own limit: what broken data looks like."""

    name: Literal["missing column", "nulls", "new categories", "range", "volume", "stale"]
    """What is checked."""
    subject: str
    """The column or view; empty for the whole window."""
    value: float
    """What was found."""
    limit: float
    """What is allowed."""
    failed: bool
    """Whether it is beyond the limit."""
    sentence: str
    """What was seen, in one sentence."""

    @property
    def title(self) -> str:
        """What is checked of what, in a few words."""
        return f"{self.name} {self.subject}".strip()


class Measurement(Record):
    """What a closed window held: its rows, and how they differ from before. Needs no labels."""

    rows: int
    """Logged predictions."""
    versions: dict[str, int]
    """Rows by the digest of the version that answered."""
    lost: int
    """Rows that are known to be missing from the log of this time."""
    damaged: tuple[str, ...]
    """Segments of this time that could be read in part only."""
    repeated: int
    """Rows whose request had been answered before; the first answer counts."""
    champion: str
    """Digest of the version whose thresholds were used."""
    blocks: int
    """Weekly blocks that the thresholds rest on."""
    columns: tuple[ColumnDrift, ...]
    """One for each watched column."""
    checks: tuple[Check, ...]
    """Every check that failed, and those of the whole window."""

    @property
    def broken(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.failed)

    @property
    def alarms(self) -> tuple[ColumnDrift, ...]:
        """The columns that alarm and are not broken."""
        broken_columns = {check.subject for check in self.broken}
        return tuple(column for column in self.columns if column.verdict == "alarm" and column.column not in broken_columns)


class Labels(Record):
    """The labels of a matured window, as they were known when it matured."""

    matured_at: datetime
    """End of the window and its maturity time."""
    arrived: int
    """Predictions with a label by then."""
    missing: int
    """Predictions without one: they never get one, or late."""


class Loss(Record):
    """Whether the model is degraded: the window's mean log loss against the weeks that the champion was judged by."""

    value: float
    """Mean log loss of the champion's rows."""
    limit: float | None
    """Upper end of the t prediction interval over the weekly blocks; null with fewer than two blocks."""
    blocks: int
    """How many blocks it rests on."""
    basis: Literal["since the champion's evaluation began", "out-of-fold weeks of its training"]
    """Which blocks they are."""
    degraded: bool
    """Whether the loss is above the limit, or above that of the baseline."""
    baseline: float | None = None
    """Mean log loss of the baseline, the constant rate of the training, on the same rows; null in records from before."""
    sentence: str
    """What was seen; says so when too few blocks allow no rate to be claimed."""
    _old = old_keys(hurt="degraded", naive="baseline")

    @property
    def bound(self) -> float | None:
        """Largest loss without degradation, the smaller of the limit and the baseline's loss; None where neither is known."""
        return min((bound for bound in (self.limit, self.baseline) if bound is not None), default=None)


class CriterionResult(Record):
    """A watched criterion of the objective on a window."""

    name: str
    """Its name in the spec."""
    metric: str
    """What it measures."""
    value: float | None
    """Point estimate; null where the labels do not determine it."""
    met: bool | None
    """Whether the point estimate keeps the bound; null without one."""


class Performance(Record):
    """How the served model did on a matured window. Metrics have intervals from a bootstrap over days."""

    labels: Labels
    """What had arrived."""
    label_rate: float | None
    """Share of positives among the labelled; null without labels."""
    metrics: dict[str, Estimate] = Field(default_factory=dict)
    """As in `perennial.evaluation.metrics.BlockEvaluation`, of what was served."""
    missing: dict[str, str] = Field(default_factory=dict)
    """Why a metric is not there."""
    frozen: dict[str, Estimate] = Field(default_factory=dict)
    """The same metrics of the frozen baseline: the first version, never trained again. Empty when it is the champion or cannot be
    scored."""
    frozen_reason: str = ""
    """Why there are none."""
    gain: Estimate | None = None
    """Utility per 1000 labelled predictions: what was served less the frozen baseline, paired."""
    loss: Loss | None = None
    """Whether it is degraded; null without labels."""
    criteria: tuple[CriterionResult, ...] = ()
    """The watched criteria."""
    _old = old_keys("metrics", "missing", "frozen", alone="frozen", alone_reason="frozen_reason", **OLD_METRICS)


class WindowRecord(Record):
    """A window as the ledger keeps it. What was found of it once is never found again otherwise."""

    model: str
    """Name of the model."""
    start: datetime
    """Begin, UTC."""
    end: datetime
    """End, exclusive."""
    measured_at: datetime
    """When it was measured."""
    measurement: Measurement
    """What it held."""
    performance: Performance | None
    """How the model did in it; null until it has matured."""

    @property
    def window(self) -> Window:
        """Its stretch of time."""
        return Window(start=self.start, end=self.end)


def lasting_findings(records: Sequence[WindowRecord]) -> tuple[str, ...]:
    """What is broken in each of the newest four windows, whatever else is: a change of the data rather than a fault.

    Args:
        records: newest first; windows without a prediction show nothing and do not count.

    Returns:
        Titles of the checks that failed in all of them, sorted; none where fewer windows are broken, or each in its own way.
    """
    newest = [record for record in records if record.measurement.rows][:SAME_FINDINGS]
    titles = [{check.title for check in record.measurement.broken} for record in newest]
    return tuple(sorted(set.intersection(*titles))) if len(newest) == SAME_FINDINGS else ()
