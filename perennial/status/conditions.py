"""The conditions of a model, concluded from what is stored about it.

Each function answers for one type; it answers nothing where nothing is known of it yet. What comes when is in `coming`.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from perennial.errors import SpecError
from perennial.ledger import Run, Version
from perennial.loop.decision import Decision
from perennial.loop.outcome import incident_state, outcome_of
from perennial.loop.window import SAME_FINDINGS, WindowRecord, lasting_findings, window_at
from perennial.spec.model import Model
from perennial.status.condition import ORDER, Condition, Reason, condition
from perennial.status.stored import Stored
from perennial.status.words import by_controller, last_decision, last_run, minute, seen_in, trained


def conditions(stored: Stored, watching: bool, now: datetime) -> tuple[Condition, ...]:
    """Everything that is known of a model, what matters most first: the first is its state. At most one of each type.

    Args:
        stored: what is stored about it.
        watching: whether a controller is at work.
        now: UTC.
    """
    if stored.is_retired:
        return tuple(sorted([*_requests(stored, watching), _spec(stored)], key=lambda one: ORDER.index(one.reason)))
    all_conditions = [_spec(stored), *_run(stored, watching), *_champion(stored), *_rollout(stored, watching)]
    all_conditions += [*_deployed(stored, watching), *_serving(stored, watching), *_data(stored), *_person(stored)]
    all_conditions += [*_requests(stored, watching), *_retrain(stored, watching)]
    if stored.champion is not None and isinstance(stored.spec, Model):
        all_conditions += [
            *_labels(stored, stored.spec),
            *_windows(stored, stored.spec, watching, now),
            _watched(stored, stored.champion),
        ]
    return tuple(sorted(all_conditions, key=lambda one: ORDER.index(one.reason)))


def _spec(stored: Stored) -> Condition:
    name = stored.name
    if isinstance(stored.spec, SpecError):
        mend = f"the owner mends it; `perennial validate {name}` shows all; until then it only serves"
        return condition(Reason.SPEC_WRONG, str(stored.spec).splitlines()[0], next=mend)
    if stored.is_retired:
        kept = f"models/{name}.yaml is gone, and nothing of {name} is deployed; its versions, records and predictions are kept"
        return condition(Reason.RETIRED, kept, next=f"nothing; a spec models/{name}.yaml brings it back")
    if stored.spec is None:
        retire = f"the owner restores it, or `perennial retire {name} --reason '…'` ends its service"
        return condition(Reason.SPEC_MISSING, f"models/{name}.yaml is gone, and {_goes_on(stored)}", next=retire)
    return condition(Reason.SPEC_READ, f"models/{name}.yaml has no mistake")


def _goes_on(stored: Stored) -> str:
    """What still serves of a model without a spec, as half a sentence."""
    if stored.champion is not None and stored.deployed == stored.champion.digest:
        return f"version {stored.champion.number} goes on serving"
    if stored.deployed is not None:
        return f"a version of digest {stored.deployed[:16]} goes on serving"
    return "what is deployed of it is not known"


def _run(stored: Stored, watching: bool) -> Iterator[Condition]:
    run = stored.run
    if run is None:
        return
    if run.state == "succeeded":
        yield condition(Reason.RUN_ENDED, f"run {run.run_id} ended {run.outcome}: {run.reason}", since=run.finished)
    elif run.state == "failed":
        yield _failed_run(run, stored, watching)
    elif stored.executing:
        reason = Reason.MONITORING if run.mode == "monitor" else Reason.TRAINING
        wait = f"wait; `perennial logs {run.run_id}`"
        yield condition(reason, f"run {run.run_id} is executing", since=run.started, next=wait)
    else:
        yield _gone_run(run, watching) if stored.gone else _lost_run(run, watching, stored.unfinished)


def _failed_run(run: Run, stored: Stored, watching: bool) -> Condition:
    again = f"`perennial {'monitor' if run.mode == 'monitor' else 'train'} {stored.name}`"
    is_passing = stored.claimed and run.failure is not None and run.failure.retry
    by_itself = "the controller tries it again, up to three times"
    remedy = by_itself if watching and is_passing else f"once mended, again by hand: {again}"
    look = f"`perennial logs {run.run_id}` shows where; {remedy}"
    return condition(Reason.RUN_FAILED, f"run {run.run_id}: {run.why}", since=run.finished, next=look)


def _lost_run(run: Run, watching: bool, unfinished: str) -> Condition:
    if unfinished:
        return condition(Reason.RUN_LOST, unfinished, next=by_controller(watching, "starts it again, up to three times"))
    by_hand = f"`python -m pipelines.run {run.run_id}`"
    by_itself = f"the controller starts it again at its next tick, or by hand: {by_hand}"
    message = f"run {run.run_id} was not finished, and no process executes it: it was killed or the machine stopped"
    return condition(Reason.RUN_LOST, message, next=by_itself if watching else f"start it again: {by_hand}")


def _gone_run(run: Run, watching: bool) -> Condition:
    last = minute(run.heartbeat or run.started)
    message = f"run {run.run_id} was not finished, and nothing was heard of {run.host or 'its host'} since {last}"
    return condition(Reason.RUN_LOST, message, next=by_controller(watching, "begins a fresh run for the same"))


def _champion(stored: Stored) -> Iterator[Condition]:
    champion, rollout = stored.champion, stored.rollout
    if champion is not None:
        is_newest = rollout is not None and rollout.state == "champion" and rollout.number == champion.number
        yield condition(
            Reason.CHAMPION_CHOSEN, trained(champion), since=rollout.moved if rollout is not None and is_newest else None
        )
    elif isinstance(stored.spec, Model) and not stored.is_rolling_out:
        train = f"train it: `perennial train {stored.name}`"
        yield condition(Reason.NOT_TRAINED, trained(None) + last_run(stored.run), next=train)


def _rollout(stored: Stored, watching: bool) -> Iterator[Condition]:
    rollout = stored.rollout
    if rollout is None:
        return
    if stored.is_rolling_out:
        message = f"version {rollout.number} is {rollout.state} since {minute(rollout.moved)}: {rollout.reason}"
        carry_out = by_controller(watching, "checks it and gives it the traffic")
        yield condition(Reason.ROLLING_OUT, message, since=rollout.moved, next=carry_out)
    elif rollout.state == "refused":
        message = f"version {rollout.number} got no traffic on {minute(rollout.moved)}: {rollout.reason}"
        look = "the champion before goes on; the platform team looks at the reason"
        yield condition(Reason.ROLLOUT_REFUSED, message, since=rollout.moved, next=look)
    else:
        message = f"version {rollout.number} is {rollout.state} since {minute(rollout.moved)}: {rollout.reason}"
        yield condition(Reason.ROLLOUT_ENDED, message, since=rollout.moved)


def _deployed(stored: Stored, watching: bool) -> Iterator[Condition]:
    """Nothing while a version is on its way: then what is deployed may differ."""
    champion, traffic = stored.champion, stored.traffic
    if champion is None or stored.is_rolling_out:
        return
    server = "the local server" if traffic is None else "the InferenceService"
    if stored.deployed is not None and stored.deployed != champion.digest:
        message = f"version {champion.number} is champion, but {server} is told to serve {stored.deployed[:16]}"
        yield condition(Reason.DEPLOYMENT_DIFFERS, message, next=by_controller(watching, "tells it the champion"))
    elif traffic is not None and not isinstance(traffic, str) and traffic.state == "absent":
        message = f"version {champion.number} is champion, but {traffic.sentence}"
        yield condition(Reason.DEPLOYMENT_DIFFERS, message, next=by_controller(watching, "makes it"))
    elif stored.deployed is not None:
        yield condition(Reason.CHAMPION_DEPLOYED, f"{server} is told to serve version {champion.number}, the champion")


def _serving(stored: Stored, watching: bool) -> Iterator[Condition]:
    """What the cluster says of a champion that should answer there."""
    traffic = stored.traffic
    if stored.champion is None or traffic is None:
        return
    if isinstance(traffic, str):
        again = "the platform team brings it back: `perennial cluster check`; what serves goes on"
        yield condition(Reason.TRAFFIC_UNKNOWN, traffic, next=again)
    elif traffic.state == "foreign":
        undo = by_controller(watching, "removes what stands in the InferenceService")
        yield condition(Reason.TRAFFIC_FOREIGN, traffic.sentence, next=f"{undo}; the platform team asks who wrote it, and why")
    elif traffic.state == "stuck":
        mend = "the platform team mends what is named, docs/runbook.md says how; pods that answer go on"
        yield condition(Reason.TRAFFIC_STUCK, traffic.sentence, next=mend)
    elif traffic.state == "rolling":
        yield condition(Reason.PODS_ROLLING, traffic.sentence, next="wait: an old pod ends when a new one answers")
    elif traffic.state == "serving":
        yield condition(Reason.PODS_ANSWER, traffic.sentence)


def _data(stored: Stored) -> Iterator[Condition]:
    incidents = sorted(stored.incidents, key=lambda incident: incident.number, reverse=True)
    if not incidents:
        if stored.windows:
            yield condition(Reason.NO_INCIDENT, "no incident is open")
        return
    lasting = lasting_findings(stored.windows)
    change = (
        f" The newest {SAME_FINDINGS} windows show the same ({', '.join(lasting)}): this looks like a change rather than a fault."
    )
    sentences = [f"incident {incident.number} since {minute(incident.opened)}: {incident.seen}" for incident in incidents]
    yield condition(
        Reason.DATA_BROKEN,
        " ".join(sentences) + change * bool(lasting),
        since=min(incident.opened for incident in incidents),
        next="; ".join(incident_state(incident) for incident in incidents),
    )


def _person(stored: Stored) -> Iterator[Condition]:
    waiting = next((decision for decision in stored.decisions if decision.state == "waits for a person"), None)
    if waiting is not None:
        message = f"decision {waiting.number} of {minute(waiting.made)}, {waiting.title}: {waiting.sentence}"
        accept = f"a person accepts it with `perennial decisions accept {stored.name} {waiting.number}`, or leaves it"
        yield condition(Reason.WAITS_FOR_PERSON, message, since=waiting.made, next=accept)
    elif stored.decisions:
        yield condition(Reason.NOBODY_AWAITED, "no decision waits for a person")


def _requests(stored: Stored, watching: bool) -> Iterator[Condition]:
    if stored.requests:
        oldest = stored.requests[0]
        message = f"request {oldest.number} of {minute(oldest.made)}: {oldest.wish.kind}"
        answer = by_controller(watching, "answers it")
        yield condition(Reason.REQUEST_WAITS, message, since=oldest.made, next=answer)
    elif stored.run is not None:
        yield condition(Reason.NO_REQUEST, "nobody waits for the controller")


def _retrain(stored: Stored, watching: bool) -> Iterator[Condition]:
    retrainings = [decision for decision in stored.decisions if decision.kind == "retrain"]
    if not retrainings:
        return
    newest = retrainings[0]
    pending = next((decision for decision in retrainings if decision.state in ("open", "acting")), None)
    if pending is not None:
        start = by_controller(watching, "starts the training, or follows it,")
        yield condition(Reason.RETRAIN_DECIDED, _made(pending, pending.sentence), since=pending.made, next=start)
    elif newest.state == "failed":
        mend = f"the platform team reads `perennial runs {stored.name}` and the run's log, then `perennial train {stored.name}`"
        yield condition(Reason.RETRAIN_FAILED, _made(newest, outcome_of(newest)), next=mend)
    elif newest.state == "done":
        yield condition(Reason.RETRAIN_ENDED, _made(newest, outcome_of(newest)))


def _made(decision: Decision, sentence: str) -> str:
    return f"decision {decision.number} of {minute(decision.made)}: {sentence}"


def _labels(stored: Stored, model: Model) -> Iterator[Condition]:
    judged_window = next((record for record in stored.windows if record.performance is not None), None)
    if judged_window is None or judged_window.performance is None:
        return
    labels, day = judged_window.performance.labels, f"{judged_window.start:%Y-%m-%d}"
    if labels.arrived == 0 and labels.missing > 0:
        message = f"none of {labels.missing:,} predictions of the window from {day} had a label when it matured"
        look = f"{model.spec.owner} looks whether the source {model.spec.label.source!r} still comes"
        look += f"; `perennial labels {stored.name}`"
        yield condition(Reason.LABELS_MISSING, message, since=labels.matured_at, next=look)
    elif labels.arrived:
        every = labels.arrived + labels.missing
        message = f"{labels.arrived:,} of {every:,} predictions of the window from {day} had a label when it matured"
        yield condition(Reason.LABELS_CAME, message, since=labels.matured_at)


def _windows(stored: Stored, model: Model, watching: bool, now: datetime) -> Iterator[Condition]:
    if not stored.windows:
        return
    newest, days = stored.windows[0], model.spec.monitoring.window_days
    maturity = timedelta(hours=model.spec.label.maturity_hours)
    closed = max((window_at(now, days).start - newest.end) // timedelta(days=days), 0)
    matured = [record.end + maturity for record in _unjudged(stored.windows) if now >= record.end + maturity]
    if not closed and not matured:
        yield condition(Reason.WINDOWS_UP_TO_DATE, f"no window waits for a run; the newest ended at {minute(newest.end)}")
        return
    parts = [f"closed without a record: {closed}"] * bool(closed)
    parts += [f"matured without a judgement: {len(matured)}"] * bool(matured)
    due = min([*matured, *[newest.end + timedelta(days=days)] * bool(closed)])
    look = by_controller(watching, "starts a monitoring run", f"perennial monitor {stored.name}")
    yield condition(Reason.WINDOW_DUE, f"windows {', '.join(parts)}", since=due, next=look)


def _unjudged(records: tuple[WindowRecord, ...]) -> Iterator[WindowRecord]:
    return (record for record in records if record.performance is None)


def _watched(stored: Stored, champion: Version) -> Condition:
    """The state of a model of which nothing else is to be said."""
    name = stored.name
    if stored.windows:
        message = f"{trained(champion)}; {seen_in(stored.windows)}"
        return condition(Reason.WATCHED, message, next=last_decision(stored.decisions, name))
    call = "nobody has called it yet: docs/install.md has a request"
    start = f"serve it: `perennial serve {name}`" if stored.traffic is None else call
    serve = "its first window is measured when it has closed" if stored.logged else start
    again = f"{serve}; another training by hand: `perennial train {name}`"
    return condition(Reason.TRAINED, trained(champion) + last_run(stored.run), next=again)
