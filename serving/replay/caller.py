"""Somebody who asks a model server, at times of their own: one kept connection, and what each answer but 200 means."""

import http.client
from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import orjson

from perennial.errors import DataError, NotFoundError, PlatformError, SpecError

ANSWER_SECONDS = 60
"""How long one answer may take before the server counts as hung."""
TIME_HEADER = "Perennial-Time"
"""Header by which a request says when it happens."""


class Caller:
    """One kept connection to the server of a model, opened again where the server closed it between two requests."""

    def __init__(self, url: str, model: str) -> None:
        """Nothing is asked yet.

        Args:
            url: the server's address, `http://HOST:PORT`.
            model: name of the model.

        Raises:
            SpecError: it is no such address.
        """
        try:
            parts = urlsplit(url)
            address, port = parts.hostname, parts.port
        except ValueError:
            parts, address, port = urlsplit(""), None, None
        if parts.scheme != "http" or not address or parts.path not in ("", "/") or parts.query or parts.username:
            raise SpecError(f"{url!r} is no address of a server; allowed: http://HOST:PORT")
        self.url, self.model = url.rstrip("/"), model
        self._connection = http.client.HTTPConnection(address, port or 80, timeout=ANSWER_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connection.close()

    def is_ready(self) -> bool:
        """Whether model and online store answer."""
        try:
            return self._send("GET", f"/v2/models/{self.model}/ready", None, {})[0] == 200
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return False

    def version(self) -> str | None:
        """Digest of the version that answers; None while none does."""
        try:
            status, answer = self._send("GET", f"/v2/models/{self.model}", None, {})
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return None
        return str(orjson.loads(answer)["versions"][0]) if status == 200 else None

    def ask(self, path: str, body: Mapping[str, object], now: datetime) -> dict[str, Any]:
        """The answer to a request that happens at `now`.

        Args:
            path: where it is sent, for example `/v1/models/churn:predict`.
            body: the request, as JSON has it.
            now: UTC.

        Raises:
            DataError: the server says that the request is wrong.
            NotFoundError: it serves no such model.
            PlatformError: it does not answer, or says that it may later.
        """
        text, headers = orjson.dumps(body), {"Content-Type": "application/json", TIME_HEADER: now.isoformat()}
        try:
            try:
                status, answer = self._send("POST", path, text, headers)
            except (http.client.RemoteDisconnected, ConnectionError):
                # A connection that was idle for some seconds has been closed by the server: nothing was answered on it.
                self._connection.close()
                status, answer = self._send("POST", path, text, headers)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise PlatformError(f"{self.url}: no answer: {error or type(error).__name__}; is the server running?") from error
        if status != 200:
            kind = {404: NotFoundError}.get(status, DataError if 400 <= status < 500 else PlatformError)
            raise kind(f"{self.url}{path}: answered {status} to a request of {now.isoformat()}: {_said(answer)}")
        payload: dict[str, Any] = orjson.loads(answer)
        return payload

    def predict(self, rows: list[dict[str, object]], now: datetime) -> dict[str, Any]:
        """The answer to these rows by V1. Raises as `ask`."""
        return self.ask(f"/v1/models/{self.model}:predict", {"instances": rows}, now)

    def _send(self, method: str, path: str, text: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        self._connection.request(method, path, text, dict(headers))
        response = self._connection.getresponse()
        return response.status, response.read()


def _said(answer: bytes) -> str:
    """The sentence of an error's answer; all of it where it has none."""
    try:
        return str(orjson.loads(answer)["error"])
    except (ValueError, KeyError, TypeError):
        return answer.decode(errors="replace")[:300]
