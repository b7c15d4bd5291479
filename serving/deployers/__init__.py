"""Where versions run: a process of this machine (`local`) or InferenceServices (`on_kserve`); `open_deployer` chooses.

What a process does with a version belongs to `serving.runtime`; which version is wanted, to `serving.rollouts` and the ledger.
"""

from perennial.settings import Settings
from serving.deployers.deployer import Deployer

__all__ = ["Deployer", "open_deployer"]


def open_deployer(settings: Settings) -> Deployer:
    """The deployer of an installation.

    Raises:
        PlatformError: a namespace is named and no cluster is.
    """
    if settings.namespace is None:
        from serving.deployers.local import LocalDeployer

        return LocalDeployer(settings)
    from cluster.client import Client
    from serving.deployers.on_kserve import KServeDeployer

    return KServeDeployer(Client.open(), settings.namespace, settings.fetch)
