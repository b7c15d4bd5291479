"""How a cluster is found, and what its answers mean."""

from pathlib import Path

import pytest

from cluster.client import Client, RefusedError
from perennial.errors import NotFoundError, PlatformError
from tests.cluster.api import Api, kubeconfig, running


def test_says_version_and_clock(client: Client) -> None:
    assert client.server().version == "v1.34.4"


def test_finds_the_path_of_a_kind_and_asks_for_it_once(api: Api, client: Client) -> None:
    assert client.path("apps/v1", "Deployment", "team", "a") == "/apis/apps/v1/namespaces/team/deployments/a"
    assert client.path("apps/v1", "Deployment") == "/apis/apps/v1/deployments"
    assert client.path("v1", "Node", "team", "a") == "/api/v1/nodes/a"
    assert api.asked == ["GET /apis/apps/v1", "GET /api/v1"]


def test_a_kind_that_is_installed_later_is_found(api: Api, client: Client) -> None:
    with pytest.raises(NotFoundError, match=r"does not know serving\.kserve\.io/v1beta1: its definitions \(CRDs\) are missing"):
        client.path("serving.kserve.io/v1beta1", "InferenceService")
    api.kinds["serving.kserve.io/v1beta1"] = {}
    with pytest.raises(NotFoundError, match="has no kind InferenceService of serving"):
        client.path("serving.kserve.io/v1beta1", "InferenceService")
    api.kinds["serving.kserve.io/v1beta1"] = {"InferenceService": ("inferenceservices", True)}
    assert client.path("serving.kserve.io/v1beta1", "InferenceService", "a").endswith("/namespaces/a/inferenceservices")


def test_a_refusal_says_where_what_and_what_to_do(api: Api, client: Client) -> None:
    api.refused["GET", "/api/v1/namespaces"] = 403
    with pytest.raises(
        RefusedError, match="GET /api/v1/namespaces: refused with 403: refused by the test: ask who administers"
    ) as error:
        client.call("GET", "/api/v1/namespaces", {"limit": "1"})
    assert error.value.status == 403 and error.value.exit_code == 75


def test_wrong_credentials_are_named(api: Api, tmp_path: Path) -> None:
    with running(api) as address:
        file = kubeconfig(tmp_path / "config", address, token="another")
        with Client.open({"KUBECONFIG": str(file)}) as client, pytest.raises(RefusedError, match="renew those in KUBECONFIG"):
            client.server()


def test_a_server_that_is_gone_is_named(api: Api, tmp_path: Path) -> None:
    with running(api) as address:
        file = kubeconfig(tmp_path / "config", address)
    with (
        Client.open({"KUBECONFIG": str(file)}) as client,
        pytest.raises(PlatformError, match=r"does not answer GET /version: .*is it up"),
    ):
        client.server()


def test_a_server_of_something_else_is_named(api: Api, client: Client) -> None:
    api.version = ""
    with pytest.raises(PlatformError, match="is no Kubernetes API server"):
        client.server()


def test_no_cluster_and_a_wrong_kubeconfig_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(PlatformError, match="none is named: set KUBECONFIG"):
        Client.open({})
    with pytest.raises(PlatformError, match=r"absent.* cannot be read .*: set KUBECONFIG"):
        Client.open({"KUBECONFIG": str(tmp_path / "absent")})
    (tmp_path / "broken").write_text("- a list", encoding="utf-8")
    with pytest.raises(PlatformError, match=r"broken cannot be read"):
        Client.open({"KUBECONFIG": str(tmp_path / "broken")})
    with pytest.raises(PlatformError, match="cannot be read"):
        Client.open({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"})
