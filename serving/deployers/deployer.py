"""What a deployer does, wherever versions run."""

from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from perennial.loop.standing import Standing
from perennial.spec.model import Model

if TYPE_CHECKING:  # the serving check deploys too, and needs no ledger
    from perennial.ledger import Run, Version


class Deployer(Protocol):
    """Makes what runs what is wanted. Every call may be repeated."""

    def deployed(self, model: str) -> str | None:
        """Digest of the version that was deployed last; None when nothing was."""
        ...

    def deploy(self, model: Model, version: "Version", run: "Run", wall_clock: datetime) -> str | None:
        """The version is deployed as the spec says; one sentence when something had to be changed for it.

        Args:
            model: the spec.
            version: what shall serve.
            run: the run that made it.
            wall_clock: the real time, UTC, whatever time the controller acts for: a cluster counts ages from it.

        Raises:
            PlatformError: it cannot be deployed now; what serves goes on serving.
        """
        ...

    def standing(self, model: str) -> Standing:
        """How far a model's traffic is, as seen now.

        Raises:
            PlatformError: nobody can say now.
        """
        ...
