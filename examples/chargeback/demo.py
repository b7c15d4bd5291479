"""`make demo`: the main job in three minutes, on made-up payments, with the commands that a user would type.

Features → a training with every gate → version 1 by HTTP → a quiet week, which leaves the model alone → a week of broken
requests, which opens an incident and trains nothing → a challenger that is stopped → a retraining that is promoted → its page.
What each command did is read from its JSON; where an event does not happen, the demo says so and ends with exit code 1.
"""

import argparse
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from examples.chargeback import sources
from examples.labels import shuffle_labels
from perennial.errors import PerennialError
from perennial.settings import Settings
from perennial.spec.read import read
from serving.replay.caller import Caller
from serving.replay.play import Replay
from serving.replay.server import replay_server, require_version

MODEL = "chargeback"
FOLDER = Path(__file__).parents[2] / ".demo"
"""Everything of a demo; the next one replaces it."""
MARK = "made-by-make-demo"
"""A file that says that a folder may be replaced."""

BEGINNING = datetime(2023, 12, 30, tzinfo=UTC)
"""Before everything in the sources."""
FIRST = datetime(2024, 3, 11, tzinfo=UTC)
"""Time of the first training: nine whole weeks, so that an alarm's rate can be claimed."""
QUIET_UNTIL = datetime(2024, 3, 18, tzinfo=UTC)
"""End of the quiet week."""
BROKEN_UNTIL = datetime(2024, 3, 25, tzinfo=UTC)
"""End of the week in which a caller sends cents for euros."""
MENDED = datetime(2024, 3, 26, tzinfo=UTC)
"""Time at which a person closes the incident."""
LATER = datetime(2024, 4, 13, tzinfo=UTC)
"""Time of the later trainings: the labels of all hundred days have matured."""
UNSEEN_FROM = datetime(2024, 3, 8, tzinfo=UTC)
"""From here on the champion has seen no label: both challengers are judged on requests after this."""
CENTS = 100.0
SEED = 2024
"""Of the shuffled labels."""
TAKE_OVER_SECONDS = 20
"""How long a server may take to swap in a new champion."""

EXAMPLE: dict[str, object] = {"payment_id": 1, "customer_id": 212, "shop_code": "S03", "amount": 104.0, "method": "wallet"}

console = Console(width=None if sys.stdout.isatty() else 130, highlight=False, markup=False)


def say(text: str, style: str | None = None) -> None:
    """Print one line."""
    console.print(text, style=style, soft_wrap=True)


def require(happened: bool, sentence: str) -> None:
    """End the demo where something did not happen.

    Raises:
        SystemExit: it did not; the sentence says what was expected.
    """
    if not happened:
        raise SystemExit(f"The demo failed: {sentence}")


def perennial(*arguments: str, takes: str = "", expect: int = 0, **environment: str) -> Any:
    """Run a `perennial` command as a user would; returns what its JSON says.

    Args:
        arguments: as typed, without `--json`.
        takes: what it spends its time on, shown beforehand; empty for a command of a moment.
        expect: the exit code that it must have.
        environment: variables besides the demo's own.

    Raises:
        SystemExit: it ended with another exit code.
    """
    say(f"$ perennial {shlex.join(arguments)}{f'   # {takes}' if takes else ''}", "bold")
    command, begin = [sys.executable, "-m", "console.cli", *arguments, "--json"], time.monotonic()
    with console.status(f"{takes or arguments[0]} …"):
        run = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - begin
    if run.returncode != expect:
        sys.stderr.write(run.stderr)
    require(run.returncode == expect, f"perennial {arguments[0]} ended with exit code {run.returncode}, not {expect}.")
    if takes:
        say(f"  {seconds:.0f} s, exit code {run.returncode}")
    return json.loads(run.stdout)


def make_project(folder: Path) -> Settings:
    """The example's spec and definitions with fresh sources, in place of what an earlier demo left; this process works in it.

    Raises:
        SystemExit: the folder holds something that is not of an earlier demo.
    """
    is_ours = not folder.exists() or (folder / MARK).exists() or not any(folder.iterdir())
    require(is_ours, f"{folder} is not of an earlier demo, and is left as it is.")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARK).touch()
    for part in ("models", "feature_repo"):
        shutil.copytree(sources.FOLDER / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in [name for name in os.environ if name.startswith("PERENNIAL_")]:
        del os.environ[name]
    os.environ["PERENNIAL_PROJECT"] = str(folder)
    sources.write(folder / ".perennial" / "sources")
    return Settings.from_environment()


def play(settings: Settings, url: str, start: datetime, end: datetime, factor: float = 1.0) -> None:
    """Send the payments of [start, end), each at its own time, after writing what was published until then.

    Args:
        settings: where sources and online store are.
        url: the server's address.
        start: begin, UTC.
        end: end, exclusive.
        factor: what the caller multiplies each amount by.
    """
    model = read(settings.models / f"{MODEL}.yaml")
    replay = Replay(settings, model, url, change=lambda payments: payments.assign(amount=payments["amount"] * factor))
    begin = time.monotonic()
    with console.status(f"payments of {start:%d %B} to {end:%d %B} …"):
        played = replay.play(start, end)
    seconds, held = time.monotonic() - begin, int(played.answers["decision"].sum())
    require(not played.refusals, "; ".join(played.refusals[:1]))
    say(f"  {played.calls} payments of {start:%d %B} to {end:%d %B} asked for one by one in {seconds:.0f} s; {held} to be held")


def serving(url: str) -> str | None:
    """The digest of the version that answers."""
    with Caller(url, MODEL) as caller:
        return caller.version()


def shuffled(settings: Settings) -> Path:
    """A copy of the sources in which no label before the judged block belongs to its payment, as after a broken join."""
    copy = settings.state / "sources-shuffled"
    shutil.copytree(settings.sources, copy)
    count = shuffle_labels(copy, read(settings.models / f"{MODEL}.yaml"), BEGINNING, UNSEEN_FROM, SEED)
    say(f"  {count:,} labels before {UNSEEN_FROM:%d %B} shuffled; the later ones stay as they are")
    return copy


def trainings() -> list[str]:
    """The runs that trained, newest first."""
    command = [sys.executable, "-m", "console.cli", "runs", MODEL, "--json"]
    runs = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return [run["run_id"] for run in runs if run["mode"] != "monitor"]


def show_gates(trained: Mapping[str, Any], *, at_length: str) -> list[str]:
    """Print the gates of a training, those of one verdict with their sentences; returns the names of those that failed."""
    by_verdict: dict[str, list[str]] = {}
    for gate in trained["gates"]:
        by_verdict.setdefault(gate["verdict"], []).append(gate["name"])
    say("  gates: " + "; ".join(f"{verdict}: {', '.join(names)}" for verdict, names in by_verdict.items()))
    for gate in [gate for gate in trained["gates"] if gate["verdict"] == at_length][:3]:
        say(f"    {gate['name']}: {gate['sentence']}")
    return by_verdict.get("fail", [])


def newest(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """What was measured in the newest of the windows that a monitoring run looked at."""
    measured: Mapping[str, Any] = max(found["windows"], key=lambda window: str(window["start"]))["measurement"]
    return measured


def first_version() -> None:
    """Apply the features, fill the online store, train and register version 1."""
    require(perennial("validate", MODEL) is not None, "the spec has a mistake.")
    perennial("features", "apply", takes="Feast's definitions")
    perennial("features", "materialize", "--start", BEGINNING.isoformat(), "--end", FIRST.isoformat(), takes="the online store")
    trained = perennial("train", MODEL, "--now", FIRST.isoformat(), takes="dataset, two candidates, gates, refit: half a minute")
    failed = show_gates(trained, at_length="pass")
    require(trained["run"]["outcome"] == "registered" and not failed, "the first training was not registered.")
    say(f"  → {trained['run']['reason']}", "green")


def quiet_week(settings: Settings, url: str) -> None:
    """Serve a week in which nothing happens, and leave the model alone."""
    play(settings, url, FIRST, QUIET_UNTIL)
    found = perennial("monitor", MODEL, "--now", QUIET_UNTIL.isoformat(), takes="drift and checks of the week")
    verdicts = {column["column"]: column["verdict"] for column in newest(found)["columns"]}
    say("  " + ", ".join(f"{column}: {verdict}" for column, verdict in verdicts.items()))
    require("alarm" not in verdicts.values(), "the quiet week had an alarm.")
    require(found["decision"]["kind"] == "leave", f"the quiet week was decided as {found['decision']['kind']}.")
    say(f"  → {found['decision']['sentence']}", "green")


def broken_week(settings: Settings, url: str) -> None:
    """Serve a week whose amounts come in cents: it opens an incident and trains nothing."""
    before = trainings()
    play(settings, url, QUIET_UNTIL, BROKEN_UNTIL, CENTS)
    found = perennial("monitor", MODEL, "--now", BROKEN_UNTIL.isoformat(), takes="drift and checks of the week")
    for failed in [check for check in newest(found)["checks"] if check["failed"]]:
        say(f"  {failed['name']}: {failed['sentence']}")
    incidents = perennial("decisions", "list", MODEL)["open_incidents"]
    require(found["decision"]["kind"] == "fix data", f"the broken week was decided as {found['decision']['kind']}.")
    require([incident["subjects"] for incident in incidents] == [["amount"]], "the broken week opened no incident about amount.")
    require(trainings() == before, "something trained on the broken week.")
    say(f"  → {found['decision']['sentence']}", "green")
    say(f"  incident {incidents[0]['number']} is open, trainings so far: {len(before)}, as before")


def stopped_challenger(settings: Settings, url: str) -> None:
    """Close the incident; train a challenger on shuffled labels, which the gates stop."""
    reason = ("--reason", "the caller sends euros again")
    closed = perennial("decisions", "close", MODEL, *reason, "--now", MENDED.isoformat())
    require(closed["closed"] is not None, "the incident is still open.")
    champion, copy = serving(url), shuffled(settings)
    command = ("train", MODEL, "--refit", "--now", LATER.isoformat())
    trained = perennial(*command, takes="exit code 3 is expected", expect=3, PERENNIAL_SOURCES=str(copy))
    failed = show_gates(trained, at_length="fail")
    require(trained["run"]["outcome"] == "stopped" and bool(failed), "no gate stopped the challenger.")
    require(serving(url) == champion, "the server answers with another version.")
    say(f"  → {trained['run']['reason']}; version 1 goes on answering", "green")


def promoted_retraining(url: str) -> None:
    """Train again on the true labels; the new version takes the traffic over."""
    trained = perennial("train", MODEL, "--refit", "--now", LATER.isoformat(), takes="the same, on the true labels")
    show_gates(trained, at_length="none")
    require(trained["run"]["outcome"] == "registered", f"the retraining was not promoted: {trained['run']['reason']}")
    rollout = trained["rollout"]
    require(rollout["state"] == "champion", f"version {rollout['number']} is {rollout['state']}: {rollout['reason']}")
    with Caller(url, MODEL) as caller:
        require_version(caller, rollout["digest"], TAKE_OVER_SECONDS)
    say(f"  → version {rollout['number']} is champion, and the running server answers with it: {rollout['digest'][:12]}", "green")


def make_page() -> None:
    """Make the page of the model, and say where it lies."""
    page = Path(perennial("report", MODEL, "--now", LATER.isoformat())["report"])
    require(page.is_file(), f"{page} is not there.")
    say(f"  page: {page}")


def show_what_to_try(settings: Settings, port: int) -> None:
    """Print commands that serve the model and ask it."""
    program = Path(sys.executable).with_name("perennial")
    body = json.dumps({"instances": [EXAMPLE]})
    say("\nTry it: the first line in one terminal, the second in another")
    say(f"PERENNIAL_PROJECT={shlex.quote(str(settings.project))} {shlex.quote(str(program))} serve {MODEL} --port {port}")
    address = f"http://127.0.0.1:{port}/v1/models/{MODEL}:predict"
    say(f"curl -s {address} -H 'content-type: application/json' -d '{body}'")


def require_free(port: int) -> None:
    """End the demo where somebody listens on the port: it would ask a stranger."""
    with socket.socket() as probe:
        require(probe.connect_ex(("127.0.0.1", port)) != 0, f"port {port} is taken; name another: --port.")


def main() -> None:
    """Play the demo."""
    parser = argparse.ArgumentParser(prog="python -m examples.chargeback.demo", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="everything goes here; an earlier demo in it is replaced")
    parser.add_argument("--port", type=int, default=18090, help="port of the server")
    arguments = parser.parse_args()
    require_free(arguments.port)
    begin = time.monotonic()
    settings = make_project(arguments.folder.resolve())
    say("1 Features, and a training with every gate: which payments will be charged back?", "bold blue")
    first_version()
    say("2 A quiet week by HTTP leaves the model alone", "bold blue")
    with replay_server(settings, MODEL, arguments.port) as url:
        quiet_week(settings, url)
        say("3 A week whose amounts come in cents opens an incident and trains nothing", "bold blue")
        broken_week(settings, url)
        say("4 A challenger that learned from shuffled labels is stopped", "bold blue")
        stopped_challenger(settings, url)
        say("5 A retraining is promoted", "bold blue")
        promoted_retraining(url)
    say("6 The page of the model", "bold blue")
    make_page()
    show_what_to_try(settings, arguments.port)
    say(f"All of it happened, in {time.monotonic() - begin:.0f} s.")


if __name__ == "__main__":
    try:
        main()
    except PerennialError as error:
        raise SystemExit(f"The demo failed: {error}") from error
