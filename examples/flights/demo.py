"""`make year`: the whole loop over a real year on embedded parts, with the commands that a user would type.

Sources of a real year → features applied and materialised → a training on January to March with every gate → version 1 serves the
flights of April to December, hour by hour → each month the controller ticks: closed windows are looked at, a decision is made, a
challenger trained when that is due, and rolled out when it passes its gates → the year beside other policies → parity.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import yaml
from rich.console import Console
from rich.table import Table

from examples.flights import policies, traffic, year
from examples.flights.prepare import local_sources, provide
from examples.labels import shuffle_labels
from monitoring.log.collect import collect_model, load
from perennial.ledger import Ledger
from perennial.settings import Settings
from perennial.spec.read import read
from perennial.versions import store as version_store
from perennial.versions.contract import Contract
from perennial.versions.folder import open_version
from serving.replay.server import replay_server

MODEL = "flight-delay"


BEGINNING = datetime(2012, 12, 1, tzinfo=UTC)
"""Before everything in the sources."""
FIRST = datetime(2013, 4, 2, tzinfo=UTC)
"""Time of the first training: the labels of January to March have matured."""
SERVED_UNTIL = datetime(2014, 1, 1, tzinfo=UTC)
"""End of the traffic."""
SHORT_UNTIL = datetime(2013, 6, 1, tzinfo=UTC)
"""End of the traffic in the short form: the first scheduled training is due."""
LAST = datetime(2014, 1, 2, 6, tzinfo=UTC)
"""Time of the last look: December's labels have matured."""
BROKEN_FROM = datetime(2013, 5, 6, tzinfo=UTC)
"""From here on the broken source reports another unit."""
LATER = datetime(2013, 5, 2, tzinfo=UTC)
"""Time of the worse challenger: April is a whole block that the champion has not seen."""
EVALUATION_START = datetime(2013, 4, 3, tzinfo=UTC)
"""Begin of the later training's evaluation block: the labels of its requests stay as they are."""

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

    def summed(self) -> list[tuple[str, float]]:
        """Seconds by part, in the order of their first occurrence."""
        return list({name: sum(seconds for part, seconds in self.parts if part == name) for name, _ in self.parts}.items())


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


def copied(sources: Path, target: Path) -> Path:
    """A copy of the sources, to be spoilt: the prepared ones stay as they are."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(sources, target)
    return target


def break_source(sources: Path, factor: float = 1.609) -> int:
    """Report the visibility in kilometres and a hundredfold from some day on, in place; returns how many rows.

    A change of unit at the provider: every value is there and is a number.
    """
    weather = pd.read_parquet(sources / "weather.parquet")
    broken = (weather["event_timestamp"] >= BROKEN_FROM).to_numpy()
    weather.loc[broken, "weather_visib"] *= 100 * factor
    weather.to_parquet(sources / "weather.parquet", index=False, coerce_timestamps="us")
    return int(broken.sum())


def spoilt(settings: Settings, labels: str, source: str) -> Settings:
    """Settings of sources that are spoilt as asked for."""
    if (labels, source) == ("real", "real"):
        return settings
    copy = copied(local_sources(settings), settings.state / f"sources-{labels}-{source}")
    if labels == "shuffled":
        model = read(settings.models / f"{MODEL}.yaml")
        count = shuffle_labels(copy, model, FIRST, LAST, seed=2013)  # no model can be better than chance then
        console.print(f"  {count:,} labels from {FIRST:%d %B} on shuffled", highlight=False)
    if source == "broken":
        console.print(f"  {break_source(copy):,} weather reports from {BROKEN_FROM:%d %B} on in another unit", highlight=False)
    return settings.model_copy(update={"sources": str(copy)})


def play(settings: Settings, clock: Clock, until: datetime, port: int, challenge: bool) -> tuple[year.Month, ...]:
    """Serve and play until a time, with the controller's ticks; after April a worse challenger is trained and stopped."""
    model, spans = read(settings.models / f"{MODEL}.yaml"), traffic.months(FIRST, until)

    def tick(end: datetime) -> datetime:
        if end == SERVED_UNTIL:  # the year is over: what was decided last is shown and not carried out
            perennial("monitor", MODEL, "--now", LAST.isoformat())
            return LAST
        perennial("tick", "--now", end.isoformat(), "--wait")
        return end

    with replay_server(settings, MODEL, port) as url:
        months = year.play_year(settings, model, url, spans[:1], tick, clock.lap)
        if challenge:
            console.rule("A worse challenger: the same recipe, its training labels shuffled")
            broken = copied(local_sources(settings), settings.state / "sources-shuffled")
            count = shuffle_labels(broken, model, BEGINNING, EVALUATION_START, seed=2013)
            console.print(
                f"  {count:,} labels before {EVALUATION_START:%d %B} shuffled; the later ones left alone", highlight=False
            )
            perennial("train", MODEL, "--now", LATER.isoformat(), expect=3, PERENNIAL_SOURCES=str(broken))
            clock.lap("train and stop a worse challenger")
            console.rule("The year goes on")
        return (*months, *year.play_year(settings, model, url, spans[1:], tick, clock.lap))


def compare_policies(settings: Settings, months: tuple[year.Month, ...], until: datetime) -> None:
    """Print the year, and the same flights under other policies."""
    model, spans = read(settings.models / f"{MODEL}.yaml"), traffic.months(FIRST, until)
    with Ledger.open(settings.ledger) as ledger:
        first, versions = ledger.version(MODEL, 1), ledger.rollouts(MODEL)
    contract = Contract.read(open_version(version_store.folder(settings, MODEL, first.digest)).file("contract"))
    log = settings.prediction_tables(MODEL)
    collect_model(settings, MODEL, datetime.now(UTC))
    results = policies.compare(
        settings,
        model,
        contract.recipe,
        policies.served_of(load(log), model.spec.requests.id),
        start=FIRST,
        end=until,
        wall_clock=datetime.now(UTC),
        alarms=year.alarm_months(settings, model, spans),
        retrains=sum(rollout.state == "champion" for rollout in versions) - 1,
    )
    console.print(year.year_table(months, results))
    console.print(policies.table(results))
    console.print(
        f"Utility in {model.spec.objective.utility.unit} per 1000 labelled flights; warning nobody earns 0.", highlight=False
    )


def main() -> None:
    """Play the demo."""
    parser = argparse.ArgumentParser(prog="python -m examples.flights.demo", description=__doc__)
    parser.add_argument("--short", action="store_true", help="one candidate with one trial, two months: to see that it runs")
    parser.add_argument("--labels", choices=("real", "shuffled"), default="real", help="shuffled: those from April on")
    parser.add_argument(
        "--source", choices=("real", "broken"), default="real", help="broken: weather in another unit from May on"
    )
    parser.add_argument("--port", type=int, default=18080, help="port of the server")
    arguments = parser.parse_args()
    settings, clock = Settings.from_environment(), Clock()
    if arguments.short:
        settings = short_project(settings)
        os.environ.update(settings.to_environment())
    until = SHORT_UNTIL if arguments.short else SERVED_UNTIL

    console.rule("Sources: a year of flights, as a company would have them")
    for source, rows in provide(settings).items():
        console.print(f"  {source}.parquet: {rows:,} rows", highlight=False)
    settings = spoilt(settings, arguments.labels, arguments.source)
    os.environ.update(settings.to_environment())
    clock.lap("prepare the sources")

    console.rule("Spec and features")
    perennial("validate", MODEL)
    perennial("features", "apply")
    perennial("features", "materialize", "--start", BEGINNING.isoformat(), "--end", FIRST.isoformat())
    clock.lap("validate the spec, apply and materialise the features")

    console.rule("Training on January to March")
    perennial("train", MODEL, "--now", FIRST.isoformat())
    clock.lap("train, judge, register")

    console.rule(f"Served from {FIRST:%d %B} on: one request a simulated hour, a tick a month")
    months = play(settings, clock, until, arguments.port, challenge=not arguments.short)

    console.rule("What the year came to")
    compare_policies(settings, months, until)
    clock.lap("the same flights under other policies")
    perennial("features", "parity", MODEL)
    clock.lap("parity of served and trained features")

    console.rule("What there is now")
    perennial("models")
    perennial("decisions", "list", MODEL)
    perennial("explain", MODEL)
    looked = LAST if until == SERVED_UNTIL else until
    perennial("status", "--now", looked.isoformat())
    perennial("report", MODEL, "--now", looked.isoformat())
    console.print("Try it: perennial serve flight-delay, then", highlight=False)
    console.print(CURL, highlight=False, soft_wrap=True)
    clock.lap("look at it")

    table = Table(title="Time of each part")
    table.add_column("part")
    table.add_column("seconds", justify="right")
    for name, seconds in clock.summed():
        table.add_row(name, f"{seconds:.1f}")
    table.add_row("all", f"{sum(seconds for _, seconds in clock.parts):.1f}")
    console.print(table)


if __name__ == "__main__":
    main()
