"""The status of every model, asked for: what is stored, the local servers, the controller's lease. Nothing is concluded here."""

import http.client
from datetime import datetime

from console.decisions import models_of
from controller.runner import open_runner
from controller.stored import deployed_models, stored_of
from controller.ticked import LEASE
from perennial.ledger import Ledger
from perennial.settings import Settings
from perennial.status.condition import Condition
from perennial.status.installation import controller_condition
from perennial.status.model_status import ModelStatus, ServerStatus, status_of
from serving.deployers.reading import open_reading

ANSWER_SECONDS = 0.5
"""How long a local server may take to say how it is."""
LOST_ROWS = "perennial_log_lost_rows_total"
"""The server's count of answers that it could not log."""


def server_of(settings: Settings, model: str) -> ServerStatus | None:
    """How the local server of a model says it is; none when none answers."""
    path = settings.server_address(model)
    if not path.exists():
        return None
    address = path.read_text(encoding="utf-8").strip()
    connection = http.client.HTTPConnection(address, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", f"/v2/models/{model}/ready")
        response = connection.getresponse()
        response.read()
        connection.request("GET", "/metrics")
        metrics = connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return ServerStatus(address=address, is_ready=response.status == 200, lost_rows=lost_rows_in(metrics))


def lost_rows_in(metrics: str) -> int:
    """How many answers were not logged, from what a server says at `/metrics`; 0 where it does not say, or says no metrics.

    >>> lost_rows_in('perennial_log_lost_rows_total{model="churn"} 3.0'), lost_rows_in(""), lost_rows_in("<html>")
    (3, 0, 0)
    """
    from prometheus_client.parser import text_string_to_metric_families

    try:
        samples = [sample for family in text_string_to_metric_families(metrics) for sample in family.samples]
    except ValueError:
        return 0
    return int(sum(sample.value for sample in samples if sample.name == LOST_ROWS))


def read_status(settings: Settings, now: datetime, clock: datetime) -> tuple[Condition, list[ModelStatus]]:
    """Whether a controller is at work, and every model that has a spec, was ever trained, or is deployed, by name.

    Args:
        settings: where things are.
        now: the time for which it is said, UTC: windows and dates are counted by it. What is stored is taken as it is.
        clock: the real time, UTC: the controller holds its lease by it.
    """
    deployer = open_reading(settings)
    with Ledger.open(settings.ledger) as ledger:
        controller = controller_condition(ledger.lease(LEASE), clock)
        runner = open_runner(settings, lambda: clock)
        names = sorted({*models_of(settings, ledger), *deployed_models(deployer)})
        stored = [stored_of(settings, deployer, ledger, name, runner) for name in names]
    statuses = [status_of(record, controller.status == "True", now) for record in stored]
    if settings.namespace is None:
        statuses = [status.model_copy(update={"server": server_of(settings, status.model)}) for status in statuses]
    return controller, statuses
