"""What a person says about a decision or an incident, written to the ledger. Each part may be repeated after a crash."""

from collections.abc import Callable
from datetime import datetime

from controller.context import Context
from monitoring.observed import observed
from perennial.errors import NotFoundError
from perennial.ledger import Ledger
from perennial.loop.decision import Acceptance, Decision, DecisionDraft, Fact, Incident
from perennial.loop.outcome import incident_state
from perennial.loop.request import AcceptChange, Request
from perennial.spec.model import Model


def accept_decision(ledger: Ledger, request: Request, number: int) -> str:
    """Open a decision that waits for a person: the controller carries it out. Returns its state.

    Raises:
        NotFoundError: there is no such decision, or it does not wait for a person.
    """
    name = request.model
    if request.state == "open":
        before = ledger.decision(name, number)
        if before.state != "waits for a person":
            waiting = [str(decision.number) for decision in ledger.decisions(name) if decision.state == "waits for a person"]
            raise NotFoundError(
                f"{name}: decision {number} is {before.state}; decisions that wait for a person: {', '.join(waiting) or 'none'}"
            )
        ledger.begin_request(request, number)
    return ledger.move_decision(name, number, before="waits for a person", after="open").state


def close(ledger: Ledger, request: Request, number: int | None, reason: str) -> str:
    """Close an incident, for a reason that is kept; without a number the only one that is open. Returns what was done.

    Raises:
        NotFoundError: there is no such open incident, or several are open and no number says which.
    """
    chosen = _settled(ledger, request, number, _open_one)
    ledger.close_incident(request.model, chosen, now=request.now, closing=f"a person closed it: {reason}")
    return "closed"


def accept_change(context: Context, model: Model, request: Request, wish: AcceptChange) -> str:
    """Say that the data of an incident are as the data are now, and make a training due. Returns the number of that decision.

    The incident is closed and its requests train; what its windows showed is part of what a window is checked against.

    Raises:
        NotFoundError: there is no such incident, or several are open and no number says which.
    """
    ledger, name = context.ledger, request.model
    chosen = _settled(ledger, request, wish.incident, _any_one)
    incident = next(incident for incident in ledger.incidents(name) if incident.number == chosen)
    checks = observed(context.settings, model, incident, ledger.windows(name), request.now)
    acceptance = Acceptance(who=wish.who, why=wish.reason, when=request.now, checks=checks)
    accepted = ledger.accept_incident(name, chosen, acceptance)
    return str(_training_due(ledger, accepted, wish, request.now).number)


def _settled(
    ledger: Ledger, request: Request, number: int | None, choose: Callable[[str, dict[int, Incident], int | None], int]
) -> int:
    """Number of the incident that a request is about, chosen once."""
    if request.state == "open":
        incidents = {incident.number: incident for incident in ledger.incidents(request.model)}
        request = ledger.begin_request(request, choose(request.model, incidents, number))
    assert request.subject is not None  # begun
    return request.subject


def _only_open(incidents: dict[int, Incident], number: int | None) -> tuple[int | None, list[int]]:
    """The incident that is meant, and all that are open: without a number the only open one."""
    still = sorted(incident_number for incident_number, incident in incidents.items() if incident.closed is None)
    return (still[0] if number is None and len(still) == 1 else number), still


def _open_one(name: str, incidents: dict[int, Incident], number: int | None) -> int:
    number, still = _only_open(incidents, number)
    if number is None or number not in still:
        shown = ", ".join(map(str, still)) or "none"
        before = incidents.get(number) if number is not None else None
        state = f"; it was {incident_state(before)}" if before is not None else ""
        which = "no number was given" if number is None else f"incident {number} is not open{state}"
        raise NotFoundError(f"{name}: {which}; open incidents: {shown}")
    return number


def _any_one(name: str, incidents: dict[int, Incident], number: int | None) -> int:
    number, still = _only_open(incidents, number)
    if number is None or number not in incidents:
        which = "no number was given" if number is None else f"there is no incident {number}"
        numbers = ", ".join(map(str, sorted(incidents))) or "none"
        raise NotFoundError(f"{name}: {which}; open incidents: {', '.join(map(str, still)) or 'none'}, all: {numbers}")
    return number


def _training_due(ledger: Ledger, incident: Incident, wish: AcceptChange, now: datetime) -> Decision:
    """The decision to train on the changed data; asked for again, it is the same one."""
    fact = Fact(
        name="accepted change", value=float(incident.number), limit=None, sentence=f"{wish.who} accepted it: {wish.reason}"
    )
    draft = DecisionDraft(
        kind="retrain",
        reason="manual",
        sentence=f"Train again: {wish.who} accepted the change of incident {incident.number} ({wish.reason}).",
        otherwise="Nobody accepting it.",
        facts=(fact,),
    )
    cause = f"{incident.model}/manual/accept-{incident.number}"
    return ledger.add_decision(incident.model, cause=cause, now=now, draft=draft)[0]
