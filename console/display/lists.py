"""Lists: models with their versions, runs."""

from console.display.output import console, minute, print_json, table
from perennial.ledger import Ledger, Run
from perennial.loop.request import Request
from perennial.settings import Settings


def show_models(settings: Settings, json: bool) -> None:
    """Print every spec's model and every model in the ledger with its versions."""
    with Ledger.open(settings.ledger) as ledger:
        names = sorted({path.stem for path in settings.specs} | set(ledger.models()))
        versions = {name: ledger.versions(name) for name in names}
        champions = {name: champion.number if (champion := ledger.champion(name)) else None for name in names}
    if json:
        print_json(
            {name: [version.model_dump(mode="json") for version in model_versions] for name, model_versions in versions.items()}
        )
        return
    rows = []
    for name, model_versions in versions.items():
        if not model_versions:
            rows.append((name, "–", "–", "–", "not trained yet", "–"))
        for version in model_versions:
            role = "champion" if version.number == champions[name] else ""
            until = minute(version.trained_until)
            rows.append((name, str(version.number), role, until, version.recipe.kind, version.digest[:16]))
    console().print(
        table("Models", ("model", "version", "role", "trained until", "recipe", "digest"), rows, numbers=("version",))
    )


def seconds(run: Run) -> str:
    """How long a run took; a dash while it runs."""
    return "–" if run.finished is None else f"{(run.finished - run.started).total_seconds():.0f}"


def asker_of(request: Request | None) -> str:
    """Who asked for a run: the loop, a person at the command line, or one who started a pipeline on a server.

    Args:
        request: from which the run came; none where nobody asked for it.
    """
    if request is None:
        return "the loop"
    pipeline_run = getattr(request.wish, "pipeline_run", "")
    return f"pipeline run {pipeline_run}" if pipeline_run else "a person"


def show_runs(settings: Settings, model: str | None, limit: int, json: bool) -> None:
    """Print the newest runs."""
    with Ledger.open(settings.ledger) as ledger:
        runs = ledger.runs(model, limit)
        requests = {request.key: request for name in {run.model for run in runs} for request in ledger.requests(name)}
    askers = [asker_of(None if run.claim is None else requests.get(run.claim)) for run in runs]
    if json:
        print_json([run.model_dump(mode="json") | {"asked_by": asker} for run, asker in zip(runs, askers, strict=True)])
        return
    rows = [
        (run.run_id, minute(run.started), minute(run.now), run.mode, asker, run.outcome or run.state, seconds(run), run.why)
        for run, asker in zip(runs, askers, strict=True)
    ]
    columns = ("run", "started", "for the time", "mode", "asked by", "outcome", "seconds", "why")
    console().print(table("Runs", columns, rows, numbers=("seconds",)))
