"""What a monitoring run concludes, in the ledger: windows, one decision, incidents.

What is decided stands in `policy`. A run that is repeated finds what is recorded already and adds nothing: windows, decision and
incident are unique, and the first of each stays.
"""

from datetime import datetime

from monitoring.policy import Conclusion, ServingVersion, Situation, Trained, decide
from monitoring.results import Measurements, Performances
from perennial.ledger import Ledger
from perennial.lifecycle.claim import end
from perennial.lifecycle.ending import Ending
from perennial.loop.decision import Decision
from perennial.spec.model import Model


def conclude(
    ledger_url: str,
    model: Model,
    measured: Measurements,
    performed: Performances,
    ending: Ending,
    now: datetime,
) -> Decision:
    """Windows, decision and incidents are in the ledger, and the run and its claim have ended.

    Args:
        ledger_url: of the ledger.
        model: the spec.
        measured: what the run found in closed windows.
        performed: what it found of matured ones.
        ending: the run, with its claim: nothing is written once another run has taken it.
        now: the time for which the run takes place.

    Raises:
        FencedError: another run has taken the claim.
    """
    name = model.name
    with Ledger.open(ledger_url).with_fence(ending.fence) as ledger:
        for closed in measured.windows:
            ledger.record_window(name, closed.window, closed.measurement, now=now)
        for matured in performed.windows:
            ledger.record_performance(name, matured.window.start, matured.performance)
        set_aside = ". ".join(filter(None, (measured.set_aside, performed.set_aside)))
        basis = situation(ledger, model, ending.fence.key, now, set_aside)
        conclusion = decide(basis)
        decision, _ = ledger.add_decision(
            name,
            cause=ending.fence.key,
            now=now,
            draft=conclusion.draft,
            windows=sorted(basis.measured),
            judged=sorted(basis.judged),
            state=conclusion.state,
        )
        settle_incidents(ledger, model, decision, conclusion, now)
        run = ledger.finish_run(ending.run_id, finished=ending.finished, outcome=decision.kind, reason=decision.sentence)
        end(ledger, run, ending.finished)
    return decision


def situation(ledger: Ledger, model: Model, cause: str, now: datetime, set_aside: str = "") -> Situation:
    """Everything that the decision of a run rests on, from the ledger.

    New to it is what no earlier decision has looked at, not what this run has measured: a run that was killed after it recorded
    its windows is started again, and finds nothing to measure.
    """
    name, champion, windows = model.name, ledger.champion(model.name), ledger.windows(model.name)
    decisions = {decision.number: decision for decision in ledger.decisions(name)}
    earlier = [decision for decision in decisions.values() if decision.cause != cause]
    looked_at = {start for decision in earlier for start in decision.windows}
    judged_starts = {start for decision in earlier for start in decision.judged}
    runs = [run for run in ledger.runs(name, limit=1000) if run.mode != "monitor" and run.outcome != "superseded"]
    waiting = [
        decision
        for decision in decisions.values()
        if decision.kind == "retrain" and decision.state in ("open", "waits for a person", "acting") and decision.cause != cause
    ]
    claims = ledger.open_claims(name)  # what has none was killed or has failed, and is begun no more
    carried = {claim.decision for claim in claims}
    owners = {claim.owner for claim in claims}
    flying = [f"run {run.run_id} is in flight" for run in runs if run.state == "running" and run.run_id in owners]
    flying += [
        f"decision {decision.number} to train is {decision.state}"
        for decision in waiting
        if decision.state != "acting" or decision.number in carried
    ]
    return Situation(
        model=model,
        windows=windows,
        measured=frozenset(record.start for record in windows if record.start not in looked_at),
        judged=frozenset(
            record.start for record in windows if record.performance is not None and record.start not in judged_starts
        ),
        champion=None if champion is None else ServingVersion(champion.digest, champion.number, champion.trained_until),
        trainings=tuple(
            Trained(run.now, run.decision is None or decisions[run.decision].reason == "manual")
            for run in runs
            if run.state == "succeeded"
        ),
        incidents=ledger.incidents(name, only_open=True),
        in_flight="; ".join(flying),
        now=now,
        set_aside=set_aside,
    )


def settle_incidents(ledger: Ledger, model: Model, decision: Decision, conclusion: Conclusion, now: datetime) -> None:
    """What the conclusion says of incidents is in the ledger; settled again, nothing changes.

    A new window that is broken extends the open incidents, or opens one. Clean windows are counted, and close them.
    """
    broken, name = conclusion.broken, model.name
    affected = [incident for incident in ledger.incidents(name, only_open=True) if incident.decision != decision.number]
    if broken is not None and affected:
        for incident in affected:
            ledger.extend_incident(
                name, incident.number, excluded_until=broken.excluded_until, seen=broken.seen, subjects=broken.subjects
            )
    elif broken is not None:
        opened = ledger.open_incident(
            name,
            decision=decision.number,
            now=now,
            owner=model.spec.owner,
            seen=broken.seen,
            subjects=broken.subjects,
            excluded_from=broken.excluded_from,
            excluded_until=broken.excluded_until,
            needed=model.spec.monitoring.clean_windows,
        )
        affected = [opened]
    for incident in affected:
        ledger.count_clean(name, incident.number, conclusion.clean)
        if conclusion.closes:
            ledger.close_incident(name, incident.number, now=now, closing=f"{conclusion.clean} clean windows")
