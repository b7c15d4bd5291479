"""The measurement of a window: how its columns differ from the weeks before, and from the training.

Two comparisons that are never mixed. *Window-over-window* drift, this window against the last four, carries the
stated false alarm rate. The *distance* from the whole training is an effect size: over a year it grows with the season, and no
rate is claimed of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np
import pandas as pd

from monitoring.checks import check
from monitoring.reference.acceptance import by_check
from monitoring.reference.blocks import MAX_ROWS, PROBABILITY, START, joined, sample, values_of
from monitoring.reference.statistics import Method, Values, present, size_in_deviations, statistic
from monitoring.windows import BEFORE, LoggedWindow
from perennial.loop.decision import Incident
from perennial.loop.window import ColumnDrift, Measurement, WindowRecord
from perennial.spec.model import Model
from perennial.spec.operations import Monitoring
from perennial.versions.contract import Contract
from perennial.versions.thresholds import ColumnThreshold, Thresholds


@dataclass(frozen=True)
class Reference:
    """The version that a window is held against."""

    digest: str
    contract: Contract
    thresholds: Thresholds | None
    """None in a version that was registered without them."""
    blocks: pd.DataFrame
    """Weekly blocks of its training; empty without thresholds."""

    def block_rows(self, spec: Monitoring) -> int:
        """Rows of a sample: those of the training's blocks; without thresholds what the spec says."""
        if self.thresholds is not None:
            return self.thresholds.block_rows
        return spec.block_rows or MAX_ROWS

    @property
    def texts(self) -> frozenset[str]:
        """Columns that hold texts."""
        held = {str(name) for name in self.blocks.columns if name != START and self.blocks[name].dtype == object}
        return frozenset(held | {column.name for column in self.contract.columns if column.dtype == "string"})


def measure(
    logged: LoggedWindow,
    before: Sequence[LoggedWindow],
    reference: Reference,
    model: Model,
    records: Mapping[datetime, WindowRecord],
    incidents: Sequence[Incident] = (),
) -> Measurement:
    """What a closed window held.

    Args:
        logged: the window.
        before: the four windows before it, newest first.
        reference: the version that answered most of it.
        model: the spec.
        records: windows of the ledger by their begin: one that was broken, or in which the model was degraded, is left out.
        incidents: of the model: what a person accepted of them is no fault, and windows of an accepted one are compared with.
    """
    spec, thresholds = model.spec.monitoring, reference.thresholds
    trusted = {start: record for start, record in records.items() if not is_accepted(record, incidents)}
    rows = reference.block_rows(spec)
    columns = []
    for watched in spec.columns:
        threshold = threshold_of(watched.name, watched.method, thresholds)
        column = _Column(threshold, watched.method, reference, rows, spec.material_size_sd, trusted)
        columns.append(column.drift(logged, before))
    checks = check(
        logged,
        usual_rows(logged, before, trusted),
        reference.contract,
        thresholds,
        min_volume_share=spec.min_volume_share,
        max_stale_share=model.spec.gates.data.max_stale_share,
        accepted=by_check(incidents),
    )
    return Measurement(
        rows=len(logged.frame),
        versions=logged.versions,
        lost=logged.lost,
        damaged=logged.damaged,
        repeated=logged.repeated,
        champion=reference.digest,
        blocks=0 if thresholds is None else thresholds.blocks,
        columns=tuple(columns),
        checks=checks,
    )


def usual_rows(logged: LoggedWindow, before: Sequence[LoggedWindow], records: Mapping[datetime, WindowRecord]) -> tuple[int, ...]:
    """Predictions of the newest four windows before one that were not broken, newest first.

    Where the last weeks were broken it looks further back: a lasting loss of traffic would otherwise be usual after two of them.
    How well the model did in them says nothing of the traffic.

    Args:
        logged: the window.
        before: the windows before it, newest first.
        records: windows of the ledger by their begin, without those whose data a person accepted.
    """
    rows = {start: record.measurement.rows for start, record in records.items() if start < logged.window.start}
    rows |= {window.window.start: len(window.frame) for window in before}
    broken = {start for start, record in records.items() if record.measurement.broken}
    counts = [count for start, count in sorted(rows.items(), reverse=True) if start not in broken][:BEFORE]
    while counts and counts[-1] == 0:  # oldest last: nothing was logged yet
        counts.pop()
    return tuple(counts)


def is_accepted(record: WindowRecord, incidents: Sequence[Incident]) -> bool:
    """Whether a person said that a window's data are as they are now."""
    return any(incident.accepted is not None and incident.covers(record.start) for incident in incidents)


def teaches_nothing(record: WindowRecord) -> bool:
    """Whether a window is no reference for others: it was broken, or the model was degraded in it."""
    loss = None if record.performance is None else record.performance.loss
    return bool(record.measurement.broken) or (loss is not None and loss.degraded)


def threshold_of(column: str, method: str, thresholds: Thresholds | None) -> ColumnThreshold:
    """The version's threshold of a column, or that there is none and why."""
    for threshold in () if thresholds is None else thresholds.columns:
        if threshold.column == column and threshold.method == method:
            return threshold
    reason = (
        "the version was registered without thresholds" if thresholds is None else f"{method} was not watched at its training"
    )
    return ColumnThreshold.model_validate(
        {"column": column, "method": method, "limit": None, "reason": reason, "standard_deviation": None}
    )


def sampled(logged: LoggedWindow, name: str, is_text: bool, rows: int, seed: int, version: str | None) -> Values | None:
    """The window's sample of a column, the same whenever it is asked for; None when there are too few rows or no such column.

    Args:
        logged: the window.
        name: of the column.
        is_text: whether it holds texts.
        rows: size of the sample.
        seed: of the version's samples.
        version: only rows that this version answered; any when None.
    """
    values = logged.values(name, is_text)
    if values is None:
        return None
    if version is not None:
        values = values[(logged.frame["version"] == version).to_numpy(dtype=bool)]
    if name == PROBABILITY:
        values = present(values)
    if len(values) < rows:
        return None
    return values[sample(np.arange(len(values)), rows, seed, logged.window.start.toordinal())]


class _Column:
    """One watched column on its way to a verdict."""

    def __init__(
        self,
        threshold: ColumnThreshold,
        method: Method,
        reference: Reference,
        rows: int,
        material: float,
        records: Mapping[datetime, WindowRecord],
    ) -> None:
        self.threshold, self.method, self.reference = threshold, method, reference
        self.rows, self.material, self.records = rows, material, records
        self.name = threshold.column
        self.is_text = self.name in reference.texts
        self.seed = 0 if reference.thresholds is None else reference.thresholds.seed
        self.version = reference.digest if self.name == PROBABILITY else None

    def drift(self, logged: LoggedWindow, before: Sequence[LoggedWindow]) -> ColumnDrift:
        """How the column stands in the window."""
        values = self._sample(logged)
        if values is None:
            return self._not_judged(self._why_no_sample(logged))
        if not len(present(values)):
            return self._not_judged("it has no value in this window")
        weeks, from_log = self._weeks(before)
        whole = joined(self._blocks) if self._blocks else None
        distance = None if whole is None else self._statistic(values, whole)
        if not weeks:
            return self._not_judged("there are no weeks to compare with", distance=distance)
        pool = joined(weeks)
        drift = self._statistic(values, pool)
        size = size_in_deviations(values, pool, self.threshold.standard_deviation)
        if drift is None or size is None:
            return self._not_judged(self.threshold.reason or "the weeks before have no value", distance=distance)
        against = f"{from_log} logged weeks" + (f" and {len(weeks) - from_log} of the training" if from_log < len(weeks) else "")
        limit = self.threshold.limit
        if limit is None:
            return self._not_judged(self.threshold.reason, drift=drift, size=size, distance=distance)
        is_alarm = drift > limit and size >= self.material
        why = "" if is_alarm or drift <= limit else f", but its size is below the material {self.material:g} sd"
        return ColumnDrift(
            column=self.name,
            method=self.method,
            window_over_window=drift,
            threshold=limit,
            size_sd=size,
            distance=distance,
            verdict="alarm" if is_alarm else "quiet",
            sentence=(
                f"{self.name} differs from {against} by {drift:.3g} ({self.method}, {size:.2f} sd); "
                f"up to {limit:.3g} is usual{why}."
            ),
        )

    def _statistic(self, values: Values, other: Values) -> float | None:
        try:
            return statistic(values, other, self.method)
        except ValueError:
            return None

    def _sample(self, logged: LoggedWindow) -> Values | None:
        return sampled(logged, self.name, self.is_text, self.rows, self.seed, self.version)

    def _why_no_sample(self, logged: LoggedWindow) -> str:
        if len(logged.frame) and logged.values(self.name, self.is_text) is None:
            return "it is not in the log any more"
        return f"the window has fewer than {self.rows:,} predictions" + (" of this version" if self.version else "")

    def _weeks(self, before: Sequence[LoggedWindow]) -> tuple[list[Values], int]:
        """Samples of four weeks, newest first, and how many of them were logged; the training's newest weeks fill up.

        A week that was broken or in which the model was degraded teaches nothing.
        """
        samples = []
        for window in before[:BEFORE]:
            record = self.records.get(window.window.start)
            if record is not None and teaches_nothing(record):
                continue
            values = self._sample(window)
            if values is not None and len(present(values)):
                samples.append(values)
        from_log = len(samples)
        return samples + self._blocks[::-1][: BEFORE - from_log], from_log

    @cached_property
    def _blocks(self) -> list[Values]:
        """The version's blocks of the column, oldest first."""
        blocks = self.reference.blocks
        if self.name not in blocks:
            return []
        parts = [values_of(part, self.name) for _, part in blocks.groupby(START, sort=True)]
        return [part for part in parts if len(present(part))]

    def _not_judged(
        self, reason: str, *, drift: float | None = None, size: float | None = None, distance: float | None = None
    ) -> ColumnDrift:
        return ColumnDrift(
            column=self.name,
            method=self.method,
            window_over_window=drift,
            threshold=self.threshold.limit,
            size_sd=size,
            distance=distance,
            verdict="not judged",
            sentence=f"{self.name} is not judged: {reason}.",
        )
