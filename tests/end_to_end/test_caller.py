"""The caller's program against servers that answer well, badly or not at all: no failed request vanishes."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.installation import Calls, complete

RATE = 100
TOLD = 40
KEPT = RATE / 2
"""Rate that it must keep on a machine that is busy with other tests."""
GOOD = {"predictions": [{"probability": 0.5, "prediction_id": "a-1"}], "model_version": "v"}
CASES: dict[str, tuple[bytes, int, str]] = {
    "a plain text": (b"HTTP/1.1 500 E\r\ncontent-length: 21\r\n\r\nInternal Server Error", 500, "500: not an answer of ours"),
    "a proxy's page": (b"HTTP/1.1 502 E\r\ncontent-length: 6\r\n\r\n<html>", 502, "502: not an answer of ours"),
    "a refusal": (b'HTTP/1.1 503 E\r\ncontent-length: 16\r\n\r\n{"error": "why"}', 503, "why"),
    "another JSON": (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]", 0, "200: not an answer of ours"),
    "no prediction": (b'HTTP/1.1 200 OK\r\ncontent-length: 19\r\n\r\n{"predictions": []}', 0, "200: not an answer of ours"),
    "no length": (b"HTTP/1.1 200 OK\r\n\r\n{}", 0, "KeyError"),
    "no HTTP": (b"hello\r\n\r\n", 0, "Error"),
    "half an answer": (b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{", 0, "IncompleteReadError"),
    "nothing": (b"", 0, "IncompleteReadError"),
}
"""What a server sends before it closes, and the status and error that are told."""


@contextmanager
def serving(said: Callable[[int], bytes], *, closes: bool) -> Iterator[str]:
    """Address of a server that says something to the n-th request."""
    loop, counted = asyncio.new_event_loop(), iter(range(1_000_000))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.partition(b"content-length: ")[2].split()[0]))
                content = said(next(counted))
                writer.write(content.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1) if closes else content)
                await writer.drain()
                if closes:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = loop.run_until_complete(asyncio.start_server(answer, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()


def called(address: str) -> list[dict[str, Any]]:
    """Everything that the program prints until it has told of a few dozen requests and is ended."""
    command = (sys.executable, "-u", str(Path(__file__).parent / "caller.py"), address, "churn", str(RATE))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write('[{"row": 0}, {"row": 1}]\n')
        process.stdin.flush()
        try:
            printed = "".join(process.stdout.readline() for _ in range(TOLD))
            printed += process.communicate(timeout=30)[0]  # ends its input too
        finally:
            process.kill()
    assert process.returncode == 0
    return [json.loads(line) for line in printed.splitlines()]


def answers(said: Callable[[int], bytes], *, closes: bool) -> Calls:
    """What callers of a server are told."""
    with serving(said, closes=closes) as address:
        return Calls(complete(called(address), KEPT))


def good(_: int) -> bytes:
    body = json.dumps(GOOD).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


def test_good_answers_are_told_one_by_one() -> None:
    calls = answers(good, closes=False)
    assert calls.answers and not calls.failed
    assert {answer["row"] for answer in calls.answers} == {0, 1}
    assert calls.ids == {"a-1"}


@pytest.mark.parametrize("case", CASES)
def test_every_failed_request_is_told(case: str) -> None:
    sent, status, error = CASES[case]
    calls = answers(lambda number: sent if number % 2 else good(number), closes=True)
    failed = calls.failed
    assert 0 < len(failed) < len(calls.answers)
    assert {answer["status"] for answer in failed} == {status}
    assert all(error in answer["error"] for answer in failed), failed[0]


def test_a_server_that_is_not_there_fails_every_request() -> None:
    calls = Calls(complete(called("127.0.0.1:1"), KEPT))
    assert calls.answers == calls.failed
    assert "ConnectionRefusedError" in calls.failed[0]["error"]


def test_an_answer_or_a_request_that_is_missing_is_found() -> None:
    said: list[dict[str, Any]] = [{"status": 200}] * 100
    assert len(complete([*said, {"sent": 100, "seconds": 1.0}], rate=100)) == 100
    with pytest.raises(AssertionError, match="101 requests were sent, of 100"):
        complete([*said, {"sent": 101, "seconds": 1.0}], rate=100)
    with pytest.raises(AssertionError, match="did not keep up with 100/s"):
        complete([*said, {"sent": 100, "seconds": 1.2}], rate=100)
    with pytest.raises(AssertionError, match="did not come to its end"):
        complete(said, rate=100)
