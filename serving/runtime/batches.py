"""Requests answered together: whatever has arrived when the worker is free. No request ever waits for company.

The loop reads and writes HTTP, one worker thread looks up, predicts and logs, so a slow model never stops the health checks.
Trees cost as much for one row as for ten: under load, batches form by themselves while the worker is busy.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue

from serving.runtime.predictor import Prediction, Predictor
from serving.runtime.protocol.failure import RequestFailure
from serving.runtime.protocol.inputs import Row

MAX_BATCH_ROWS = 256
"""Rows from which no further request joins a batch: above, a batch takes longer than it saves."""
MAX_WAITING_ROWS = 20_000
"""Rows that may wait. More would wait for seconds, and whoever asked would have given up."""

Write = Callable[[Predictor, Sequence[Prediction]], bytes]


@dataclass(slots=True)
class Work:
    """One request on its way through the worker."""

    predictor: Predictor
    """The version it was read for, which answers it whatever is swapped meanwhile."""
    rows: list[Row]
    write: Write
    """Makes the answer's body."""


Outcome = bytes | RequestFailure
"""Body of the answer, or why there is none."""


class Batches:
    """Hands work to the worker thread and outcomes back to the loop. Its methods belong to the loop."""

    def __init__(self, answer: Callable[[list[Work]], list[Outcome]], loop: asyncio.AbstractEventLoop) -> None:
        """The worker runs.

        Args:
            answer: called in the worker with requests for one version; gives an outcome for each, never raises.
            loop: where requests come from.
        """
        self._answer = answer
        self._loop = loop
        self._waiting: deque[tuple[Work, asyncio.Future[Outcome]]] = deque()
        self._batches: SimpleQueue[list[tuple[Work, asyncio.Future[Outcome]]] | None] = SimpleQueue()
        self._is_busy = False
        self.waiting_rows = 0
        self._thread = threading.Thread(target=self._work, name="predictions", daemon=True)
        self._thread.start()

    def submit(self, work: Work) -> asyncio.Future[Outcome]:
        """The outcome, when it is there.

        Raises:
            RequestFailure: too many rows wait.
        """
        if self.waiting_rows > MAX_WAITING_ROWS:
            raise RequestFailure(503, f"{self.waiting_rows} rows are waiting; try again in a second")
        future: asyncio.Future[Outcome] = self._loop.create_future()
        self._waiting.append((work, future))
        self.waiting_rows += len(work.rows)
        if not self._is_busy:
            self._is_busy = True
            self._loop.call_soon(self._hand_over)
        return future

    def close(self) -> None:
        """What was submitted has been handed over, and the worker has ended."""
        if self._waiting and not self._is_busy:
            self._hand_over()
        self._batches.put(None)
        self._thread.join()

    def _hand_over(self) -> None:
        """Give the worker everything that waits, up to a batch, for one version."""
        if not self._waiting:
            self._is_busy = False
            return
        batch, rows = [self._waiting.popleft()], 0
        rows = len(batch[0][0].rows)
        while self._waiting and self._waiting[0][0].predictor is batch[0][0].predictor:
            if rows + len(self._waiting[0][0].rows) > MAX_BATCH_ROWS:
                break
            batch.append(self._waiting.popleft())
            rows += len(batch[-1][0].rows)
        self.waiting_rows -= rows
        self._batches.put(batch)

    def _work(self) -> None:
        while (batch := self._batches.get()) is not None:
            outcomes = self._answer([work for work, _ in batch])
            self._loop.call_soon_threadsafe(self._deliver, batch, outcomes)

    def _deliver(self, batch: list[tuple[Work, asyncio.Future[Outcome]]], outcomes: list[Outcome]) -> None:
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            if not future.done():  # the caller may have gone
                future.set_result(outcome)
        self._hand_over()
