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

from feature_repo.online_store.database import open_lookup
from perennial.errors import PlatformError
from perennial.prediction_log import LogWriter
from perennial.stores.bucket import Bucket
from serving.runtime.answering import Answering
from serving.runtime.application import Application
from serving.runtime.batches import Batches
from serving.runtime.metrics import Metrics
from serving.runtime.shipping import REQUEST_SECONDS, RETRY_SECONDS, Shipper
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
    """Path of the online store's file, or URL of its Redis."""
    log: Path | None
    """Folder of the prediction log; None keeps none."""
    bucket: str | None
    """Where the log is shipped, `s3://<bucket>/<prefix>`; None leaves it in its folder."""
    ship_seconds: float
    """Age from which a segment is finished, when it is shipped."""
    last_ship_seconds: float
    """How long the end may wait for the bucket."""
    host: str
    port: int
    """0 takes a free one."""
    largest_body: int
    """Most bytes of a request's body."""
    drain_seconds: float
    """How long it says *not ready* before it stops to listen."""
    is_replay: bool
    """Whether requests may say their own time."""


class ModelServer(uvicorn.Server):
    """Uvicorn with another end: not ready first, then no new connections, then what is under way, then exit code 0."""

    def __init__(self, config: uvicorn.Config, watcher: Watcher, shipper: Shipper | None, drain_seconds: float) -> None:
        super().__init__(config)
        self._watcher = watcher
        self._shipper = shipper
        self._drain_seconds = drain_seconds

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a signal handler
        """Called for SIGTERM and SIGINT; the second one does not wait for the drain."""
        if self._watcher.is_draining:
            self.should_exit = True
            return
        self._watcher.is_draining = True
        if self._shipper is not None:
            self._shipper.hurry()
        LOG.info("not ready any more; listening for another %g s", self._drain_seconds)
        loop = asyncio.get_running_loop()
        loop.call_soon_threadsafe(loop.call_later, self._drain_seconds, self._end)

    def _end(self) -> None:
        self.should_exit = True


def run(options: Options) -> None:
    """The process has served until it was told to end.

    Raises:
        PlatformError: the address cannot be listened on.
        SpecError: the URL of the online store is wrong.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    open_lookup(options.online)  # nothing is opened: a URL that is wrong stays wrong, so that waiting would not help
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
    log, shipper = logging_to(options, metrics)
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
    if shipper is not None:
        shipper.start()
    LOG.info("serving %s on http://%s:%s", options.model, *listener.getsockname()[:2])
    await ModelServer(config, watcher, shipper, options.drain_seconds).serve(sockets=[listener])
    watcher.stop()
    batches.close()
    if log is not None:
        log.close()
    if shipper is not None:
        shipper.end(options.last_ship_seconds)
    LOG.info("ended")


def logging_to(options: Options, metrics: Metrics) -> tuple[LogWriter | None, Shipper | None]:
    """What writes the prediction log and what ships it; None where it is not wanted."""
    if options.log is None:
        return None, None
    if options.bucket is None:
        return LogWriter(options.log, time.time), None
    log = LogWriter(options.log, time.time, max_seconds=options.ship_seconds)
    bucket = Bucket(options.bucket, RETRY_SECONDS, REQUEST_SECONDS)
    return log, Shipper(options.log, bucket, options.model, log, metrics, time.time)
