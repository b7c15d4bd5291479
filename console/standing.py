"""How a model stands, as a pure function of what is stored: in which state it is, why, what comes next and when.

Several things may hold at once; the first of them in the order of `STATES` is the state, the others are said after it. What each
state asks of people stands in docs/runbook.md.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from console.display.output import minute
from perennial.errors import SpecError
from perennial.ledger import Run, Version
from perennial.loop.decision import Decision, Incident
from perennial.loop.outcome import incident_state, outcome_of
from perennial.loop.rollout import Rollout
from perennial.loop.standing import Standing
from perennial.loop.unjudged import unjudged_in
from perennial.loop.window import SAME_FINDINGS, Loss, WindowRecord, lasting_findings, window_at
from perennial.record import Record
from perennial.spec.model import Model

STATES = (
    "spec wrong",
    "training",
    "monitoring",
    "run lost",
    "run failed",
    "no spec",
    "traffic stuck",
    "traffic unknown",
    "rolling out",
    "not trained",
    "data broken",
    "waits for a person",
    "retrain decided",
    "retrain failed",
    "rollout refused",
    "deployment differs",
    "labels missing",
    "window due",
    "watched",
    "trained",
)
"""Every state, those that matter most first."""
ORDINARY = ("watched", "trained")
"""States in which nobody need do anything."""


class Finding(Record):
    """One thing that holds of a model."""

    state: str
    """In a word or two, one of `STATES`."""
    why: str
    """What that is concluded from."""
    next: str
    """What comes next, and who does it."""


class Coming(Record):
    """Something that a date is known of."""

    when: datetime
    """When, UTC."""
    what: str
    """What, in a few words."""


@dataclass(frozen=True)
class Stored:
    """What is stored about a model."""

    name: str
    """The model."""
    spec: Model | SpecError | None = None
    """Its spec, what is wrong with it, or none when there is no file."""
    champion: Version | None = None
    """The version that has the traffic."""
    run: Run | None = None
    """Its newest run."""
    executing: bool = False
    """Whether a process executes that run."""
    rollout: Rollout | None = None
    """The newest request for traffic."""
    deployed: str | None = None
    """Digest of the version that the local server, or the InferenceService, names; none when nothing was deployed."""
    traffic: Standing | str | None = None
    """How far the traffic is on a cluster, or why nobody can say; none where a process of this machine serves."""
    windows: tuple[WindowRecord, ...] = ()
    """Its newest windows, newest first."""
    decisions: tuple[Decision, ...] = ()
    """Its newest decisions, newest first."""
    incidents: tuple[Incident, ...] = ()
    """Its open incidents."""
    logged: bool = False
    """Whether there is a prediction log on this machine."""


def findings(stored: Stored, watching: bool, now: datetime) -> tuple[Finding, ...]:
    """Everything that holds of a model, what matters most first; never empty.

    Args:
        stored: what is stored about it.
        watching: whether a controller is at work.
        now: UTC.
    """
    found = [*_spec(stored), *_run(stored, watching), *_decisions(stored, watching), *_rollouts(stored, watching)]
    found += _traffic(stored, watching)
    if stored.champion is not None and isinstance(stored.spec, Model):
        found += [*_windows(stored, stored.spec, watching, now), _ordinary(stored, stored.champion)]
    return tuple(sorted(found, key=lambda finding: STATES.index(finding.state)))


def coming(stored: Stored, now: datetime) -> tuple[Coming, ...]:
    """What comes when, soonest first; empty without a champion or a valid spec. What is past is due.

    Args:
        stored: what is stored about the model.
        now: UTC.
    """
    if not isinstance(stored.spec, Model) or stored.champion is None:
        return ()
    spec, found = stored.spec.spec, list[Coming]()
    if stored.logged or stored.windows:
        running = window_at(now, spec.monitoring.window_days)
        found.append(Coming(when=running.end, what=f"the window from {running.start:%Y-%m-%d} closes"))
    maturity = timedelta(hours=spec.label.maturity_hours)
    for record in stored.windows[::-1]:
        if record.performance is None:
            found.append(Coming(when=record.end + maturity, what=f"the labels of the window from {record.start:%Y-%m-%d} mature"))
            break
    if spec.retraining.max_age_days is not None:
        due = stored.champion.trained_until + timedelta(days=spec.retraining.max_age_days)
        found.append(Coming(when=due, what="its scheduled retrain is due"))
    return tuple(sorted(found, key=lambda one: one.when))


def _spec(stored: Stored) -> Iterator[Finding]:
    name = stored.name
    if isinstance(stored.spec, SpecError):
        first = str(stored.spec).splitlines()[0]
        yield Finding(
            state="spec wrong",
            why=first,
            next=f"the owner mends it; `perennial validate {name}` shows all; until then it only serves",
        )
    elif stored.spec is None:
        why = f"models/{name}.yaml is gone; {_trained(stored.champion)}"
        yield Finding(state="no spec", why=why, next="the owner restores it or retires the model")
    elif stored.champion is None and not _is_open(stored.rollout):
        yield Finding(state="not trained", why=_trained(None) + _last_run(stored.run), next=f"train it: `perennial train {name}`")


def _run(stored: Stored, watching: bool) -> Iterator[Finding]:
    run = stored.run
    if run is not None and run.state == "failed":
        again = f"`perennial {'monitor' if run.mode == 'monitor' else 'train'} {stored.name}`"
        read_log = f"`perennial logs {run.run_id}` shows where"
        is_passing = run.failure is not None and run.failure.retry
        tried = (
            "the controller tries it again, up to three times"
            if watching and is_passing
            else f"once mended, again by hand: {again}"
        )
        yield Finding(state="run failed", why=f"run {run.run_id}: {run.why}", next=f"{read_log}; {tried}")
    if run is None or run.state != "running":
        return
    if stored.executing:
        state = "monitoring" if run.mode == "monitor" else "training"
        yield Finding(state=state, why=f"run {run.run_id} is executing", next=f"wait; `perennial logs {run.run_id}`")
        return
    by_hand = f"`python -m pipelines.run {run.run_id}`"
    again = (
        f"the controller starts it again at its next tick, or by hand: {by_hand}" if watching else f"start it again: {by_hand}"
    )
    why = f"run {run.run_id} was not finished, and no process executes it: it was killed or the machine stopped"
    yield Finding(state="run lost", why=why, next=again)


def _decisions(stored: Stored, watching: bool) -> Iterator[Finding]:
    name = stored.name
    for incident in stored.incidents:
        why = f"incident {incident.number} since {minute(incident.opened)}: {incident.seen}"
        if lasting := lasting_findings(stored.windows):
            why += (
                f" The newest {SAME_FINDINGS} windows show the same ({', '.join(lasting)}): this looks like "
                "a change rather than a fault."
            )
        yield Finding(state="data broken", why=why, next=incident_state(incident))
    for decision in stored.decisions:
        why = f"decision {decision.number} of {minute(decision.made)}, {decision.title}: {decision.sentence}"
        if decision.state == "waits for a person":
            accept = f"a person accepts it with `perennial decisions accept {name} {decision.number}`, or leaves it"
            yield Finding(state="waits for a person", why=why, next=accept)
            break
    for decision in stored.decisions:
        if decision.state in ("open", "acting") and decision.kind == "retrain":
            why = f"decision {decision.number} of {minute(decision.made)}: {decision.sentence}"
            yield Finding(state="retrain decided", why=why, next=_controller(watching, "starts the training, or follows it,"))
            break
    acted = next((decision for decision in stored.decisions if decision.kind == "retrain"), None)
    if acted is not None and acted.state == "failed":
        why = f"decision {acted.number} of {minute(acted.made)}: {outcome_of(acted)}"
        mend = f"the platform team reads `perennial runs {name}` and the run's log, then `perennial train {name}`"
        yield Finding(state="retrain failed", why=why, next=mend)


def _rollouts(stored: Stored, watching: bool) -> Iterator[Finding]:
    rollout = stored.rollout
    if rollout is not None and _is_open(rollout):
        why = f"version {rollout.number} is {rollout.state} since {minute(rollout.moved)}: {rollout.reason}"
        yield Finding(state="rolling out", why=why, next=_controller(watching, "checks it and gives it the traffic"))
        return
    if rollout is not None and rollout.state == "refused":
        why = f"version {rollout.number} got no traffic on {minute(rollout.moved)}: {rollout.reason}"
        yield Finding(state="rollout refused", why=why, next="the champion before goes on; the platform team looks at the reason")
    champion = stored.champion
    if champion is not None and stored.deployed is not None and stored.deployed != champion.digest:
        server = "the local server" if stored.traffic is None else "the InferenceService"
        why = f"version {champion.number} is champion, but {server} is told to serve {stored.deployed[:16]}"
        yield Finding(state="deployment differs", why=why, next=_controller(watching, "tells it the champion"))


def _traffic(stored: Stored, watching: bool) -> Iterator[Finding]:
    """What the cluster says of a champion that should answer there."""
    if stored.champion is None or stored.traffic is None:
        return
    if isinstance(stored.traffic, str):
        again = "the platform team brings it back: `perennial cluster check`; what serves goes on"
        yield Finding(state="traffic unknown", why=stored.traffic, next=again)
    elif stored.traffic.state == "stuck":
        mend = "the platform team mends what is named, docs/runbook.md says how; pods that answer go on"
        yield Finding(state="traffic stuck", why=stored.traffic.sentence, next=mend)
    elif stored.traffic.state == "rolling":
        yield Finding(state="rolling out", why=stored.traffic.sentence, next="wait: an old pod ends when a new one answers")
    elif stored.traffic.state == "absent" and not _is_open(stored.rollout):
        why = f"version {stored.champion.number} is champion, but {stored.traffic.sentence}"
        yield Finding(state="deployment differs", why=why, next=_controller(watching, "makes it"))


def _windows(stored: Stored, model: Model, watching: bool, now: datetime) -> Iterator[Finding]:
    if not stored.windows:
        return
    newest = stored.windows[0]
    judged = next((record for record in stored.windows if record.performance is not None), None)
    if judged is not None and judged.performance is not None:
        labels = judged.performance.labels
        if labels.arrived == 0 and labels.missing > 0:
            why = f"none of {labels.missing:,} predictions of the window from {judged.start:%Y-%m-%d} had a label when it matured"
            source = f"{model.spec.owner} looks whether the source {model.spec.label.source!r} still comes"
            yield Finding(state="labels missing", why=why, next=f"{source}; `perennial labels {stored.name}`")
    days = timedelta(days=model.spec.monitoring.window_days)
    closed = (window_at(now, model.spec.monitoring.window_days).start - newest.end) // days
    maturity = timedelta(hours=model.spec.label.maturity_hours)
    matured = sum(record.performance is None and now >= record.end + maturity for record in stored.windows)
    if closed > 0 or matured:
        parts = [f"closed without a record: {closed}"] * (closed > 0) + [f"matured without a judgement: {matured}"] * bool(
            matured
        )
        look = _controller(watching, "starts a monitoring run", f"perennial monitor {stored.name}")
        yield Finding(state="window due", why=f"windows {', '.join(parts)}", next=look)


def _ordinary(stored: Stored, champion: Version) -> Finding:
    """The state of a model of which nothing else is to be said."""
    name = stored.name
    if stored.windows:
        return Finding(
            state="watched", why=f"{_trained(champion)}; {seen_in(stored.windows)}", next=_last(stored.decisions, name)
        )
    call = "nobody has called it yet: docs/install.md has a request"
    start = f"serve it: `perennial serve {name}`" if stored.traffic is None else call
    serve = "its first window is measured when it has closed" if stored.logged else start
    return Finding(
        state="trained",
        why=_trained(champion) + _last_run(stored.run),
        next=f"{serve}; another training by hand: `perennial train {name}`",
    )


def seen_in(windows: Sequence[WindowRecord]) -> str:
    """The newest window, and the newest that was judged, in half a sentence.

    Args:
        windows: newest first, at least one.
    """
    newest = windows[0]
    alarms = ", ".join(column.column for column in newest.measurement.alarms)
    broken = ", ".join(sorted({check.title for check in newest.measurement.broken}))
    parts = (f"alarms: {alarms}" * bool(alarms), f"failed checks: {broken}" * bool(broken), _gap_in(newest))
    flagged = "; ".join(part for part in parts if part) or "nothing flagged"
    text = f"window from {newest.start:%Y-%m-%d}: {newest.measurement.rows:,} predictions, {flagged}"
    judged = next((record for record in windows if record.performance is not None), None)
    if judged is None or judged.performance is None:
        return text
    loss = judged.performance.loss
    metrics = judged.performance.metrics
    auc = f"AUC {metrics['auc'].value:.3f}, " if "auc" in metrics else ""
    which = "" if judged is newest else f"; that from {judged.start:%Y-%m-%d}"
    return f"{text}{which}: {auc}{_harm(loss)}"


def _harm(loss: Loss | None) -> str:
    if loss is None:
        return "harm is not judged: no prediction of the champion has a label"
    if loss.hurt:
        return "hurts"
    return "harm is not judged: there is no limit for its log loss" if loss.limit is None else "does no harm"


def _gap_in(record: WindowRecord) -> str:
    """What of a window could not be judged, in half a sentence; empty where everything was."""
    gap = unjudged_in(record)
    if gap is None:
        return ""
    if gap.gap == "no prediction":
        return "nothing to judge"
    if gap.gap == "no column":
        return "no column is watched for drift (monitoring.columns)"
    return f"{gap.count} of {gap.total} columns not judged ({gap.reason.removesuffix('.')})"


def _last(decisions: Sequence[Decision], name: str) -> str:
    if not decisions:
        return f"nothing was decided yet; another training by hand: `perennial train {name}`"
    newest = decisions[0]
    return f"decided on {minute(newest.made)}: {newest.sentence} More: `perennial explain {name}`"


def _controller(watching: bool, does: str, by_hand: str = "perennial tick") -> str:
    if watching:
        return f"the controller {does} at its next tick"
    return f"no controller {does} now: start `perennial watch`, or once by hand: `{by_hand}`"


def _is_open(rollout: Rollout | None) -> bool:
    return rollout is not None and rollout.state in ("requested", "checked")


def _trained(champion: Version | None) -> str:
    if champion is None:
        return "no version has traffic"
    return f"version {champion.number} knows labels up to {minute(champion.trained_until)}"


def _last_run(run: Run | None) -> str:
    if run is None or run.state != "succeeded":
        return ""
    return f"; the last run {run.run_id} ended {run.outcome}: {run.reason}"
