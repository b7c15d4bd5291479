"""The server killed under load, again and again: no answer that a client has seen is missing from the log."""

import http.client
import random
import signal
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitoring.log.collect import collect, load
from tests.serving.world import Connection, World, deploy_made, fill, instance, make_version, plan, served

KILLS = 20
CLIENTS = 4


def ask_until_it_dies(connection: Connection, answered: list[str]) -> None:
    """Keep the ids of every answer that arrives whole, until the server is gone."""
    try:
        while True:
            answer = connection.v1(instance(), instance(customer=2))
            assert answer.status == 200, answer.body
            answered.extend(prediction["prediction_id"] for prediction in answer.json["predictions"])
    except (OSError, http.client.HTTPException):
        return


@pytest.mark.xdist_group("killed")
def test_twenty_kills_under_load_lose_no_answered_prediction(tmp_path: Path) -> None:
    world = World(tmp_path)
    fill(world)
    deploy_made(world, make_version(tmp_path / "versions", 1, plan()))
    seed = time.time_ns()
    moments = random.Random(seed)
    answered: list[str] = []
    for _ in range(KILLS):
        with served(world, "--log", str(world.log), "--replay") as server:
            threads = [threading.Thread(target=ask_until_it_dies, args=(server.connect(), answered)) for _ in range(CLIENTS)]
            for thread in threads:
                thread.start()
            time.sleep(moments.uniform(0.05, 0.4))
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
            for thread in threads:
                thread.join()
    collected = collect(world.log, tmp_path / "tables", datetime.now(UTC))
    logged = set(load(tmp_path / "tables")["prediction_id"])
    assert len(answered) > 10 * KILLS
    assert not set(answered) - logged, f"seed {seed}"
    assert len(answered) == len(set(answered))
    assert collected.lost == 0
