"""What came of decisions and incidents, in a sentence each, with the command by which a person acts."""

from perennial.loop.decision import Decision, Incident

STATES = {
    "open": "The controller acts on it at its next tick.",
    "waits for a person": "The policy is advisory: a person accepts it with `perennial decisions accept {model} {number}`.",
    "acting": "A run is carrying it out; `perennial status` says how far it is.",
    "done": "It is done.",
    "failed": "It could not be carried out.",
}
"""What each state of a decision means, where nothing more is stored."""


def outcome_of(decision: Decision) -> str:
    """What came of a decision: as it is stored, else what its state means."""
    if decision.kind != "retrain" and decision.state == "done" and not decision.outcome:
        return "Nothing was done, as decided." if decision.kind == "leave" else "No training starts while its incident is open."
    return decision.outcome or STATES[decision.state].format(model=decision.model, number=decision.number)


def incident_state(incident: Incident) -> str:
    """How an incident stands: who must act, or how it was closed."""
    if incident.closed is not None:
        return f"closed on {incident.closed:%Y-%m-%d %H:%M}: {incident.closing}"
    exclusion = f"requests of {incident.excluded_from:%Y-%m-%d} to {incident.excluded_until:%Y-%m-%d} do not train"
    return (
        f"open, {incident.owner} acts; {exclusion}; it closes by itself after {incident.needed} clean windows "
        f"({incident.clean} so far), or with `perennial decisions close {incident.model}`; if the data are like this now: "
        f"`perennial decisions accept-change {incident.model} {incident.number} --reason '…'`"
    )
