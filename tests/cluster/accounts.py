"""On a real cluster: a namespace of one's own, and acting as one of its ServiceAccounts, by a token of ten minutes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import yaml

from cluster.apply import apply, delete
from cluster.client import Client


@contextmanager
def own_namespace(client: Client) -> Iterator[str]:
    """A new namespace, gone afterwards."""
    name = f"perennial-test-{uuid4().hex[:8]}"
    apply(client, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    try:
        yield name
    finally:
        delete(client, "v1", "Namespace", name, wait_seconds=120)


def token_of(client: Client, namespace: str, name: str) -> str:
    """A token of a ServiceAccount."""
    path = f"{client.path('v1', 'ServiceAccount', namespace, name)}/token"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
    return str(client.call("POST", path, body=asked)["status"]["token"])


def as_account(client: Client, namespace: str, name: str, folder: Path) -> Client:
    """A client that acts as a ServiceAccount."""
    token = token_of(client, namespace, name)
    config = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text(encoding="utf-8"))
    for user in config["users"]:
        user["user"] = {"token": token}
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    return Client.open({"KUBECONFIG": str(file)})
