"""The connection to an API server: who asks, how long a call may take, what its errors mean."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import urllib3
from kubernetes import client as kubernetes_client
from kubernetes import config as kubernetes_config
from kubernetes.config.config_exception import ConfigException

from perennial.errors import NotFoundError, PlatformError

Object = dict[str, Any]
"""An object as the API server writes it: `apiVersion`, `kind`, `metadata`, …"""

CONNECT_SECONDS = 5.0
"""How long a connection may take to be made."""
READ_SECONDS = 30.0
"""How long an answer may be silent; admission webhooks may take up to 30 s by themselves."""

TEXT = 200
"""Characters that are shown of an answer that is no object."""

CONFIG = Path("~/.kube/config")
"""Where kubectl looks when KUBECONFIG is not set."""

REMEDIES = {
    401: "the credentials are not accepted: renew those in KUBECONFIG",
    403: "ask who administers the cluster for this right; `perennial cluster check` lists the rights that are needed",
    409: "another writer was first: read it again",
    413: "the object is too large",
    422: "the object is not valid: change it",
    429: "the API server is overloaded: try again later",
}
"""What to do about a refusal, by its HTTP status."""


class RefusedError(PlatformError):
    """The API server answered, and refused: `status` of HTTP, `reason` and `said` as Kubernetes words them."""

    def __init__(self, message: str, status: int, reason: str, said: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.said = said


@dataclass(frozen=True)
class Server:
    """What an API server says of itself."""

    version: str
    """For example `v1.34.4`."""
    time: datetime
    """Its clock when it answered, UTC, to the second."""


class Client:
    """One API server, asked as one user."""

    def __init__(self, configuration: Any) -> None:
        """Nothing is asked yet; `open` finds the configuration.

        Args:
            configuration: of the kubernetes library: address, certificates, credentials.
        """
        configuration.retries = False  # a call ends in time; who calls decides whether to ask again
        self._configuration = configuration
        self._pools = kubernetes_client.ApiClient(configuration).rest_client.pool_manager
        self._kinds: dict[str, dict[str, tuple[str, bool]]] = {}
        self.address = str(configuration.host)

    @classmethod
    def open(cls, environment: Mapping[str, str] | None = None) -> Self:
        """A client by KUBECONFIG, else as the pod in which this process runs, else by `~/.kube/config`.

        Args:
            environment: variables; the process's own when absent.

        Raises:
            PlatformError: none of them is there, or it cannot be read.
        """
        variables = os.environ if environment is None else environment
        configuration = kubernetes_client.Configuration()
        kubeconfig = variables.get("KUBECONFIG")
        try:
            if not kubeconfig and "KUBERNETES_SERVICE_HOST" in variables:
                kubernetes_config.load_incluster_config(client_configuration=configuration)
            elif kubeconfig or CONFIG.expanduser().exists():
                kubernetes_config.load_kube_config(kubeconfig or str(CONFIG.expanduser()), client_configuration=configuration)
            else:
                raise PlatformError(f"cluster: none is named: set KUBECONFIG to the path of a kubeconfig, or write {CONFIG}")
        except (ConfigException, OSError, ValueError, TypeError, AttributeError) as error:
            raise PlatformError(
                f"cluster: {kubeconfig or 'the configuration'} cannot be read ({error}): set KUBECONFIG to the path of a "
                "kubeconfig"
            ) from error
        return cls(configuration)

    def close(self) -> None:
        """Its connections are closed."""
        self._pools.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Object:
        """The answer to one request.

        Args:
            method: of HTTP.
            path: from the server's root, for example `/api/v1/namespaces`.
            query: parameters by name.
            body: JSON value; None sends none.
            content_type: of the body.
            accept: form of the answer.

        Raises:
            NotFoundError: there is no such object or resource.
            RefusedError: the API server refuses.
            PlatformError: it does not answer, or with something else than an object.
        """
        return self._ask(method, path, query, body, content_type, accept)[0]

    def server(self) -> Server:
        """Version and clock of the API server.

        Raises:
            PlatformError: it does not answer, or refuses, or is something else.
        """
        content, headers = self._ask("GET", "/version")
        try:
            return Server(str(content["gitVersion"]), parsedate_to_datetime(headers["Date"]).astimezone(UTC))
        except (KeyError, TypeError, ValueError) as error:
            raise PlatformError(f"{self.address}: is no Kubernetes API server: its version says {content!r:.200}") from error

    def path(self, api_version: str, kind: str, namespace: str | None = None, name: str | None = None) -> str:
        """Path of an object, or without a name of all of its kind.

        Args:
            api_version: `v1`, or `<group>/<version>`.
            kind: for example `Pod`.
            namespace: ignored for a kind that has none; None asks for those of every namespace.
            name: of the object.

        Raises:
            NotFoundError: the API server has no such kind.
            PlatformError: it does not answer or refuses.
        """
        root = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
        if kind not in self._kinds.get(api_version, {}):
            self._kinds[api_version] = self._kinds_at(root, api_version)
        if kind not in self._kinds[api_version]:
            raise NotFoundError(
                f"{self.address}: has no kind {kind} of {api_version}: its definition (CRD) is missing, or is of another version"
            )
        resource, namespaced = self._kinds[api_version][kind]
        parts = [root, *(["namespaces", namespace] if namespaced and namespace else []), resource, *([name] if name else [])]
        return "/".join(parts)

    def _kinds_at(self, root: str, api_version: str) -> dict[str, tuple[str, bool]]:
        try:
            resources = self.call("GET", root)["resources"]
        except NotFoundError as error:
            raise NotFoundError(
                f"{self.address}: does not know {api_version}: its definitions (CRDs) are missing, or are of another version"
            ) from error
        return {
            resource["kind"]: (resource["name"], resource["namespaced"]) for resource in resources if "/" not in resource["name"]
        }

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> tuple[Object, Mapping[str, str]]:
        headers = {"Accept": accept, "User-Agent": "perennial"}
        token = self._configuration.get_api_key_with_prefix("authorization")
        if token:
            headers["Authorization"] = token
        if body is not None:
            headers["Content-Type"] = content_type
        url = f"{self.address.rstrip('/')}{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            answer = self._pools.request(
                method,
                url,
                body=None if body is None else json.dumps(body).encode(),
                headers=headers,
                timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise PlatformError(
                f"{self.address}: the API server does not answer {method} {path}: {error}: is it up, and the kubeconfig its own?"
            ) from error
        content = _object(answer.data)
        if answer.status >= 300:
            raise _refusal(f"{self.address}: {method} {path}", answer.status, content or {"message": answer.data.decode()[:TEXT]})
        if content is None:
            raise PlatformError(f"{self.address}: {method} {path} is answered with {answer.data[:TEXT]!r} instead of an object")
        return content, answer.headers


def _object(data: bytes) -> Object | None:
    try:
        content = json.loads(data)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _refusal(where: str, status: int, content: Object) -> PlatformError | NotFoundError:
    """The error for a status that is none of success; Kubernetes' own sentence is in it."""
    message = str(content.get("message", "")).strip() or "no reason is given"
    if status == 404:
        return NotFoundError(f"{where}: {message}")
    remedy = REMEDIES.get(
        status, "if nothing is wrong with the request, it may work later" if status >= 500 else "see what it says"
    )
    return RefusedError(f"{where}: refused with {status}: {message}: {remedy}", status, str(content.get("reason", "")), message)
