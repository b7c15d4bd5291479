"""A server process of the real runtime, for as long as it is asked, and the exchange with it over HTTP."""

import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from perennial.errors import DataError, PlatformError

BOOT_SECONDS = 120.0
"""How long the server may take until it listens. It takes two; a busy machine with a cold disk twenty."""
ANSWER_SECONDS = 30.0
"""How long one answer may take before the server counts as hung."""
END_SECONDS = 10.0
"""How long the server may take to end before it is killed."""
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""What a training step was given is not for the server: it chooses its own."""


class NotServedError(DataError):
    """The server does not serve the version as it must: a failed gate, seen by nobody else."""


def exchange(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
) -> tuple[int, dict[str, Any]]:
    """Status and body of an answer.

    Raises:
        NotServedError: there is none, or it is not a JSON object.
    """
    try:
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        answer = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NotServedError(f"{method} {path}: no answer: {error or type(error).__name__}") from error
    if not isinstance(answer, dict):
        raise NotServedError(f"{method} {path}: answered {answer!r}")
    return response.status, answer


@contextmanager
def connected(port: int) -> Iterator[http.client.HTTPConnection]:
    """A connection to a server of this machine; it is closed afterwards."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def booted(folder: Path, model: str, online: str) -> Iterator[int]:
    """The port of a server process for what is deployed in `folder`; it has ended afterwards.

    Raises:
        NotServedError: it does not listen.
        PlatformError: it ended, and says that it may work later.
    """
    # Without -P a folder `serving` of the project that is trained would be taken for ours.
    command = [sys.executable, "-P", "-m", "serving.runtime", "--model", model, "--current", str(folder / "current")]
    command += ["--online", online, "--log", str(folder / "log"), "--port", "0", "--replay", "--drain-seconds", "0"]
    with listening(command, folder / "server.txt") as port:
        yield port


@contextmanager
def listening(command: Sequence[str], output: Path) -> Iterator[int]:
    """The port of the runtime that a command starts; it has ended afterwards, its log sealed.

    Args:
        command: as a shell would run it.
        output: file for what it says.

    Raises:
        NotServedError: it does not listen.
        PlatformError: it ended, and says that it may work later.
    """
    environment = {name: value for name, value in os.environ.items() if name not in THREADS}
    with output.open("wb") as stream:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=environment)
    try:
        yield _port_in(output, process)
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
        process.kill()
        process.wait()


def _port_in(output: Path, process: "subprocess.Popen[bytes]") -> int:
    """The port that a server says it listens on."""
    until = time.monotonic() + BOOT_SECONDS
    while True:
        code, text = process.poll(), output.read_text(encoding="utf-8", errors="replace")
        match = re.search(r"serving .* on http://\S+:(\d+)", text)
        if match and code is None:
            return int(match[1])
        message = f"it said: {text.strip().splitlines()[-1]}" if text.strip() else "it said nothing"
        if code is not None:
            kind = PlatformError if code == PlatformError.exit_code else NotServedError
            raise kind(f"the server ended with exit code {code} before it listened; {message}")
        if time.monotonic() > until:
            raise NotServedError(f"the server did not listen within {BOOT_SECONDS:g} s; {message}")
        time.sleep(0.02)
