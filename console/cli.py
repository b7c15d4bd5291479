"""The command line, `perennial`. Commands are thin; heavy imports happen inside the command that needs them."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from console.program import Invocation, Listing, Program, run
from perennial.errors import GATES_NOT_PASSED, PlatformError, SpecError
from perennial.moment import parse_time

app = typer.Typer(
    name="perennial",
    cls=Program,
    help="The whole life of a tabular model: features, training, gates, versions. "
    "State lives in .perennial/ or where PERENNIAL_STATE says.",
    epilog="Exit codes: 0 done, 2 spec or data wrong, 3 stopped by a gate, 4 not found, "
    "70 a bug or a fault of the data that nobody foresaw: report it, 75 a store failed: try again.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
features = typer.Typer(
    help="Feast features: sources to the bucket, definitions to the registry, values to the online store.", no_args_is_help=True
)
app.add_typer(features, name="features")


def print_version(wanted: bool) -> None:
    """Print the version of the installed package and end the program, if it is wanted."""
    if wanted:
        from importlib.metadata import version

        typer.echo(f"perennial {version('perennial')}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """The options before the command."""
    context.ensure_object(Invocation).debug = debug


decisions = typer.Typer(
    help="What was decided about the models, and what a person does about it. "
    "Without a command it lists: perennial decisions churn",
    cls=Listing,
)
app.add_typer(decisions, name="decisions")

cluster = typer.Typer(help="The Kubernetes cluster on which versions are served.", no_args_is_help=True)
app.add_typer(cluster, name="cluster")

DoneFor = Annotated[
    str | None, typer.Option("--now", help="Time for which to do it, ISO 8601 with a zone; the real time if absent.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="Name of a model: models/MODEL.yaml.")]


def split_names(given: list[str] | None) -> tuple[str, ...]:
    """Names of columns, from an option that may be repeated and may hold several with commas.

    >>> split_names(["amount,method", "shop"]), split_names(None)
    (('amount', 'method', 'shop'), ())
    """
    return tuple(name for names in given or [] for name in names.split(",") if name)


def wall_clock() -> datetime:
    """The real time. The command line is an edge: it reads the clock, and passes the time on as an argument."""
    from datetime import UTC

    return datetime.now(UTC)


def time_of(now: str | None) -> datetime:
    """The time that a command is for: what its `--now` says, else the real one."""
    return parse_time(now) if now else wall_clock()


def user() -> str:
    """Who types the command, as the machine knows them."""
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's numbered user has no name
        return "somebody"


@app.command(
    epilog="Example: perennial init churn --from data.parquet --key customer_id --time event_timestamp --label churned "
    "--request-field channel,amount"
)
def init(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model: models/MODEL.yaml is written.")],
    source: Annotated[
        Path | None, typer.Option("--from", help="Table, .parquet or .csv: a row for each question; made up if absent.")
    ] = None,
    key: Annotated[list[str] | None, typer.Option(help="What features are looked up by; several with commas.")] = None,
    time: Annotated[str | None, typer.Option(help="When the question is asked; UTC where no zone is named.")] = None,
    label: Annotated[str | None, typer.Option(help="What came true: true and false, 1 and 0, yes and no.")] = None,
    request_field: Annotated[list[str] | None, typer.Option(help="What the caller sends; several with commas.")] = None,
    identifier: Annotated[str | None, typer.Option("--id", help="Id of the row; rows are numbered if absent.")] = None,
    leave_out: Annotated[list[str] | None, typer.Option(help="What was not known at the time; several with commas.")] = None,
    label_hours: Annotated[float, typer.Option(help="Hours after the question until its label is known.")] = 24.0,
    json: Json = False,
) -> None:
    """Begin a project from one table: write a spec, Feast definitions and sources, and say which commands lead to an answer."""
    from console.scaffold.command import begin_and_show
    from console.scaffold.roles import Roles
    from perennial.settings import Settings

    keys, request_fields, left_out = (split_names(names) for names in (key, request_field, leave_out))
    required_options = {"--from": source, "--key": keys, "--time": time, "--label": label}
    if missing := [option for option, value in required_options.items() if not value]:
        if len(missing) < len(required_options) or request_fields or left_out or identifier or label_hours != 24.0:
            raise SpecError(
                f"{', '.join(missing)}: missing; allowed: --from, --key, --time and --label together, or no option at all"
            )
        begin_and_show(Settings.from_environment(needs_stores=False), model, None, None, wall_clock(), json)
        return
    roles = Roles(keys, time or "", label or "", request_fields, identifier, left_out, label_hours)
    begin_and_show(Settings.from_environment(needs_stores=False), model, source, roles, wall_clock(), json)


@app.command(epilog="Example: perennial validate churn")
def validate(
    models: Annotated[list[str] | None, typer.Argument(metavar="[MODEL]...", help="Models; all of models/ when none.")] = None,
    json: Json = False,
) -> None:
    """Check model specs: every mistake with file, line, field, what was found and what is allowed."""
    from console.validation import check_specs
    from perennial.settings import Settings

    raise typer.Exit(check_specs(Settings.from_environment(needs_stores=False), models or [], wall_clock(), json))


@features.command("upload", epilog="Example: perennial features upload sources")
def features_upload(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="Folder of SOURCE.parquet files; .perennial/sources if absent.")
    ] = None,
    json: Json = False,
) -> None:
    """Put the Parquet files of a folder where the sources are, in the bucket; what has their names there is replaced."""
    from console.features import upload
    from perennial.settings import Settings

    upload(Settings.from_environment(), folder, json)


@features.command("apply", epilog="Example: perennial features apply")
def features_apply(json: Json = False) -> None:
    """Write the definitions of feature_repo/definitions/ to Feast's registry and prepare the online store."""
    from console.features import apply
    from perennial.settings import Settings

    apply(Settings.from_environment(), json)


@features.command(
    "materialize", epilog="Example: perennial features materialize --start 2013-04-01T00:00:00Z --end 2013-04-02T00:00:00Z"
)
def features_materialize(
    start: Annotated[str, typer.Option(help="Begin, exclusive: ISO 8601 with a zone.")],
    end: Annotated[str, typer.Option(help="End, inclusive: ISO 8601 with a zone.")],
    json: Json = False,
) -> None:
    """Write the values published in (start, end] to the online store; an older value never replaces a newer one."""
    from console.features import materialize
    from perennial.settings import Settings

    materialize(Settings.from_environment(), parse_time(start), parse_time(end), json)


@app.command(epilog="Example: perennial train churn --now 2013-04-02T00:00:00Z")
def train(
    model: ModelName,
    now: Annotated[
        str | None, typer.Option(help="Time at which to train, ISO 8601 with a zone; the real time if absent.")
    ] = None,
    search: Annotated[
        bool | None,
        typer.Option(
            "--search/--refit", help="Search the candidates, or refit the champion's recipe; else as the spec's schedule says."
        ),
    ] = None,
    include_excluded: Annotated[
        bool,
        typer.Option("--include-excluded", help="Train on the requests too that incidents exclude."),
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Search, and do not compare with the champion: for one that cannot be compared.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why, in one sentence; it is kept. Needed for --replace.")] = "",
    json: Json = False,
) -> None:
    """Train a challenger through the pipeline, judge it, and register it if every gate lets it through (else exit code 3)."""
    from console.training import train_and_show
    from perennial.loop.request import Train
    from perennial.settings import Settings

    if replace and not reason.strip():
        raise SpecError("--reason is missing; allowed with --replace: one sentence that says why the champion is replaced")
    if replace and search is False:
        raise SpecError("--refit: a training that replaces the champion does not refit its recipe; allowed: --search")
    wish = Train(search=search, include_excluded=include_excluded, replace=replace, reason=reason.strip())
    time = time_of(now)
    registered = train_and_show(Settings.from_environment(), model, time, wall_clock, wish, json)
    raise typer.Exit(0 if registered else GATES_NOT_PASSED)


@features.command("parity", epilog="Example: perennial features parity churn")
def features_parity(model: ModelName, json: Json = False) -> None:
    """Recompute the features of logged predictions offline and compare them value by value (exit code 3 if a column differs)."""
    from console.serving import show_parity
    from perennial.settings import Settings

    raise typer.Exit(0 if show_parity(Settings.from_environment(), model, wall_clock(), json) else GATES_NOT_PASSED)


@app.command("compile", epilog="Example: perennial compile --out pipelines --upload")
def compile_pipelines(
    model: Annotated[str, typer.Argument(metavar="[MODEL]", help="Name it in the pipelines' forms; else people type one.")] = "",
    out: Annotated[Path | None, typer.Option(help="Write them into this folder, as KFP takes them and as objects.")] = None,
    upload: Annotated[bool, typer.Option("--upload", help="Put them into Kubeflow Pipelines: PERENNIAL_PIPELINES.")] = False,
    image: Annotated[str | None, typer.Option(help="Image of the steps, by digest; PERENNIAL_STEPS_IMAGE if absent.")] = None,
    json: Json = False,
) -> None:
    """Compile the pipelines that Kubeflow Pipelines executes: a training and a monitoring run, each one pod."""
    import os

    from console.compiling import compile_and_show
    from perennial.settings import Settings

    given = {} if image is None else {"PERENNIAL_STEPS_IMAGE": image}
    compile_and_show(Settings.from_environment({**os.environ, **given}, needs_stores=False), model, out, upload, json)


@app.command(epilog="Example: perennial serve churn --port 8080")
def serve(
    model: ModelName,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8080,
    replay: Annotated[bool, typer.Option("--replay", help="Let requests say their own time: header Perennial-Time.")] = False,
) -> None:
    """Serve the champion by the Open Inference Protocol (V2) and V1; a new champion is swapped in without a pause."""
    from console.serving import serve as become_server
    from perennial.settings import Settings

    become_server(Settings.from_environment(), model, host, port, replay)


@app.command(epilog="Example: perennial rollback churn --reason 'complaints since Monday'")
def rollback(
    model: ModelName,
    reason: Annotated[str, typer.Option(help="Why, in one sentence; it is kept.")] = "a person asked for it",
    now: DoneFor = None,
    json: Json = False,
) -> None:
    """Give the traffic back to the champion before the present one."""
    from console.serving import roll_back
    from perennial.settings import Settings

    roll_back(Settings.from_environment(), model, reason, time_of(now), wall_clock, json)


@app.command(epilog="Example: perennial rollout churn 2 --reason 'the rollback was a mistake'")
def rollout(
    model: ModelName,
    version: Annotated[int, typer.Argument(metavar="VERSION", min=1, help="Its number; `perennial models` lists them.")],
    reason: Annotated[str, typer.Option(help="Why, in one sentence; it is kept.")] = "a person asked for it",
    now: DoneFor = None,
    json: Json = False,
) -> None:
    """Give the traffic to a version once more, after the serving check (exit code 3 if it does not pass)."""
    from console.serving import roll_out
    from perennial.loop.request import RollOut
    from perennial.settings import Settings

    wish, time = RollOut(version=version, reason=reason), time_of(now)
    has_it = roll_out(Settings.from_environment(), model, wish, time, wall_clock, json)
    raise typer.Exit(0 if has_it else GATES_NOT_PASSED)


@app.command(epilog="Example: perennial retire churn --reason 'replaced by churn-weekly'")
def retire(
    model: ModelName,
    reason: Annotated[str, typer.Option(help="Why, in one sentence; it is kept.")] = "a person asked for it",
    json: Json = False,
) -> None:
    """End the service of a model whose spec was removed; its versions, records and predictions are kept."""
    from console.serving import retire as end_service
    from perennial.settings import Settings

    end_service(Settings.from_environment(), model, reason, wall_clock, json)


@app.command(epilog="Example: perennial models")
def models(json: Json = False) -> None:
    """List the models and their registered versions."""
    from console.display.lists import show_models
    from perennial.settings import Settings

    show_models(Settings.from_environment(), json)


@app.command(epilog="Example: perennial card churn --summary")
def card(
    model: ModelName,
    version: Annotated[int | None, typer.Option(help="Number of the version; the newest if absent.")] = None,
    summary: Annotated[bool, typer.Option("--summary", help="The page for a reader who knows no statistics.")] = False,
    html: Annotated[bool, typer.Option("--html", help="Write it as an HTML page and say where it lies.")] = False,
    json: Json = False,
) -> None:
    """Show the model card of a version: what it is for, what was measured, what it does not know."""
    from console.display.results import show_card
    from perennial.settings import Settings

    show_card(Settings.from_environment(), model, version, summary, html, json)


@app.command(epilog="Example: perennial runs churn --limit 5")
def runs(
    model: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="Only this model's.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    json: Json = False,
) -> None:
    """List the runs, newest first: what each found and how long it took."""
    from console.display.lists import show_runs
    from perennial.settings import Settings

    show_runs(Settings.from_environment(), model, limit, json)


@app.command(epilog="Example: perennial logs churn-20130402-000000-a1b2c3 train")
def logs(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id of a run, or its unique beginning.")],
    step: Annotated[str | None, typer.Argument(metavar="[STEP]", help="Only this step's, for example train.")] = None,
    json: Json = False,
) -> None:
    """Show what a run printed, whole or by step."""
    from console.display.results import show_logs
    from perennial.settings import Settings

    show_logs(Settings.from_environment(), run, step, json)


@app.command(epilog="Example: perennial report churn")
def report(
    name: Annotated[str, typer.Argument(metavar="MODEL|RUN", help="A model, or a run.")],
    now: Annotated[
        str | None, typer.Option(help="Time for which to make it, ISO 8601 with a zone; the real time if absent.")
    ] = None,
    json: Json = False,
) -> None:
    """Make the page of a model in service and say where it lies; before its first window, and for a run, the page of the run."""
    from console.display.results import show_report
    from perennial.settings import Settings

    clock = wall_clock()
    show_report(Settings.from_environment(), name, parse_time(now) if now else clock, clock, json)


@app.command(epilog="Example: perennial monitor churn --now 2013-05-01T00:00:00Z")
def monitor(
    model: ModelName,
    now: Annotated[
        str | None, typer.Option(help="Time for which to do it, ISO 8601 with a zone; the real time if absent.")
    ] = None,
    json: Json = False,
) -> None:
    """Look at every window that has closed or matured: drift, broken data, performance; then decide."""
    from console.monitoring import monitor_and_show
    from perennial.settings import Settings

    monitor_and_show(Settings.from_environment(), model, time_of(now), wall_clock, json)


@app.command(epilog="Example: perennial labels churn")
def labels(
    model: ModelName,
    now: Annotated[
        str | None, typer.Option(help="Time for which to count, ISO 8601 with a zone; the real time if absent.")
    ] = None,
    json: Json = False,
) -> None:
    """Count by window the labels that came in time, are missing, came late, or were changed since."""
    from console.monitoring import show_labels
    from perennial.settings import Settings

    show_labels(Settings.from_environment(), model, time_of(now), json)


@decisions.command("list", epilog="Example: perennial decisions list churn --kind retrain --limit 5")
def decisions_list(
    model: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="Only this model's.")] = None,
    kind: Annotated[Literal["leave", "retrain", "fix data"] | None, typer.Option(help="Only decisions of this kind.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    json: Json = False,
) -> None:
    """List the decisions, newest first, with why and what came of each, equal ones in one row; then the open incidents."""
    from console.decisions import show_decisions
    from perennial.settings import Settings

    show_decisions(Settings.from_environment(), model, kind, limit, json)


@decisions.command("close", epilog="Example: perennial decisions close churn --reason 'the sensor was changed'")
def decisions_close(
    model: ModelName,
    incident: Annotated[int | None, typer.Argument(metavar="[INCIDENT]", help="Its number; the only open one if absent.")] = None,
    reason: Annotated[str, typer.Option(help="Why it is over, in one sentence; it is kept.")] = "",
    now: DoneFor = None,
    json: Json = False,
) -> None:
    """Close an incident: trainings are held no more. The requests that it excludes still do not train."""
    from console.decisions import close
    from perennial.loop.request import Close
    from perennial.settings import Settings

    if not reason.strip():
        raise SpecError("--reason is missing; allowed: one sentence that says why the incident is over")
    close(Settings.from_environment(), model, Close(incident=incident, reason=reason.strip()), time_of(now), wall_clock, json)


@decisions.command(
    "accept-change", epilog="Example: perennial decisions accept-change churn 3 --reason 'the sensor measures in metres now'"
)
def decisions_accept_change(
    model: ModelName,
    incident: Annotated[int | None, typer.Argument(metavar="[INCIDENT]", help="Its number; the only open one if absent.")] = None,
    reason: Annotated[str, typer.Option(help="Why the data are no fault, in one sentence; it is kept.")] = "",
    now: DoneFor = None,
    json: Json = False,
) -> None:
    """Say that the data are like this now: close an incident, let its requests train, and make a training due."""
    from console.decisions import accept_change
    from perennial.loop.request import AcceptChange
    from perennial.settings import Settings

    if not reason.strip():
        raise SpecError("--reason is missing; allowed: one sentence that says why the data are as they should be")
    wish = AcceptChange(incident=incident, who=user(), reason=reason.strip())
    time = time_of(now)
    accept_change(Settings.from_environment(), model, wish, time, wall_clock, json)


@decisions.command("accept", epilog="Example: perennial decisions accept churn 4")
def decisions_accept(
    model: ModelName,
    number: Annotated[int, typer.Argument(metavar="NUMBER", help="Number of the decision.")],
    now: DoneFor = None,
    json: Json = False,
) -> None:
    """Accept a decision that waits for a person (an advisory policy): the controller carries it out."""
    from console.decisions import accept
    from perennial.settings import Settings

    accept(Settings.from_environment(), model, number, time_of(now), wall_clock, json)


@app.command(epilog="Example: perennial explain churn")
def explain(
    model: ModelName,
    number: Annotated[int | None, typer.Argument(metavar="[NUMBER]", help="Number of the decision; the last if absent.")] = None,
    json: Json = False,
) -> None:
    """Explain the latest decision: its evidence, what would have changed it, and what came of it."""
    from console.decisions import explain as explain_decision
    from perennial.settings import Settings

    explain_decision(Settings.from_environment(), model, number, json)


@app.command(epilog="Example: perennial status")
def status(
    now: Annotated[
        str | None, typer.Option(help="Time for which to say it, ISO 8601 with a zone; the real time if absent.")
    ] = None,
    json: Json = False,
) -> None:
    """Say for each model what is true, why, and what comes next and when; and whether a controller is watching."""
    from console.display.status import show_status
    from perennial.settings import Settings

    clock = wall_clock()
    show_status(Settings.from_environment(), parse_time(now) if now else clock, clock, json)


@cluster.command("check", epilog="Example: perennial cluster check")
def cluster_check(json: Json = False) -> None:
    """Ask the cluster and the stores for all that is needed; say what is missing and how to get it (then exit code 75)."""
    from console.cluster import check
    from perennial.settings import Settings

    raise typer.Exit(0 if check(Settings.from_environment(needs_stores=False), wall_clock, json) else PlatformError.exit_code)


@app.command(epilog="Example: perennial tick --now 2013-05-02T00:00:00Z --wait")
def tick(
    now: Annotated[str | None, typer.Option(help="Time to tick for, ISO 8601 with a zone; the real time if absent.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Go on until nothing is in flight or due.")] = False,
    json: Json = False,
) -> None:
    """Do once what the controller does: end runs, roll out, start what is due (exit code 75 if something is in the way)."""
    from console.control import tick_and_show
    from perennial.settings import Settings

    tick_and_show(Settings.from_environment(), time_of(now), wall_clock, wait, json)


@app.command(epilog="Example: perennial watch --every 60")
def watch(
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two ticks.")] = 60.0,
    http: Annotated[
        int | None,
        typer.Option("--http", min=1, max=65535, help="Port for /healthz, /readyz and /metrics; none is opened if absent."),
    ] = None,
    json: Json = False,
) -> None:
    """Run the controller until interrupted: monitoring, retraining and rollouts, unattended."""
    from console.control import watch_and_show
    from perennial.settings import Settings

    watch_and_show(Settings.from_environment(), wall_clock, every, json, http)


@app.command(epilog="Example: perennial replay churn --from 2024-03-11T00:00:00Z --until 2024-04-08T00:00:00Z --every 7")
def replay(
    model: ModelName,
    start: Annotated[str, typer.Option("--from", help="Begin: ISO 8601 with a zone.")],
    until: Annotated[str, typer.Option(help="End, exclusive: ISO 8601 with a zone.")],
    every: Annotated[int, typer.Option(min=1, help="Days from one tick of the controller to the next.")] = 7,
    url: Annotated[
        str | None, typer.Option(help="A server that was started with --replay, http://HOST:PORT; one of its own if absent.")
    ] = None,
    json: Json = False,
) -> None:
    """Play history: send the requests of the source at their own times, publish values meanwhile, and tick every some days."""
    from datetime import timedelta

    from console.replay import ReplaySpan, replay_and_show
    from perennial.settings import Settings

    span = ReplaySpan(parse_time(start), parse_time(until), timedelta(days=every))
    replay_and_show(Settings.from_environment(), model, span, url, wall_clock, json)


def main() -> NoReturn:
    """Run the command line; an error becomes a sentence and an exit code, whoever raised it."""
    run(app)


if __name__ == "__main__":
    main()
