"""The reading half of a deployer: what was deployed, and how far the traffic is. Whoever shows a model needs no more."""

from typing import Protocol

from perennial.loop.standing import Standing
from perennial.settings import Settings


class Reading(Protocol):
    """What can be asked of a deployer."""

    def deployed(self, model: str) -> str | None:
        """Digest of the version that was deployed last; None when nothing was."""
        ...

    def models(self) -> tuple[str, ...]:
        """Names of the models of which something is deployed, sorted.

        Raises:
            PlatformError: nobody can say now.
        """
        ...

    def standing(self, model: str) -> Standing:
        """How far a model's traffic is, as seen now.

        Raises:
            PlatformError: nobody can say now.
        """
        ...


def open_reading(settings: Settings) -> Reading:
    """The reading half of an installation's deployer.

    Raises:
        PlatformError: a namespace is named and no cluster is.
    """
    from serving.deployers import open_deployer

    return open_deployer(settings)
