"""`perennial replay`: history is played through the served model, and the controller ticks at the times between."""

import signal
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import NoReturn

import pyarrow.compute
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from console.asking import Clock
from console.display.output import console, minute, print_json
from controller.tick import holder
from controller.ticked import LEASE
from controller.watch import until_idle
from feature_repo import store
from feature_repo.online_store.database import open_database
from feature_repo.online_store.feast_store import to_microseconds
from feature_repo.sources import TIME, opened
from monitoring.log.collect import collect_model, has_log, identifiers, load, unfinished
from perennial.errors import DataError, NotFoundError, PlatformError, SpecError
from perennial.ledger import Ledger
from perennial.loop.decision import Decision
from perennial.prediction_log.rows import FIELDS
from perennial.settings import Settings
from perennial.spec.model import Model
from perennial.spec.read import read
from serving.replay.caller import Caller
from serving.replay.play import AnsweredCall, Played, Replay, stretches
from serving.replay.server import READY_SECONDS, replay_server, require_ready, require_version

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""Before everything that was published."""
TAKE_OVER_SECONDS = 60.0
"""How long the server may take to answer with a new champion. It looks for one twice a second."""
MAX_RUNS = 10_000
"""Runs that are looked at, to count those that a tick started."""


@dataclass(frozen=True)
class ReplaySpan:
    """What is to be played."""

    start: datetime
    """Begin, UTC."""
    end: datetime
    """End, exclusive, UTC."""
    every: timedelta
    """From one tick to the next; the last comes at the end."""

    @property
    def intervals(self) -> tuple[tuple[datetime, datetime], ...]:
        """What is played between two ticks."""
        return tuple(stretches(self.start, self.end, self.every))


@dataclass(frozen=True)
class Interval:
    """What was sent between two ticks, and what the tick at its end came to."""

    start: datetime
    """Begin, UTC."""
    end: datetime
    """End, and time of the tick."""
    sent: int = 0
    """Requests that were sent."""
    answered: int = 0
    """Of these, with a probability."""
    before: int = 0
    """Requests that the log had answers to already; they were not sent."""
    refusals: tuple[str, ...] = ()
    """What the server said to what it refused."""
    decisions: tuple[Decision, ...] = ()
    """Decisions of the tick."""
    runs: tuple[str, ...] = ()
    """Ids of the runs that it started."""

    @property
    def line(self) -> str:
        """The same in one line."""
        decided = ", ".join(decision.kind for decision in self.decisions) or "nothing"
        parts = [f"{self.sent:,} requests, {self.answered:,} answered"]
        parts += [f"{self.before:,} answered before"] if self.before else []
        parts += [f"decided: {decided}", f"{len(self.runs)} runs started"]
        return f"{minute(self.start)} to {minute(self.end)}  {'; '.join(parts)}"

    def to_json(self) -> dict[str, object]:
        """The same for programs."""
        decisions = [
            {"number": decision.number, "kind": decision.kind, "reason": decision.reason, "outcome": decision.outcome}
            for decision in self.decisions
        ]
        counts = {"requests": self.sent, "answered": self.answered, "answered_before": self.before}
        times = {"start": self.start.isoformat(), "end": self.end.isoformat()}
        return {**times, **counts, "refusals": list(self.refusals), "decisions": decisions, "runs": list(self.runs)}


@dataclass(frozen=True)
class Past:
    """What an earlier play of the same span left."""

    ticked: datetime | None
    """The newest time for which a controller ticked; None before the first."""
    ids: frozenset[object] = frozenset()
    """Ids that were answered in the span."""
    times: tuple[datetime, ...] = field(default=(), repr=False)
    """Times of the answers, ascending."""

    def has_answers(self, start: datetime, end: datetime) -> bool:
        """Whether something of [start, end) was answered."""
        return bisect_left(self.times, start) < bisect_left(self.times, end)


def replay_and_show(settings: Settings, name: str, span: ReplaySpan, url: str | None, clock: Clock, json: bool) -> None:
    """Play a span of history, tick at the end of each interval, and print what came of each.

    Repeated after it was broken off, it goes on: intervals whose tick is done are passed by, and requests that the log has
    answers to are not sent again.

    Args:
        settings: where things are.
        name: the model.
        span: what is played.
        url: address of a server that lets requests say their time; one of its own when None.
        clock: gives the real time.
        json: print one JSON document instead of a line for each interval.

    Raises:
        SpecError: the span is empty, begins before the champion, or the controller is past it.
        NotFoundError: the model has no champion.
        DataError: no request lies in the span, or the online store holds values of later.
        PlatformError: another controller is at work, or something was in the way; the command may be repeated.
    """
    model = read(settings.models / f"{name}.yaml")
    require_span(span)
    past = _past(settings, model, span, clock)
    periods = _left(settings, model, span, past)
    require_requests(settings, model, span)
    intervals = list[Interval]()
    with _ended_by_signals(), nullcontext(url) if url else replay_server(settings, name) as server_url, _Bar(hidden=json) as bar:
        with Caller(server_url, name) as caller:
            require_ready(caller, READY_SECONDS)
        replay = Replay(settings, model, server_url, after=bar.answered)
        for start, end in periods:
            bar.begin(f"requests until {minute(end)}", _count(settings, model, start, end))
            is_sent = past.ticked is not None and end <= past.ticked
            if not is_sent and not intervals:
                _prepare_store(replay, (start, end), past)
            played = None if is_sent else replay.play(start, end, past.ids)
            bar.begin(f"the controller's tick for {minute(end)}", None)
            intervals.append(_ticked(settings, model, (start, end), played, clock))
            _follow(settings, server_url, name)
            if not json:
                bar.print(intervals[-1].line, intervals[-1].refusals)
    _show(settings, model, span, intervals, json)


def require_span(span: ReplaySpan) -> None:
    """The span holds something.

    Raises:
        SpecError: it does not.
    """
    if span.end <= span.start:
        raise SpecError(f"--until {span.end.isoformat()} is not after --from {span.start.isoformat()}; allowed: a later time")


def require_requests(settings: Settings, model: Model, span: ReplaySpan) -> None:
    """The request source has rows in the span.

    Raises:
        DataError: it has none; says which span it has.
    """
    if _count(settings, model, span.start, span.end):
        return
    where = settings.source(model.spec.requests.source)
    with opened(where) as rows:
        bounds = pyarrow.compute.min_max(rows.to_table(columns=[TIME]).column(TIME)).as_py()
    has = "it has none" if bounds["min"] is None else f"it has {minute(bounds['min'])} to {minute(bounds['max'])}"
    raise DataError(
        f"{where}: no request of {minute(span.start)} to {minute(span.end)}; {has}: name a span in it by --from and --until"
    )


def _count(settings: Settings, model: Model, start: datetime, end: datetime) -> int:
    moment = pyarrow.compute.field(TIME)
    with opened(settings.source(model.spec.requests.source)) as rows:
        return int(rows.count_rows(filter=(moment >= start) & (moment < end)))


def _past(settings: Settings, model: Model, span: ReplaySpan, clock: Clock) -> Past:
    """What there is already, and that nobody else is at work.

    Raises:
        NotFoundError: there is no champion.
        SpecError: it was trained after the begin of what would be played.
        PlatformError: another controller is at work.
    """
    with Ledger.open(settings.ledger) as ledger:
        lease, champion = ledger.lease(LEASE), ledger.champion(model.name)
        trained = None if champion is None else ledger.run(champion.run_id).now
    if champion is None or trained is None:
        raise NotFoundError(
            f"{model.name} has no champion; `perennial train {model.name} --now {span.start:%Y-%m-%dT%H:%M:%SZ}` makes one"
        )
    if lease is not None and lease.expires > clock() and lease.holder != holder():
        raise PlatformError(
            f"{lease.holder} is the controller until {lease.expires:%H:%M:%S} UTC or longer; a replay ticks by itself: "
            "stop `perennial watch` first, or give the replay a PERENNIAL_STATE of its own"
        )
    ticked = None if lease is None else lease.ticked
    if trained > max(span.start, ticked or span.start):
        raise SpecError(
            f"--from {span.start.isoformat()}: the champion of {model.name}, version {champion.number}, was trained for "
            f"{trained.isoformat()}; allowed: that time or later"
        )
    if not has_log(settings, model.name):
        return Past(ticked)
    collect_model(settings, model.name, clock())
    growing = unfinished(settings.prediction_log(model.name))
    log = load(settings.prediction_tables(model.name), span.start, span.end, growing)
    column = f"{FIELDS}{model.spec.requests.id}"
    ids = frozenset(identifiers(log[column])) - {None} if column in log else frozenset()
    times = tuple(moment.to_pydatetime() for moment in log["time"])
    return Past(ticked, ids, times)


def _left(settings: Settings, model: Model, span: ReplaySpan, past: Past) -> list[tuple[datetime, datetime]]:
    """The intervals that are not over: their tick is still to come, or was the last one and may not have come to its end.

    Raises:
        SpecError: the controller ticked for a time in the span that no earlier play of it explains.
    """
    ticked = past.ticked
    if ticked is None or ticked <= span.start:
        return list(span.intervals)
    for start, end in span.intervals:
        is_played = past.has_answers(start, end) or not _count(settings, model, start, end)
        if start < ticked and (end > ticked or not is_played):
            raise SpecError(
                f"--from {span.start.isoformat()}: the controller ticked for {ticked.isoformat()} already, and looks at no "
                "window until then again; allowed: that time or later, the very command of a replay that was broken off, or a "
                "PERENNIAL_STATE of its own"
            )
    return [(start, end) for start, end in span.intervals if end >= ticked]


def _prepare_store(replay: Replay, interval: tuple[datetime, datetime], past: Past) -> None:
    """The online store holds what was published until the begin, and nothing that the first request must not see.

    Raises:
        DataError: it holds values of later.
    """
    settings, (start, end) = replay.settings, interval
    first = replay.first(max(start, past.times[-1]) if past.times else start, end, past.ids)
    with open_database(settings.online_store, write=False) as database:
        for view in replay.service.views:
            if database.count(view, to_microseconds(first), sys.maxsize):
                raise DataError(
                    f"{settings.online_store}: view {view!r} holds values that were published after {first.isoformat()}, and the "
                    "requests from then on must not see them; a replay of that time takes a PERENNIAL_STATE of its own"
                )
    store.materialize(settings, EPOCH, start, lambda _: None)


def _ticked(
    settings: Settings, model: Model, interval: tuple[datetime, datetime], played: Played | None, clock: Clock
) -> Interval:
    """Tick for the end of an interval until nothing is in flight or due.

    Raises:
        PlatformError: something was in the way, or another controller took over.
    """
    decisions_before, runs_before = _known(settings, model)
    last = list(until_idle(settings, interval[1], clock))[-1]
    if last.problems:
        problems = "; ".join(f"{problem.model or 'controller'}: {problem.sentence}" for problem in last.problems)
        raise PlatformError(f"the tick for {interval[1].isoformat()}: {problems}. The same command goes on from here")
    decisions_after, runs_after = _known(settings, model)
    decisions = tuple(decision for number, decision in sorted(decisions_after.items()) if number not in decisions_before)
    earlier_runs = set(runs_before)
    runs = tuple(run for run in runs_after if run not in earlier_runs)
    if played is None:
        return Interval(*interval, decisions=decisions, runs=runs)
    counts = (len(played.answers), played.answered, played.left_out)
    return Interval(*interval, *counts, played.refusals, decisions, runs)


def _known(settings: Settings, model: Model) -> tuple[dict[int, Decision], list[str]]:
    """Decisions by number, and ids of runs, oldest first."""
    with Ledger.open(settings.ledger) as ledger:
        runs = [run.run_id for run in reversed(ledger.runs(model.name, MAX_RUNS))]
        return {decision.number: decision for decision in ledger.decisions(model.name)}, runs


def _follow(settings: Settings, url: str, name: str) -> None:
    """The server answers with the champion. Raises as `require_version`."""
    with Ledger.open(settings.ledger) as ledger:
        champion = ledger.champion(name)
    assert champion is not None  # there was one before
    with Caller(url, name) as caller:
        require_version(caller, champion.digest, TAKE_OVER_SECONDS)


class _Bar:
    """What is under way, on a terminal only."""

    def __init__(self, *, hidden: bool) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._console = console()
        self._progress = Progress(*columns, console=self._console, transient=True, disable=hidden or not sys.stdout.isatty())
        self._task = self._progress.add_task("", total=None)

    def __enter__(self) -> "_Bar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, what: str, total: int | None) -> None:
        """Something else is under way, of so many parts."""
        self._progress.reset(self._task, description=what, total=total)

    def answered(self, call: AnsweredCall) -> None:
        """One more call was answered."""
        self._progress.advance(self._task, len(call.rows))

    def print(self, line: str, refusals: Sequence[str]) -> None:
        """Print what an interval came to, and what the server refused first."""
        self._console.print(line, soft_wrap=True)
        if refusals:
            self._console.print(f"  refused: {len(refusals)} calls, the first: {refusals[0]}", soft_wrap=True)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Inside, SIGTERM ends this process as Ctrl-C does: its server is stopped with it."""

    def end(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before: Callable[..., object] | int | None = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _show(settings: Settings, model: Model, span: ReplaySpan, done: Sequence[Interval], json: bool) -> None:
    with Ledger.open(settings.ledger) as ledger:
        champion = ledger.champion(model.name)
    number = None if champion is None else champion.number
    passed_by = len(span.intervals) - len(done)
    if json:
        times = {"from": span.start.isoformat(), "until": span.end.isoformat(), "every_days": span.every / timedelta(days=1)}
        print_json(
            {
                "model": model.name,
                **times,
                "intervals": [interval.to_json() for interval in done],
                "passed_by": passed_by,
                "champion": number,
            }
        )
        return
    before = f"; {passed_by} intervals were over before" if passed_by else ""
    console().print(
        f"{sum(interval.sent for interval in done):,} requests sent in {len(done)} intervals{before}; "
        f"version {number} is champion"
    )
