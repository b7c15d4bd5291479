"""Requests of people to the controller. Whoever asks adds one; the rest is the controller's to write."""

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, func, insert, select, update

from perennial.errors import NotFoundError
from perennial.ledger.tables import requests
from perennial.ledger.transactions import Transactions, read_all, read_one
from perennial.loop.failure import Failure
from perennial.loop.request import Request, Wish


class RequestLedger(Transactions):
    """What is kept of requests."""

    def add_request(self, model: str, wish: Wish, *, made: datetime, now: datetime) -> Request:
        """The request waits for the controller.

        Args:
            model: name of the model.
            wish: what is asked for.
            made: the real time, aware.
            now: the time for which it is to be done, aware.
        """
        with self._write() as connection:
            newest = connection.scalar(select(func.coalesce(func.max(requests.c.number), 0)).where(requests.c.model == model))
            number = int(newest or 0) + 1
            values = {"model": model, "number": number, "wish": wish.model_dump(mode="json"), "made": made, "now": now}
            connection.execute(insert(requests).values(**values, state="open", outcome=""))
            return _request(connection, model, number)

    def begin_request(self, request: Request, subject: int | None) -> Request:
        """What the request is about is settled; settled already, it stays.

        Args:
            request: the request.
            subject: number of its decision, incident, version or attempt; none where it is about none.

        Raises:
            NotFoundError: there is no such request.
        """
        with self._write() as connection:
            is_open = _same(request.model, request.number) & (requests.c.state == "open")
            connection.execute(update(requests).where(is_open).values(state="acting", subject=subject))
            return _request(connection, request.model, request.number)

    def end_request(
        self, request: Request, *, outcome: str = "", run: str | None = None, failure: Failure | None = None
    ) -> Request:
        """The request is done; done already, it stays as it is.

        Args:
            request: the request.
            outcome: what came of it.
            run: id of the run that ended it.
            failure: why nothing came of it.

        Raises:
            NotFoundError: there is no such request.
        """
        failure_fields = None if failure is None else failure.model_dump(mode="json")
        with self._write() as connection:
            condition = _same(request.model, request.number) & (requests.c.state != "done")
            values = {"state": "done", "outcome": outcome, "run": run, "failure": failure_fields}
            connection.execute(update(requests).where(condition).values(**values))
            return _request(connection, request.model, request.number)

    def request(self, model: str, number: int) -> Request:
        """One request.

        Raises:
            NotFoundError: there is no such request.
        """
        with self._read() as connection:
            return _request(connection, model, number)

    def request_from(self, model: str, pipeline_run: str) -> Request | None:
        """The request about a model that was made from this run on a pipeline server; none where none was."""
        return next(
            (request for request in self.requests(model) if getattr(request.wish, "pipeline_run", "") == pipeline_run), None
        )

    def request_because(self, model: str, reason: str) -> Request | None:
        """The newest request about a model that says this why; none where none does."""
        return next((request for request in self.requests(model) if getattr(request.wish, "reason", "") == reason), None)

    def requests(self, model: str) -> tuple[Request, ...]:
        """Every request about a model, newest first."""
        query = select(requests).where(requests.c.model == model).order_by(requests.c.number.desc())
        with self._read() as connection:
            return read_all(connection, query, Request)

    def open_requests(self, model: str | None = None) -> tuple[Request, ...]:
        """The requests that are not done, of a model or of all, oldest first."""
        query = select(requests).where(requests.c.state != "done").order_by(requests.c.model, requests.c.number)
        if model is not None:
            query = query.where(requests.c.model == model)
        with self._read() as connection:
            return read_all(connection, query, Request)


def _same(model: str, number: int) -> ColumnElement[bool]:
    return (requests.c.model == model) & (requests.c.number == number)


def _request(connection: Connection, model: str, number: int) -> Request:
    request = read_one(connection, select(requests).where(_same(model, number)), Request)
    if request is None:
        raise NotFoundError(f"ledger: {model} has no request {number}")
    return request
