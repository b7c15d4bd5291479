"""A real Redis for tests: started once for each worker on a free port of the loopback, ended for certain, never a service.

It asks for a password and keeps on the disk what it is stopped with, so that a test can take it away and give it back.
"""

import itertools
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.servers.port import free_port

PASSWORD = "REDISCLI_AUTH"
START_SECONDS = 30.0


@dataclass
class Redis:
    """A server that can be away for a while; what it holds stays."""

    folder: Path
    password: str
    port: int = 0
    process: "subprocess.Popen[bytes] | None" = None
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def store(self) -> str:
        """URL of an online store that is empty."""
        return f"redis://127.0.0.1:{self.port}/{next(self._numbers)}"

    def start(self) -> None:
        """It answers, with what it held when it was stopped."""
        self.port = self.port or free_port()
        options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": self.folder,
            "requirepass": self.password,
            "save": "",
            "databases": 1000,
        }
        arguments = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        with (self.folder / "log").open("ab") as log:
            # It ends when this process does, however that ends.
            command = ["setpriv", "--pdeathsig", "KILL", "redis-server", *arguments]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until = time.monotonic() + START_SECONDS
        while self.ask("PING") != b"+PONG":
            assert self.process.poll() is None and time.monotonic() < until, (self.folder / "log").read_text()
            time.sleep(0.01)

    def ask(self, command: str) -> bytes:
        """First line of the answer to a command; empty when there is none."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(f"AUTH {self.password}\r\n{command}\r\n".encode())
                with connection.makefile("rb") as answers:
                    answers.readline()
                    return answers.readline().rstrip()
        except OSError:
            return b""

    def stop(self) -> None:
        """It is away, and has written down what it holds."""
        if self.process is not None:
            self.ask("SHUTDOWN SAVE")
            self.process.wait(START_SECONDS)
            self.process = None

    def hang(self) -> None:
        """It takes connections and answers nothing, until it is told to go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """It answers again."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """The server of this worker; skips where Redis is not installed."""
    if shutil.which("redis-server") is None:
        pytest.skip("Redis is not installed: `apt-get install redis-server`, or `make test` as root")
    server = Redis(tmp_path_factory.mktemp("redis"), secrets.token_hex(12))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PASSWORD, server.password)
        server.start()
        try:
            yield server
        finally:
            assert server.process is not None
            server.process.kill()
            server.process.wait()


@pytest.fixture
def redis(redis_server: Redis) -> Iterator[Redis]:
    """The server; it answers again when the test ends."""
    yield redis_server
    if redis_server.process is None:
        redis_server.start()
    redis_server.go_on()


@pytest.fixture(scope="module", params=["file", "redis"])
def new_store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], str]:
    """Makes empty online stores, each named as the settings name it; a test that asks for it runs on every kind of them."""
    if request.param == "file":
        return lambda: str(tmp_path_factory.mktemp("store") / "online.db")
    server: Redis = request.getfixturevalue("redis_server")
    return server.store
