"""Windows, decisions, incidents, claims, leases and fences: what was kept first stays, and an old token writes nothing."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest
from sqlalchemy import insert, update
from sqlalchemy.exc import IntegrityError

from perennial.errors import FencedError, NotFoundError
from perennial.ledger import Fence, Ledger
from perennial.ledger.tables import claims
from perennial.loop.decision import DecisionDraft, Kind, Reason
from perennial.loop.window import Labels, Measurement, Performance, Window
from tests.perennial.ledger.conftest import directly, held

NOW = datetime(2024, 5, 1, tzinfo=UTC)
WEEK = timedelta(days=7)
WINDOW = Window(start=NOW - WEEK, end=NOW)


def measured(rows: int = 10) -> Measurement:
    return Measurement(
        rows=rows, versions={"d": rows}, lost=0, damaged=(), repeated=0, champion="d", blocks=9, columns=(), checks=()
    )


def draft(kind: Kind = "leave", reason: Reason | None = None) -> DecisionDraft:
    return DecisionDraft(kind=kind, reason=reason, sentence="All is quiet.", otherwise="An alarm.", facts=())


def test_a_window_is_measured_and_judged_once(ledger: Ledger) -> None:
    performance = Performance(labels=Labels(matured_at=NOW, arrived=9, missing=1), label_rate=0.5)
    with pytest.raises(NotFoundError, match="never measured"):
        ledger.record_performance("churn", WINDOW.start, performance)
    first = ledger.record_window("churn", WINDOW, measured(), now=NOW)
    assert ledger.record_window("churn", WINDOW, measured(99), now=NOW + WEEK) == first
    assert first.performance is None
    judged = ledger.record_performance("churn", WINDOW.start, performance)
    again = performance.model_copy(update={"label_rate": 0.9})
    assert ledger.record_performance("churn", WINDOW.start, again) == judged
    assert judged.performance == performance
    assert ledger.windows("churn") == (judged,)
    assert ledger.windows("other") == ()


def test_a_decision_is_unique_on_its_cause_and_moves_by_compare_and_set(ledger: Ledger) -> None:
    first, new = ledger.add_decision("churn", cause="a", now=NOW, draft=draft("retrain", "degraded"), windows=[WINDOW.start])
    again, twice = ledger.add_decision("churn", cause="a", now=NOW + WEEK, draft=draft())
    assert (new, twice, again) == (True, False, first)
    second, _ = ledger.add_decision("churn", cause="b", now=NOW, draft=draft(), state="done")
    assert (first.number, second.number, first.windows) == (1, 2, (WINDOW.start,))
    assert ledger.open_decisions("churn") == (first,)
    assert ledger.move_decision("churn", 1, before="acting", after="done").state == "open"
    assert ledger.move_decision("churn", 1, before="open", after="acting").state == "acting"
    ended = ledger.end_decision("churn", 1, state="failed", outcome="it broke")
    assert ledger.end_decision("churn", 1, state="done", outcome="later") == ended
    assert (ended.state, ended.outcome, ledger.open_decisions("churn")) == ("failed", "it broke", ())
    with pytest.raises(NotFoundError, match="no decision 7"):
        ledger.move_decision("churn", 7, before="open", after="done")


def test_an_incident_is_opened_once_reaches_on_and_closes_for_good(ledger: Ledger) -> None:
    decision, _ = ledger.add_decision("churn", cause="a", now=NOW, draft=draft("fix data"))
    opened = [
        ledger.open_incident(
            "churn",
            decision=decision.number,
            now=NOW,
            owner="sales",
            seen=seen,
            subjects=["amount"],
            excluded_from=WINDOW.start,
            excluded_until=WINDOW.end,
            needed=2,
        )
        for seen in ("nulls", "again")
    ]
    assert opened[0] == opened[1]
    ledger.count_clean("churn", 1, 1)
    reached = ledger.extend_incident("churn", 1, excluded_until=NOW + WEEK, seen="still", subjects=["channel"])
    assert (reached.excluded_until, reached.clean, reached.subjects) == (NOW + WEEK, 0, ("amount", "channel"))
    assert ledger.incidents("churn", only_open=True) == (reached,)
    closed = ledger.close_incident("churn", 1, now=NOW, closing="mended")
    assert ledger.close_incident("churn", 1, now=NOW + WEEK, closing="again") == closed
    assert ledger.extend_incident("churn", 1, excluded_until=NOW + 2 * WEEK, seen="late", subjects=[]) == closed
    assert ledger.incidents("churn", only_open=True) == ()


def test_a_claim_has_one_owner_and_a_new_token_at_each_take(ledger: Ledger) -> None:
    claim = ledger.intend("churn/train/1/1", model="churn", owner="run-1", decision=1, now=NOW)
    assert claim is not None
    assert ledger.intend("churn/train/1/1", model="churn", owner="run-2", decision=1, now=NOW) == claim
    assert ledger.intend("churn/monitor/x", model="churn", owner="run-3", decision=None, now=NOW) is None, "one at a time"
    assert ledger.intend("other/monitor/x", model="other", owner="run-4", decision=None, now=NOW) is not None
    assert ledger.take(claim.key, "run-2", NOW) is None
    ledger.submitted(claim, NOW)
    taken, again = ledger.take(claim.key, "run-1", NOW), ledger.take(claim.key, "run-1", NOW)
    assert taken is not None
    assert again is not None
    assert (taken.token, again.token, again.state, again.starts) == (1, 2, "seen", 1)
    assert ledger.reown(taken, "run-2", NOW) == again, "it moved since it was read"
    other = ledger.reown(again, "run-2", NOW)
    assert (other.owner, other.state) == ("run-2", "intended")
    assert ledger.take(claim.key, "run-1", NOW) is None
    assert ledger.open_claims("churn") == (other,)
    ledger.end_claim(claim.key, state="done", now=NOW)
    assert ledger.take(claim.key, "run-2", NOW) is None
    assert ledger.open_claims("churn") == ()
    assert ledger.intend("churn/monitor/x", model="churn", owner="run-3", decision=None, now=NOW) is not None
    with pytest.raises(NotFoundError, match="no claim 'x'"):
        ledger.take("x", "run-1", NOW)


def test_an_effect_under_an_old_token_is_refused_and_writes_nothing(ledger: Ledger) -> None:
    ledger.intend("k", model="churn", owner="run-1", decision=None, now=NOW)
    first = ledger.take("k", "run-1", NOW)
    assert first is not None
    orphan = ledger.with_fence(Fence(kind="claim", key="k", token=first.token))
    orphan.record_window("churn", WINDOW, measured(), now=NOW)
    ledger.take("k", "run-1", NOW)
    later = Window(start=WINDOW.end, end=WINDOW.end + WEEK)
    with pytest.raises(FencedError, match="it has token 2, this one holds 1"):
        orphan.record_window("churn", later, measured(), now=NOW)
    assert [record.start for record in ledger.windows("churn")] == [WINDOW.start]
    with pytest.raises(FencedError):
        orphan.check_fence()


def test_a_fence_is_looked_at_within_the_transaction_that_writes(url: str, ledger: Ledger) -> None:
    ledger.intend("k", model="churn", owner="run-1", decision=None, now=NOW)
    taken = ledger.take("k", "run-1", NOW)
    assert taken is not None
    with Ledger.open(url) as other, ThreadPoolExecutor(1) as pool:
        orphan = other.with_fence(Fence(kind="claim", key="k", token=taken.token))
        with held(url) as taker:
            taker.execute(update(claims).values(token=claims.c.token + 1))
            orphan.check_fence()
            writing = pool.submit(orphan.record_window, "churn", WINDOW, measured(), now=NOW)
            time.sleep(0.2)
            assert not writing.done(), "it waits for the taker, whose token it cannot see yet"
        with pytest.raises(FencedError, match="it has token 2, this one holds 1"):
            writing.result()
    assert ledger.windows("churn") == ()


def test_the_database_itself_lets_a_model_have_one_open_claim(url: str, ledger: Ledger) -> None:
    ledger.intend("k", model="churn", owner="run-1", decision=None, now=NOW)
    row = insert(claims).values(model="churn", owner="r", token=0, starts=0, moved=NOW)
    with directly(url) as connection:
        connection.execute(row.values(key="over", state="done"))
    with pytest.raises(IntegrityError, match=r"UNIQUE|unique"), directly(url) as connection:
        connection.execute(row.values(key="open", state="seen"))


T = TypeVar("T")


def at_once(url: str, call: Callable[[Ledger, int], T]) -> list[T]:
    """What a call gives to eight writers who come at the same time."""
    barrier = threading.Barrier(8)

    def write(place: int) -> T:
        with Ledger.open(url) as own:
            barrier.wait()
            return call(own, place)

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(write, range(8)))


def test_of_claims_made_at_the_same_time_one_is_open(url: str, ledger: Ledger) -> None:
    made = at_once(url, lambda own, place: own.intend(f"k{place}", model="churn", owner="r", decision=None, now=NOW))
    assert [claim for claim in made if claim is not None] == list(ledger.open_claims("churn"))
    assert len(ledger.open_claims("churn")) == 1


def test_takers_at_the_same_time_have_a_token_each_and_one_of_those_who_reown_has_the_claim(url: str, ledger: Ledger) -> None:
    ledger.intend("k", model="churn", owner="run-1", decision=None, now=NOW)
    taken = at_once(url, lambda own, _: own.take("k", "run-1", NOW))
    assert sorted(claim.token for claim in taken if claim is not None) == list(range(1, 9))
    read = ledger.claim("k")
    assert len({claim.owner for claim in at_once(url, lambda own, place: own.reown(read, f"other-{place}", NOW))}) == 1
    assert ledger.claim("k").token == 9


def test_one_of_those_who_come_for_a_lease_has_it_and_so_when_it_is_stolen(url: str) -> None:
    def come(now: datetime) -> list[int]:
        leases = at_once(url, lambda own, place: own.take_lease("controller", f"{now} {place}", now=now, seconds=60))
        return [lease.token for lease in leases if lease is not None]

    assert come(NOW) == [1]
    assert come(NOW + timedelta(seconds=61)) == [2]


def test_decisions_and_incidents_at_the_same_time_are_counted_without_a_gap_and_made_once(url: str, ledger: Ledger) -> None:
    def open_incident(own: Ledger, place: int) -> int:
        told = {"owner": "o", "seen": "s", "excluded_from": NOW, "excluded_until": NOW, "subjects": [], "needed": 1}
        return own.open_incident("churn", decision=1 + place // 2, now=NOW, **told).number  # type: ignore[arg-type]

    made = at_once(url, lambda own, place: own.add_decision("churn", cause=f"c{place // 2}", now=NOW, draft=draft()))
    assert sorted(found.number for found, new in made if new) == [1, 2, 3, 4]
    assert sorted(set(at_once(url, open_incident))) == [1, 2, 3, 4]
    assert len(ledger.incidents("churn")) == 4


def test_a_lease_is_renewed_waited_for_and_stolen(ledger: Ledger) -> None:
    mine = ledger.take_lease("controller", "a", now=NOW, seconds=60)
    assert mine is not None
    assert ledger.take_lease("controller", "b", now=NOW + timedelta(seconds=59), seconds=60) is None
    renewed = ledger.take_lease("controller", "a", now=NOW + timedelta(seconds=30), seconds=60)
    assert renewed is not None
    assert (renewed.token, renewed.expires) == (mine.token, NOW + timedelta(seconds=90))
    stolen = ledger.take_lease("controller", "b", now=NOW + timedelta(seconds=90), seconds=60)
    assert stolen is not None
    assert stolen.token == mine.token + 1
    paused = ledger.with_fence(Fence(kind="lease", key="controller", token=mine.token))
    with pytest.raises(FencedError, match="lease 'controller' was taken by another process"):
        paused.note_tick("controller", NOW)
    ledger.with_fence(Fence(kind="lease", key="controller", token=stolen.token)).note_tick("controller", NOW)
    ledger.release_lease(mine, NOW)
    assert ledger.take_lease("controller", "a", now=NOW + timedelta(seconds=91), seconds=60) is None, "not a's to release"
    ledger.release_lease(stolen, NOW)
    assert ledger.take_lease("controller", "a", now=NOW + timedelta(seconds=91), seconds=60) is not None
