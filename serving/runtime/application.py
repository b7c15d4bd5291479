"""The HTTP edge: routes, bodies, statuses. A bare ASGI application; what a body means belongs to `v1` and `v2`.

An answer with an error is JSON with `error`, whatever happened, and the connection stays usable.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from datetime import UTC, datetime
from importlib.metadata import version
from time import perf_counter
from typing import Any

import orjson

from serving.runtime.batches import Batches, Work
from serving.runtime.metrics import Metrics
from serving.runtime.predictor import Predictor
from serving.runtime.protocol import v1, v2
from serving.runtime.protocol.failure import RequestFailure, mistake
from serving.runtime.protocol.json_text import shown
from serving.runtime.watcher import Watcher

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = dict[bytes, bytes]

JSON, TEXT = b"application/json", b"text/plain; version=0.0.4; charset=utf-8"
DISCARDED_BYTES = 64 * 2**20
"""Up to this length a body that is too large is read and thrown away, so that the connection can be used again."""
TIME_HEADER = b"perennial-time"
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2262, 1, 1, tzinfo=UTC)
"""First and last time that a request may say it has: whole nanoseconds since 1970 hold no later ones."""
WRITTEN = "%Y-%m-%dT%H:%M:%SZ"


class Application:
    """Answers HTTP requests for one model."""

    def __init__(
        self,
        name: str,
        watcher: Watcher,
        batches: Batches,
        metrics: Metrics,
        clock: Callable[[], float],
        largest_body: int,
        is_replay: bool,
    ) -> None:
        """Ready to answer.

        Args:
            name: of the model.
            watcher: knows what serves.
            batches: answers.
            metrics: counts.
            clock: Unix seconds UTC: the time of a request.
            largest_body: most bytes of a body.
            is_replay: whether a request may say its own time, by the header `Perennial-Time`.
        """
        self._name, self._watcher, self._batches, self._metrics = name, watcher, batches, metrics
        self._clock, self._largest_body, self._is_replay = clock, largest_body, is_replay
        self._gets: dict[str, Callable[[], tuple[int, object]]] = {
            "/": lambda: (200, {"status": "alive"}),
            "/v1/models": lambda: (200, {"models": [name]}),
            f"/v1/models/{name}": self._model_ready,
            "/health/traffic": self._takes_traffic,
            "/v2": lambda: (200, {"name": "perennial", "version": version("perennial"), "extensions": []}),
            "/v2/health/live": lambda: (200, {"live": True}),
            "/v2/health/ready": self._ready,
            "/v2/models": lambda: (200, {"models": [name]}),
            f"/v2/models/{name}": self._metadata,
            f"/v2/models/{name}/ready": self._model_ready,
        }
        self._posts = {f"/v1/models/{name}:predict": "v1", f"/v2/models/{name}/infer": "v2"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        start = perf_counter()
        path: str = scope["path"]
        method: str = scope["method"]
        protocol = self._posts.get(path)
        try:
            if protocol is not None and method == "POST":
                status, body, seconds = 200, await self._predict(protocol, scope, receive), True
            else:
                status, body, seconds = (*self._look(path, method), False)
        except RequestFailure as failure:
            status, body, seconds = failure.status, orjson.dumps({"error": failure.message}), protocol is not None
        kind = TEXT if path == "/metrics" and status == 200 else JSON
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        if status == 503 and seconds:
            headers.append((b"retry-after", b"1"))
        if status == 405:
            headers.append((b"allow", b"POST" if path in self._posts else b"GET"))
        if self._watcher.is_draining or (status == 413 and not 0 < _length(scope) <= DISCARDED_BYTES):
            # At its end the process sends callers to another one, before it closes a connection under a request.
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self._metrics.answered(protocol or "other", status, perf_counter() - start if seconds else None)

    async def _predict(self, protocol: str, scope: Scope, receive: Receive) -> bytes:
        predictor = self._watcher.serving
        if predictor is None:
            raise RequestFailure(503, f"model {self._name!r} is not ready: {self._watcher.not_ready()}")
        body, time = await self._body(protocol, scope, receive)
        work = _work(protocol, body, predictor, time)
        outcome = await self._batches.submit(work)
        if isinstance(outcome, RequestFailure):
            raise outcome
        return outcome

    async def _body(self, protocol: str, scope: Scope, receive: Receive) -> tuple[bytes, float]:
        """A request's body and its time.

        Raises:
            RequestFailure: a header or the length is not allowed.
        """
        time, length = self._clock(), 0
        for name, value in scope["headers"]:
            if name == b"content-type":
                _check_type(value, protocol)
            elif name == b"content-length":
                length = int(value)
            elif name == b"content-encoding" and value.lower() != b"identity":
                raise RequestFailure(415, f"Content-Encoding: found {value.decode('latin-1')[:60]!r}; allowed: none")
            elif name == b"inference-header-content-length":
                raise RequestFailure(400, f"Inference-Header-Content-Length: {v2.NO_BINARY}")
            elif name == TIME_HEADER:
                time = self._given_time(value.decode("latin-1"))
        if length > self._largest_body:
            raise self._too_large(f"{length} bytes")
        message = await receive()
        body: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            return body, time
        parts, length = [body], len(body)
        while message.get("more_body", False):
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RequestFailure(400, "the connection ended before the body did")
            parts.append(message.get("body", b""))
            length += len(parts[-1])
            if length > self._largest_body:
                raise self._too_large("more")
        return b"".join(parts), time

    def _too_large(self, found: str) -> RequestFailure:
        return RequestFailure(413, f"the body: found {found}; allowed: {self._largest_body} bytes. Send fewer rows at once")

    def _given_time(self, text: str) -> float:
        if not self._is_replay:
            raise RequestFailure(400, "Perennial-Time: this server goes by its own clock; it was not started with --replay")
        try:
            moment = datetime.fromisoformat(text)
            seconds = moment.timestamp()
        except (ValueError, OverflowError):
            moment = None
        if moment is None or moment.tzinfo is None:
            raise mistake("Perennial-Time", shown(text), "ISO 8601 with a zone, as 2013-04-01T05:00:00Z")
        if not EARLIEST.timestamp() <= seconds <= LATEST.timestamp():
            raise mistake("Perennial-Time", shown(text), f"{EARLIEST:{WRITTEN}} to {LATEST:{WRITTEN}}, which a log can hold")
        return seconds

    def _look(self, path: str, method: str) -> tuple[int, bytes]:
        """Status and body of a request that asks for no prediction.

        Raises:
            RequestFailure: there is no such thing, or it is asked for by the wrong method.
        """
        is_known = path in self._posts or path in self._gets or path == "/metrics"
        if not is_known:
            if path == f"/v1/models/{self._name}:explain":
                raise RequestFailure(501, "explanations are not offered")
            return self._versioned(path, method)
        if path in self._posts or method not in ("GET", "HEAD"):
            raise RequestFailure(405, f"{path}: found method {method}; allowed: {'POST' if path in self._posts else 'GET'}")
        if path == "/metrics":
            self._metrics.waiting = self._batches.waiting_rows
            return 200, self._metrics.text()
        status, body = self._gets[path]()
        return status, orjson.dumps(body)

    def _versioned(self, path: str, method: str) -> tuple[int, bytes]:
        """What is asked of a version by its digest or number; only the one that serves can be."""
        beginning = f"/v2/models/{self._name}/versions/"
        predictor = self._watcher.serving
        if path.startswith(beginning) and method in ("GET", "HEAD") and predictor is not None:
            identifier, _, rest = path.removeprefix(beginning).partition("/")
            if identifier not in (predictor.digest, str(predictor.number)):
                raise RequestFailure(404, f"version {shown(identifier)} does not serve; {predictor.digest} does")
            if rest in ("", "ready"):
                status, body = self._metadata() if rest == "" else self._model_ready()
                return status, orjson.dumps(body)
        if path.startswith(("/v1/models/", "/v2/models/")):
            raise RequestFailure(
                404, f"{shown(path)}: no such model or method; this server has {', '.join([*self._posts, *self._gets])}"
            )
        raise RequestFailure(
            404, f"{shown(path)}: no such path; this server has {', '.join([*self._posts, *self._gets, '/metrics'])}"
        )

    def _ready(self) -> tuple[int, object]:
        reason = self._watcher.not_ready()
        return (200, {"ready": True}) if reason is None else (503, {"ready": False, "reason": reason})

    def _takes_traffic(self) -> tuple[int, object]:
        reason = self._watcher.without_answer()
        return (200, {"traffic": True}) if reason is None else (503, {"traffic": False, "reason": reason})

    def _model_ready(self) -> tuple[int, object]:
        """Whether the model can answer, what serves, and what was refused."""
        reason, serving, refused = self._watcher.not_ready(), self._watcher.serving, self._watcher.refused
        body: dict[str, object] = {"name": self._name, "ready": reason is None}
        if reason is not None:
            body["reason"] = reason
        if serving is not None:
            body |= {"version": serving.digest, "number": serving.number}
        if refused is not None:
            body["refused"] = {"version": refused.digest, "reason": refused.reason}
        return (200 if reason is None else 503), body

    def _metadata(self) -> tuple[int, object]:
        if self._watcher.serving is None:
            raise RequestFailure(503, f"model {self._name!r} is not ready: {self._watcher.not_ready()}")
        return 200, v2.metadata(self._watcher.serving)


def _work(protocol: str, body: bytes, predictor: Predictor, time: float) -> Work:
    """A request's body as work for the worker.

    Raises:
        RequestFailure: the body is no request.
    """
    if protocol == "v1":
        return Work(predictor, v1.read(body, predictor.inputs, time), v1.write)
    call = v2.read(body, predictor.inputs, predictor.views, time)
    return Work(predictor, call.rows, lambda answering, predictions: v2.write(answering, call, predictions))


def _check_type(value: bytes, protocol: str) -> None:
    kind = value.partition(b";")[0].strip().lower()
    if kind == JSON:
        return
    if kind == b"application/octet-stream" and protocol == "v2":
        raise RequestFailure(400, f"Content-Type: {v2.NO_BINARY}")
    raise RequestFailure(415, f"Content-Type: found {value.decode('latin-1')[:60]!r}; allowed: application/json")


def _length(scope: Scope) -> int:
    """Declared length of a body; 0 when none is declared."""
    return next((int(value) for name, value in scope["headers"] if name == b"content-length"), 0)
