"""Which rows of the prediction log are believed by their time: none from before its version existed, and none from the future.

A server whose clock begins in 1970, or a replay of the year 1, answers as any other does; its rows belong to no window. They are
set aside, counted and named.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from monitoring.log import tables
from monitoring.log.inventory import SegmentInfo
from perennial.ledger import Ledger, Version
from perennial.prediction_log import Segment

AHEAD = timedelta(days=366)
"""How far after `now` a row may lie before its clock is wrong. Less would doubt the rest of a year that is replayed; until its
window closes, such a row decides nothing."""
MICROSECONDS = 1_000_000
COLUMNS = ["prediction_id", "version", "time"]


@dataclass(frozen=True)
class Belief:
    """From when on the rows of each version are believed, and up to when."""

    now: datetime
    """UTC."""
    since: Mapping[str, datetime] = field(default_factory=dict)
    """By a version's digest, the end of the data that it was trained on: it did not exist before."""

    @classmethod
    def of(cls, versions: Iterable[Version], now: datetime) -> "Belief":
        """The belief in rows of these versions at `now`."""
        return cls(now, {version.digest: version.trained_until for version in versions})

    @classmethod
    def read(cls, ledger_url: str, model: str, now: datetime) -> "Belief":
        """The belief in rows of a model's registered versions at `now`."""
        with Ledger.open(ledger_url) as ledger:
            return cls.of(ledger.versions(model), now)

    @property
    def begin(self) -> float:
        """Before it no row of any version is believed, Unix seconds; minus infinity without a version."""
        return min((time.timestamp() for time in self.since.values()), default=float("-inf"))

    @property
    def end(self) -> float:
        """After it no row is believed, Unix seconds."""
        return (self.now + AHEAD).timestamp()

    def holds(self, table: pa.Table) -> NDArray[np.bool_]:
        """For each row of a table with `version` and `time`, whether it is believed."""
        times = np.asarray(table.column("time").cast(pa.int64()).to_numpy(), dtype=np.int64)
        starts = {digest: round(time.timestamp() * MICROSECONDS) for digest, time in self.since.items()}
        oldest = min(starts.values(), default=np.iinfo(np.int64).min)
        begins = [starts.get(version, oldest) for version in table.column("version").to_pylist()]
        believed: NDArray[np.bool_] = (times >= np.array(begins, dtype=np.int64)) & (times <= round(self.end * MICROSECONDS))
        return believed

    def doubts(self, segment: SegmentInfo) -> bool:
        """Whether a segment has a row that is not believed, as far as its first and last time say."""
        if segment.start is None or segment.end is None:
            return False
        return segment.start < self.begin or segment.end > self.end


@dataclass(frozen=True)
class Times:
    """What a log's times say."""

    first: datetime | None
    """Of the first prediction that is believed; None without one."""
    doubted: int = 0
    """Rows that are set aside."""
    example: str = ""
    """One of them, for people."""

    @property
    def sentence(self) -> str:
        """What was set aside; empty where nothing was."""
        if not self.doubted:
            return ""
        rows = "1 row of the log is" if self.doubted == 1 else f"{self.doubted:,} rows of the log are"
        return (
            f"{rows} set aside for a time before its version existed, or in the future, as {self.example}; correct the clock of "
            "the server, or the time that a replay says"
        )


def times_of(into: Path, segments: Sequence[SegmentInfo], growing: Sequence[Segment], belief: Belief) -> Times:
    """When the first prediction was made, by the rows that are believed; only rows of doubtful segments are read.

    Args:
        into: folder of the collected tables.
        segments: everything that was collected or is growing.
        growing: segments that are still written here.
        belief: in rows.
    """
    doubtful = {segment.name for segment in segments if belief.doubts(segment)}
    firsts = [segment.start for segment in segments if segment.start is not None and segment.name not in doubtful]
    doubted, example = 0, ""
    for table in _rows(into, doubtful, growing):
        believed = belief.holds(table)
        if believed.any():
            earliest = pyarrow.compute.min(table.column("time").filter(pa.array(believed))).cast(pa.int64()).as_py()
            firsts.append(earliest / MICROSECONDS)
        if not believed.all():
            doubted += int((~believed).sum())
            example = example or named(table.filter(pa.array(~believed)).slice(0, 1))
    return Times(datetime.fromtimestamp(min(firsts), UTC) if firsts else None, doubted, example)


def _rows(into: Path, names: set[str], growing: Sequence[Segment]) -> Iterable[pa.Table]:
    if not names:
        return
    for file in tables.kept(into):
        if names & {info.name for info in file.infos}:
            yield file.read(COLUMNS)
    for segment in growing:
        if segment.path.stem in names:
            yield tables.table_of(segment).select(COLUMNS)


def named(row: pa.Table) -> str:
    """A row of the log for people: its prediction and its time."""
    time = row.column("time").cast(pa.string())[0].as_py()
    return f"prediction {row.column('prediction_id')[0].as_py()} of {time}"
