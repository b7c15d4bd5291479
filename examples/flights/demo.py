"""`make demo`: the main job on embedded parts, with the commands that a user would type.

Sources of a real year → features applied and materialised → a training on January to March with every gate → the version, its
card and report → a worse challenger, whose training labels were shuffled, stopped by the gates.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from rich.console import Console
from rich.table import Table

from console.findings import show_metrics
from examples.flights import traffic
from examples.flights.prepare import prepare
from perennial.findings import Findings
from perennial.ledger import Ledger
from perennial.settings import Settings
from perennial.spec.read import read

MODEL = "flight-delay"


FIRST = datetime(2013, 4, 2, tzinfo=UTC)
"""Time of the first training: the labels of January to March have matured."""
SERVED_UNTIL = datetime(2013, 4, 16, tzinfo=UTC)
"""End of the two weeks of traffic."""
LATER = datetime(2013, 5, 2, tzinfo=UTC)
"""Time of the worse challenger: April is a whole block that the champion has not seen."""
EVALUATION_START = datetime(2013, 4, 3, tzinfo=UTC)
"""Begin of the later training's evaluation block: the labels of its requests stay as they are."""

PORT = 18080
"""Port of the demo's server."""
CURL = (
    "curl -s http://127.0.0.1:8080/v1/models/flight-delay:predict -H 'content-type: application/json' -d "
    """'{"instances": [{"origin": "JFK", "dest": "LAX", "carrier": "DL", "tailnum": "N713TW", "distance": 2475, "weekday": 1, """
    """"hour": 17, "departure_minute": 1020, "scheduled_minutes": 380}]}'"""
)

console = Console(width=None if sys.stdout.isatty() else 130)


class Clock:
    """Seconds of each part of the demo."""

    def __init__(self) -> None:
        self.parts: list[tuple[str, float]] = []
        self.since = time.monotonic()

    def lap(self, name: str) -> None:
        """End the part that has just run."""
        now = time.monotonic()
        self.parts.append((name, now - self.since))
        self.since = now


def perennial(*arguments: str, expect: int = 0, **environment: str) -> None:
    """Run a `perennial` command as a user would; its output is shown.

    Raises:
        SystemExit: it ended with another exit code than the expected one.
    """
    console.print(f"\n[bold]$ perennial {' '.join(arguments)}[/bold]", highlight=False)
    command = [sys.executable, "-m", "console.cli", *arguments]
    code = subprocess.run(command, env={**os.environ, **environment}, check=False).returncode
    if code != expect:
        console.print(f"[red]the demo expected exit code {expect}, got {code}[/red]")
        raise SystemExit(code or 1)


def short_project(settings: Settings) -> Settings:
    """A copy of the project whose spec has one candidate with one trial; returns its settings."""
    project = settings.state / "short-project"
    shutil.copytree(settings.models, project / "models", dirs_exist_ok=True)
    shutil.copytree(settings.definitions, project / "feature_repo" / "definitions", dirs_exist_ok=True)
    path = project / "models" / f"{MODEL}.yaml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    candidate = {"kind": "gradient_boosting", "learning_rate": [0.1], "max_leaf_nodes": [15], "iterations": [60]}
    document["spec"]["training"] |= {"candidates": [candidate], "selection": None, "folds": {"count": 2}}
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return settings.model_copy(update={"project": project})


def shuffle_labels(sources: Path, target: Path, evaluation_start: datetime, seed: int) -> int:
    """Copy the sources, the labels before an evaluation block shuffled among their flights; returns how many.

    What the labels of a broken join look like: every value plausible, none where it belongs.
    """
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(sources, target)
    labels, requests = (pd.read_parquet(sources / f"{name}.parquet") for name in ("labels", "requests"))
    early = labels["flight_id"].isin(requests.loc[requests["event_timestamp"] < evaluation_start, "flight_id"]).to_numpy()
    values = labels["arrived_late"].to_numpy().copy()
    values[early] = np.random.default_rng(seed).permutation(values[early])
    labels.assign(arrived_late=values).to_parquet(target / "labels.parquet", index=False, coerce_timestamps="us")
    return int(early.sum())


def serve_and_compare(settings: Settings) -> None:
    """Serve the champion to the flights of two weeks and print what it was worth."""
    model = read(settings.models / f"{MODEL}.yaml")
    with Ledger.open(settings.ledger) as ledger:
        champion = ledger.champion(MODEL)
    assert champion is not None, "the training before registered one"
    findings = Findings.read(settings.results / champion.run_id)
    assert findings.candidate is not None
    with traffic.server(MODEL, PORT) as url:
        played = traffic.play(settings, model, url, FIRST, SERVED_UNTIL)
    judged = traffic.judge(settings, model, played, findings.candidate.threshold, findings.candidate.naive, LATER)
    console.print(
        f"  {len(played.answers):,} flights in {played.hours} hourly requests (V1), {played.singles} of them again alone (V2): "
        "every answer equal",
        highlight=False,
    )
    show_metrics(console, judged, "Served from 2 to 15 April, against what came true")
    console.print("Try it: perennial serve flight-delay, then", highlight=False)
    console.print(CURL, highlight=False, soft_wrap=True)


def main() -> None:
    """Play the demo."""
    parser = argparse.ArgumentParser(prog="python -m examples.flights.demo", description=__doc__)
    parser.add_argument("--short", action="store_true", help="one candidate with one trial: to see that it runs")
    short = parser.parse_args().short
    settings, clock = Settings.from_environment(), Clock()
    if short:
        settings = short_project(settings)
        os.environ.update(settings.to_environment())

    console.rule("Sources: a year of flights, as a company would have them")
    for source, rows in prepare(settings.sources).items():
        console.print(f"  {source}.parquet: {rows:,} rows", highlight=False)
    clock.lap("prepare the sources")

    console.rule("Spec and features")
    perennial("validate", MODEL)
    clock.lap("validate the spec")
    perennial("features", "apply")
    clock.lap("apply the features")
    perennial("features", "materialize", "--start", "2012-12-01T00:00:00Z", "--end", FIRST.isoformat())
    clock.lap("materialise the newest values")

    console.rule("Training on January to March")
    perennial("train", MODEL, "--now", FIRST.isoformat())
    clock.lap("train, judge, register")

    console.rule("Serving: two weeks of April, one request a simulated hour")
    serve_and_compare(settings)
    clock.lap("serve two weeks, compare with what came true")
    perennial("features", "parity", MODEL)
    clock.lap("parity of served and trained features")

    console.rule("A worse challenger: the same recipe, its training labels shuffled")
    broken = settings.state / "sources-shuffled"
    count = shuffle_labels(settings.sources, broken, EVALUATION_START, seed=2013)
    console.print(f"  {count:,} labels before {EVALUATION_START:%d %B} shuffled; the later ones left alone", highlight=False)
    perennial("train", MODEL, "--now", LATER.isoformat(), expect=3, PERENNIAL_SOURCES=str(broken))
    clock.lap("train and stop the challenger")

    console.rule("What there is now")
    perennial("models")
    perennial("runs")
    perennial("status")
    clock.lap("look at it")

    table = Table(title="Time of each part")
    table.add_column("part")
    table.add_column("seconds", justify="right")
    for name, seconds in clock.parts:
        table.add_row(name, f"{seconds:.1f}")
    table.add_row("all", f"{sum(seconds for _, seconds in clock.parts):.1f}")
    console.print(table)


if __name__ == "__main__":
    main()
