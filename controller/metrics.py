"""What the controller measures of itself, in Prometheus' text format. A tick tells it; what it says is computed when it is asked.

Only who leads says how models stand, so that a sum over replicas counts nothing twice.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from controller.ticked import Ticked
from monitoring.policy import QUARTER
from perennial.ledger import Ledger


@dataclass(frozen=True)
class Backlog:
    """What the ledger says is under way or still to be done."""

    due: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """How many things are due that nobody has begun, by model and kind: `request`, `training`."""
    claims: tuple[tuple[str, str], ...] = ()
    """Model and run of each claim that is not over."""
    trainings: Mapping[str, tuple[datetime, ...]] = field(default_factory=dict)
    """Times of the trainings of a quarter that count against the budget, by model."""

    @classmethod
    def read(cls, ledger: Ledger, now: datetime) -> "Backlog":
        """As the ledger stands, by four queries however many models there are."""
        due: Counter[tuple[str, str]] = Counter()
        due.update((request.model, "request") for request in ledger.open_requests() if request.state == "open")
        due.update(
            (decision.model, "training")
            for decision in ledger.open_decisions()
            if decision.kind == "retrain" and decision.state == "open"
        )
        claims = tuple((claim.model, claim.owner) for claim in ledger.open_claims())
        return cls(due, claims, ledger.trainings(now - QUARTER))


@dataclass(frozen=True)
class _Standing:
    """How the models stood at the end of the last tick of this process as the controller."""

    ticked: Ticked
    backlog: Backlog
    budgets: Mapping[str, int]

    def claims(self) -> Iterator[tuple[str, bool]]:
        """Model of each open claim, and whether the tick knew of its run: it started it, or saw it execute."""
        said = [*self.ticked.waits, *(act.sentence for act in self.ticked.acts if act.what.startswith("started"))]
        for model, run in self.backlog.claims:
            yield model, any(run in sentence for sentence in said)

    def left(self, model: str) -> int:
        """How many more trainings the budget of a model allows now."""
        since = self.ticked.now - QUARTER
        recent = [time for time in self.backlog.trainings.get(model, ()) if since < time <= self.ticked.now]
        return max(0, self.budgets[model] - len(recent))


def _is_quiet(ticked: Ticked) -> bool:
    """Whether a tick changed nothing and tried nothing in vain: a claim that was made and not carried out is a problem of it."""
    return ticked.is_idle and not ticked.problems


class ControllerMetrics(Collector):
    """What this process has counted, and how the models stand while it leads."""

    def __init__(self) -> None:
        """Nothing has ticked yet."""
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        self._ticks: Counter[str] = Counter()
        self._acts: Counter[tuple[str, str]] = Counter()
        self._good: datetime | None = None
        self._seconds = 0.0
        self._standing: _Standing | None = None

    def wants_backlog(self, ticked: Ticked) -> bool:
        """Whether the backlog may differ from the one that is known: an idle tick leaves it as it was."""
        return ticked.holds_lease and (self._standing is None or not (_is_quiet(ticked) and _is_quiet(self._standing.ticked)))

    def note(self, ticked: Ticked, ended: datetime, seconds: float, backlog: Backlog | None, budgets: Mapping[str, int]) -> None:
        """A tick has ended.

        Args:
            ticked: what it did and found.
            ended: real time of its end, UTC.
            seconds: how long it took.
            backlog: as the ledger stands; None where it stands as before.
            budgets: most trainings in a quarter, by model.
        """
        self._seconds = seconds
        if not ticked.holds_lease:
            self._ticks["standby" if ticked.stands_by else "failed"] += 1
            self._standing = None
            return
        is_good = all(problem.model for problem in ticked.problems)
        self._ticks["good" if is_good else "failed"] += 1
        if is_good:
            self._good = ended
        self._acts.update((act.model, act.what) for act in ticked.acts)
        before = Backlog() if self._standing is None else self._standing.backlog
        self._standing = _Standing(ticked, backlog or before, budgets)

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Prometheus' families of what is known now."""
        ticks = CounterMetricFamily(
            "perennial_controller_ticks",
            "Ticks that ended: good, failed (something concerned all models), standby (another one leads).",
            labels=["result"],
        )
        for result in ("good", "failed", "standby"):
            ticks.add_metric([result], self._ticks[result])
        yield ticks
        acts = CounterMetricFamily("perennial_controller_acts", "What ticks of this process did.", labels=["model", "what"])
        for (model, what), count in sorted(self._acts.items()):
            acts.add_metric([model, what], count)
        yield acts
        standing = self._standing
        yield GaugeMetricFamily(
            "perennial_controller_leads", "1 while this process holds the lease, else 0.", value=float(standing is not None)
        )
        yield GaugeMetricFamily("perennial_controller_tick_seconds", "Seconds of the last tick.", value=self._seconds)
        good = GaugeMetricFamily(
            "perennial_controller_last_good_tick_timestamp_seconds",
            "When the last good tick ended; its age is time() less this. Absent before the first.",
        )
        if self._good is not None:
            good.add_metric([], self._good.timestamp())
        yield good
        yield from () if standing is None else _models(standing)


def _models(standing: _Standing) -> Iterator[Metric]:
    """How each model stands. A model without a sample of a kind has none of it."""
    due = GaugeMetricFamily(
        "perennial_controller_due", "Requests and trainings that are due and that nobody has begun.", labels=["model", "kind"]
    )
    for (model, kind), count in sorted(standing.backlog.due.items()):
        due.add_metric([model, kind], count)
    yield due
    flying, unclear = Counter[str](), Counter[str]()
    for model, is_known in standing.claims():
        (flying if is_known else unclear)[model] += 1
    problems = Counter(problem.model for problem in standing.ticked.problems)
    for name, text, counts in (
        ("runs_in_flight", "Runs that execute, or that the last tick started.", flying),
        ("claims_unclear", "Claims that are open, and of whose run the last tick could not say that it executes.", unclear),
        ("problems", "What was in the way of the last tick; of all models where the label is empty.", problems),
    ):
        family = GaugeMetricFamily(f"perennial_controller_{name}", text, labels=["model"])
        for model in sorted({*standing.budgets, *counts}):
            family.add_metric([model], counts[model])
        yield family
    left = GaugeMetricFamily(
        "perennial_controller_retrainings_left",
        "Trainings that the loop may still begin in this quarter (retraining.per_quarter).",
        labels=["model"],
    )
    for model in sorted(standing.budgets):
        left.add_metric([model], standing.left(model))
    yield left
