"""An MLflow server, asked over HTTP without its library, which takes seconds to import and minutes to give up."""

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Mapping

from perennial.errors import PlatformError

SEARCH = "/api/2.0/mlflow/experiments/search"


def server_version(url: str, environment: Mapping[str, str], wait_seconds: float) -> str:
    """Version of the MLflow server at a URL, which lets who asks read its experiments.

    Args:
        url: `http://` or `https://`.
        environment: variables: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.
        wait_seconds: how long each of two answers is waited for.

    Raises:
        PlatformError: it does not answer, refuses, or is something else.
    """
    headers = {"Content-Type": "application/json", **_credentials(environment)}
    try:
        version = _ask(urllib.request.Request(f"{url.rstrip('/')}/version", headers=headers), wait_seconds).decode().strip()
        body = json.dumps({"max_results": 1}).encode()
        response = json.loads(_ask(urllib.request.Request(f"{url.rstrip('/')}{SEARCH}", body, headers), wait_seconds) or b"{}")
    except urllib.error.HTTPError as error:
        with error:
            remedy = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" if error.code in (401, 403) else "see its log"
            raise PlatformError(f"MLflow {url}: refuses with {error.code}: {remedy}") from error
    except OSError as error:
        raise PlatformError(f"MLflow {url}: does not answer: {error}") from error
    except ValueError as error:
        raise PlatformError(f"MLflow {url}: is no MLflow: {error}") from error
    if not isinstance(response, dict) or len(version) > 40:
        raise PlatformError(f"MLflow {url}: is no MLflow: its version says {version!r:.100}")
    return version


def _ask(request: urllib.request.Request, wait_seconds: float) -> bytes:
    with urllib.request.urlopen(request, timeout=wait_seconds) as answer:
        content: bytes = answer.read()
    return content


def _credentials(environment: Mapping[str, str]) -> dict[str, str]:
    token, user = environment.get("MLFLOW_TRACKING_TOKEN"), environment.get("MLFLOW_TRACKING_USERNAME")
    if user is not None:
        pair = f"{user}:{environment.get('MLFLOW_TRACKING_PASSWORD', '')}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    return {"Authorization": f"Bearer {token}"} if token else {}
