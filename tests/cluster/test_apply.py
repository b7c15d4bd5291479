"""Objects are applied, found, listed and deleted; what changed is known."""

import pytest

from cluster.apply import apply, delete, get, list_by_label
from cluster.client import Client
from perennial.errors import NotFoundError, PlatformError
from tests.cluster.api import Api

MAP = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "a", "namespace": "team", "labels": {"of": "us"}},
    "data": {"x": "1"},
}


def test_says_whether_an_object_was_made_changed_or_left(api: Api, client: Client) -> None:
    assert apply(client, MAP, dry_run=True).change == "created" and api.objects == {}
    assert [apply(client, wanted).change for wanted in (MAP, MAP, MAP | {"data": {"x": "2"}})] == [
        "created",
        "unchanged",
        "changed",
    ]
    assert apply(client, MAP, dry_run=True).change == "changed"
    stored = get(client, "v1", "ConfigMap", "a", "team")
    assert stored and stored["data"] == {"x": "2"}


def test_an_object_of_an_unknown_kind_is_refused(client: Client) -> None:
    with pytest.raises(NotFoundError, match="has no kind Foo of v1"):
        apply(client, MAP | {"kind": "Foo"})


def test_lists_by_label_over_pages(api: Api, client: Client) -> None:
    api.page = 2
    for name in "abcde":
        api.keep({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "team", "labels": {"of": "us"}}})
    api.keep({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "z", "namespace": "team", "labels": {"of": "them"}}})
    api.keep({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "f", "namespace": "other", "labels": {"of": "us"}}})
    assert [pod["metadata"]["name"] for pod in list_by_label(client, "v1", "Pod", "team", {"of": "us"})] == list("abcde")
    assert [pod["kind"] for pod in list_by_label(client, "v1", "Pod")] == ["Pod"] * 7


def test_deletes_what_is_there_and_only_that(api: Api, client: Client) -> None:
    assert not delete(client, "v1", "ConfigMap", "a", "team")
    apply(client, MAP)
    assert delete(client, "v1", "ConfigMap", "a", "team") and get(client, "v1", "ConfigMap", "a", "team") is None


def test_an_object_that_does_not_go_is_named_with_what_holds_it(api: Api, client: Client) -> None:
    api.deletes = False
    held = {"name": "a", "namespace": "team", "finalizers": ["example.org/kept"]}
    api.keep(MAP | {"metadata": held})
    with pytest.raises(
        PlatformError, match=r"ConfigMap a: was deleted and is still there after 0\.1 s; it is held by example\.org/kept"
    ):
        delete(client, "v1", "ConfigMap", "a", "team", wait_seconds=0.1)
    assert delete(client, "v1", "ConfigMap", "a", "team", wait_seconds=0)
