"""Batches: what has arrived is answered together, one bad request takes no other with it, and nobody waits for company."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from serving.deployers.local import deployed
from serving.runtime.answering import Answering
from serving.runtime.batches import MAX_BATCH_ROWS, MAX_WAITING_ROWS, Batches, Outcome, Work
from serving.runtime.loading import load
from serving.runtime.metrics import Metrics
from serving.runtime.predictor import Predictor
from serving.runtime.protocol.failure import RequestFailure
from serving.runtime.protocol.inputs import Row
from tests.serving.world import NAME, NOW, World, deploy_made, fill, make_version, plan


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    world = World(tmp_path_factory.mktemp("batches"))
    fill(world)
    deploy_made(world, make_version(world.folder, 1, plan()))
    current = deployed(world.current)
    assert current is not None
    return load(current, NAME, world.online)


def row(customer: int = 1, amount: float = 5.5) -> Row:
    return Row((customer, "S1"), (amount, 7, "card", False, 3), NOW)


def work(predictor: Predictor, rows: int = 1, first: int = 1) -> Work:
    def write(_: object, predictions: object) -> bytes:
        return b" ".join(str(prediction.row.keys["customer"]).encode() for prediction in predictions)  # type: ignore[attr-defined]

    return Work(predictor, [row(first + number) for number in range(rows)], write)


class Worker:
    """Answers with the number of rows, when it is let."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.free = threading.Event()

    def __call__(self, batch: list[Work]) -> list[Outcome]:
        self.batches.append([len(work.rows) for work in batch])
        self.free.wait(timeout=10)
        return [str(len(work.rows)).encode() for work in batch]


def run(scenario: Callable[[Batches, Worker], Awaitable[None]]) -> list[list[int]]:
    worker = Worker()

    async def main() -> None:
        batches = Batches(worker, asyncio.get_running_loop())
        await scenario(batches, worker)
        worker.free.set()
        await asyncio.to_thread(batches.close)

    asyncio.run(main())
    return worker.batches


def test_a_lone_request_goes_at_once_and_what_comes_meanwhile_goes_together(predictor: Predictor) -> None:
    async def scenario(batches: Batches, worker: Worker) -> None:
        first = batches.submit(work(predictor))
        await asyncio.sleep(0.05)
        more = [batches.submit(work(predictor, rows)) for rows in (1, 2, 3)]
        await asyncio.sleep(0.05)
        assert worker.batches == [[1]]
        worker.free.set()
        assert await asyncio.gather(first, *more) == [b"1", b"1", b"2", b"3"]

    assert run(scenario) == [[1], [1, 2, 3]]


def test_a_batch_is_bounded_and_for_one_version(predictor: Predictor) -> None:
    other = Predictor("f" * 64, 2, predictor.contract, predictor._model, predictor.plan, predictor.reader)

    async def scenario(batches: Batches, worker: Worker) -> None:
        worker.free.set()
        sizes = [
            (predictor, 1),
            (predictor, 2),
            (other, 3),
            (other, MAX_BATCH_ROWS),
            (predictor, 2 * MAX_BATCH_ROWS),
            (predictor, 1),
        ]
        futures = [batches.submit(work(version, rows)) for version, rows in sizes]
        assert await asyncio.gather(*futures) == [str(rows).encode() for _, rows in sizes]

    assert run(scenario) == [[1, 2], [3], [MAX_BATCH_ROWS], [2 * MAX_BATCH_ROWS], [1]]


def test_too_many_waiting_rows_are_turned_away(predictor: Predictor) -> None:
    async def scenario(batches: Batches, worker: Worker) -> None:
        futures = [batches.submit(work(predictor)), batches.submit(work(predictor, MAX_WAITING_ROWS))]
        with pytest.raises(RequestFailure, match="rows are waiting") as caught:
            batches.submit(work(predictor))
        assert caught.value.status == 503
        worker.free.set()
        await asyncio.gather(*futures)
        assert batches.waiting_rows == 0

    run(scenario)


def test_a_caller_that_has_gone_disturbs_nobody(predictor: Predictor) -> None:
    async def scenario(batches: Batches, worker: Worker) -> None:
        gone, stays = batches.submit(work(predictor)), batches.submit(work(predictor, 2))
        gone.cancel()
        worker.free.set()
        assert await stays == b"2"

    run(scenario)


class PoisonError(Exception):
    """What a model raises that does not like a row."""


def poisoned(predictor: Predictor, amount: float) -> Predictor:
    """A predictor whose model fails on a batch with that amount."""
    place = [column.name for column in predictor.contract.columns].index("amount")

    class Model:
        def predict_proba(self, matrix: "object") -> "object":
            if amount in matrix[:, place]:  # type: ignore[index]
                raise PoisonError
            return predictor._model.predict_proba(matrix)  # type: ignore[arg-type]

    return Predictor("e" * 64, 1, predictor.contract, Model(), predictor.plan, predictor.reader)  # type: ignore[arg-type]


def test_a_row_that_breaks_the_model_takes_no_other_request_with_it(predictor: Predictor) -> None:
    metrics, broken = Metrics(NAME), poisoned(predictor, 13.0)
    good, bad = work(broken, 2), Work(broken, [row(amount=13.0)], lambda _, __: b"never")
    outcomes = Answering(metrics, None)([good, bad, good])
    assert [outcomes[0], outcomes[2]] == [b"1 2", b"1 2"]
    assert isinstance(outcomes[1], RequestFailure)
    assert outcomes[1].status == 500
    assert metrics.failures == 1


def test_answers_are_the_same_alone_and_in_any_batch(predictor: Predictor) -> None:
    rows = [row(customer, amount) for customer in (1, 2, 99) for amount in (0.5, 5.5, 9.0)]
    alone = [predictor.predict([one], predictor.look_up([one]), lambda: "id")[0].row.probability for one in rows]
    together = [found.row.probability for found in predictor.predict(rows, predictor.look_up(rows), lambda: "id")]
    assert together == alone
    assert len(set(alone)) > 3
