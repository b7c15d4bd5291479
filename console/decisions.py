"""`perennial decisions` and `explain`: what was decided about a model, why, and what a person can do about it."""

from collections.abc import Sequence
from datetime import datetime

from rich.console import Console

from console.asking import Clock, ask
from console.display.explanation import explanation, incident_of
from console.display.output import console, minute, print_json, table
from console.display.streaks import Streak, streaks
from perennial.errors import NotFoundError
from perennial.ledger import Ledger
from perennial.loop.decision import Decision, Incident, Kind
from perennial.loop.outcome import incident_state, outcome_of
from perennial.loop.request import Accept, AcceptChange, Close, Request, Wish
from perennial.settings import Settings
from perennial.spec.read import read


def models_of(settings: Settings, ledger: Ledger) -> list[str]:
    """Every model that has a spec or was ever trained, by name."""
    return sorted({path.stem for path in settings.specs} | set(ledger.models()))


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
        text = f"{incident.model}, incident {incident.number}: {incident_state(incident)}\n  {incident.seen}"
        console().print(text, soft_wrap=True)


def _show_table(out: Console, folded: Sequence[Streak], limit: int) -> None:
    """Print the newest streaks, at least one, a row each."""
    newest = sorted(folded, key=lambda streak: (streak.newest.made, streak.newest.number), reverse=True)[:limit]
    columns = ("model", "number", "made", "decision", "state", "why", "what came of it")
    rows = []
    for streak in newest:
        last = streak.newest
        period = minute(last.made) if streak.count == 1 else f"{minute(streak.oldest.made)} to {minute(last.made)}"
        rows.append((last.model, streak.numbers, period, streak.title, last.state, last.sentence, outcome_of(last)))
    out.print(table("Decisions", columns, rows, numbers=("number",)))
    remainder = len(folded) - len(newest)
    if remainder:
        out.print(f"… and {remainder} older rows: --limit {len(folded)}")


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


def close(settings: Settings, model: str, wish: Close, now: datetime, clock: Clock, json: bool) -> Incident:
    """Ask for an incident to be closed, for a reason that is kept; without a number the only one that is open.

    Raises:
        NotFoundError: there is no such open incident, or several are open and no number says which.
    """
    request = _asked(settings, model, wish, now, clock)
    closed = _incident(settings, request)
    if json:
        print_json(closed.model_dump(mode="json"))
    else:
        excluded = f"requests of {closed.excluded_from:%Y-%m-%d} to {closed.excluded_until:%Y-%m-%d} still do not train"
        take_in = (
            f"if its data are no fault, `perennial decisions accept-change {model} {closed.number} --reason '…'` takes them in"
        )
        console().print(f"{model}: incident {closed.number} is closed; {excluded}; {take_in}", soft_wrap=True)
    return closed


def accept_change(settings: Settings, name: str, wish: AcceptChange, now: datetime, clock: Clock, json: bool) -> Incident:
    """Say that the data of an incident are as the data are now, and make a training due.

    The incident is closed and its requests train; what its windows showed is part of what a window is checked against.

    Args:
        settings: where things are.
        name: the model.
        wish: the incident, open or closed, who says so and why.
        now: the time for which it is said, UTC.
        clock: gives the real time.
        json: print JSON instead of sentences.

    Raises:
        NotFoundError: there is no such incident, or several are open and no number says which.
    """
    read(settings.models / f"{name}.yaml")
    request = _asked(settings, name, wish, now, clock)
    accepted = _incident(settings, request)
    with Ledger.open(settings.ledger) as ledger:
        decision = ledger.decision(name, int(request.outcome))
    if json:
        print_json({"incident": accepted.model_dump(mode="json"), "decision": decision.model_dump(mode="json")})
        return accepted
    checks = () if accepted.accepted is None else accepted.accepted.checks
    span = f"requests of {accepted.excluded_from:%Y-%m-%d} to {accepted.excluded_until:%Y-%m-%d} train from now on"
    widened = ", ".join(f"{check.name} {check.subject}".strip() for check in checks) or "nothing that a limit could be widened by"
    sentence = f"{name}: incident {accepted.number} is closed as a change of the data; {span}; accepted: {widened}"
    console().print(sentence, soft_wrap=True)
    console().print(f"Decision {decision.number}: {decision.sentence} {outcome_of(decision)}", soft_wrap=True)
    if decision.state == "open":
        console().print(f"Where no controller watches: `perennial tick`, or `perennial train {name}`", soft_wrap=True)
    return accepted


def accept(settings: Settings, model: str, number: int, now: datetime, clock: Clock, json: bool) -> Decision:
    """Accept a decision that waits for a person: the controller carries it out.

    Raises:
        NotFoundError: there is no such decision, or it does not wait for a person.
    """
    _asked(settings, model, Accept(decision=number), now, clock)
    with Ledger.open(settings.ledger) as ledger:
        after = ledger.decision(model, number)
    if json:
        print_json(after.model_dump(mode="json"))
    else:
        console().print(f"{model}: decision {number} is {after.state}. {outcome_of(after)}", soft_wrap=True)
    return after


def _asked(settings: Settings, model: str, wish: Wish, now: datetime, clock: Clock) -> Request:
    """A request about a model that there is, done."""
    with Ledger.open(settings.ledger) as ledger:
        known(settings, ledger, model)
    return ask(settings, model, wish, now, clock)


def _incident(settings: Settings, request: Request) -> Incident:
    """The incident that a request was about, as it is now."""
    with Ledger.open(settings.ledger) as ledger:
        return next(incident for incident in ledger.incidents(request.model) if incident.number == request.subject)
