"""Each right is asked for by itself, and one that is missing is named."""

from cluster.client import Client
from cluster.rights import Right, controller_rights, missing
from tests.cluster.api import Api


def test_names_exactly_the_rights_that_are_missing(api: Api, client: Client) -> None:
    assert missing(client, "team", controller_rights()) == ()
    for right in controller_rights():
        api.denied = {str(right)}
        assert missing(client, "team", controller_rights()) == (right,)


def test_a_subresource_is_asked_for_as_one(api: Api, client: Client) -> None:
    api.denied = {"get pods/log"}
    assert missing(client, "team", [Right("", "pods/log", "get"), Right("", "pods", "get")]) == (Right("", "pods/log", "get"),)


def test_no_right_is_a_wildcard() -> None:
    assert all("*" not in str(right) for right in controller_rights())
