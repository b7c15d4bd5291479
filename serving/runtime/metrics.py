"""What the serving process counts and measures, in Prometheus' text format. Each metric has a paragraph in `docs/protocol.md`.

Plain numbers, changed by the loop and by the one worker thread, never both the same; made into Prometheus' families when they are
read. A request costs about a microsecond of counting.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
AGES = (60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 10800.0, 21600.0, 43200.0, 86400.0, 172800.0, 604800.0, 2592000.0, 31536000.0)
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)


class Histogram:
    """Counts of values by upper bound."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Bounds as text with the number of values up to each."""
        buckets, sum_so_far = [], 0
        for bound, count in zip([*map(str, self.bounds), "+Inf"], self.counts, strict=True):
            sum_so_far += count
            buckets.append((bound, float(sum_so_far)))
        return buckets


class Metrics(Collector):
    """Everything that the process counts."""

    def __init__(self, model: str) -> None:
        """Zeros.

        Args:
            model: name of the model, a label of each metric.
        """
        self._model = model
        self.requests: dict[tuple[str, int], int] = {}
        """By protocol (`v1`, `v2`, `other`) and status."""
        self.latency: dict[str, Histogram] = {}
        """Seconds of a prediction request from its first byte in the application to its answer, by protocol."""
        self.lookup = Histogram(SECONDS)
        self.model_time = Histogram(SECONDS)
        self.log_time = Histogram(SECONDS)
        self.batch_rows = Histogram(ROWS)
        self.rows = 0
        self.rejected_rows = 0
        self.age: dict[str, Histogram] = {}
        """Seconds, by view."""
        self.not_fresh: dict[tuple[str, str, str], int] = {}
        """Rows, by view, reason and what the spec does about it."""
        self.lost_rows = 0
        self.ships = 0
        self.ship_failures = 0
        self.waiting_segments = 0
        self.waiting_bytes = 0
        self.oldest_unshipped: float | None = None
        """When the oldest row was written that is not in the bucket, Unix seconds UTC; None when all are."""
        self.swaps = 0
        self.refusals = 0
        self.failures = 0
        self.serving: tuple[str, int | None] | None = None
        """Digest and number of the served version."""
        self.refused: str | None = None
        """Digest of the version that is wanted and was refused."""
        self.ready = False
        self.waiting = 0
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def answered(self, protocol: str, status: int, seconds: float | None = None) -> None:
        """Count an answer, and its seconds when it is one to a prediction request."""
        key = (protocol, status)
        self.requests[key] = self.requests.get(key, 0) + 1
        if seconds is not None:
            if protocol not in self.latency:
                self.latency[protocol] = Histogram(SECONDS)
            self.latency[protocol].observe(seconds)

    def seen(self, view: str, age: float | None, reason: str | None, policy: str) -> None:
        """Count what was found of a view for one row.

        Args:
            view: its name.
            age: of the observation, in seconds; None where nothing was found.
            reason: why it was not fresh; None when it was.
            policy: what the spec does about it.
        """
        if age is not None:
            if view not in self.age:
                self.age[view] = Histogram(AGES)
            self.age[view].observe(age)
        if reason is not None:
            key = (view, reason, policy)
            self.not_fresh[key] = self.not_fresh.get(key, 0) + 1

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        """Prometheus' families of what was counted."""
        yield from self._counters()
        yield from self._histograms()
        yield from self._gauges()

    def _counters(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "perennial_requests", "Answers by protocol and HTTP status.", labels=["model", "protocol", "status"]
        )
        for (protocol, status), count in list(self.requests.items()):
            requests.add_metric([self._model, protocol, str(status)], count)
        yield requests
        not_fresh = CounterMetricFamily(
            "perennial_not_fresh_rows",
            "Rows of which a view was missing, stale or packed by a stale layout, by what the spec does about it.",
            labels=["model", "view", "reason", "on_stale"],
        )
        for (view, reason, policy), count in list(self.not_fresh.items()):
            not_fresh.add_metric([self._model, view, reason, policy], count)
        yield not_fresh
        for name, text, value in (
            ("perennial_rows", "Rows that were looked up.", self.rows),
            ("perennial_rejected_rows", "Rows that got no prediction because of a stale view.", self.rejected_rows),
            ("perennial_log_lost_rows", "Rows that could not be written to the prediction log.", self.lost_rows),
            ("perennial_log_ships", "Segments of the prediction log that were shipped to the bucket.", self.ships),
            ("perennial_log_ship_failures", "Attempts to ship that failed; the segments wait on the disk.", self.ship_failures),
            ("perennial_swaps", "Versions that were put into service.", self.swaps),
            ("perennial_refusals", "Versions that were refused.", self.refusals),
            (
                "perennial_failures",
                "Requests that ended in an unexpected error; each is in the process's own log.",
                self.failures,
            ),
        ):
            family = CounterMetricFamily(name, text, labels=["model"])
            family.add_metric([self._model], value)
            yield family

    def _histograms(self) -> Iterator[Metric]:
        latency = HistogramMetricFamily(
            "perennial_request_seconds", "Seconds of a prediction request.", labels=["model", "protocol"]
        )
        for protocol, histogram in list(self.latency.items()):
            latency.add_metric([self._model, protocol], histogram.buckets(), histogram.total)
        yield latency
        age = HistogramMetricFamily(
            "perennial_feature_age_seconds", "Age of the observation that was found, by view.", labels=["model", "view"]
        )
        for view, histogram in list(self.age.items()):
            age.add_metric([self._model, view], histogram.buckets(), histogram.total)
        yield age
        for name, text, histogram in (
            ("perennial_lookup_seconds", "Seconds of the online store's answer to a batch.", self.lookup),
            ("perennial_model_seconds", "Seconds of the model's answer to a batch.", self.model_time),
            ("perennial_log_seconds", "Seconds of appending a batch to the prediction log.", self.log_time),
            ("perennial_batch_rows", "Rows that were answered together.", self.batch_rows),
        ):
            family = HistogramMetricFamily(name, text, labels=["model"])
            family.add_metric([self._model], histogram.buckets(), histogram.total)
            yield family

    def _gauges(self) -> Iterator[Metric]:
        ready = GaugeMetricFamily("perennial_ready", "1 when model and online store answer.", labels=["model"])
        ready.add_metric([self._model], int(self.ready))
        yield ready
        waiting = GaugeMetricFamily("perennial_waiting_rows", "Rows that wait for the worker.", labels=["model"])
        waiting.add_metric([self._model], self.waiting)
        yield waiting
        for name, text, value in (
            ("perennial_log_waiting_segments", "Finished segments that wait to be shipped.", self.waiting_segments),
            ("perennial_log_waiting_bytes", "Bytes of the segments that wait to be shipped.", self.waiting_bytes),
        ):
            family = GaugeMetricFamily(name, text, labels=["model"])
            family.add_metric([self._model], value)
            yield family
        oldest = GaugeMetricFamily(
            "perennial_log_oldest_unshipped_timestamp_seconds",
            "When the oldest row was written that is not in the bucket; absent when all are.",
            labels=["model"],
        )
        if self.oldest_unshipped is not None:
            oldest.add_metric([self._model], self.oldest_unshipped)
        yield oldest
        version = GaugeMetricFamily("perennial_version", "The version in service.", labels=["model", "version", "number"])
        if self.serving is not None:
            digest, number = self.serving
            version.add_metric([self._model, digest, "" if number is None else str(number)], 1)
        yield version
        refused = GaugeMetricFamily(
            "perennial_version_refused", "The version that is wanted and was refused.", labels=["model", "version"]
        )
        if self.refused is not None:
            refused.add_metric([self._model, self.refused], 1)
        yield refused
