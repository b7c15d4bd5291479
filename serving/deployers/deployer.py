"""What a deployer does, wherever versions run."""

from datetime import datetime
from typing import TYPE_CHECKING, Literal, Protocol

from perennial.loop.standing import Standing
from perennial.record import Record
from perennial.spec.model import Model

if TYPE_CHECKING:  # the serving check deploys too, and needs no ledger
    from perennial.ledger import Run, Version


class Change(Record):
    """What a deployer had to change."""

    kind: Literal["Deployed", "RolledOut", "Repaired"]
    """`Deployed`: nothing was there. `RolledOut`: another version was. `Repaired`: the version was, but not as wanted."""
    sentence: str
    """For people: what was changed, and who had written what was not ours."""


class Deployer(Protocol):
    """Makes what runs what is wanted. Every call may be repeated."""

    def deployed(self, model: str) -> str | None:
        """Digest of the version that was deployed last; None when nothing was."""
        ...

    def models(self) -> tuple[str, ...]:
        """Names of the models of which something is deployed, sorted.

        Raises:
            PlatformError: nobody can say now.
        """
        ...

    def deploy(self, model: Model, version: "Version", run: "Run", wall_clock: datetime) -> Change | None:
        """The version is deployed as the spec says; what had to be changed for it, none when nothing had.

        Args:
            model: the spec.
            version: what shall serve.
            run: the run that made it.
            wall_clock: the real time, UTC, whatever time the controller acts for: a cluster counts ages from it.

        Raises:
            PlatformError: it cannot be deployed now; what serves goes on serving.
        """
        ...

    def retire(self, model: str, reason: str, wall_clock: datetime) -> str | None:
        """What is deployed of a model goes; its versions stay where they are kept.

        Args:
            model: its name.
            reason: why, in one sentence.
            wall_clock: the real time, UTC.

        Returns:
            What of it is still there, in one sentence: the same call says so again; None when nothing is.

        Raises:
            PlatformError: it cannot be done now.
        """
        ...

    def standing(self, model: str) -> Standing:
        """How far a model's traffic is, as seen now.

        Raises:
            PlatformError: nobody can say now.
        """
        ...
