"""Closed-loop HTTP clients in one process: each asks, waits for the answer, compares it, and asks again."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import uvloop

HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length: "


@dataclass
class Measured:
    """What the clients saw in the measured time."""

    seconds: list[float] = field(default_factory=list)
    """Of each answer."""
    wrong: list[str] = field(default_factory=list)
    """Answers that were not right."""
    took: float = 0.0

    @property
    def rate(self) -> float:
        """Right answers per second."""
        return len(self.seconds) / self.took

    def quantile(self, share: float) -> float:
        """Milliseconds within which that share of the answers came."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, draw: Callable[[], tuple[int, bytes]], check: Callable[[int, bytes], bool], measured: Measured) -> None:
        self._draw, self._check, self._measured = draw, check, measured
        self._transport: asyncio.WriteTransport | None = None
        self._data = b""
        self._asked, self._sent = 0, 0.0
        self.counts = False
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the first time."""
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's are not registered as such
        self._ask()

    def _ask(self) -> None:
        assert self._transport is not None
        self._asked, request = self._draw()
        self._sent = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Take an answer, when it is whole."""
        self._data += data
        head, end, body = self._data.partition(HEAD_END)
        if not end:
            return
        place = head.lower().find(LENGTH)
        length = int(head[place + len(LENGTH) :].partition(b"\r\n")[0])
        if len(body) < length:
            return
        now = time.perf_counter()
        self._data = b""
        is_right = head.startswith(b"HTTP/1.1 200") and self._check(self._asked, body)
        if not is_right:
            self._measured.wrong.append(f"{self._asked}: {(head + end + body)[:300]!r}")
        elif self.counts:
            self._measured.seconds.append(now - self._sent)
        if not self.ended:
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        """Say so, unless it was us."""
        if not self.ended:
            self._measured.wrong.append(f"the connection was lost: {exc}")


def run(
    port: int,
    clients: int,
    warm_up: float,
    seconds: float,
    draw: Callable[[], tuple[int, bytes]],
    check: Callable[[int, bytes], bool],
) -> Measured:
    """What `clients` clients saw in `seconds`, after a warm-up that is not counted.

    Args:
        port: of the server, on this machine.
        clients: number of connections.
        warm_up: seconds before counting.
        seconds: seconds of counting.
        draw: the next request: what was asked, and its bytes.
        check: whether the body is the right answer to what was asked.
    """
    measured = Measured()

    async def all_of_them() -> None:
        loop = asyncio.get_running_loop()
        made = [await loop.create_connection(lambda: Client(draw, check, measured), "127.0.0.1", port) for _ in range(clients)]
        await asyncio.sleep(warm_up)
        begin = time.perf_counter()
        for _, client in made:
            client.counts = True
        await asyncio.sleep(seconds)
        for transport, client in made:
            client.ended = True
            transport.close()
        measured.took = time.perf_counter() - begin

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(all_of_them())
    return measured
