"""Acting on a real cluster as one of its ServiceAccounts, by a token of ten minutes."""

import os
from pathlib import Path

import yaml

from cluster.client import Client


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
