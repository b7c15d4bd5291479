"""One holds the lease; who lost it finds out when it writes."""

from datetime import UTC, datetime, timedelta

import pytest

from cluster import lease
from cluster.apply import get
from cluster.client import Client
from perennial.errors import FencedError
from tests.cluster.api import Api

NOW = datetime(2026, 1, 2, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def acquire(client: Client, holder: str, now: datetime) -> lease.Term:
    return lease.acquire(client, "team", "controller", holder, MINUTE, now)


def test_one_holds_it_until_it_ends(client: Client) -> None:
    first = acquire(client, "one", NOW)
    assert (first.holder, first.token, first.until) == ("one", 1, NOW + MINUTE)
    assert acquire(client, "two", NOW + MINUTE / 2) == first
    assert acquire(client, "one", NOW + MINUTE / 2).token == 1
    second = acquire(client, "two", NOW + 2 * MINUTE)
    assert (second.holder, second.token) == ("two", 2)


def test_a_renewed_lease_is_kept(client: Client) -> None:
    term = lease.renew(client, acquire(client, "one", NOW), MINUTE, NOW + MINUTE / 2)
    assert acquire(client, "two", NOW + MINUTE) == term


def test_who_lost_it_can_neither_renew_nor_release_it(client: Client) -> None:
    late = acquire(client, "one", NOW)
    acquire(client, "two", NOW + MINUTE)
    with pytest.raises(FencedError, match="lease team/controller: another one wrote it since one"):
        lease.renew(client, late, MINUTE, NOW + MINUTE)
    with pytest.raises(FencedError):
        lease.release(client, late, NOW + MINUTE)
    assert acquire(client, "two", NOW + MINUTE).holder == "two"


def test_a_lease_that_was_deleted_is_lost(api: Api, client: Client) -> None:
    term = acquire(client, "one", NOW)
    api.objects.clear()
    with pytest.raises(FencedError, match="was deleted"):
        lease.renew(client, term, MINUTE, NOW)


def test_a_released_lease_is_free_at_once(client: Client) -> None:
    lease.release(client, acquire(client, "one", NOW), NOW)
    assert (acquire(client, "two", NOW).holder, acquire(client, "two", NOW).token) == ("two", 2)


def test_of_two_that_come_at_once_one_has_it(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = get
    acquire(client, "one", NOW)
    ended = asked(client, lease.API, "Lease", "controller", "team")
    acquire(client, "one", NOW + 2 * MINUTE)
    for read in (None, ended):  # what the second read before the first wrote
        stale = [read]
        monkeypatch.setattr(lease, "get", lambda *named, stale=stale: stale.pop() if stale else asked(*named))
        assert acquire(client, "two", NOW + 2 * MINUTE).holder == "one"
        assert stale == []
