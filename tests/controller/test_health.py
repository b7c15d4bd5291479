"""What probes are told: a loop that turns, one that hangs, a ledger that does not answer, who leads."""

import http.client
import json
import socket
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from controller import watch as watching
from controller.health import HUNG_SECONDS, Health, served
from controller.metrics import ControllerMetrics
from controller.ticked import LEASE, Obstacle, Ticked
from controller.watch import watch
from perennial.errors import PlatformError
from perennial.ledger import Ledger
from perennial.settings import Settings
from perennial.spec.model import Model
from perennial.spec.read import reread
from tests.controller.world import NAME, NOW, REAL, QuickRunner


class Seconds:
    """A clock that a test turns."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def get(port: int, path: str) -> tuple[int, str]:
    """Status and body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response.status, body


def test_a_loop_that_stands_still_for_too_long_is_not_alive() -> None:
    seconds = Seconds()
    health = Health("a/1", seconds)
    seconds.now += HUNG_SECONDS
    assert health.live() == (True, "the loop turned 300 s ago")
    seconds.now += 1
    assert health.live() == (False, "the loop stands still for 301 s; from 300 s on it counts as hung")
    health.beat()
    assert health.live()[0]


def test_it_is_ready_when_the_ledger_has_answered_whoever_leads() -> None:
    health = Health("a/1")
    assert health.ready() == (False, "the ledger was not asked yet")
    health.ticked(Ticked(now=NOW))
    assert (health.ready(), health.leads) == ((True, "a/1 is the controller"), True)
    other = Obstacle(model="", sentence="b/1 is the controller until 10:00:00 UTC or longer; this one stands by")
    health.ticked(Ticked(now=NOW, problems=(other,), holds_lease=False))
    assert (health.ready(), health.leads) == ((True, other.sentence), False)
    health.failed("ledger: it is locked")
    assert health.ready() == (False, "ledger: it is locked")
    assert health.live()[0], "the process turns: to start it again would not help"
    health.answered()
    assert health.ready()[0]


def test_probes_and_metrics_are_answered_by_http_and_nothing_else_is() -> None:
    seconds, metrics = Seconds(), ControllerMetrics()
    health = Health("a/1", seconds)
    with served(0, health, metrics.text) as port:
        assert get(port, "/healthz")[0] == 200
        status, body = get(port, "/readyz")
        assert (status, json.loads(body)) == (503, {"ok": False, "leads": False, "sentence": "the ledger was not asked yet"})
        health.ticked(Ticked(now=NOW))
        status, body = get(port, "/readyz")
        assert (status, json.loads(body)) == (200, {"ok": True, "leads": True, "sentence": "a/1 is the controller"})
        assert "perennial_controller_leads 0.0" in get(port, "/metrics")[1]
        assert get(port, "/")[0] == 404
        seconds.now += HUNG_SECONDS + 1
        assert get(port, "/healthz")[0] == 503
    with pytest.raises(ConnectionRefusedError):
        get(port, "/healthz")


def test_a_port_that_is_taken_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(PlatformError, match=f"port {port}: cannot be listened on: .*; choose another --http"),
            served(port, Health("a/1"), lambda: b""),
        ):
            raise AssertionError


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch in this process: no signal handlers, and runs that are done at once."""
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(watching, "open_runner", QuickRunner)


def test_a_tick_that_hangs_shows_and_a_model_after_the_other_does_not(
    settings: Settings, quiet: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = Seconds()
    health = Health("a/1", seconds)
    (settings.models / f"{NAME}.yaml").rename(settings.models / "a.yaml")
    for name in "bcd":
        (settings.models / f"{name}.yaml").write_text("kind: Model\n")
    beats = list[float]()

    def slow(path: Path) -> Model:
        seconds.now += HUNG_SECONDS - 1
        beats.append(health.live()[0])
        return reread(path)

    monkeypatch.setattr("controller.tick.reread", slow)
    ticks = watch(settings, lambda: REAL, 60, health=health)
    next(ticks)
    assert beats == [True] * 4, "four models, each just within the limit"
    entered, left = threading.Event(), threading.Event()

    def hung(path: Path) -> Model:
        seconds.now += HUNG_SECONDS + 1
        entered.set()
        left.wait(30)
        return reread(path)

    monkeypatch.setattr("controller.tick.reread", hung)
    thread = threading.Thread(target=lambda: next(watch(settings, lambda: REAL, 60, health=health)))
    thread.start()
    assert entered.wait(30)
    assert not health.live()[0]
    left.set()
    thread.join()


def test_a_ledger_that_does_not_answer_makes_it_not_ready_and_one_that_does_again_ready(
    settings: Settings, quiet: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    health, opened = Health("a/1"), Ledger.open
    ticks = watch(settings, lambda: REAL, 0.01, health=health)
    next(ticks)
    assert health.ready() == (True, "a/1 is the controller")

    def away(*_: object) -> Ledger:
        raise PlatformError("ledger: connection refused")

    monkeypatch.setattr(Ledger, "open", away)
    assert next(ticks).broke
    assert health.ready() == (False, "ledger: connection refused")
    monkeypatch.setattr(Ledger, "open", opened)
    assert not next(ticks).broke
    assert health.ready()[0]


def test_a_standby_takes_the_lease_within_a_second_after_it_was_given_back(settings: Settings, quiet: None) -> None:
    with Ledger.open(settings.ledger) as ledger:
        lease = ledger.take_lease(LEASE, "elsewhere/1", now=REAL, seconds=60)
        assert lease is not None
        health = Health("a/1")
        ticks = watch(settings, lambda: REAL, 600, health=health)
        assert next(ticks).stands_by
        assert health.ready()[0] and "elsewhere/1 is the controller until" in health.ready()[1]
        threading.Timer(0.3, lambda: ledger.release_lease(lease, REAL - timedelta(seconds=1))).start()
        assert next(ticks).holds_lease, "it did not wait for the ten minutes"


def test_the_lease_is_renewed_while_nothing_is_due(settings: Settings, quiet: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "LOOKS_SECONDS", 0.02)
    monkeypatch.setattr(watching, "RENEWS_SECONDS", 0.1)
    time = [REAL]
    ticks = watch(settings, lambda: time[0], 0.6)
    next(ticks)
    time[0] += timedelta(seconds=55)
    with Ledger.open(settings.ledger) as ledger:
        next(ticks)
        lease = ledger.lease(LEASE)
        assert lease is not None
        time[0] += timedelta(seconds=55)
        assert lease.expires > time[0], "a longer pause than the lease lasts leaves it with its holder"
