"""All checks, in the order to fix them."""

from collections.abc import Callable, Mapping
from datetime import datetime

from cluster.client import Client
from controller.preflight import clocks, cluster, stores
from controller.preflight.row import NotShownError, PreflightRow, asked
from perennial.errors import PlatformError
from perennial.settings import Settings

SILENT = "the API server does not answer"


def preflight(settings: Settings, environment: Mapping[str, str], clock: Callable[[], datetime]) -> tuple[PreflightRow, ...]:
    """What an installation on a cluster needs, row by row. One object stays in the bucket; nothing else is changed.

    Args:
        settings: of the installation.
        environment: this process's variables: KUBECONFIG, AWS_*, MLFLOW_*; other clients read theirs by themselves.
        clock: of this machine, UTC.
    """
    try:
        client = Client.open(environment)
    except PlatformError as error:
        rows = (PreflightRow("API server", "missing", str(error), cluster.REACH), *_silent())
    else:
        with client:
            rows = _of_cluster(client, settings, clock)
    return (
        *rows,
        *stores.rows(settings, environment),
        asked("clock of S3", lambda: clocks.of_s3(environment, clock), clocks.SET, is_needed=False),
    )


def _of_cluster(client: Client, settings: Settings, clock: Callable[[], datetime]) -> tuple[PreflightRow, ...]:
    first = asked("API server", lambda: f"{client.server().version} at {client.address}", cluster.REACH)
    if first.state != "ok":
        return (first, *_silent())
    last = asked("clock of the cluster", lambda: clocks.of_cluster(client, clock), clocks.SET, is_needed=False)
    return (first, *cluster.rows(client, settings), last)


def _silent() -> tuple[PreflightRow, ...]:
    def say() -> str:
        raise NotShownError(SILENT)

    rows = (asked(name, say, "", is_needed=name not in cluster.GOOD_TO_HAVE) for name, _, _ in cluster.QUESTIONS)
    return (*rows, asked("clock of the cluster", say, "", is_needed=False))
