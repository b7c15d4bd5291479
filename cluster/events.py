"""Events: what Kubernetes says happened to an object, and what we say."""

from datetime import datetime
from typing import Literal

from cluster.apply import list_at
from cluster.client import Client, Object

COMPONENT = "perennial"
"""Who says it."""


def record(
    client: Client,
    about: Object,
    reason: str,
    message: str,
    wall_clock: datetime,
    severity: Literal["Normal", "Warning"] = "Normal",
) -> Object:
    """An event of an object is in its namespace, as stored: `kubectl describe` shows it for an hour.

    Args:
        client: of the cluster.
        about: an object of a namespace, as stored.
        reason: one CamelCase word.
        message: one sentence.
        wall_clock: the real time, UTC: `kubectl describe` counts the event's age from it.
        severity: Kubernetes' word for it.

    Raises:
        PlatformError: the API server does not answer or refuses.
    """
    metadata = about["metadata"]
    moment = wall_clock.strftime("%Y-%m-%dT%H:%M:%SZ")
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{metadata['name'][:200]}.", "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": about["apiVersion"],
            "kind": about["kind"],
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
        },
        "reason": reason,
        "message": message[:1024],
        "type": severity,
        "count": 1,
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
    }
    return client.call("POST", client.path("v1", "Event", metadata["namespace"]), body=event)


def of(client: Client, about: Object) -> list[Object]:
    """Events of an object, the oldest first.

    Args:
        client: of the cluster.
        about: an object of a namespace, as stored.

    Raises:
        PlatformError: the API server does not answer or refuses.
    """
    metadata = about["metadata"]
    return sorted(
        list_at(client, "v1", "Event", metadata["namespace"], {"fieldSelector": f"involvedObject.uid={metadata['uid']}"}),
        key=time_of,
    )


def time_of(event: Object) -> str:
    """When an event was last seen, ISO 8601; some writers fill only the newer fields."""
    series = event.get("series") or {}
    timestamp = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return str(timestamp or event["metadata"].get("creationTimestamp") or "")
