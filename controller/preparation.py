"""A run before it executes: what it is given, and whether a training searches. The run sees nothing that changes later."""

import json
from datetime import datetime

from controller.context import Context
from perennial.ledger import Ledger, Mode, Version
from perennial.loop.decision import Claim
from perennial.loop.request import Monitor, Train
from perennial.spec.model import Model
from perennial.spec.read import digest, to_json

JUDGED = ("registered", "stopped")
"""Outcomes of a run that came to its gates."""


def wants_search(model: Model, champion: Version | None, searched_at: datetime | None, now: datetime) -> bool:
    """Whether a training at `now` must search: there is no champion, or the last search was too long ago.

    A search counts whatever its gates said. A changed recipe must be better than the champion's, which a month seldom shows; were
    only the champion's own search to count, every later training would search again and none would ever refit.

    Args:
        model: the spec.
        champion: the champion, if there is one.
        searched_at: time of the newest search that came to its gates, if there was one.
        now: time of the training.
    """
    if champion is None:
        return True
    newest = max(champion.searched_at, searched_at or champion.searched_at)
    return (now - newest).days >= model.spec.training.search.every_days


def last_search(ledger: Ledger, model: str, now: datetime) -> datetime | None:
    """Time of the newest search of a model up to `now` that came to its gates."""
    runs = ledger.runs(model, limit=1000)
    return max((run.now for run in runs if run.mode == "search" and run.outcome in JUDGED and run.now <= now), default=None)


def prepare(context: Context, model: Model, claim: Claim) -> None:
    """Keep the parameters of the claim's run with its runner, then the run in the ledger. It may be repeated.

    The run takes place at the context's time, by the spec as it is now: a later change of the file does not reach it.

    Args:
        context: what the tick works with.
        model: the spec.
        claim: what the run carries out, intended already.

    Raises:
        FencedError: the lease was taken.
        PlatformError: the runner cannot keep the parameters now, or the ledger is locked.
    """
    parameters = {"spec": to_json(model), "run_id": claim.owner, "key": claim.key, "now": context.now.isoformat()}
    mode: Mode = "monitor"
    if claim.decision is not None:
        wish = wish_of(context.ledger, claim)
        mode, of_training = _training(context, model, wish if isinstance(wish, Train) else Train())
        parameters |= of_training
    context.ledger.check_fence()
    folder = context.runner.prepare(claim.owner, parameters)
    context.ledger.start_run(
        run_id=claim.owner,
        model=model.name,
        mode=mode,
        started=context.wall_clock,
        now=context.now,
        spec=digest(model),
        folder=folder,
        claim=claim.key,
        decision=claim.decision,
    )


def wish_of(ledger: Ledger, claim: Claim) -> Train | Monitor | None:
    """What a person asked of the claim's run; none where the loop decided on it."""
    for request in ledger.open_requests(claim.model):
        if request.key == claim.key and isinstance(request.wish, Train | Monitor):
            return request.wish
    return None


def _training(context: Context, model: Model, wish: Train) -> tuple[Mode, dict[str, str]]:
    """Whether a training searches, and what it is given beside what every run is given.

    Requests of times that an incident excludes are left out of it, unless a person asks for them.
    """
    ledger = context.ledger
    champion = None if wish.replace else ledger.champion(model.name)
    excluded = () if wish.include_excluded else ledger.excluded(model.name)
    searching = (
        wants_search(model, champion, last_search(ledger, model.name, context.now), context.now)
        if wish.search is None or champion is None
        else wish.search
    )
    return ("search" if searching else "refit"), {
        "wall_clock": context.wall_clock.isoformat(),
        "recipe": "" if searching or champion is None else champion.recipe.model_dump_json(),
        "champion": "" if champion is None else champion.digest,
        "excluded": json.dumps([[start.isoformat(), end.isoformat()] for start, end in excluded]),
    }
