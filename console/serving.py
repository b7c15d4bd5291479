"""`perennial serve`, `rollback`, `rollout`, `retire` and `features parity`: a model's server, its traffic, and what it served."""

import os
import sys
from datetime import datetime
from typing import NoReturn

from console.asking import Clock, ask
from console.display.output import console, print_json, table
from perennial.ledger import Ledger, Version
from perennial.loop.request import Retire, RollBack, RollOut
from perennial.loop.rollout import Rollout
from perennial.settings import Settings
from serving.command import server_command


def serve(settings: Settings, model: str, host: str, port: int, replay: bool) -> NoReturn:
    """Become the server of a model: this process is replaced, so that signals reach it.

    Raises:
        NotFoundError: the model has no champion that was deployed.
    """
    arguments = server_command(settings, model, host, port, is_replay=replay)
    console().print(
        f"Serving {model} on http://{host}:{port}; ready when this answers:\n  curl http://{host}:{port}/v2/models/{model}/ready",
        soft_wrap=True,
    )
    sys.stdout.flush()
    settings.server_address(model).write_text(f"{host}:{port}\n", encoding="utf-8")
    os.execve(sys.executable, arguments, {**os.environ, **settings.to_environment()})


def roll_back(settings: Settings, model: str, reason: str, now: datetime, clock: Clock, json: bool) -> None:
    """Ask for the traffic to go back to the champion before, and say so.

    Args:
        settings: where things are.
        model: name of the model.
        reason: why, in one sentence; it is kept.
        now: the time for which it is done, UTC.
        clock: gives the real time.
        json: print JSON instead of sentences.

    Raises:
        NotFoundError: there is no such model, it has no champion, or none before it.
        PlatformError: the deployer cannot be told now; the command may be repeated.
    """
    from perennial.spec.read import read

    read(settings.models / f"{model}.yaml")
    request = ask(settings, model, RollBack(reason=reason), now, clock)
    with Ledger.open(settings.ledger) as ledger:
        version, champion = ledger.version(model, request.subject), ledger.champion(model)
    assert champion is not None  # the rollback gave it the traffic
    to_follow = request.outcome or None
    if json:
        print_json(
            {"left": version.model_dump(mode="json"), "champion": champion.model_dump(mode="json"), "to_follow": to_follow}
        )
        return
    has = "has" if settings.namespace is None else "takes"  # pods are replaced one at a time
    console().print(f"{model}: version {version.number} was rolled back; version {champion.number} {has} the traffic again")
    if to_follow is not None:
        console().print(f"Follows with the next tick: {to_follow}", soft_wrap=True)


def roll_out(settings: Settings, model: str, wish: RollOut, now: datetime, clock: Clock, json: bool) -> bool:
    """Ask for the traffic to go to a version, and say what came of it; returns whether that version has it.

    Args:
        settings: where things are.
        model: name of the model.
        wish: which version, and why.
        now: the time for which it is to be done, UTC.
        clock: gives the real time.
        json: print JSON instead of sentences.

    Raises:
        NotFoundError: there is no such model or version.
        PlatformError: the deployer cannot be told now; the next tick goes on, and the command may be repeated.
    """
    from perennial.spec.read import read

    read(settings.models / f"{model}.yaml")
    request = ask(settings, model, wish, now, clock)
    attempt = (wish.version, request.subject)
    with Ledger.open(settings.ledger) as ledger:
        champion = ledger.champion(model)
        rollout = next(
            (candidate for candidate in ledger.rollouts(model) if (candidate.number, candidate.attempt) == attempt), None
        )
    to_follow = request.outcome or None
    if json:
        records = {"rollout": rollout, "champion": champion}
        shown = {name: None if record is None else record.model_dump(mode="json") for name, record in records.items()}
        print_json(shown | {"to_follow": to_follow})
    else:
        console().print(f"{model}: {_rolled_out(settings, wish.version, rollout, champion)}", soft_wrap=True)
        if to_follow is not None:
            console().print(f"Follows with the next tick: {to_follow}", soft_wrap=True)
    return rollout is None or rollout.state == "champion"


def retire(settings: Settings, model: str, reason: str, clock: Clock, json: bool) -> None:
    """Ask for the end of a model's service, and say so.

    Args:
        settings: where things are.
        model: name of the model.
        reason: why, in one sentence; it is kept.
        clock: gives the real time.
        json: print JSON instead of sentences.

    Raises:
        DataError: its spec is still in the project.
        NotFoundError: nobody knows such a model.
        PlatformError: it cannot be done now; the command may be repeated.
    """
    request = ask(settings, model, Retire(reason=reason), clock(), clock)
    if json:
        print_json({"retired": model, "request": request.number, "kept": request.outcome})
        return
    server = "; a server of this machine that runs serves until it is ended" if settings.namespace is None else ""
    console().print(f"{model}: nothing of it is deployed any more; {request.outcome}{server}", soft_wrap=True)


def _rolled_out(settings: Settings, number: int, rollout: Rollout | None, champion: Version | None) -> str:
    """What came of a request for a version; without a rollout, that it had the traffic already."""
    if rollout is None:
        return f"version {number} has the traffic already; nothing was changed"
    if rollout.state != "champion":
        keeps = "no version has the traffic" if champion is None else f"version {champion.number} keeps the traffic"
        return f"version {number} was refused: {rollout.reason.rstrip('.')}; {keeps}"
    has = "has" if settings.namespace is None else "takes"  # pods are replaced one at a time
    before = "no version" if rollout.previous is None else f"version {rollout.previous}"
    return f"version {number} {has} the traffic; {before} had it before"


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
    out.print(counted)
    for segment in collected.damaged:
        out.print(f"  damaged: {segment.name}: {segment.damage}")
    for end in collected.unreadable:
        out.print(f"  the announcement of process {end.boot_id} cannot be read: {end.damage}")
    for end in collected.vanished:
        out.print(f"  process {end.boot_id} ended without its last segment, after at least {end.next_sequence:,} rows")
    out.print(parity.sentence)
    worst = [column for column in parity.columns if column.differing][:10]
    if worst:
        rows = [(column.name, f"{column.differing:,}", f"{column.values:,}", "yes" if column.flagged else "") for column in worst]
        out.print(table("Worst columns", ("column", "differing", "values", "flagged"), rows, numbers=("differing", "values")))
    return not parity.flagged
