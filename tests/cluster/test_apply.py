"""Objects are applied, found, listed and deleted; what changed is known."""

import copy

import pytest

from cluster.apply import apply, apply_status, delete, get, list_by_label, own, strike_annotation
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


def test_a_status_is_whole_and_the_rest_of_the_object_stays(client: Client, api: Api) -> None:
    made = api.keep({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "team"}, "data": {"b": "c"}})
    apply_status(client, made, {"state": "Trained", "next": {"what": "x"}})
    found = apply_status(client, made, {"state": "Watched"})
    assert found["status"] == {"state": "Watched"} and found["data"] == {"b": "c"}
    with pytest.raises(NotFoundError):
        apply_status(client, {**made, "metadata": {"name": "gone", "namespace": "team"}}, {})


def test_an_annotation_is_struck_out_only_as_it_was_read(client: Client, api: Api) -> None:
    metadata = {"name": "a", "namespace": "team", "annotations": {"x.dev/ask": "now", "y": "z"}}
    read = copy.deepcopy(api.keep({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}))
    api.keep({**read, "metadata": {**read["metadata"], "annotations": {"x.dev/ask": "later", "y": "z"}}})
    assert not strike_annotation(client, read, "x.dev/ask")
    api.keep(read)
    assert strike_annotation(client, read, "x.dev/ask") and not strike_annotation(client, read, "x.dev/ask")
    (stored,) = api.objects.values()
    assert stored["metadata"]["annotations"] == {"y": "z"}


def test_an_owner_is_written_once_beside_the_others(client: Client, api: Api) -> None:
    first, second = (
        api.keep({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "team"}}) for name in ("a", "b")
    )
    made = api.keep({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "team"}})
    path = next(path for path in api.objects if path.endswith("/configmaps/c"))
    assert own(client, made, first) and own(client, api.objects[path], second)
    assert not own(client, api.objects[path], first)
    assert {one["name"] for one in api.objects[path]["metadata"]["ownerReferences"]} == {"a", "b"}
