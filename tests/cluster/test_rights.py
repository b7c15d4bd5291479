"""Each right is asked for by itself, and one that is missing is named."""

from cluster.client import Client
from cluster.rights import Right, missing
from tests.cluster.api import Api

WANTED = (Right("", "pods", "list"), Right("apps", "deployments", "get"), Right("apps", "deployments", "patch"))


def test_names_exactly_the_rights_that_are_missing(api: Api, client: Client) -> None:
    assert missing(client, "team", WANTED) == ()
    for right in WANTED:
        api.denied = {str(right)}
        assert missing(client, "team", WANTED) == (right,)


def test_a_subresource_is_asked_for_as_one(api: Api, client: Client) -> None:
    api.denied = {"get pods/log"}
    assert missing(client, "team", [Right("", "pods/log", "get"), Right("", "pods", "get")]) == (Right("", "pods/log", "get"),)


def test_one_object_is_asked_for_by_its_name(api: Api, client: Client) -> None:
    wanted = [Right("apps", "deployments", "get", "one"), Right("apps", "deployments", "get")]
    assert [str(right) for right in wanted] == ["get deployments.apps one", "get deployments.apps"]
    api.denied = {"get deployments.apps"}
    assert missing(client, "team", wanted) == (wanted[1],)
    api.denied = {"get deployments.apps one"}
    assert missing(client, "team", wanted) == (wanted[0],)
