"""Claims and leases: who may act. Each take counts a fencing token up; a fenced ledger refuses an older one."""

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from perennial.errors import NotFoundError
from perennial.ledger.records import Lease
from perennial.ledger.tables import claims, leases
from perennial.ledger.transactions import Transactions, read_all, read_one
from perennial.loop.decision import OVER, Claim


class Claims(Transactions):
    """What is kept of claims and leases."""

    def intend(self, key: str, *, model: str, owner: str, decision: int | None, now: datetime) -> Claim | None:
        """The claim exists, before anything is done about it; none while another claim of the model is open: one at a time.

        Intended again, the first owner stays. Only of a decision that was put back, whose claim had failed, is it another's now:
        what the decision asks for keeps its key, and is done once.

        Args:
            key: what is claimed.
            model: name of the model.
            owner: id of the run that may take it.
            decision: number of the decision that it carries out; none for a monitoring run.
            now: UTC.
        """
        values = {"key": key, "model": model, "owner": owner, "decision": decision, "moved": now}
        open_claims = select(claims.c.key).where((claims.c.model == model) & (claims.c.key != key) & claims.c.state.not_in(OVER))
        with suppress(IntegrityError), self._write() as connection:
            if connection.scalar(open_claims.limit(1)) is not None:
                return None
            renewal = {"owner": owner, "token": claims.c.token + 1, "state": "intended", "moved": now}
            failed_claim = (claims.c.key == key) & (claims.c.state == "failed") & claims.c.decision.is_not(None)
            if connection.execute(update(claims).where(failed_claim).values(**renewal)).rowcount == 0:
                connection.execute(insert(claims).values(**values, token=0, state="intended", starts=0))
        with self._read() as connection:
            return read_one(connection, select(claims).where(claims.c.key == key), Claim)

    def reown(self, claim: Claim, owner: str, now: datetime) -> Claim:
        """Another run may take the claim, and the one before may not any more; unchanged if it moved since it was read.

        Args:
            claim: as it was read.
            owner: id of the other run.
            now: UTC.
        """
        condition = (claims.c.key == claim.key) & (claims.c.token == claim.token) & (claims.c.owner == claim.owner)
        with self._write() as connection:
            values = {"owner": owner, "token": claim.token + 1, "state": "intended", "moved": now}
            connection.execute(update(claims).where(condition & claims.c.state.not_in(OVER)).values(**values))
            return _claim(connection, claim.key)

    def submitted(self, claim: Claim, now: datetime) -> Claim:
        """A run of the claim's owner was started: counted, and *submitted* unless the run has taken it already.

        Raises:
            NotFoundError: there is no such claim.
        """
        condition = (claims.c.key == claim.key) & (claims.c.owner == claim.owner)
        with self._write() as connection:
            connection.execute(update(claims).where(condition).values(starts=claims.c.starts + 1))
            values = {"state": "submitted", "moved": now}
            connection.execute(update(claims).where(condition & (claims.c.state == "intended")).values(**values))
            return _claim(connection, claim.key)

    def take(self, key: str, owner: str, now: datetime) -> Claim | None:
        """The claim is this owner's, with a token that no one had before; none if it is another's, or over.

        The same owner may take it again: a run that was killed and started again. What its first start still does is fenced off.

        Raises:
            NotFoundError: there is no such claim.
        """
        condition = (claims.c.key == key) & (claims.c.owner == owner) & claims.c.state.not_in(OVER)
        with self._write() as connection:
            values = {"token": claims.c.token + 1, "state": "seen", "moved": now}
            count = connection.execute(update(claims).where(condition).values(**values)).rowcount
            claim = _claim(connection, key)
            return claim if count else None

    def end_claim(self, key: str, *, state: Literal["done", "failed"], now: datetime) -> Claim:
        """The claim is over; over already, it stays as it is.

        Raises:
            NotFoundError: there is no such claim.
        """
        with self._write() as connection:
            condition = (claims.c.key == key) & claims.c.state.not_in(OVER)
            connection.execute(update(claims).where(condition).values(state=state, moved=now))
            return _claim(connection, key)

    def claim(self, key: str) -> Claim:
        """The claim with this key.

        Raises:
            NotFoundError: there is none.
        """
        with self._read() as connection:
            return _claim(connection, key)

    def open_claims(self, model: str | None = None) -> tuple[Claim, ...]:
        """The claims that are not over, oldest first; of one model if it is given."""
        query = select(claims).where(claims.c.state.not_in(OVER)).order_by(claims.c.moved)
        if model is not None:
            query = query.where(claims.c.model == model)
        with self._read() as connection:
            return read_all(connection, query, Claim)

    def take_lease(self, name: str, holder: str, *, now: datetime, seconds: float) -> Lease | None:
        """The lease is this holder's until `now` and so many seconds more; none while another's has not run out.

        Taken while it is held by the same holder, it is renewed with its token, also after it has run out, if nobody took it.

        Args:
            name: what is leased.
            holder: host and process.
            now: UTC, real time.
            seconds: how long.
        """
        expires = now + timedelta(seconds=seconds)
        with self._write() as connection:
            lease = _lease(connection, name)
            if lease is None:
                connection.execute(insert(leases).values(name=name, holder=holder, token=1, expires=expires))
            elif lease.holder == holder:
                connection.execute(update(leases).where(leases.c.name == name).values(expires=expires))
            elif lease.expires <= now:
                values = {"holder": holder, "token": lease.token + 1, "expires": expires}
                connection.execute(update(leases).where(leases.c.name == name).values(**values))
            else:
                return None
            return _lease(connection, name)

    def keep_lease(self, name: str, holder: str, *, now: datetime, seconds: float) -> Lease | None:
        """The lease as `take_lease` gives it; not written while the holder has it for more than half of its time.

        Args:
            name: what is leased.
            holder: host and process.
            now: UTC, real time.
            seconds: how long.
        """
        lease = self.lease(name)
        if lease is not None and lease.holder == holder and lease.expires - now > timedelta(seconds=seconds / 2):
            return lease
        return self.take_lease(name, holder, now=now, seconds=seconds)

    def release_lease(self, lease: Lease, now: datetime) -> None:
        """The lease has run out, if it is still this one: another holder need not wait."""
        condition = (leases.c.name == lease.name) & (leases.c.token == lease.token) & (leases.c.holder == lease.holder)
        with self._write() as connection:
            connection.execute(update(leases).where(condition).values(expires=now))

    def note_tick(self, name: str, ticked: datetime) -> None:
        """The holder of the lease has ticked for this time."""
        with self._write() as connection:
            connection.execute(update(leases).where(leases.c.name == name).values(ticked=ticked))

    def lease(self, name: str) -> Lease | None:
        """The lease as it stands; none when nobody ever took it."""
        with self._read() as connection:
            return _lease(connection, name)


def _claim(connection: Connection, key: str) -> Claim:
    claim = read_one(connection, select(claims).where(claims.c.key == key), Claim)
    if claim is None:
        raise NotFoundError(f"ledger: no claim {key!r}: a run's claim is made before the run is started")
    return claim


def _lease(connection: Connection, name: str) -> Lease | None:
    return read_one(connection, select(leases).where(leases.c.name == name), Lease)
