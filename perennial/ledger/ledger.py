"""The ledger itself: what can be written and asked. Tables, upgrades and errors stand beside it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self

from sqlalchemy import Connection, Engine, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from perennial.errors import DataError, NotFoundError
from perennial.ledger.database import WAIT_SECONDS, connect, name_of, translated
from perennial.ledger.records import Mode, Run, Version
from perennial.ledger.tables import gate_results, rollouts, runs, versions
from perennial.ledger.upgrade import upgrade
from perennial.recipe import Recipe
from perennial.rollout import Observation, Rollout, request, step

if TYPE_CHECKING:
    from perennial.gates import GateResult

ATTEMPTS = 5
"""How often a version's number is drawn when another writer took it. SQLite's writers queue; PostgreSQL's do not."""


class Ledger:
    """The durable record of runs, versions, gate results and rollouts. Each call is one transaction."""

    def __init__(self, engine: Engine, where: str, wait_seconds: float) -> None:
        self._engine = engine
        self._writers = engine.execution_options(writes=True)
        self._where = where
        self._wait_seconds = wait_seconds

    @classmethod
    def open(cls, url: str, wait_seconds: float = WAIT_SECONDS) -> Self:
        """The ledger at `url`, made or upgraded to this release.

        Args:
            url: SQLAlchemy URL; the folder of an SQLite file is made.
            wait_seconds: how long a writer waits for another one.

        Raises:
            PlatformError: it cannot be opened, is locked, or was written by a newer release.
        """
        engine = connect(url, wait_seconds)
        ledger = cls(engine, name_of(url), wait_seconds)
        with translated(ledger._where, wait_seconds):
            upgrade(engine, ledger._writers, ledger._where)
        return ledger

    def close(self) -> None:
        """Its connections are closed."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with translated(self._where, self._wait_seconds), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with translated(self._where, self._wait_seconds), self._writers.begin() as connection:
            yield connection

    def start_run(self, *, run_id: str, model: str, mode: Mode, started: datetime, now: datetime, spec: str, folder: str) -> Run:
        """The run is known; called again with the same id, the first entry stays.

        Args:
            run_id: identifies the run.
            model: name of the model.
            mode: `search` or `refit`.
            started: when it began, aware.
            now: the time for which it trains, aware.
            spec: digest of the model spec.
            folder: folder of its steps and logs.
        """
        values = {"run_id": run_id, "model": model, "mode": mode, "started": started, "now": now, "spec": spec}
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
        run_key: str,
        dataset: str,
        mlflow_run_id: str | None = None,
    ) -> Run:
        """The run has come to its end with a result. What a run says of itself overrides that it was believed to have failed.

        Called again for a run that succeeded, the first result stays.

        Args:
            run_id: the run.
            finished: when it ended, aware.
            outcome: what it found: `registered`, `refused`, `invalid data`, ….
            reason: one sentence on how it ended.
            run_key: key of the training.
            dataset: digest of the dataset.
            mlflow_run_id: its run in MLflow.

        Raises:
            NotFoundError: there is no such run.
        """
        values = {"outcome": outcome, "run_key": run_key, "dataset": dataset, "mlflow_run_id": mlflow_run_id}
        with self._write() as connection:
            if _run(connection, run_id).state != "succeeded":
                ended = {"finished": finished, "state": "succeeded", "reason": reason}
                connection.execute(update(runs).where(runs.c.run_id == run_id).values(**values, **ended))
            return _run(connection, run_id)

    def fail_run(self, run_id: str, *, finished: datetime, reason: str) -> Run:
        """The run is known to have broken; one that has come to an end already is left alone.

        Args:
            run_id: the run.
            finished: when it was found broken, aware.
            reason: one sentence: which step, and why.

        Raises:
            NotFoundError: there is no such run.
        """
        with self._write() as connection:
            if _run(connection, run_id).state == "running":
                ended = {"finished": finished, "state": "failed", "reason": reason}
                connection.execute(update(runs).where(runs.c.run_id == run_id).values(**ended))
            return _run(connection, run_id)

    def runs(self, model: str | None = None, limit: int = 20) -> tuple[Run, ...]:
        """The newest runs, newest first; of one model if it is given."""
        query = select(runs).order_by(runs.c.started.desc(), runs.c.run_id.desc()).limit(limit)
        if model is not None:
            query = query.where(runs.c.model == model)
        with self._read() as connection:
            return tuple(Run.model_validate(dict(row)) for row in connection.execute(query).mappings())

    def run(self, run_id: str) -> Run:
        """The run with this id, or the only one whose id begins so.

        Raises:
            NotFoundError: there is none, or several ids begin so.
        """
        with self._read() as connection:
            return _run(connection, _full_id(connection, run_id))

    def add_version(
        self,
        *,
        model: str,
        run_key: str,
        digest: str,
        created: datetime,
        run_id: str,
        recipe: Recipe,
        searched_at: datetime,
        trained_until: datetime,
    ) -> tuple[int, bool]:
        """The version is registered: its number, and whether it is new.

        A version is unique on its run key: called again, the first entry and its digest stay.

        Args:
            model: name of the model.
            run_key: key of the training.
            digest: digest of the version folder.
            created: when it is registered, aware.
            run_id: the run that made it.
            recipe: how it was fitted.
            searched_at: when its recipe was found, aware.
            trained_until: end of its training rows, aware.

        Raises:
            NotFoundError: there is no such run.
        """
        values = {"model": model, "run_key": run_key, "digest": digest, "created": created, "run_id": run_id}
        values |= {"recipe": recipe.model_dump(mode="json"), "searched_at": searched_at, "trained_until": trained_until}
        same = (versions.c.model == model) & (versions.c.run_key == run_key)
        newest = select(func.coalesce(func.max(versions.c.number), 0)).where(versions.c.model == model)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with self._write() as connection:
                    _run(connection, run_id)
                    found = connection.scalar(select(versions.c.number).where(same))
                    if found is not None:
                        return int(found), False
                    number = int(connection.scalar(newest) or 0) + 1
                    connection.execute(insert(versions).values(**values, number=number))
                    return number, True
            except IntegrityError:
                if attempt == ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    def versions(self, model: str) -> tuple[Version, ...]:
        """The versions of a model, newest first; empty when it has none."""
        query = select(versions).where(versions.c.model == model).order_by(versions.c.number.desc())
        with self._read() as connection:
            return tuple(Version.model_validate(dict(row)) for row in connection.execute(query).mappings())

    def version(self, model: str, number: int | None = None) -> Version:
        """The version of a model with this number, else its newest.

        Raises:
            NotFoundError: there is none.
        """
        found = self.versions(model)
        for version in found:
            if number in (None, version.number):
                return version
        if not found:
            raise NotFoundError(f"ledger {self._where}: {model} has no version; `perennial train {model}` makes the first")
        raise NotFoundError(f"ledger {self._where}: {model} has no version {number}; it has 1 to {found[0].number}")

    def champion(self, model: str) -> Version | None:
        """The version that has the traffic: that of the newest rollout in state *champion*; none when there is none."""
        with self._read() as connection:
            number = _champion(connection, model)
        return None if number is None else self.version(model, number)

    def request_rollout(self, *, model: str, number: int, now: datetime, reason: str, attempt: int = 1) -> Rollout:
        """Traffic is asked for this version; asked again with the same attempt, the first request and its state stay.

        Args:
            model: name of the model.
            number: number of the version.
            now: aware.
            reason: one sentence.
            attempt: 1; one more for a version whose last request was refused or rolled back, when a person asks again.

        Raises:
            NotFoundError: there is no such version.
            DataError: the version is champion already, or its last request is not over.
        """
        digest = self.version(model, number).digest
        with suppress(IntegrityError), self._write() as connection:
            before = {found.attempt: found for found in _rollouts(connection, model) if found.number == number}
            if attempt in before:
                return before[attempt]
            last = before.get(attempt - 1)
            if attempt > 1 and (last is None or not last.is_over):
                where = "was never made" if last is None else f"is {last.state}"
                raise DataError(
                    f"{model}: request {attempt} for version {number} cannot be made: request {attempt - 1} {where}; "
                    "allowed once it is refused or rolled back"
                )
            previous = _champion(connection, model)
            wanted = request(
                model=model, number=number, digest=digest, previous=previous, now=now, reason=reason, attempt=attempt
            )
            connection.execute(insert(rollouts).values(**dict(wanted)))
        return next(found for found in self.rollouts(model) if (found.number, found.attempt) == (number, attempt))

    def move_rollout(self, before: Rollout, observation: Observation) -> Rollout:
        """The rollout as it stands after what was observed. `rollout.step` decides, and only from the state that was read.

        Where another writer moved it since `before` was read, nothing is done: what is returned is where it is now.

        Args:
            before: the rollout as it was read.
            observation: what was seen of it.

        Raises:
            NotFoundError: there is no such rollout.
        """
        after = step(before, observation)
        same = (rollouts.c.model == before.model) & (rollouts.c.number == before.number) & (rollouts.c.attempt == before.attempt)
        with self._write() as connection:
            if after != before:
                changed = {"state": after.state, "moved": after.moved, "reason": after.reason}
                connection.execute(update(rollouts).where(same & (rollouts.c.state == before.state)).values(**changed))
            row = connection.execute(select(rollouts).where(same)).mappings().one_or_none()
        if row is None:
            raise NotFoundError(f"ledger {self._where}: no rollout {before.attempt} of {before.model} version {before.number}")
        return Rollout.model_validate(dict(row))

    def rollouts(self, model: str) -> tuple[Rollout, ...]:
        """Every request for traffic of a model's versions, newest first."""
        with self._read() as connection:
            return _rollouts(connection, model)

    def models(self) -> tuple[str, ...]:
        """Names of the models that were ever trained, sorted."""
        with self._read() as connection:
            return tuple(connection.scalars(select(runs.c.model).distinct().order_by(runs.c.model)))

    def write_gates(self, run_id: str, results: Sequence["GateResult"]) -> None:
        """The run has these gate results, in this order, and no others.

        Raises:
            NotFoundError: there is no such run.
        """
        rows = [
            {"run_id": run_id, "position": position, **result.model_dump(mode="json")} for position, result in enumerate(results)
        ]
        with self._write() as connection:
            _run(connection, run_id)
            connection.execute(delete(gate_results).where(gate_results.c.run_id == run_id))
            if rows:
                connection.execute(insert(gate_results), rows)

    def gates(self, run_id: str) -> tuple["GateResult", ...]:
        """What the gates said in a run, in order; empty when it came to none.

        Raises:
            NotFoundError: there is no such run.
        """
        from perennial.gates import GateResult

        wanted = (gate_results.c.name, gate_results.c.verdict, gate_results.c.sentence, gate_results.c.numbers)
        with self._read() as connection:
            query = select(*wanted).where(gate_results.c.run_id == _full_id(connection, run_id)).order_by(gate_results.c.position)
            return tuple(GateResult.model_validate(dict(row)) for row in connection.execute(query).mappings())


def _rollouts(connection: Connection, model: str) -> tuple[Rollout, ...]:
    newest = (rollouts.c.requested.desc(), rollouts.c.number.desc(), rollouts.c.attempt.desc())
    query = select(rollouts).where(rollouts.c.model == model).order_by(*newest)
    return tuple(Rollout.model_validate(dict(row)) for row in connection.execute(query).mappings())


def _champion(connection: Connection, model: str) -> int | None:
    newest = (rollouts.c.moved.desc(), rollouts.c.number.desc(), rollouts.c.attempt.desc())
    query = select(rollouts.c.number).where((rollouts.c.model == model) & (rollouts.c.state == "champion"))
    number = connection.scalar(query.order_by(*newest).limit(1))
    return None if number is None else int(number)


def _run(connection: Connection, run_id: str) -> Run:
    row = connection.execute(select(runs).where(runs.c.run_id == run_id)).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"ledger: no run {run_id!r}; `perennial runs` lists them")
    return Run.model_validate(dict(row))


def _full_id(connection: Connection, beginning: str) -> str:
    if connection.scalar(select(runs.c.run_id).where(runs.c.run_id == beginning)) is not None:
        return beginning
    query = select(runs.c.run_id).where(runs.c.run_id.startswith(beginning, autoescape=True)).order_by(runs.c.run_id).limit(6)
    found = [str(name) for name in connection.scalars(query)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise NotFoundError(f"ledger: no run {beginning!r}; `perennial runs` lists them")
    raise NotFoundError(f"ledger: several runs begin with {beginning!r}: {', '.join(found[:5])}{', …' if len(found) > 5 else ''}")
