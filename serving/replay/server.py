"""A server of a model for one replay: on a port of this machine, with requests that say their own time."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perennial.errors import PlatformError
from perennial.settings import Settings
from serving.command import server_command
from serving.replay.caller import Caller
from serving.verification.process import listening

READY_SECONDS = 60.0
"""How long model and online store may take to answer, once the server listens."""
HOST = "127.0.0.1"


@contextmanager
def replay_server(settings: Settings, model: str, port: int = 0) -> Iterator[str]:
    """The address of a server that is ready. It is ended, and its part of the prediction log sealed, afterwards.

    Args:
        settings: where things are.
        model: name of the model.
        port: port to listen on; a free one when 0.

    Raises:
        NotFoundError: nothing is deployed.
        DataError: the server does not listen.
        PlatformError: the port is taken, or the server did not become ready.
    """
    command = server_command(settings, model, HOST, port, is_replay=True)
    # Nobody else sends traffic here: it need not be told beforehand that the end comes.
    command += ["--drain-seconds", "0"]
    with (
        tempfile.TemporaryDirectory(prefix="perennial-") as folder,
        listening(command, Path(folder) / "server.txt") as bound_port,
    ):
        url = f"http://{HOST}:{bound_port}"
        with Caller(url, model) as caller:
            require_ready(caller, READY_SECONDS)
        yield url


def require_ready(caller: Caller, seconds: float) -> None:
    """Model and online store answer.

    Args:
        caller: of the server.
        seconds: how long they may take.

    Raises:
        PlatformError: they do not.
    """
    until = time.monotonic() + seconds
    while not caller.is_ready():
        if time.monotonic() > until:
            raise PlatformError(
                f"{caller.url}: {caller.model} was not ready within {seconds:g} s: model and online store must answer"
            )
        time.sleep(0.1)


def require_version(caller: Caller, digest: str, seconds: float) -> None:
    """The server answers with a version: whose answers come next must not depend on how fast it swaps a champion in.

    Args:
        caller: of the server.
        digest: of the version.
        seconds: how long the swap may take.

    Raises:
        PlatformError: it answers with another one, or with none.
    """
    until = time.monotonic() + seconds
    while (answering := caller.version()) != digest:
        if time.monotonic() > until:
            raise PlatformError(f"{caller.url} answers with version {answering}, and the champion of {caller.model} is {digest}")
        time.sleep(0.1)
