"""`python -m benchmarks.serving`: our server against stock KServe with Feast's SDK in `predict`: same model, same values.

Every server on one core, the clients on another, one server at a time, in turn. Keys are drawn evenly from 50,000, nothing is
cached, every answer is compared. Ours keeps its prediction log and its metrics. The stock server reads Feast's own store, SQLite
or Redis as ours: through Feast's SDK it is faster than our packed one. A Redis has the clients' core. Goal: 4 times its rate at 8
clients.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import orjson

from benchmarks.clients import Measured, run
from benchmarks.redis_server import started_redis
from benchmarks.rivals import FIELDS
from benchmarks.shop import CUSTOMERS, Shop, make
from feature_repo.online_store.database import is_redis
from serving.runtime.current import Current

GOAL = 4.0
SERVER_CORE, CLIENT_CORE = 0, 1
PATH = "/v1/models/chargeback"


@contextmanager
def pinned(arguments: list[str], output: Path) -> Iterator[None]:
    """A server process on its core; it is gone afterwards."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with output.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen([sys.executable, *arguments], stdout=stream, stderr=stream, env=environment)
    os.sched_setaffinity(process.pid, {SERVER_CORE})
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for(port: int, output: Path, path: str = PATH, seconds: float = 180) -> None:
    """Until the server answers.

    Raises:
        TimeoutError: it did not; with what it said.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(f"no answer on port {port}: {output.read_text(encoding='utf-8')[-2000:]}")


def requests(port: int, seed: int) -> Callable[[], tuple[int, bytes]]:
    """Draws a customer and the bytes of a request for them."""
    customers = iter(np.random.default_rng(seed).integers(0, CUSTOMERS, 2_000_000).tolist())
    head = f"POST {PATH}:predict HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\ncontent-length: "

    def draw() -> tuple[int, bytes]:
        customer = int(next(customers))
        body = orjson.dumps({"instances": [{"customer_id": customer, **FIELDS}]})
        return customer, f"{head}{len(body)}\r\n\r\n".encode() + body

    return draw


def checked(shop: Shop) -> Callable[[int, bytes], bool]:
    """Says whether an answer is what the model gives for the customer."""
    expected = shop.probability.tolist()

    def check(customer: int, body: bytes) -> bool:
        (row,) = orjson.loads(body)["predictions"]
        return bool(abs(row["probability"] - expected[customer]) < 1e-9 and not row.get("not_fresh"))

    return check


def is_constant(_: int, body: bytes) -> bool:
    """Whether an answer is that of the empty server."""
    return b"-1.0" in body


def started(stack: ExitStack, shop: Shop, folder: Path) -> dict[str, int]:
    """The ports of the three servers, which are gone when the stack is left."""
    model = next(Current.read(shop.current).folder.glob("model-*.skops"))
    ours = ["--model", "chargeback", "--current", str(shop.current), "--online", shop.settings.online_store]
    stock = ["--project", str(shop.settings.project), "--model", str(model)]
    stock += ["--online", shop.settings.online_store] if is_redis(shop.settings.online_store) else []
    commands = {
        "stock": ["-m", "benchmarks.rivals", "stock", *stock],
        "ours": ["-m", "serving.runtime", *ours, "--log", str(folder / "log")],
        "noop": ["-m", "benchmarks.rivals", "noop"],
    }
    ports = {name: free_port() for name in commands}
    for name, command in commands.items():
        stack.enter_context(pinned([*command, "--port", str(ports[name])], folder / f"{name}.txt"))
    for name, port in ports.items():
        wait_for(port, folder / f"{name}.txt", PATH if name != "noop" else "/")
    return ports


def main() -> None:
    """Measure in turn, print medians and ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each server (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="measured seconds of a turn (default %(default)s)")
    parser.add_argument("--clients", type=int, nargs="+", default=[8, 32], help="numbers of clients (default 8 and 32)")
    parser.add_argument("--store", choices=("sqlite", "redis"), default="sqlite", help="online store (default %(default)s)")
    given = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("two cores are needed: one for the server, one for the clients")
    with tempfile.TemporaryDirectory(prefix="perennial-") as name, ExitStack() as stack:
        folder = Path(name)
        print(f"writing {CUSTOMERS:,} customers, fitting the model (Feast takes a minute to write them)")
        online = stack.enter_context(started_redis(folder, CLIENT_CORE)) if given.store == "redis" else None
        shop = make(folder / "project", online)
        ports = started(stack, shop, folder)
        os.sched_setaffinity(0, {CLIENT_CORE})
        checks = {"stock": checked(shop), "ours": checked(shop), "noop": is_constant}
        for clients in given.clients:
            found: dict[str, list[Measured]] = {name: [] for name in ports}
            for turn in range(given.rounds):
                for which, port in ports.items():
                    measured = run(port, clients, 1.0, given.seconds, requests(port, turn), checks[which])
                    if measured.wrong:
                        sys.exit(f"{which}: {len(measured.wrong)} wrong answers, as {measured.wrong[0]}")
                    found[which].append(measured)
            report(clients, given.store, found)


def report(clients: int, store: str, found: dict[str, list[Measured]]) -> None:
    """Print rates, latencies and ratios."""
    print(f"\n{clients} clients, 1 row, 2 views and 20 features looked up in {store}; load {os.getloadavg()[0]:.1f}")
    rates = {which: statistics.median(turn.rate for turn in turns) for which, turns in found.items()}
    slow = {which: statistics.median(turn.quantile(0.99) for turn in turns) for which, turns in found.items()}
    for which, turns in found.items():
        middle = statistics.median(turn.quantile(0.5) for turn in turns)
        low, high = min(turn.rate for turn in turns), max(turn.rate for turn in turns)
        print(
            f"  {which:<6} {rates[which]:7.0f} /s ({low:.0f} to {high:.0f}), p50 {middle:6.2f} ms, p99 {slow[which]:7.2f} ms, "
            f"{sum(len(turn.seconds) for turn in turns):,} answers, all right"
        )
    pairs = [ours.rate / stock.rate for ours, stock in zip(found["ours"], found["stock"], strict=True)]
    print(
        f"  ours / stock: {statistics.median(pairs):.1f} times the rate ({min(pairs):.1f} to {max(pairs):.1f}); "
        f"p99 {slow['ours'] / slow['stock']:.2f} of its; {rates['ours'] / rates['noop']:.0%} of the empty server's rate"
    )
    if clients == 8:
        print(f"  goal {GOAL:g} times: {'met' if statistics.median(pairs) >= GOAL else 'not met'}")


if __name__ == "__main__":
    main()
