"""How the controller's process is, for a platform that asks by HTTP: whether it turns, whether its ledger answers, its metrics.

What is answered was found by the loop itself: no request asks the ledger anything.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from controller.ticked import Ticked
from perennial.errors import PlatformError

HUNG_SECONDS = 300.0
"""From this long without a beat on the process counts as hung. The loop beats every second, and in a tick after each model; the
longest that one model takes in order is a serving check, which may boot for two minutes."""
TEXT, JSON = "text/plain; version=0.0.4; charset=utf-8", "application/json"
"""Kinds of answers: Prometheus' text format, and all else."""


class Health:
    """What the loop says of itself, and what probes are told. The loop writes, the threads of the server read."""

    def __init__(self, holder: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Nothing was looked at yet: alive, and not ready.

        Args:
            holder: this process, as the lease names it.
            monotonic: seconds of a clock that never goes back.
        """
        self._holder, self._monotonic = holder, monotonic
        self._beat = monotonic()
        self._fault, self._leads, self._said = "the ledger was not asked yet", False, ""

    def beat(self) -> None:
        """The loop turns."""
        self._beat = self._monotonic()

    def ticked(self, ticked: Ticked) -> None:
        """A tick has ended: the ledger answered, and said who leads."""
        self._fault, self._leads = "", ticked.holds_lease
        self._said = "" if ticked.holds_lease else "; ".join(problem.sentence for problem in ticked.problems)
        self.beat()

    def answered(self) -> None:
        """The ledger answered between two ticks."""
        self._fault = ""
        self.beat()

    def failed(self, fault: str) -> None:
        """The ledger did not answer. The loop turns all the same."""
        self._fault, self._leads = fault, False
        self.beat()

    @property
    def leads(self) -> bool:
        """Whether the last tick held the lease."""
        return self._leads

    def live(self) -> tuple[bool, str]:
        """Whether the loop turns, with a sentence."""
        seconds = self._monotonic() - self._beat
        if seconds > HUNG_SECONDS:
            return False, f"the loop stands still for {seconds:.0f} s; from {HUNG_SECONDS:.0f} s on it counts as hung"
        return True, f"the loop turned {seconds:.0f} s ago"

    def ready(self) -> tuple[bool, str]:
        """Whether the ledger answers, whoever leads, with a sentence that says who does."""
        if self._fault:
            return False, self._fault
        return True, f"{self._holder} is the controller" if self._leads else self._said


@contextmanager
def served(port: int, health: Health, metrics: Callable[[], bytes]) -> Iterator[int]:
    """`/healthz`, `/readyz` and `/metrics` are answered on every address of this machine, from a thread; gives the port.

    Args:
        port: to listen on; 0 takes a free one.
        health: what the probes are told.
        metrics: everything in Prometheus' text format.

    Raises:
        PlatformError: the port cannot be listened on.
    """

    class Answers(BaseHTTPRequestHandler):
        """One request."""

        def do_GET(self) -> None:
            """Answer it; `http.server` calls it so."""
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(200, TEXT, metrics())
            elif path in ("/healthz", "/readyz"):
                good, sentence = health.live() if path == "/healthz" else health.ready()
                said = {"ok": good, "leads": health.leads, "sentence": sentence}
                self._answer(200 if good else 503, JSON, json.dumps(said).encode() + b"\n")
            else:
                self._answer(404, JSON, b'{"allowed": ["/healthz", "/readyz", "/metrics"]}\n')

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing is printed: probes come every few seconds."""

    try:
        server = ThreadingHTTPServer(("", port), Answers)
    except OSError as error:
        raise PlatformError(f"port {port}: cannot be listened on: {error.strerror}; choose another --http") from error
    thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
