"""A batch of requests answered: lookup, prediction, log, bodies. Runs in the worker thread.

Every outcome is a body or a failure; nothing is raised.
"""

import itertools
import logging
import os
from collections.abc import Sequence
from time import perf_counter
from typing import Protocol

from perennial.errors import PlatformError
from perennial.prediction_log import LogRow
from serving.runtime.batches import Outcome, Work
from serving.runtime.metrics import Metrics
from serving.runtime.predictor import Prediction, Predictor
from serving.runtime.protocol.failure import RequestFailure

LOG = logging.getLogger("serving.runtime")


class Log(Protocol):
    """Where rows of predictions go before an answer leaves."""

    def append(self, rows: Sequence[LogRow]) -> int:
        """The rows are kept, except those counted in the result."""
        ...


class Answering:
    """Answers batches and counts what was seen."""

    def __init__(self, metrics: Metrics, log: Log | None) -> None:
        """Ready to answer.

        Args:
            metrics: counts.
            log: where rows go; None keeps no log.
        """
        self._metrics = metrics
        self._log = log
        boot, numbers = os.urandom(8).hex(), itertools.count(1)
        self._ids = lambda: f"{boot}-{next(numbers):x}"

    def __call__(self, batch: list[Work]) -> list[Outcome]:
        """An outcome for each request; all are for one version."""
        try:
            return self._together(batch)
        except RequestFailure as failure:
            return [failure] if len(batch) == 1 else self._one_by_one(batch)
        except PlatformError as error:
            return [RequestFailure(503, str(error))] * len(batch)
        except Exception:
            if len(batch) > 1:
                return self._one_by_one(batch)
            self._metrics.failures += 1
            LOG.exception("request for version %s was not answered", batch[0].predictor.digest)
            return [RequestFailure(500, "the prediction failed unexpectedly; the server's log has the reason")]

    def _one_by_one(self, batch: list[Work]) -> list[Outcome]:
        """One row that breaks the model takes no other request with it."""
        return [outcome for work in batch for outcome in self([work])]

    def _together(self, batch: list[Work]) -> list[Outcome]:
        predictor, metrics = batch[0].predictor, self._metrics
        rows = [row for work in batch for row in work.rows] if len(batch) > 1 else batch[0].rows
        start = perf_counter()
        lookups = predictor.look_up(rows)
        looked_up = perf_counter()
        predictions = predictor.predict(rows, lookups, self._ids)
        predicted = perf_counter()
        lost = 0 if self._log is None else self._log.append([prediction.row for prediction in predictions])
        metrics.log_time.observe(perf_counter() - predicted)
        metrics.lookup.observe(looked_up - start)
        metrics.model_time.observe(predicted - looked_up)
        metrics.batch_rows.observe(len(rows))
        metrics.rows += len(rows)
        metrics.lost_rows += lost
        self._count(predictor, predictions)
        if lost and predictor.contract.log_required:
            return [RequestFailure(503, "the prediction could not be logged, and this model requires its log")] * len(batch)
        outcomes: list[Outcome] = []
        start_row = 0
        for work in batch:
            work_predictions = predictions[start_row : start_row + len(work.rows)]
            start_row += len(work.rows)
            try:
                outcomes.append(work.write(predictor, work_predictions))
            except RequestFailure as failure:
                outcomes.append(failure)
        return outcomes

    def _count(self, predictor: Predictor, predictions: Sequence[Prediction]) -> None:
        policies = [(view.view, view.on_stale) for view in predictor.plan.views]
        for prediction in predictions:
            stale = prediction.row.stale
            for (view, policy), age in zip(policies, prediction.ages, strict=True):
                self._metrics.seen(view, age, stale.get(view), policy)
            if prediction.rejected:
                self._metrics.rejected_rows += 1
