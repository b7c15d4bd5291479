"""Runs and their gate results."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from perennial.errors import NotFoundError
from perennial.ledger.records import Mode, Run
from perennial.ledger.tables import decisions, gate_results, runs
from perennial.ledger.transactions import Transactions, read_all, read_one
from perennial.loop.failure import Failure

if TYPE_CHECKING:
    from perennial.evaluation.gates import GateResult


class Runs(Transactions):
    """What is kept of runs."""

    def start_run(
        self,
        *,
        run_id: str,
        model: str,
        mode: Mode,
        started: datetime,
        now: datetime,
        spec: str,
        folder: str,
        claim: str | None = None,
        decision: int | None = None,
    ) -> Run:
        """The run is known; called again with the same id, the first entry stays.

        Args:
            run_id: identifies the run.
            model: name of the model.
            mode: `search`, `refit` or `monitor`.
            started: when it began, aware.
            now: the time for which it trains, aware.
            spec: digest of the model spec.
            folder: folder of its steps and logs.
            claim: key of the claim that it carries out.
            decision: number of the decision that it carries out.
        """
        values = {"run_id": run_id, "model": model, "mode": mode, "started": started, "now": now, "spec": spec}
        values |= {"claim": claim, "decision": decision}
        with suppress(IntegrityError), self._write() as connection:
            connection.execute(insert(runs).values(**values, state="running", reason="", folder=folder))
        return self.run(run_id)

    def finish_run(
        self,
        run_id: str,
        *,
        finished: datetime,
        outcome: str,
        reason: str,
        run_key: str | None = None,
        dataset: str | None = None,
        mlflow_run_id: str | None = None,
    ) -> Run:
        """The run has come to its end with a result. What a run says of itself overrides that it was believed to have failed.

        Called again for a run that succeeded, the first result stays.

        Args:
            run_id: the run.
            finished: when it ended, aware.
            outcome: what it found: `registered`, `stopped`, `invalid data`, a decision's kind, `superseded`.
            reason: one sentence on how it ended.
            run_key: key of the training; none when it monitors.
            dataset: digest of the dataset; none when it monitors.
            mlflow_run_id: its run in MLflow.

        Raises:
            NotFoundError: there is no such run.
        """
        values = {"outcome": outcome, "run_key": run_key, "dataset": dataset, "mlflow_run_id": mlflow_run_id}
        with self._write() as connection:
            if run_of(connection, run_id).state != "succeeded":
                ending = {"finished": finished, "state": "succeeded", "reason": reason}
                connection.execute(update(runs).where(runs.c.run_id == run_id).values(**values, **ending))
            return run_of(connection, run_id)

    def fail_run(self, run_id: str, *, finished: datetime, failure: Failure) -> Run:
        """The run is known to have broken; one that has come to an end already is left alone.

        Args:
            run_id: the run.
            finished: when it was found broken, aware.
            failure: what it broke with.

        Raises:
            NotFoundError: there is no such run.
        """
        with self._write() as connection:
            if run_of(connection, run_id).state == "running":
                ending = {"finished": finished, "state": "failed", "reason": failure.sentence}
                ending |= {"failure_kind": failure.kind, "failure_retry": failure.retry, "failure_step": failure.step}
                connection.execute(update(runs).where(runs.c.run_id == run_id).values(**ending))
            return run_of(connection, run_id)

    def note_heartbeat(self, run_id: str, *, host: str, now: datetime) -> None:
        """The run's process lives; of a run that has an end nothing is noted.

        Args:
            run_id: the run.
            host: host and process that execute it.
            now: the real time, aware.
        """
        lives = (runs.c.run_id == run_id) & (runs.c.state == "running")
        with self._write() as connection:
            connection.execute(update(runs).where(lives).values(host=host, heartbeat=now))

    def runs(self, model: str | None = None, limit: int = 20) -> tuple[Run, ...]:
        """The newest runs, newest first; of one model if it is given."""
        query = select(runs).order_by(runs.c.started.desc(), runs.c.run_id.desc()).limit(limit)
        if model is not None:
            query = query.where(runs.c.model == model)
        with self._read() as connection:
            return read_all(connection, query, Run)

    def trainings(self, since: datetime) -> dict[str, tuple[datetime, ...]]:
        """Times after `since` for which the loop trained, by model: what counts against the budget of a quarter.

        A training that a person asked for does not count, nor one that did not come to its end.
        """
        came_to_an_end = (runs.c.state == "succeeded") & (runs.c.mode != "monitor") & (runs.c.outcome != "superseded")
        of_the_loop = (decisions.c.model == runs.c.model) & (decisions.c.number == runs.c.decision)
        query = (
            select(runs.c.model, runs.c.now)
            .join(decisions, of_the_loop)
            .where(came_to_an_end & (runs.c.now > since) & (decisions.c.reason != "manual"))
            .order_by(runs.c.now)
        )
        found: dict[str, tuple[datetime, ...]] = {}
        with self._read() as connection:
            for model, time in connection.execute(query):
                found[model] = (*found.get(model, ()), time)
        return found

    def run(self, run_id: str) -> Run:
        """The run with this id, or the only one whose id begins so.

        Raises:
            NotFoundError: there is none, or several ids begin so.
        """
        with self._read() as connection:
            return run_of(connection, _full_id(connection, run_id))

    def models(self) -> tuple[str, ...]:
        """Names of the models that were ever trained, sorted."""
        with self._read() as connection:
            return tuple(sorted(connection.scalars(select(runs.c.model).distinct())))

    def write_gates(self, run_id: str, results: Sequence["GateResult"]) -> None:
        """The run has these gate results, in this order, and no others.

        Raises:
            NotFoundError: there is no such run.
        """
        rows = [
            {"run_id": run_id, "position": position, **result.model_dump(mode="json")} for position, result in enumerate(results)
        ]
        with self._write() as connection:
            run_of(connection, run_id)
            connection.execute(delete(gate_results).where(gate_results.c.run_id == run_id))
            if rows:
                connection.execute(insert(gate_results), rows)

    def gates(self, run_id: str) -> tuple["GateResult", ...]:
        """What the gates said in a run, in order; empty when it came to none.

        Raises:
            NotFoundError: there is no such run.
        """
        from perennial.evaluation.gates import GateResult

        columns = (gate_results.c.name, gate_results.c.verdict, gate_results.c.sentence, gate_results.c.numbers)
        with self._read() as connection:
            query = (
                select(*columns).where(gate_results.c.run_id == _full_id(connection, run_id)).order_by(gate_results.c.position)
            )
            return read_all(connection, query, GateResult)


def run_of(connection: Connection, run_id: str) -> Run:
    """The run with this id, read in a transaction that is open.

    Raises:
        NotFoundError: there is none.
    """
    run = read_one(connection, select(runs).where(runs.c.run_id == run_id), Run)
    if run is None:
        raise NotFoundError(f"ledger: no run {run_id!r}; `perennial runs` lists them")
    return run


def _full_id(connection: Connection, beginning: str) -> str:
    if connection.scalar(select(runs.c.run_id).where(runs.c.run_id == beginning)) is not None:
        return beginning
    query = select(runs.c.run_id).where(runs.c.run_id.startswith(beginning, autoescape=True)).order_by(runs.c.run_id).limit(6)
    run_ids = [str(name) for name in connection.scalars(query)]
    if len(run_ids) == 1:
        return run_ids[0]
    if not run_ids:
        raise NotFoundError(f"ledger: no run {beginning!r}; `perennial runs` lists them")
    raise NotFoundError(
        f"ledger: several runs begin with {beginning!r}: {', '.join(run_ids[:5])}{', …' if len(run_ids) > 5 else ''}"
    )
