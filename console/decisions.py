"""`perennial decisions` and `explain`: what was decided about a model, why, and what a person can do about it."""

from collections.abc import Sequence
from datetime import datetime

from rich.console import Console

from console.display.explanation import explanation, incident_of
from console.display.output import console, minute, print_json, table
from console.display.streaks import Streak, streaks
from perennial.errors import NotFoundError
from perennial.ledger import Ledger
from perennial.loop.decision import Acceptance, Decision, DecisionDraft, Fact, Incident, Kind
from perennial.loop.outcome import incident_state, outcome_of
from perennial.settings import Settings
from perennial.spec.read import read


def models_of(settings: Settings, ledger: Ledger) -> list[str]:
    """Every model that has a spec or was ever trained, by name."""
    return sorted({path.stem for path in settings.models.glob("*.yaml")} | set(ledger.models()))


def show_decisions(settings: Settings, model: str | None, kind: Kind | None, limit: int, json: bool) -> None:
    """Print the newest decisions, of one model or of all, and every open incident.

    Args:
        settings: where things are.
        model: only this one's.
        kind: only these.
        limit: how many, newest first: decisions in JSON, rows of the table, where consecutive equal ones are one row.
        json: print JSON instead of a table.
    """
    with Ledger.open(settings.ledger) as ledger:
        names = models_of(settings, ledger) if model is None else [known(settings, ledger, model)]
        decisions = [ledger.decisions(name) for name in names]
        incidents = [incident for name in names for incident in ledger.incidents(name, only_open=True)]
    if json:
        every = [decision for of_model in decisions for decision in of_model if kind in (None, decision.kind)]
        newest = sorted(every, key=lambda decision: (decision.made, decision.number), reverse=True)[:limit]
        shown = {"decisions": [decision.model_dump(mode="json") for decision in newest]}
        print_json(shown | {"open_incidents": [incident.model_dump(mode="json") for incident in incidents]})
        return
    folded = [streak for of_model in decisions for streak in streaks(of_model) if kind in (None, streak.newest.kind)]
    if folded:
        _show_table(console(), folded, limit)
    else:
        what = "No decision yet" if kind is None else f"No decision to {kind} yet"
        console().print(f"{what}: one is made by each monitoring run. `perennial status` says when the next is due.")
    for incident in incidents:
        said = f"{incident.model}, incident {incident.number}: {incident_state(incident)}\n  {incident.seen}"
        console().print(said, soft_wrap=True)


def _show_table(out: Console, folded: Sequence[Streak], limit: int) -> None:
    """Print the newest streaks, at least one, a row each."""
    newest = sorted(folded, key=lambda streak: (streak.newest.made, streak.newest.number), reverse=True)[:limit]
    columns = ("model", "number", "made", "decision", "state", "why", "what came of it")
    rows = []
    for streak in newest:
        last = streak.newest
        made = minute(last.made) if streak.count == 1 else f"{minute(streak.oldest.made)} to {minute(last.made)}"
        rows.append((last.model, streak.numbers, made, streak.title, last.state, last.sentence, outcome_of(last)))
    out.print(table("Decisions", columns, rows, numbers=("number",)))
    left = len(folded) - len(newest)
    if left:
        out.print(f"… and {left} older rows: --limit {len(folded)}")


def known(settings: Settings, ledger: Ledger, model: str) -> str:
    """The model's name, if there is such a model.

    Raises:
        NotFoundError: it has neither a spec nor a run.
    """
    names = models_of(settings, ledger)
    if model not in names:
        raise NotFoundError(f"no model {model!r} in {settings.models} or the ledger; there are: {', '.join(names) or 'none'}")
    return model


def explain(settings: Settings, model: str, number: int | None, json: bool) -> None:
    """Print a decision in at most 15 lines: the newest, or the one with this number.

    Raises:
        NotFoundError: there is none.
    """
    with Ledger.open(settings.ledger) as ledger:
        known(settings, ledger, model)
        newest = next(iter(ledger.decisions(model, limit=1)), None)
        decision = newest if number is None else ledger.decision(model, number)
        if decision is None:
            raise NotFoundError(
                f"{model}: nothing was decided yet; `perennial monitor {model}` looks at the windows that are due"
            )
        if not json:
            show_decision(console(), ledger, decision)
            return
        incident = incident_of(decision, ledger.incidents(model))
    stored = None if incident is None else incident.model_dump(mode="json")
    print_json({"decision": decision.model_dump(mode="json"), "incident": stored})


def show_decision(out: Console, ledger: Ledger, decision: Decision) -> None:
    """Print a decision in at most 15 lines, with what is known of its incident."""
    lines = explanation(decision, incident_of(decision, ledger.incidents(decision.model)))
    out.print("\n".join(lines), soft_wrap=True)


def close(settings: Settings, model: str, number: int | None, reason: str, now: datetime, json: bool) -> Incident:
    """Close an incident, for a reason that is kept; without a number the only one that is open.

    Raises:
        NotFoundError: there is no such open incident, or several are open and no number says which.
    """
    with Ledger.open(settings.ledger) as ledger:
        known(settings, ledger, model)
        of_model = {incident.number: incident for incident in ledger.incidents(model)}
        still = sorted(number for number, incident in of_model.items() if incident.closed is None)
        if number is None and len(still) == 1:
            number = still[0]
        if number not in still:
            shown = ", ".join(map(str, still)) or "none"
            before = of_model.get(number) if number is not None else None
            said = f"; it was {incident_state(before)}" if before is not None else ""
            which = "no number was given" if number is None else f"incident {number} is not open{said}"
            raise NotFoundError(f"{model}: {which}; open incidents: {shown}")
        closed = ledger.close_incident(model, number, now=now, closing=f"a person closed it: {reason}")
    if json:
        print_json(closed.model_dump(mode="json"))
    else:
        barred = f"requests of {closed.barred_from:%Y-%m-%d} to {closed.barred_until:%Y-%m-%d} still do not train"
        take_in = (
            f"if its data are no fault, `perennial decisions accept-change {model} {closed.number} --reason '…'` takes them in"
        )
        console().print(f"{model}: incident {closed.number} is closed; {barred}; {take_in}", soft_wrap=True)
    return closed


def accept_change(
    settings: Settings, name: str, number: int | None, who: str, reason: str, now: datetime, json: bool
) -> Incident:
    """Say that the data of an incident are as the data are now, and make a training due.

    The incident is closed and its requests train; what its windows showed is part of what a window is checked against.

    Args:
        settings: where things are.
        name: the model.
        number: of the incident, open or closed; without one the only one that is open.
        who: says so.
        reason: why, in one sentence.
        now: the time for which it is said, UTC.
        json: print JSON instead of sentences.

    Raises:
        NotFoundError: there is no such incident, or several are open and no number says which.
    """
    from monitoring.observed import observed

    model = read(settings.models / f"{name}.yaml")
    with Ledger.open(settings.ledger) as ledger:
        of_model = {incident.number: incident for incident in ledger.incidents(name)}
        still = sorted(one for one, incident in of_model.items() if incident.closed is None)
        if number is None and len(still) == 1:
            number = still[0]
        if number is None or number not in of_model:
            which = "no number was given" if number is None else f"there is no incident {number}"
            known_ones = ", ".join(map(str, sorted(of_model))) or "none"
            raise NotFoundError(f"{name}: {which}; open incidents: {', '.join(map(str, still)) or 'none'}, all: {known_ones}")
        checks = observed(settings, model, of_model[number], ledger.windows(name), now)
        accepted = ledger.accept_incident(name, number, Acceptance(who=who, why=reason, when=now, checks=checks))
        decision = _training_due(ledger, accepted, who, reason, now)
    if json:
        print_json({"incident": accepted.model_dump(mode="json"), "decision": decision.model_dump(mode="json")})
        return accepted
    span = f"requests of {accepted.barred_from:%Y-%m-%d} to {accepted.barred_until:%Y-%m-%d} train from now on"
    widened = ", ".join(f"{check.name} {check.subject}".strip() for check in checks) or "nothing that a limit could be widened by"
    console().print(f"{name}: incident {number} is closed as a change of the data; {span}; accepted: {widened}", soft_wrap=True)
    console().print(f"Decision {decision.number}: {decision.sentence} {outcome_of(decision)}", soft_wrap=True)
    if decision.state == "open":
        console().print(f"Where no controller watches: `perennial tick`, or `perennial train {name}`", soft_wrap=True)
    return accepted


def _training_due(ledger: Ledger, incident: Incident, who: str, reason: str, now: datetime) -> Decision:
    """The decision to train on the changed data; asked for again, it is the same one."""
    asked = Fact(name="accepted change", value=float(incident.number), limit=None, sentence=f"{who} accepted it: {reason}")
    draft = DecisionDraft(
        kind="retrain",
        reason="manual",
        sentence=f"Train again: {who} accepted the change of incident {incident.number} ({reason}).",
        otherwise="Nobody accepting it.",
        facts=(asked,),
    )
    cause = f"{incident.model}/manual/accept-{incident.number}"
    return ledger.add_decision(incident.model, cause=cause, now=now, draft=draft)[0]


def accept(settings: Settings, model: str, number: int, json: bool) -> Decision:
    """A decision that waited for a person is open: the controller carries it out.

    Raises:
        NotFoundError: there is no such decision, or it does not wait for a person.
    """
    with Ledger.open(settings.ledger) as ledger:
        known(settings, ledger, model)
        before = ledger.decision(model, number)
        if before.state != "waits for a person":
            waiting = [str(one.number) for one in ledger.decisions(model) if one.state == "waits for a person"]
            raise NotFoundError(
                f"{model}: decision {number} is {before.state}; decisions that wait for a person: {', '.join(waiting) or 'none'}"
            )
        after = ledger.move_decision(model, number, before="waits for a person", after="open")
    if json:
        print_json(after.model_dump(mode="json"))
    else:
        console().print(f"{model}: decision {number} is {after.state}. {outcome_of(after)}", soft_wrap=True)
    return after
