"""`perennial serve`, `rollback` and `features parity`: the local server of a model, its way back, and what it served."""

import os
import sys
from datetime import datetime
from typing import NoReturn

from console.display.output import console, print_json, table
from perennial.errors import NotFoundError
from perennial.ledger import Ledger
from perennial.settings import Settings


def serve(settings: Settings, model: str, host: str, port: int, replay: bool) -> NoReturn:
    """Become the server of a model: this process is replaced, so that signals reach it.

    Raises:
        NotFoundError: the model has no champion that was deployed.
    """
    current = settings.current(model)
    if not current.exists():
        raise NotFoundError(f"{model}: nothing is deployed; `perennial train {model}` registers and rolls out a version")
    # -P: a project's folders may carry the names of ours.
    arguments = [sys.executable, "-P", "-m", "serving.runtime", "--model", model, "--current", str(current)]
    arguments += ["--online", settings.online_store, "--log", str(settings.prediction_log(model))]
    arguments += [] if settings.bucket is None else ["--bucket", settings.bucket]
    arguments += ["--host", host, "--port", str(port), *(["--replay"] if replay else [])]
    console().print(
        f"Serving {model} on http://{host}:{port}; ready when this answers:\n  curl http://{host}:{port}/v2/models/{model}/ready",
        soft_wrap=True,
    )
    sys.stdout.flush()
    settings.server_address(model).write_text(f"{host}:{port}\n", encoding="utf-8")
    os.execve(sys.executable, arguments, {**os.environ, **settings.to_environment()})


def roll_back(settings: Settings, model: str, now: datetime, reason: str, json: bool) -> None:
    """Give the traffic back to the champion before, and say so."""
    from perennial.spec.read import read
    from serving.deployers import open_deployer
    from serving.rollouts import roll_back as carry_back

    with Ledger.open(settings.ledger) as ledger:
        spec = read(settings.models / f"{model}.yaml")
        done = carry_back(settings, open_deployer(settings), ledger, spec, now, reason)
    if json:
        left, champion = (version.model_dump(mode="json") for version in (done.left, done.champion))
        print_json({"left": left, "champion": champion, "to_follow": done.to_follow})
        return
    has = "has" if settings.namespace is None else "takes"  # pods are replaced one at a time
    console().print(
        f"{model}: version {done.left.number} was rolled back; version {done.champion.number} {has} the traffic again"
    )
    if done.to_follow is not None:
        console().print(f"Follows with the next tick: {done.to_follow}", soft_wrap=True)


def show_parity(settings: Settings, model: str, now: datetime, json: bool) -> bool:
    """Compare what was served with what training would have used, and print the worst columns; returns whether none is flagged.

    Raises:
        NotFoundError: there is no prediction log.
    """
    from feature_repo.parity import compare
    from monitoring.log.collect import collect_model, load, require_log
    from perennial.spec.read import read

    spec = read(settings.models / f"{model}.yaml")
    require_log(settings, model)
    collected = collect_model(settings, model, now)
    parity = compare(settings, spec, load(settings.prediction_tables(model)))
    if json:
        print_json(parity.model_dump(mode="json"))
        return not parity.flagged
    out = console()
    counted = f"{collected.rows:,} logged predictions in {len(collected.segments)} segments, {collected.lost:,} rows lost"
    out.print(counted + "".join(f"\n  damaged: {segment.name}: {segment.damage}" for segment in collected.damaged))
    for end in collected.vanished:
        out.print(f"  process {end.boot_id} ended without its last segment, after at least {end.next_sequence:,} rows")
    out.print(parity.sentence)
    worst = [column for column in parity.columns if column.differing][:10]
    if worst:
        rows = [(column.name, f"{column.differing:,}", f"{column.values:,}", "yes" if column.flagged else "") for column in worst]
        out.print(table("Worst columns", ("column", "differing", "values", "flagged"), rows, numbers=("differing", "values")))
    return not parity.flagged
