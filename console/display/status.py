"""Status: for each model what is true, why, and what comes next and when. Reads specs, ledger and the local servers only."""

import http.client
import re
from datetime import datetime, timedelta

from rich.console import Console
from rich.text import Text

from console.decisions import models_of
from console.display.output import console, labelled, minute, print_json, table
from console.standing import ORDINARY, Coming, Finding, Stored, coming, findings
from console.stores import failing_stores
from controller.ticked import LEASE
from perennial.errors import PlatformError, SpecError
from perennial.ledger import Lease, Ledger
from perennial.loop.standing import Standing
from perennial.record import Record
from perennial.settings import Settings
from perennial.spec.model import Model
from perennial.spec.read import read
from pipelines.lock import is_executing
from serving.deployers import Deployer, open_deployer

ANSWER_SECONDS = 0.5
"""How long a local server may take to say how it is."""
RECENT = 12
"""Windows and decisions of a model that are looked at."""
IN_FULL = 4
"""Most models that are shown in full; of more, each has one row."""


class ServerStatus(Record):
    """How the local server of a model is."""

    address: str
    """Host and port."""
    is_ready: bool
    """Whether model and online store answer."""
    lost_rows: int
    """Answers that could not be written to the prediction log since it started."""

    @property
    def sentence(self) -> str:
        """The same in words."""
        if self.lost_rows:
            return (
                f"{self.address}: {self.lost_rows:,} answers were not logged, the disk is full or read-only: "
                "the platform team frees it"
            )
        return f"{self.address}: {'ready' if self.is_ready else 'not ready; its readiness answer says why'}"


class ControllerStatus(Record):
    """How the controller is."""

    is_watching: bool
    """Whether one is at work."""
    sentence: str
    """In words: who it is and when it last ticked, or what to do."""


class ModelStatus(Record):
    """How one model stands."""

    model: str
    """Its name."""
    state: str
    """In a word or two; docs/runbook.md says what each means."""
    why: str
    """One sentence: what that is concluded from."""
    next: str
    """What comes next, and who does it."""
    also: tuple[Finding, ...] = ()
    """What holds besides, what matters most first."""
    coming: tuple[Coming, ...] = ()
    """What comes when, soonest first."""
    server: ServerStatus | None = None
    """How its local server is; null when none answers."""
    traffic: Standing | str | None = None
    """How far its traffic on a cluster is, or why nobody can say; null where a process of this machine serves."""

    @property
    def served(self) -> str:
        """How its local server or its traffic on the cluster is, in words."""
        if isinstance(self.traffic, str):
            return "the cluster does not say"
        if self.traffic is not None:
            return self.traffic.sentence
        return "no local server answers" if self.server is None else self.server.sentence


def server_of(settings: Settings, model: str) -> ServerStatus | None:
    """How the local server of a model says it is; none when none answers."""
    path = settings.server_address(model)
    if not path.exists():
        return None
    address = path.read_text(encoding="utf-8").strip()
    connection = http.client.HTTPConnection(address, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", f"/v2/models/{model}/ready")
        response = connection.getresponse()
        response.read()
        connection.request("GET", "/metrics")
        metrics = connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    lost = re.search(r"^perennial_log_lost_rows_total\{[^}]*\} (\S+)$", metrics, re.MULTILINE)
    return ServerStatus(address=address, is_ready=response.status == 200, lost_rows=int(float(lost[1])) if lost else 0)


def controller_of(lease: Lease | None, clock: datetime) -> ControllerStatus:
    """How the controller is.

    Args:
        lease: its lease, none when nobody ever took it.
        clock: the real time, UTC.
    """
    start = "start `perennial watch`"
    if lease is None:
        return ControllerStatus(is_watching=False, sentence=f"no controller is watching: {start}")
    last = "it has not ticked yet" if lease.ticked is None else f"it last ticked for {minute(lease.ticked)}"
    if lease.ticked is not None and lease.ticked > clock:
        said = f"the clock went back: {lease.holder} ticked for {minute(lease.ticked)} already, and nothing is done before that"
        return ControllerStatus(is_watching=False, sentence=f"{said}: the platform team sets the clock right")
    if lease.expires <= clock:
        gone = f"{lease.holder} said nothing since its lease ran out at {minute(lease.expires)} ({last})"
        return ControllerStatus(is_watching=False, sentence=f"no controller is watching: {start}; {gone}")
    return ControllerStatus(is_watching=True, sentence=f"{lease.holder} is watching; {last}")


def status_of(stored: Stored, watching: bool, now: datetime) -> ModelStatus:
    """How a model stands, from what is stored about it.

    Args:
        stored: what is stored.
        watching: whether a controller is at work.
        now: UTC.
    """
    first, *also = findings(stored, watching, now)
    dates = coming(stored, now)
    return ModelStatus(
        model=stored.name,
        state=first.state,
        why=first.why,
        next=first.next,
        also=tuple(also),
        coming=dates,
        traffic=stored.traffic,
    )


def stored_of(settings: Settings, deployer: Deployer, ledger: Ledger, name: str) -> Stored:
    """What is stored about a model."""
    path = settings.models / f"{name}.yaml"
    spec: Model | SpecError | None = None
    if path.exists():
        try:
            spec = read(path)
        except SpecError as error:
            spec = error
    newest = next(iter(ledger.runs(name, limit=1)), None)
    deployed, traffic = traffic_of(settings, deployer, name)
    return Stored(
        name=name,
        spec=spec,
        champion=ledger.champion(name),
        run=newest,
        executing=newest is not None and newest.state == "running" and is_executing(settings, newest.run_id),
        rollout=next(iter(ledger.rollouts(name)), None),
        deployed=deployed,
        traffic=traffic,
        windows=ledger.windows(name, limit=RECENT),
        decisions=ledger.decisions(name, limit=RECENT),
        incidents=ledger.incidents(name, only_open=True),
        logged=is_logged(settings, name),
    )


def traffic_of(settings: Settings, deployer: Deployer, name: str) -> tuple[str | None, Standing | str | None]:
    """Digest of what was deployed, and how far the traffic on a cluster is, or why the cluster does not say."""
    if settings.namespace is None:
        return deployer.deployed(name), None
    try:
        return deployer.deployed(name), deployer.standing(name)
    except PlatformError as error:
        return None, str(error)


def is_logged(settings: Settings, name: str) -> bool:
    """Whether a prediction was ever logged; as far as this machine knows it, when the bucket does not answer."""
    if settings.prediction_log(name).exists() or settings.prediction_tables(name).exists():
        return True
    if settings.bucket is None:
        return False
    from monitoring.log.collect import has_log

    try:
        return has_log(settings, name)
    except PlatformError:
        return False


def read_status(settings: Settings, now: datetime, clock: datetime) -> tuple[ControllerStatus, list[ModelStatus]]:
    """How the controller is, and every model that has a spec or was ever trained, by name.

    Args:
        settings: where things are.
        now: the time for which it is said, UTC.
        clock: the real time, UTC.
    """
    deployer = open_deployer(settings)
    with Ledger.open(settings.ledger) as ledger:
        controller = controller_of(ledger.lease(LEASE), clock)
        stored = [stored_of(settings, deployer, ledger, name) for name in models_of(settings, ledger)]
    found = [status_of(one, controller.is_watching, now) for one in stored]
    if settings.namespace is None:
        found = [one.model_copy(update={"server": server_of(settings, one.model)}) for one in found]
    return controller, found


def show_status(settings: Settings, now: datetime, clock: datetime, json: bool) -> None:
    """Print how controller and stores are, and how every model stands."""
    stores = failing_stores(settings)
    controller, found = read_status(settings, now, clock)
    out = console()
    if json:
        shown = [status.model_dump(mode="json") for status in found]
        print_json({"now": now.isoformat(), "controller": controller.model_dump(mode="json"), "stores": stores, "models": shown})
    elif not found:
        out.print(f"No model: {settings.models} has no spec. Write one; docs/spec.md says what it holds.", soft_wrap=True)
    else:
        for line in (f"controller  {controller.sentence}", *(f"store       {sentence}" for sentence in stores)):
            out.print(line, soft_wrap=True)
        if len(found) <= IN_FULL:
            for status in found:
                _show_in_full(out, status, now)
        else:
            rows = [(status.model, status.state, status.why, status.next, *_soonest(status, now)) for status in found]
            out.print(table(f"{len(found)} models", ("model", "state", "why", "next", "when", "what"), rows))


def _show_in_full(out: Console, status: ModelStatus, now: datetime) -> None:
    """Print a model's status as labelled lines."""
    lines = [("why", status.why), ("next", status.next)]
    for other in status.also:
        if other.state in ORDINARY:
            lines.append(("", other.why))
        else:
            lines += [("also", f"{other.state}: {other.why}"), ("", other.next)]
    lines += [("when", f"{minute(one.when)} {one.what}{_overdue(one.when, now)}") for one in status.coming]
    out.print(Text.assemble("\n", (status.model, "bold"), f"  {status.state}"))
    out.print(labelled([*lines, ("server", status.served)]))


def _soonest(status: ModelStatus, now: datetime) -> tuple[str, str]:
    if not status.coming:
        return "–", ""
    first = status.coming[0]
    return minute(first.when), f"{first.what}{_overdue(first.when, now)}"


def _overdue(when: datetime, now: datetime) -> str:
    """How long a thing is overdue, in words; nothing while it lies ahead."""
    late = now - when
    return f" (since {late.days} days)" if late >= timedelta(days=1) else " (now)" if late >= timedelta(0) else ""
