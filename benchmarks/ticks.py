"""`python -m benchmarks.ticks`: seconds of a tick of the controller over many models of which nothing is due.

Every model has a champion that is deployed, a prediction log, and a window that has not closed. Ledger, log, deployer and MLflow
are real, on this machine's disk. Printed beside the time of reading the same specs once, so that a slow machine shows. Goal: 500
models in 2 seconds.
"""

import argparse
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from controller.tick import tick
from perennial.ledger import Ledger
from perennial.loop.rollout import Observation
from perennial.prediction_log import LogRow, LogWriter
from perennial.settings import Settings
from perennial.spec.read import read
from perennial.training.recipe import Recipe
from serving.deployers.local import deploy
from tests.second_project import NAME, SPEC

NOW = datetime(2026, 1, 2, tzinfo=UTC)
RECIPE = Recipe(kind="logistic", parameters={"c": 0.1}, columns=("amount",))
GOAL_SECONDS, GOAL_MODELS = 2.0, 500


def write_model(settings: Settings, ledger: Ledger, name: str, digest: str) -> None:
    """A model with a champion that is deployed, and a day of its log."""
    (settings.models / f"{name}.yaml").write_text(SPEC.replace(f"name: {NAME}", f"name: {name}"), encoding="utf-8")
    then = NOW - timedelta(days=1)
    ledger.start_run(run_id=name, model=name, mode="search", started=then, now=then, spec="s", folder="f")
    ledger.finish_run(name, finished=then, outcome="registered", reason="version 1")
    ledger.add_version(
        model=name,
        run_key="k",
        digest=digest,
        created=then,
        run_id=name,
        recipe=RECIPE,
        searched_at=then,
        trained_until=then,
    )
    ledger.request_rollout(model=name, number=1, now=then, reason="passed every gate")
    for seen in ("checked", "promoted"):
        stated = {"seen": seen, "digest": digest, "loaded": True, "passed": True, "time": then, "reason": "It was checked."}
        ledger.move_rollout(ledger.rollouts(name)[0], Observation.model_validate(stated))
    deploy(settings.current(name), settings.versions / name / digest, 1)
    with LogWriter(settings.prediction_log(name), clock=then.timestamp) as writer:
        times = [(then + timedelta(hours=hour)).timestamp() for hour in range(20)]
        writer.append([LogRow(str(place), at, digest, {}, {}, {}, {}, {}, 0.1, False) for place, at in enumerate(times)])


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """How many statements databases are asked meanwhile, by their first word."""
    counts: Counter[str] = Counter()

    def count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        counts[statement.split(maxsplit=1)[0].lower()] += 1

    event.listen(Engine, "before_cursor_execute", count)
    try:
        yield counts
    finally:
        event.remove(Engine, "before_cursor_execute", count)


def main() -> None:
    """Make the models, tick once, then tick several rounds and print the median."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ticks", description=__doc__)
    parser.add_argument("--models", type=int, default=GOAL_MODELS)
    parser.add_argument("--rounds", type=int, default=5, help="idle ticks after the first, which is not counted")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.from_environment({"PERENNIAL_PROJECT": folder})
        settings.models.mkdir(parents=True)
        Path(settings.sources).mkdir(parents=True)
        with Ledger.open(settings.ledger) as ledger:
            for number in range(arguments.models):
                write_model(settings, ledger, f"m{number:03}", f"{number:064x}")
        begin = time.perf_counter()
        for path in settings.specs:
            read(path)
        reading = time.perf_counter() - begin
        taken = list[float]()
        with counted() as counts:
            for number in range(arguments.rounds + 1):
                counts.clear()
                begin = time.perf_counter()
                ticked = tick(settings, NOW + timedelta(seconds=number), lambda: NOW, name="a", release=False)
                taken.append(time.perf_counter() - begin)
                assert ticked.is_idle and not ticked.problems, ticked
    middle = statistics.median(taken[1:])
    print(f"reading {arguments.models} specs   {reading:.2f} s")
    print(f"the first tick      {taken[0]:.2f} s")
    print(
        f"an idle tick        median {middle:.2f} s (min {min(taken[1:]):.2f}, max {max(taken[1:]):.2f}), "
        f"{1000 * middle / arguments.models:.1f} ms a model, {middle / reading:.2f} x reading the specs"
    )
    print(f"statements in it    {dict(counts)}")
    of_goal = middle * GOAL_MODELS / arguments.models
    print(
        f"goal {GOAL_SECONDS:g} s for {GOAL_MODELS} models: {'met' if of_goal <= GOAL_SECONDS else 'not met'} ({of_goal:.2f} s)"
    )


if __name__ == "__main__":
    main()
