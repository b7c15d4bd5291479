"""Versions and their rollouts."""

from contextlib import suppress
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from perennial.errors import DataError, NotFoundError
from perennial.ledger.records import Run, Version
from perennial.ledger.runs import run_of
from perennial.ledger.tables import rollouts, runs, versions
from perennial.ledger.transactions import Transactions, read_all, read_one
from perennial.loop.rollout import Observation, Rollout, request, step
from perennial.training.recipe import Recipe


class Versions(Transactions):
    """What is kept of versions, and of who asked traffic for them."""

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
        condition = (versions.c.model == model) & (versions.c.run_key == run_key)
        newest = select(func.coalesce(func.max(versions.c.number), 0)).where(versions.c.model == model)
        with self._write() as connection:
            run_of(connection, run_id)
            existing_number = connection.scalar(select(versions.c.number).where(condition))
            if existing_number is not None:
                return int(existing_number), False
            number = int(connection.scalar(newest) or 0) + 1
            connection.execute(insert(versions).values(**values, number=number))
            return number, True

    def versions(self, model: str) -> tuple[Version, ...]:
        """The versions of a model, newest first; empty when it has none."""
        query = select(versions).where(versions.c.model == model).order_by(versions.c.number.desc())
        with self._read() as connection:
            return read_all(connection, query, Version)

    def version(self, model: str, number: int | None = None) -> Version:
        """The version of a model with this number, else its newest.

        Raises:
            NotFoundError: there is none.
        """
        history = self.versions(model)
        for version in history:
            if number in (None, version.number):
                return version
        if not history:
            raise NotFoundError(f"ledger {self._where}: {model} has no version; `perennial train {model}` makes the first")
        raise NotFoundError(f"ledger {self._where}: {model} has no version {number}; it has 1 to {history[0].number}")

    def champion(self, model: str) -> Version | None:
        """The version that has the traffic: that of the newest rollout in state *champion*; none when there is none."""
        with self._read() as connection:
            number = _champion(connection, model)
        return None if number is None else self.version(model, number)

    def settled(self) -> dict[str, tuple[Version, Run]]:
        """By model, the champion and the run that made it; without models of which a request for traffic is on its way."""
        on_its_way = select(rollouts.c.model).where(rollouts.c.state.in_(("requested", "checked")))
        newest_first = (rollouts.c.moved.desc(), rollouts.c.number.desc(), rollouts.c.attempt.desc())
        place = func.row_number().over(partition_by=rollouts.c.model, order_by=newest_first).label("place")
        had_traffic = (
            select(rollouts.c.model, rollouts.c.number, place)
            .where((rollouts.c.state == "champion") & rollouts.c.model.not_in(on_its_way))
            .subquery()
        )
        same = (versions.c.model == had_traffic.c.model) & (versions.c.number == had_traffic.c.number)
        champions = select(versions).join(had_traffic, same).where(had_traffic.c.place == 1)
        made = select(runs).where(runs.c.run_id.in_(champions.with_only_columns(versions.c.run_id)))
        with self._read() as connection:
            run_by_id = {run.run_id: run for run in read_all(connection, made, Run)}
            return {version.model: (version, run_by_id[version.run_id]) for version in read_all(connection, champions, Version)}

    def trained_until(self) -> dict[str, dict[str, datetime]]:
        """The end of the data that each version was trained on, by model and digest."""
        query = select(versions.c.model, versions.c.digest, versions.c.trained_until)
        found: dict[str, dict[str, datetime]] = {}
        with self._read() as connection:
            for model, digest, time in connection.execute(query):
                found.setdefault(model, {})[digest] = time
        return found

    def request_rollout(self, *, model: str, number: int, now: datetime, reason: str, attempt: int = 1) -> Rollout:
        """Traffic is asked for this version; asked again with the same attempt, the first request and its state stay.

        A further attempt comes after every rollout of the model, by whatever clock it is asked for: the last request is wanted.

        Args:
            model: name of the model.
            number: number of the version.
            now: aware.
            reason: one sentence.
            attempt: 1; one more when a person asks again, for a version whose last request was refused or rolled back, or whose
                traffic another version has now.

        Raises:
            NotFoundError: there is no such version.
            DataError: the version is champion already, or its last request is not over.
        """
        digest = self.version(model, number).digest
        with suppress(IntegrityError), self._write() as connection:
            earlier, previous = _rollouts(connection, model), _champion(connection, model)
            before = {rollout.attempt: rollout for rollout in earlier if rollout.number == number}
            if attempt in before:
                return before[attempt]
            last = before.get(attempt - 1)
            had_it = last is not None and last.state == "champion" and previous != number
            if attempt > 1 and (last is None or not (last.is_over or had_it)):
                state = "was never made" if last is None else f"is {last.state}"
                raise DataError(
                    f"{model}: request {attempt} for version {number} cannot be made: request {attempt - 1} {state}; "
                    "allowed once it is refused or rolled back, or another version has the traffic"
                )
            if attempt > 1:
                now = max(now, *(max(rollout.requested, rollout.moved) + timedelta(microseconds=1) for rollout in earlier))
            new_rollout = request(
                model=model, number=number, digest=digest, previous=previous, now=now, reason=reason, attempt=attempt
            )
            connection.execute(insert(rollouts).values(**dict(new_rollout)))
        return next(rollout for rollout in self.rollouts(model) if (rollout.number, rollout.attempt) == (number, attempt))

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
        condition = (
            (rollouts.c.model == before.model) & (rollouts.c.number == before.number) & (rollouts.c.attempt == before.attempt)
        )
        with self._write() as connection:
            if after != before:
                values = {"state": after.state, "moved": after.moved, "reason": after.reason}
                connection.execute(update(rollouts).where(condition & (rollouts.c.state == before.state)).values(**values))
            rollout = read_one(connection, select(rollouts).where(condition), Rollout)
        if rollout is None:
            raise NotFoundError(f"ledger {self._where}: no rollout {before.attempt} of {before.model} version {before.number}")
        return rollout

    def rollouts(self, model: str) -> tuple[Rollout, ...]:
        """Every request for traffic of a model's versions, newest first."""
        with self._read() as connection:
            return _rollouts(connection, model)


def _rollouts(connection: Connection, model: str) -> tuple[Rollout, ...]:
    newest = (rollouts.c.requested.desc(), rollouts.c.number.desc(), rollouts.c.attempt.desc())
    query = select(rollouts).where(rollouts.c.model == model).order_by(*newest)
    return read_all(connection, query, Rollout)


def _champion(connection: Connection, model: str) -> int | None:
    newest = (rollouts.c.moved.desc(), rollouts.c.number.desc(), rollouts.c.attempt.desc())
    query = select(rollouts.c.number).where((rollouts.c.model == model) & (rollouts.c.state == "champion"))
    number = connection.scalar(query.order_by(*newest).limit(1))
    return None if number is None else int(number)
