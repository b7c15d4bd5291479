"""Decisions and incidents."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from sqlalchemy import ColumnElement, Connection, Table, func, insert, select, update

from perennial.errors import NotFoundError
from perennial.ledger.tables import decisions, incidents
from perennial.ledger.transactions import Transactions, read_all, read_one
from perennial.loop.decision import Acceptance, Decision, DecisionDraft, DecisionState, Incident

UNDER_WAY = ("open", "acting")
"""States of a decision from which the controller goes on."""


class Decisions(Transactions):
    """What is kept of decisions, and of the incidents that some of them opened."""

    def add_decision(
        self,
        model: str,
        *,
        cause: str,
        now: datetime,
        draft: DecisionDraft,
        windows: Sequence[datetime] = (),
        judged: Sequence[datetime] = (),
        state: DecisionState = "open",
    ) -> tuple[Decision, bool]:
        """The decision is kept, and whether it is new. It is unique on its cause: added again, the first stays.

        Args:
            model: name of the model.
            cause: key of the monitoring run, or of a person's request.
            now: UTC.
            draft: what was concluded.
            windows: begins of the windows that it looked at for the first time.
            judged: begins of those whose performance it looked at for the first time.
            state: `open` where the controller is to act.
        """
        condition = (decisions.c.model == model) & (decisions.c.cause == cause)
        with self._write() as connection:
            existing_number = connection.scalar(select(decisions.c.number).where(condition))
            if existing_number is not None:
                return _decision(connection, model, int(existing_number)), False
            number = _next(connection, decisions, model)
            values = {"model": model, "number": number, "cause": cause, "made": now, "state": state, "outcome": ""}
            window_starts = {"windows": windows, "judged": judged}
            iso_starts = {name: [start.isoformat() for start in starts] for name, starts in window_starts.items()}
            connection.execute(insert(decisions).values(**values, **draft.model_dump(mode="json"), **iso_starts))
            return _decision(connection, model, number), True

    def move_decision(
        self, model: str, number: int, *, before: DecisionState, after: DecisionState, outcome: str = ""
    ) -> Decision:
        """The decision as it stands; moved only if it was in the state `before`.

        Raises:
            NotFoundError: there is no such decision.
        """
        condition = (decisions.c.model == model) & (decisions.c.number == number)
        with self._write() as connection:
            connection.execute(
                update(decisions).where(condition & (decisions.c.state == before)).values(state=after, outcome=outcome)
            )
            return _decision(connection, model, number)

    def end_decision(self, model: str, number: int, *, state: Literal["done", "failed"], outcome: str) -> Decision:
        """The decision is over, with what came of it, if it was open or acted on; over already, it stays as it is.

        Raises:
            NotFoundError: there is no such decision.
        """
        condition = (decisions.c.model == model) & (decisions.c.number == number)
        with self._write() as connection:
            statement = update(decisions).where(condition & decisions.c.state.in_(UNDER_WAY)).values(state=state, outcome=outcome)
            connection.execute(statement)
            return _decision(connection, model, number)

    def decisions(self, model: str, limit: int | None = None) -> tuple[Decision, ...]:
        """The decisions about a model, newest first."""
        query = select(decisions).where(decisions.c.model == model).order_by(decisions.c.number.desc()).limit(limit)
        with self._read() as connection:
            return read_all(connection, query, Decision)

    def decision(self, model: str, number: int) -> Decision:
        """One decision.

        Raises:
            NotFoundError: there is no such decision.
        """
        with self._read() as connection:
            return _decision(connection, model, number)

    def open_decisions(self, model: str | None = None) -> tuple[Decision, ...]:
        """Decisions on which the controller acts next, or acts, oldest first; of one model if it is given."""
        query = select(decisions).where(decisions.c.state.in_(UNDER_WAY)).order_by(decisions.c.model, decisions.c.number)
        if model is not None:
            query = query.where(decisions.c.model == model)
        with self._read() as connection:
            return read_all(connection, query, Decision)

    def open_incident(
        self,
        model: str,
        *,
        decision: int,
        now: datetime,
        owner: str,
        seen: str,
        subjects: Sequence[str],
        excluded_from: datetime,
        excluded_until: datetime,
        needed: int,
    ) -> Incident:
        """An incident is open; a decision opens one, so opened again by the same decision, the first stays.

        Args:
            model: name of the model.
            decision: number of the decision that opens it.
            now: UTC.
            owner: who must act.
            seen: one sentence.
            subjects: columns or views that were broken.
            excluded_from: requests from here never train …
            excluded_until: … up to here, exclusive.
            needed: clean windows after which it closes by itself.
        """
        condition = (incidents.c.model == model) & (incidents.c.decision == decision)
        with self._write() as connection:
            _decision(connection, model, decision)
            existing_number = connection.scalar(select(incidents.c.number).where(condition))
            if existing_number is not None:
                return _incident(connection, model, int(existing_number))
            number = _next(connection, incidents, model)
            values = {"model": model, "number": number, "decision": decision, "opened": now, "owner": owner, "seen": seen}
            values |= {
                "subjects": list(subjects),
                "excluded_from": excluded_from,
                "excluded_until": excluded_until,
                "needed": needed,
            }
            connection.execute(insert(incidents).values(**values, clean=0, closed=None, closing=""))
            return _incident(connection, model, number)

    def extend_incident(
        self, model: str, number: int, *, excluded_until: datetime, seen: str, subjects: Sequence[str]
    ) -> Incident:
        """A further window was broken: the open incident reaches further, and no window is clean since. A closed one stays.

        Raises:
            NotFoundError: there is no such incident.
        """
        with self._write() as connection:
            before = _incident(connection, model, number)
            values = {
                "excluded_until": max(excluded_until, before.excluded_until),
                "seen": seen,
                "subjects": sorted({*before.subjects, *subjects}),
                "clean": 0,
            }
            connection.execute(update(incidents).where(_open(model, number)).values(**values))
            return _incident(connection, model, number)

    def count_clean(self, model: str, number: int, clean: int) -> Incident:
        """So many windows were clean since the last broken one. A closed incident stays.

        Raises:
            NotFoundError: there is no such incident.
        """
        with self._write() as connection:
            connection.execute(update(incidents).where(_open(model, number)).values(clean=clean))
            return _incident(connection, model, number)

    def close_incident(self, model: str, number: int, *, now: datetime, closing: str) -> Incident:
        """The incident is closed; closed again, the first closing stays.

        Raises:
            NotFoundError: there is no such incident.
        """
        with self._write() as connection:
            connection.execute(update(incidents).where(_open(model, number)).values(closed=now, closing=closing))
            return _incident(connection, model, number)

    def accept_incident(self, model: str, number: int, acceptance: Acceptance) -> Incident:
        """The incident's data are no fault: it is closed if it was open, and its requests train. Accepted again, the first stays.

        Raises:
            NotFoundError: there is no such incident.
        """
        condition = (incidents.c.model == model) & (incidents.c.number == number)
        closure = {"closed": acceptance.when, "closing": f"{acceptance.who} accepted the change: {acceptance.why}"}
        statement = update(incidents).where(condition & incidents.c.accepted.is_(None))
        with self._write() as connection:
            connection.execute(update(incidents).where(_open(model, number)).values(**closure))
            connection.execute(statement.values(accepted=acceptance.model_dump(mode="json")))
            return _incident(connection, model, number)

    def excluded(self, model: str) -> tuple[tuple[datetime, datetime], ...]:
        """Times [from, until) whose requests train no model, by their begin: those of incidents that nobody accepted."""
        faults = (incident for incident in self.incidents(model) if incident.accepted is None)
        return tuple(sorted((incident.excluded_from, incident.excluded_until) for incident in faults))

    def incidents(self, model: str, only_open: bool = False) -> tuple[Incident, ...]:
        """The incidents of a model, newest first."""
        query = select(incidents).where(incidents.c.model == model).order_by(incidents.c.number.desc())
        if only_open:
            query = query.where(incidents.c.closed.is_(None))
        with self._read() as connection:
            return read_all(connection, query, Incident)


def _open(model: str, number: int) -> ColumnElement[bool]:
    return (incidents.c.model == model) & (incidents.c.number == number) & incidents.c.closed.is_(None)


def _next(connection: Connection, table: Table, model: str) -> int:
    newest = connection.scalar(select(func.coalesce(func.max(table.c.number), 0)).where(table.c.model == model))
    return int(newest or 0) + 1


def _decision(connection: Connection, model: str, number: int) -> Decision:
    condition = (decisions.c.model == model) & (decisions.c.number == number)
    decision = read_one(connection, select(decisions).where(condition), Decision)
    if decision is None:
        raise NotFoundError(f"ledger: {model} has no decision {number}; `perennial decisions {model}` lists them")
    return decision


def _incident(connection: Connection, model: str, number: int) -> Incident:
    condition = (incidents.c.model == model) & (incidents.c.number == number)
    incident = read_one(connection, select(incidents).where(condition), Incident)
    if incident is None:
        raise NotFoundError(f"ledger: {model} has no incident {number}; `perennial decisions {model}` lists them")
    return incident
