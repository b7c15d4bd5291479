"""Status in words: for each model what is true, why, and what comes next and when. Reasons are constants; words are put here."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from rich.console import Console
from rich.text import Text

from console.display.output import console, labelled, minute, print_json, table
from console.status import read_status
from console.stores import failing_stores
from perennial.settings import Settings
from perennial.status.condition import ORDINARY, Condition, Reason
from perennial.status.installation import stores_condition
from perennial.status.model_status import ModelStatus, ServerStatus

IN_FULL = 4
"""Most models that are shown in full; of more, each has one row."""
WORDS = {
    Reason.SPEC_WRONG: "spec wrong",
    Reason.TRAINING: "training",
    Reason.MONITORING: "monitoring",
    Reason.RUN_LOST: "run lost",
    Reason.RUN_FAILED: "run failed",
    Reason.SPEC_MISSING: "no spec",
    Reason.TRAFFIC_FOREIGN: "foreign in traffic",
    Reason.TRAFFIC_STUCK: "traffic stuck",
    Reason.TRAFFIC_UNKNOWN: "traffic unknown",
    Reason.ROLLING_OUT: "rolling out",
    Reason.PODS_ROLLING: "pods rolling",
    Reason.NOT_TRAINED: "not trained",
    Reason.DATA_BROKEN: "data broken",
    Reason.WAITS_FOR_PERSON: "waits for a person",
    Reason.REQUEST_WAITS: "request waits",
    Reason.RETRAIN_DECIDED: "retrain decided",
    Reason.RETRAIN_FAILED: "retrain failed",
    Reason.ROLLOUT_REFUSED: "rollout refused",
    Reason.DEPLOYMENT_DIFFERS: "deployment differs",
    Reason.LABELS_MISSING: "labels missing",
    Reason.WINDOW_DUE: "window due",
    Reason.RETIRED: "retired",
    Reason.WATCHED: "watched",
    Reason.TRAINED: "trained",
    Reason.NO_CONTROLLER: "no controller is watching",
    Reason.CLOCK_WENT_BACK: "the clock went back",
    Reason.STORE_FAILS: "fails",
}
"""What a person reads for each reason that docs/runbook.md has a section for; the others are not shown."""


def show_status(settings: Settings, now: datetime, clock: datetime, json: bool) -> None:
    """Print how controller and stores are, and how every model stands.

    Args:
        settings: where things are.
        now: the time for which it is said, UTC.
        clock: the real time, UTC.
        json: print JSON with the keys of docs/status.md instead of words.
    """
    faults = failing_stores(settings)
    controller, statuses = read_status(settings, now, clock)
    if json:
        print_json(
            {
                "now": now.isoformat(),
                "controller": controller.model_dump(mode="json"),
                "stores": stores_condition(faults).model_dump(mode="json"),
                "models": [status.model_dump(mode="json") for status in statuses],
            }
        )
    elif statuses:
        _show(console(), controller, faults, statuses, now)
    else:
        empty = f"No model: {settings.models} has no spec. Write one; docs/spec.md says what it holds."
        console().print(empty, soft_wrap=True)


def _show(out: Console, controller: Condition, faults: Sequence[str], statuses: Sequence[ModelStatus], now: datetime) -> None:
    for line in (f"controller  {controller_in_words(controller)}", *(f"store       {fault}" for fault in faults)):
        out.print(line, soft_wrap=True)
    if len(statuses) <= IN_FULL:
        for status in statuses:
            _show_in_full(out, status, now)
    else:
        rows = [_row(status, now) for status in statuses]
        out.print(table(f"{len(statuses)} models", ("model", "state", "why", "next", "when", "what"), rows))


def _row(status: ModelStatus, now: datetime) -> tuple[str, ...]:
    first = status.headline
    return (status.model, WORDS[first.reason], first.message, first.next, *_soonest(status, now))


def controller_in_words(controller: Condition) -> str:
    """Who is watching and when it last ticked; or what is the matter, what to do, and why."""
    if not controller.next:
        return controller.message
    return f"{WORDS[controller.reason]}: {controller.next}; {controller.message}"


def served(status: ModelStatus) -> str:
    """How the local server of a model or its traffic on the cluster is, in words."""
    if isinstance(status.traffic, str):
        return "the cluster does not say"
    if status.traffic is not None:
        return status.traffic.sentence
    return "no local server answers" if status.server is None else _server_in_words(status.server)


def _server_in_words(server: ServerStatus) -> str:
    if server.lost_rows:
        lost = f"{server.lost_rows:,} answers were not logged, the disk is full or read-only"
        return f"{server.address}: {lost}: the platform team frees it"
    return f"{server.address}: {'ready' if server.is_ready else 'not ready; its readiness answer says why'}"


def _show_in_full(out: Console, status: ModelStatus, now: datetime) -> None:
    """Print a model's status as labelled lines."""
    lines = [("why", status.headline.message), ("next", status.headline.next)]
    for other in status.also:
        if other.reason in ORDINARY:
            lines.append(("", other.message))
        else:
            lines += [("also", f"{WORDS[other.reason]}: {other.message}"), ("", other.next)]
    lines += [("when", f"{minute(date.when)} {date.what}{_overdue(date.when, now)}") for date in status.coming]
    out.print(Text.assemble("\n", (status.model, "bold"), f"  {WORDS[status.state]}"))
    out.print(labelled([*lines, ("server", served(status))]))


def _soonest(status: ModelStatus, now: datetime) -> tuple[str, str]:
    if not status.coming:
        return "–", ""
    first = status.coming[0]
    return minute(first.when), f"{first.what}{_overdue(first.when, now)}"


def _overdue(when: datetime, now: datetime) -> str:
    """How long a thing is overdue, in words; nothing while it lies ahead."""
    late = now - when
    return f" (since {late.days} days)" if late >= timedelta(days=1) else " (now)" if late >= timedelta(0) else ""
