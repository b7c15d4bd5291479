"""Requests of a stretch of history, asked for at their own times; what was published until then is in the online store.

What a model sees is what it could have seen: before each call the values that its views had published are written, and none
after. A play that was broken off can be repeated with the ids that were answered: they are not asked for again.
"""

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute

from feature_repo import store
from feature_repo.online_store.publication import Publication
from feature_repo.service import ServiceInfo, ViewInfo
from feature_repo.sources import TIME, frame_of, opened
from perennial.errors import DataError
from perennial.settings import Settings
from perennial.spec.model import Model
from serving.replay.caller import TIME_HEADER, Caller

AT_ONCE = timedelta(days=31)
"""Values and requests of so long a stretch are held in memory together: those of a year would take half a gigabyte."""
Instance = dict[str, object]
"""A request as V1 has it: id, keys and fields by name."""


@dataclass(frozen=True)
class AnsweredCall:
    """One call of the server, when it was answered."""

    caller: Caller
    """Who asked; more can be asked at the same time."""
    now: datetime
    """When it happened, UTC."""
    rows: Sequence[Instance]
    """What was asked."""
    answer: dict[str, Any]
    """What came back, as V1 has it."""


@dataclass(frozen=True)
class Played:
    """What was sent and answered."""

    answers: pd.DataFrame
    """One row for each request that was sent, in their order: the id, `event_timestamp` (UTC, when it was asked), `probability`
    and `decision`; null where nothing was answered."""
    calls: int
    """Calls of the server."""
    left_out: int
    """Requests that were answered before, and not sent."""
    refusals: tuple[str, ...]
    """What the server said to each call that it refused."""

    @property
    def answered(self) -> int:
        """Requests with a probability."""
        return int(self.answers["probability"].notna().sum())


def as_they_are(requests: pd.DataFrame) -> pd.DataFrame:
    """The requests, unchanged."""
    return requests


def nothing(_: object) -> None:
    """Nothing more is done."""


@dataclass(frozen=True)
class Replay:
    """How the history of a model is played."""

    settings: Settings
    """Where sources and online store are."""
    model: Model
    """The spec."""
    url: str
    """Address of the server; it lets requests say their time."""
    together: timedelta = timedelta(0)
    """Requests of so long a stretch are one call at its beginning; 0 asks for each alone, at its own time."""
    change: Callable[[pd.DataFrame], pd.DataFrame] = as_they_are
    """What the callers send of the requests of up to a month: some of them, or other values. Rows keep their order."""
    after: Callable[[AnsweredCall], object] = nothing
    """Called after each call."""
    service: ServiceInfo = field(init=False)
    """Views whose values are published."""

    def __post_init__(self) -> None:
        """Read the definitions.

        Raises:
            NotFoundError: there are none.
            DataError: the model's feature service is not among them.
        """
        object.__setattr__(self, "service", store.describe(self.settings, self.model.spec.features.service))

    @property
    def inputs(self) -> tuple[str, ...]:
        """Columns of a request that are sent: its id, keys and fields."""
        requests = self.model.spec.requests
        return tuple(dict.fromkeys((requests.id, *self.service.join_keys, *(field.name for field in requests.fields))))

    def play(self, start: datetime, end: datetime, sent: Container[object] = frozenset()) -> Played:
        """Ask for the requests of [start, end), and write every value that was published in it.

        It goes on while a champion follows another. Stretches played one after the other send what one play of the whole would.

        Args:
            start: begin, UTC; what was published before is in the online store.
            end: end, exclusive.
            sent: ids of requests that were answered before.

        Raises:
            DataError: a source lacks a column, or the server was not started for a replay.
            NotFoundError: a view was not applied, or the server has no such model.
            PlatformError: a store or the server does not answer. The play may be repeated.
        """
        with Caller(self.url, self.model.name) as caller:
            parts = [self._play(caller, *span, sent) for span in stretches(start, end, AT_ONCE)]
        return Played(
            answers=pd.concat([part.answers for part in parts], ignore_index=True),
            calls=sum(part.calls for part in parts),
            left_out=sum(part.left_out for part in parts),
            refusals=tuple(sentence for part in parts for sentence in part.refusals),
        )

    def first(self, start: datetime, end: datetime, sent: Container[object]) -> datetime:
        """When the first request of [start, end) that was not answered before is asked for; `end` where there is none."""
        for begin, stop in stretches(start, end, AT_ONCE):
            requests, _ = self._requests(begin, stop, sent)
            if len(requests):
                first: datetime = self._times(requests, begin).iloc[0].to_pydatetime()
                return first
        return end

    def _play(self, caller: Caller, start: datetime, end: datetime, sent: Container[object]) -> Played:
        requests, left_out = self._requests(start, end, sent)
        publication = Publication.prepare(
            self.settings, {view.name: published(view, start, end) for view in self.service.sources}
        )
        names = list(self.inputs)
        rows = requests[names].astype(object).where(requests[names].notna(), None).to_dict("records")
        times = self._times(requests, start)
        answers, calls, refusals = list[dict[str, Any]](), 0, list[str]()
        for now, begin, stop in _calls(times, alone=not self.together):
            publication.write_until(now)
            instances: list[Instance] = [{str(name): value for name, value in row.items()} for row in rows[begin:stop]]
            calls += 1
            try:
                answer = caller.predict(instances, now)
            except DataError as error:
                if TIME_HEADER in str(error):  # of the server, not of these rows
                    raise
                refusals.append(str(error))
                answers += [{}] * len(instances)
                continue
            answers += answer["predictions"]
            self.after(AnsweredCall(caller, now, instances, answer))
        publication.write_until(end)
        predictions = pd.DataFrame(answers, columns=["probability", "decision"], index=requests.index)
        identifier = self.model.spec.requests.id
        return Played(requests[[identifier]].assign(**{TIME: times}).join(predictions), calls, left_out, tuple(refusals))

    def _requests(self, start: datetime, end: datetime, sent: Container[object]) -> tuple[pd.DataFrame, int]:
        """The requests that are sent, in the order of their times, and how many are not because they were answered before."""
        spec = self.model.spec.requests
        frame = self.change(rows_of(self.settings.source(spec.source), start, end))
        missing = [name for name in self.inputs if name not in frame]
        if missing:
            raise DataError(
                f"{self.settings.source(spec.source)}: a request of {self.model.name} needs the column {', '.join(missing)}; "
                f"found {', '.join(map(str, frame.columns))}"
            )
        new = frame[[identifier not in sent for identifier in frame[spec.id].tolist()]]
        return new.sort_values(TIME, kind="stable", ignore_index=True), len(frame) - len(new)

    def _times(self, requests: pd.DataFrame, start: datetime) -> "pd.Series[pd.Timestamp]":
        """When each request is asked for: never before the begin of the stretch."""
        times = requests[TIME]
        return times.dt.floor(self.together).clip(lower=pd.Timestamp(start)) if self.together else times


def stretches(start: datetime, end: datetime, length: timedelta) -> Iterator[tuple[datetime, datetime]]:
    """[start, end) in parts of one length; the last is what is left.

    >>> weeks = stretches(datetime(2024, 1, 1), datetime(2024, 1, 16), timedelta(days=7))
    >>> [(begin.day, stop.day) for begin, stop in weeks]
    [(1, 8), (8, 15), (15, 16)]
    """
    while start < end:
        yield start, min(start + length, end)
        start += length


def rows_of(source: str, start: datetime, end: datetime, time: str = TIME) -> pd.DataFrame:
    """Rows of a source whose time lies in [start, end); whole numbers stay whole.

    Args:
        source: path or URI.
        start: begin, UTC.
        end: end, exclusive.
        time: column of the time.

    Raises:
        DataError: the source has no such column, or cannot be read.
    """
    with opened(source) as rows:
        if time not in rows.schema.names:
            raise DataError(f"{source}: no column {time!r}; it has {', '.join(rows.schema.names)}")
        moment = pyarrow.compute.field(time)
        low, high = (pa.scalar(edge, rows.schema.field(time).type) for edge in (start, end))
        frame = frame_of(rows.to_table(filter=(moment >= low) & (moment < high)))
    return frame.assign(**{time: pd.to_datetime(frame[time], utc=True)})


def published(view: ViewInfo, start: datetime, end: datetime) -> pd.DataFrame:
    """What a view published in [start, end)."""
    return rows_of(view.path, start, end, view.time).rename(columns={view.time: TIME})


def _calls(times: "pd.Series[pd.Timestamp]", *, alone: bool) -> Iterator[tuple[datetime, int, int]]:
    """Time, begin and end of each call among requests in the order of their times."""
    moments, begin = [time.to_pydatetime() for time in times], 0
    for position in range(1, len(moments) + 1):
        if alone or position == len(moments) or moments[position] != moments[begin]:
            yield moments[begin], begin, position
            begin = position
