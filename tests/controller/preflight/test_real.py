"""On a real cluster with KServe: what a namespace of its own lacks is named, and who may do nothing is told so."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cluster.apply import apply
from cluster.client import Client
from controller.preflight import PreflightRow, clocks, cluster
from perennial.settings import Settings
from tests.cluster.accounts import as_account, own_namespace

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client.open() as made:
        yield made


@pytest.fixture(scope="module")
def namespace(client: Client) -> Iterator[str]:
    """A namespace of this module."""
    with own_namespace(client) as name:
        yield name


def rows(client: Client, namespace: str) -> dict[str, PreflightRow]:
    settings = Settings.from_environment({"PERENNIAL_PROJECT": "/team", "PERENNIAL_NAMESPACE": namespace})
    return {row.name: row for row in cluster.rows(client, settings)}


def test_an_empty_namespace_lacks_its_objects_and_nothing_else(client: Client, namespace: str) -> None:
    found = rows(client, namespace)
    assert {name for name, row in found.items() if row.is_lacking} == {"objects", "images"}
    for what in (
        "ServiceAccount perennial-serving",
        "ConfigMap perennial-settings",
        "Secret perennial-s3",
        "Secret perennial-postgresql",
        "ServingRuntime perennial",
    ):
        assert what in found["objects"].found
    assert found["KServe's mode"].found == "Standard"
    assert found["namespace"].found == f"{namespace}; Pod Security is not enforced"


def test_a_namespace_that_is_not_there_is_named(client: Client) -> None:
    found = rows(client, "absent-of-all")
    assert found["namespace"].state == "missing" and found["namespace"].found == "there is no namespace absent-of-all"


def test_who_may_do_nothing_lacks_every_right_and_is_not_shown_the_rest(client: Client, namespace: str, tmp_path: Path) -> None:
    apply(client, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "none", "namespace": namespace}})
    with as_account(client, namespace, "none", tmp_path) as limited:
        found = rows(limited, namespace)
        assert found["rights"].state == "missing" and "patch inferenceservices.serving.kserve.io" in found["rights"].found
        assert found["KServe's definitions"].state == "ok"
        for name in ("namespace", "objects", "images", "network policies"):
            assert found[name].state == "not shown" and "may not see" in found[name].found
            assert found[name].is_lacking is (name != "network policies")


def test_the_clocks_of_cluster_and_tests_agree(client: Client) -> None:
    assert clocks.of_cluster(client, lambda: datetime.now(UTC))
