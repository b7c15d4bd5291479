"""What is said of an object can be read again, in order."""

from datetime import UTC, datetime

from cluster import events
from cluster.client import Client
from tests.cluster.api import Api

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_events_of_an_object_are_its_own_the_oldest_first(api: Api, client: Client) -> None:
    about = api.keep({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "team"}})
    other = api.keep({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b", "namespace": "team"}})
    events.record(client, about, "Repaired", "it was changed by others", NOW.replace(minute=5), "Warning")
    events.record(client, about, "Applied", "it is there", NOW)
    events.record(client, other, "Applied", "it is there", NOW)
    found = events.of(client, about)
    assert [event["reason"] for event in found] == ["Applied", "Repaired"]
    assert found[0]["lastTimestamp"] == "2026-01-02T03:04:05Z" and found[1]["type"] == "Warning"


def test_the_time_of_an_event_is_found_wherever_its_writer_put_it() -> None:
    metadata = {"creationTimestamp": "2026-01-01T00:00:00Z"}
    assert events.time_of({"metadata": metadata, "lastTimestamp": None, "eventTime": None}) == "2026-01-01T00:00:00Z"
    assert events.time_of({"metadata": metadata, "eventTime": "2026-01-02T00:00:00Z"}) == "2026-01-02T00:00:00Z"
    assert (
        events.time_of({"metadata": metadata, "series": {"lastObservedTime": "2026-01-03T00:00:00Z"}}) == "2026-01-03T00:00:00Z"
    )
