"""Windows of the prediction log: which are due, and what each holds. What it means is asked in `drift` and `performance`.

The first answer to a request counts; the others are counted as repeated. Labels count as they were known when the window matured:
what arrives or changes later is shown elsewhere and decides nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa

from monitoring.log.belief import Belief, Times, times_of
from monitoring.log.collect import collect_model, cut_off, has_log, load, unfinished
from monitoring.log.inventory import Known, ProcessEnd, SegmentSpan, accounted, by_process, in_order, info_of, segments_in
from monitoring.log.shipped import SILENT_SECONDS
from monitoring.reference.blocks import PROBABILITY
from monitoring.reference.statistics import Values
from perennial.loop.window import Window, WindowRecord, windows
from perennial.prediction_log import Segment
from perennial.prediction_log.rows import FEATURES, FIELDS
from perennial.settings import Settings
from perennial.spec.model import Model

BEFORE = 4
"""Windows that window-over-window drift is measured against."""
WAITS = timedelta(hours=1)
"""How long after its end a window waits for rows that may be on their way; then it is measured without them."""


@dataclass(frozen=True)
class Due:
    """What a monitoring run has to do."""

    closed: tuple[Window, ...]
    """Closed windows without a record, oldest first."""
    matured: tuple[Window, ...]
    """Matured windows whose performance is not recorded, oldest first; some of them may be in `closed`."""
    set_aside: str = ""
    """What of the log is set aside for its time, in a sentence; empty where nothing is."""

    @property
    def any(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.closed or self.matured)


@dataclass(frozen=True)
class LoggedWindow:
    """What the log holds of a window."""

    window: Window
    frame: pd.DataFrame
    """First answers in the order of their times, as `monitoring.log.collect.load` gives them."""
    repeated: int
    """Rows whose request had been answered before."""
    lost: int
    """Rows that are known to be missing from this time."""
    damaged: tuple[str, ...]
    """Segments of this time that could be read in part only."""

    @property
    def has_gaps(self) -> bool:
        """Whether rows of this time are missing."""
        return self.lost > 0 or bool(self.damaged)

    @property
    def versions(self) -> dict[str, int]:
        """Rows by the digest of the version that answered, most first."""
        return {str(version): int(rows) for version, rows in self.frame["version"].value_counts().items()}

    def values(self, name: str, is_text: bool) -> Values | None:
        """The values of a feature, a request-time field or `probability`; None when the log has no such column.

        Args:
            name: of the column.
            is_text: whether it holds texts.
        """
        column = column_of(self.frame, name)
        return None if column is None else as_values(self.frame[column], is_text)


def column_of(frame: pd.DataFrame, name: str) -> str | None:
    """The log's column of a feature, a request-time field or `probability`.

    >>> column_of(pd.DataFrame(columns=["fields.hour"]), "hour"), column_of(pd.DataFrame(), "hour")
    ('fields.hour', None)
    """
    candidates = (PROBABILITY,) if name == PROBABILITY else (FEATURES + name, FIELDS + name)
    return next((column for column in candidates if column in frame), None)


def as_values(series: "pd.Series[float] | pd.Series[str]", is_text: bool) -> Values:
    """A column of the log as the statistics read it; what is no number in a column of numbers counts as missing."""
    if is_text:
        texts = series if series.dtype == object else series.astype(object).map(str, na_action="ignore")
        return np.array(texts.where(series.notna(), None), dtype=object)
    if series.dtype == object:
        series = pd.to_numeric(series.map(lambda value: value if not isinstance(value, bool) else float(value)), errors="coerce")
    return np.asarray(series.to_numpy(dtype=np.float64, na_value=np.nan), dtype=np.float64)


def due(settings: Settings, model: Model, records: Iterable[WindowRecord], now: datetime, belief: Belief | None = None) -> Due:
    """What a monitoring run has to do at `now`.

    A window whose last rows may be on their way is not due yet.

    Args:
        settings: where the log is.
        model: the spec.
        records: every window that the ledger knows.
        now: UTC.
        belief: from when on rows are believed, where the caller knows; the ledger is asked if absent.

    Raises:
        PlatformError: the log cannot be read or its tables not written.
    """
    logged = WindowLog.segments_of(settings, model.name, now, belief)
    if (first := logged.times.first) is None:
        return Due((), (), logged.times.sentence)
    # With a bucket: by then the last rows of a window are shipped, or known to be missing.
    by = now if settings.bucket is None else now - timedelta(seconds=SILENT_SECONDS)
    due_windows = due_of(first, model, records, by)
    waiting = [
        window
        for window in due_windows.closed
        if now < window.end + WAITS and is_waiting(window, logged.known, logged.unended, now)
    ]
    return Due(
        tuple(window for window in due_windows.closed if window not in waiting),
        tuple(window for window in due_windows.matured if window not in waiting),
        logged.times.sentence,
    )


def is_waiting(window: Window, known: Sequence[Known], unended: Iterable[ProcessEnd], now: datetime) -> bool:
    """Whether a process may still ship rows of a closed window.

    A process ships its segments in their order: once a row from after the window has come, all of the window have. Until then it
    has more to ship when it announced more than has come, and when its last word is from before the window closed.

    Args:
        window: the time.
        known: everything that was collected.
        unended: what each process that has not ended said last, as its end.
        now: UTC; a row from long after it has the time of a wrong clock, and says nothing.
    """
    closed, processes, latest = window.end.timestamp(), by_process(known), Belief(now).end
    for end in unended:
        shipped = segments_in(processes.get(end.boot_id, ()))
        has_later = any(segment.end is not None and closed <= segment.end <= latest for segment in shipped)
        collected = max((segment.next_sequence for segment in shipped), default=0)
        if not has_later and (end.next_sequence > collected or (end.time or 0.0) < closed):
            return True
    return False


def due_of(first: datetime, model: Model, records: Iterable[WindowRecord], now: datetime) -> Due:
    """What has to be done, when the first prediction was logged at `first`."""
    records_by_start = {record.start: record for record in records}
    closed = tuple(windows(first, now, model.spec.monitoring.window_days))
    hours = model.spec.label.maturity_hours
    return Due(
        tuple(window for window in closed if window.start not in records_by_start),
        tuple(
            window
            for window in closed
            if window.is_matured(now, hours)
            and (window.start not in records_by_start or records_by_start[window.start].performance is None)
        ),
    )


@dataclass(frozen=True)
class Logged:
    """What is known of a log without its rows."""

    known: tuple[Known, ...] = ()
    """Every segment, and every end of a process before which rows are missing or have not come yet."""
    growing: tuple[Segment, ...] = ()
    """Those that are still being written here, as far as they are."""
    unended: tuple[ProcessEnd, ...] = ()
    """As in `monitoring.log.collect.Collected`."""
    times: Times = field(default_factory=lambda: Times(None))
    """When the first prediction was made, and what is set aside."""


class WindowLog:
    """The rows of a stretch of the log, to be cut into windows."""

    def __init__(self, frame: pd.DataFrame, known: Sequence[Known], id_column: str) -> None:
        """The rows with their repetitions known.

        Args:
            frame: as `monitoring.log.collect.load` gives it.
            known: the log's segments and the ends of its processes.
            id_column: name of the request's id; empty when requests have none.
        """
        self.id_column = FIELDS + id_column
        identifier = frame[self.id_column] if id_column and self.id_column in frame else None
        repeated = pd.Series(False, index=frame.index) if identifier is None else identifier.duplicated() & identifier.notna()
        self._frame, self._repeated, self._known = frame, repeated, known

    @classmethod
    def segments_of(cls, settings: Settings, model: str, now: datetime, belief: Belief | None = None) -> Logged:
        """Everything that is known of a model's segments.

        A serving process keeps its newest minute open; the rows of a closed window may be in it. What it holds is read first, so
        that a segment that is finished meanwhile is found finished.
        """
        if not has_log(settings, model):
            return Logged()
        growing = unfinished(settings.prediction_log(model))
        collected = collect_model(settings, model, now)
        ends = {end.name: end for end in (*collected.vanished, *cut_off(collected.unended, collected.segments))}
        names = {segment.name for segment in collected.segments}
        growing = [segment for segment in growing if segment.path.stem not in names]
        segments = [*collected.segments, *(info_of(segment) for segment in growing)]
        belief = belief or Belief.read(settings.ledger, model, now)
        times = times_of(settings.prediction_tables(model), segments, growing, belief)
        parts = in_order([*segments, *ends.values(), *collected.unreadable])
        return Logged(parts, tuple(growing), collected.unended, times)

    @classmethod
    def first_time(cls, settings: Settings, model: str, now: datetime) -> datetime | None:
        """Time of the first logged prediction, UTC; None without one."""
        return cls.segments_of(settings, model, now).times.first

    @classmethod
    def read(cls, settings: Settings, model: Model, wanted: Sequence[Window], now: datetime) -> "WindowLog":
        """The rows of the wanted windows and of the four before the first.

        Repetitions are seen within these, not beyond. Rows that are not believed by their time are left out.

        Raises:
            PlatformError: the log cannot be read or its tables not written.
        """
        first = min(wanted, key=lambda window: window.start)
        start = first.start - BEFORE * (first.end - first.start)
        logged = cls.segments_of(settings, model.name, now)
        frame = load(settings.prediction_tables(model.name), start, max(window.end for window in wanted), logged.growing)
        believed = Belief.read(settings.ledger, model.name, now).holds(pa.Table.from_pandas(frame[["version", "time"]]))
        return cls(frame[believed].reset_index(drop=True), logged.known, model.spec.requests.id)

    def window(self, window: Window) -> LoggedWindow:
        """What the log holds of a window."""
        inside = (self._frame["time"] >= window.start) & (self._frame["time"] < window.end)
        lost, damaged = missing_in(self._known, window)
        return LoggedWindow(
            window=window,
            frame=self._frame[inside & ~self._repeated].reset_index(drop=True),
            repeated=int((inside & self._repeated).sum()),
            lost=lost,
            damaged=damaged,
        )

    def before(self, window: Window) -> tuple[LoggedWindow, ...]:
        """The four windows before one, newest first."""
        length = window.end - window.start
        return tuple(
            self.window(Window(start=window.start - back * length, end=window.end - back * length))
            for back in range(1, BEFORE + 1)
        )


def missing_in(known: Sequence[Known], window: Window) -> tuple[int, tuple[str, ...]]:
    """Rows that are missing from a window's time, and the names of its damaged segments.

    A row that is missing has no time. It lies between the last that was read before it and the first after it in its process; a
    gap counts in every window that this stretch touches. Of a process without a single row nothing is known.

    Args:
        known: segments and ends of processes, sorted by process and sequence.
        window: the time.
    """
    low, high = window.start.timestamp(), window.end.timestamp()
    lost, damaged = 0, []
    for index, part in enumerate(known):
        before = _neighbour(known, index, -1)
        after = _neighbour(known, index, +1)
        begin = part.start if part.start is not None else before
        end = part.end if part.end is not None else after
        if part.damage is not None and _touches(begin, after if after is not None else end, low, high):
            damaged.append(part.name)
        if part.missing and _touches(begin, end, low, high):
            lost += sum(span.rows for span in part.missing)
        gap = _gap_before(known, index)
        if gap is not None and _touches(before, begin, low, high):
            lost += gap.rows
        tail = _tail(known, index)
        if tail is not None and _touches(end, end, low, high):
            lost += tail.rows
    return lost, tuple(damaged)


def _same(known: Sequence[Known], one: int, other: int) -> bool:
    return 0 <= other < len(known) and known[one].boot_id == known[other].boot_id


def _neighbour(known: Sequence[Known], place: int, step: int) -> float | None:
    """The nearest time that is known of the same process, before a part or after it."""
    other = place + step
    while _same(known, place, other):
        time = known[other].end if step < 0 else known[other].start
        if time is not None:
            return time
        other += step
    return None


def _gap_before(known: Sequence[Known], place: int) -> SegmentSpan | None:
    part = known[place]
    before = accounted(known[place - 1]) if _same(known, place, place - 1) else 0
    if part.first_sequence <= before:
        return None
    return SegmentSpan(boot_id=part.boot_id, first=before, end=part.first_sequence)


def _tail(known: Sequence[Known], place: int) -> SegmentSpan | None:
    """What a process's last segment says it lost at its end."""
    part = known[place]
    if _same(known, place, place + 1) or part.next_sequence <= accounted(part):
        return None
    return SegmentSpan(boot_id=part.boot_id, first=accounted(part), end=part.next_sequence)


def _touches(begin: float | None, end: float | None, low: float, high: float) -> bool:
    """Whether [begin, end] has a moment in [low, high); an unknown end of it is the other one."""
    first, last = begin if begin is not None else end, end if end is not None else begin
    return first is not None and last is not None and first < high and last >= low


def matures(window: Window, model: Model) -> datetime:
    """When the labels of a window can have arrived."""
    return window.end + timedelta(hours=model.spec.label.maturity_hours)
