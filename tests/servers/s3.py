"""A real S3 server for tests (moto over HTTP): started once for each worker on a free port of the loopback, never a service.

Tests ask for `s3`, which also tells every client of this process and its children where it is and who asks.
"""

import itertools
import logging
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import pytest
from moto.core.authorization import enable_iam_authentication
from moto.server import ThreadedMotoServer


@dataclass
class S3:
    """A server that can be away for a while; its objects stay."""

    port: int
    server: ThreadedMotoServer | None = None
    _names: Iterator[int] = field(default_factory=itertools.count)

    @property
    def endpoint(self) -> str:
        """What `AWS_ENDPOINT_URL` must be."""
        return f"http://127.0.0.1:{self.port}"

    def bucket(self) -> str:
        """URI of a prefix in a new, empty bucket."""
        name = f"team-{next(self._names)}"
        with urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")):
            return f"s3://{name}/perennial"

    def known(self, patch: pytest.MonkeyPatch) -> None:
        """The environment says to clients where it is and who asks."""
        patch.setenv("AWS_ENDPOINT_URL", self.endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_REGION", "us-east-1")

    def guarded(self) -> AbstractContextManager[None]:
        """Inside, whoever asks is refused: the server knows nobody."""
        return enable_iam_authentication()

    def start(self) -> None:
        """It answers."""
        self.server = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
        self.server.start()
        self.port = self.server.get_host_and_port()[1]

    def stop(self) -> None:
        """It is away."""
        if self.server is not None:
            self.server.stop()
            self.server = None


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    """The server of this worker."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = S3(port=0)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """The server, with this process's environment set for its clients; it answers again when the test ends."""
    s3_server.known(monkeypatch)
    yield s3_server
    if s3_server.server is None:
        s3_server.start()
