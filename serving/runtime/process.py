"""The serving process from its start to its end: parts put together, the socket, signals."""

import asyncio
import gc
import logging
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn
import uvloop

from perennial.errors import PlatformError
from perennial.prediction_log import LogWriter
from serving.runtime.answering import Answering
from serving.runtime.application import Application
from serving.runtime.batches import Batches
from serving.runtime.metrics import Metrics
from serving.runtime.watcher import Watcher

LOG = logging.getLogger("serving.runtime")
KEEP_ALIVE_SECONDS = 75
"""How long an idle connection stays open. More than the minute of proxies and clients: they must be first to close."""
BACKLOG = 2048
"""Connections that may wait to be accepted."""
FINISH_SECONDS = 30
"""How long requests may take to finish once the process ends."""
SWITCH_SECONDS = 0.001
"""How long the worker may hold the interpreter while the loop wants it; Python's own 5 ms would be felt in every answer."""


@dataclass(frozen=True)
class Options:
    """How the process was asked to serve."""

    model: str
    """Name of the model."""
    current: Path
    """File that says which version is wanted."""
    online: str
    """The online store."""
    log: Path | None
    """Folder of the prediction log; None keeps none."""
    host: str
    port: int
    """0 takes a free one."""
    largest_body: int
    """Most bytes of a request's body."""
    drain_seconds: float
    """How long it says *not ready* before it stops to listen."""
    is_replay: bool
    """Whether requests may say their own time."""


class Server(uvicorn.Server):
    """Uvicorn with another end: not ready first, then no new connections, then what is under way, then exit code 0."""

    def __init__(self, config: uvicorn.Config, watcher: Watcher, drain_seconds: float) -> None:
        super().__init__(config)
        self._watcher = watcher
        self._drain_seconds = drain_seconds

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a signal handler
        """Called for SIGTERM and SIGINT; the second one does not wait for the drain."""
        if self._watcher.is_draining:
            self.should_exit = True
            return
        self._watcher.is_draining = True
        LOG.info("not ready any more; listening for another %g s", self._drain_seconds)
        loop = asyncio.get_running_loop()
        loop.call_soon_threadsafe(loop.call_later, self._drain_seconds, self._end)

    def _end(self) -> None:
        self.should_exit = True


def run(options: Options) -> None:
    """The process has served until it was told to end.

    Raises:
        PlatformError: the address cannot be listened on.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    listener = listen(options.host, options.port)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(options, listener))


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        PlatformError: the address is taken or not ours.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise PlatformError(f"{host}:{port}: cannot be listened on: {error.strerror}; choose another --port") from error
    return listener


async def serve(options: Options, listener: socket.socket) -> None:
    """Requests on `listener` have been answered until a signal came."""
    metrics = Metrics(options.model)
    watcher = Watcher(options.current, options.model, options.online, metrics)
    log = None if options.log is None else LogWriter(options.log, time.time)
    batches = Batches(Answering(metrics, log), asyncio.get_running_loop())
    application = Application(options.model, watcher, batches, metrics, time.time, options.largest_body, options.is_replay)
    config = uvicorn.Config(
        application,
        http="httptools",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=FINISH_SECONDS,
    )

    def looked() -> None:
        if log is not None:
            log.seal_if_due()

    await asyncio.to_thread(watcher.look)
    # What is loaded by now stays; the collector need not look through it again and again.
    gc.collect()
    gc.freeze()
    watcher.start(looked)
    LOG.info("serving %s on http://%s:%s", options.model, *listener.getsockname()[:2])
    await Server(config, watcher, options.drain_seconds).serve(sockets=[listener])
    watcher.stop()
    batches.close()
    if log is not None:
        log.close()
    LOG.info("ended")
