"""The local deployer: the version that a process on this machine serves is named in a file, replaced as a whole.

The process looks at the file twice a second, loads the version beside the one it serves, and swaps between two requests.
"""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.errors import PlatformError
from perennial.loop.standing import Standing
from perennial.settings import Settings
from perennial.spec.model import Model
from perennial.versions import store as version_store
from serving.deployers.deployer import Change
from serving.runtime.current import Current

if TYPE_CHECKING:  # the serving check deploys too, and needs no ledger
    from perennial.ledger import Run, Version


class LocalDeployer:
    """Deploys to the server of this machine."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def deployed(self, model: str) -> str | None:
        """Digest of the version that the server should serve."""
        current = deployed(self._settings.current(model))
        return None if current is None else current.digest

    def models(self) -> tuple[str, ...]:
        """Models of which a server of this machine is told something."""
        return tuple(sorted(file.parent.name for file in (self._settings.state / "serving").glob("*/current")))

    def deploy(self, model: Model, version: "Version", run: "Run", wall_clock: datetime) -> Change | None:  # noqa: ARG002
        """The server will serve the version."""
        before = self.deployed(model.name)
        if before == version.digest:
            return None
        folder = version_store.folder(self._settings, model.name, version.digest)
        deploy(self._settings.current(model.name), folder, version.number)
        if before is None:
            return Change(kind="Deployed", sentence=f"version {version.number} was deployed")
        return Change(kind="RolledOut", sentence=f"version {version.number} takes over")

    def retire(self, model: str, reason: str, wall_clock: datetime) -> None:  # noqa: ARG002 - nobody is told here
        """No server is told any more to serve the model; one that runs serves until it ends."""
        retire(self._settings.current(model))

    def standing(self, model: str) -> Standing:
        """What the server was told; whether it runs, `perennial status` asks it."""
        current = deployed(self._settings.current(model))
        if current is None:
            return Standing(state="absent", sentence="nothing is deployed")
        return Standing(state="serving", sentence=f"version {current.number} is deployed to the server of this machine")


def deploy(file: Path, folder: Path, number: int | None) -> Current:
    """The server that reads `file` will serve the version in `folder`; a reader sees the old or the new content, never a part.

    Args:
        file: the server's `current` file; made when absent.
        folder: the version's folder, named by its digest.
        number: number of the version in the ledger.

    Raises:
        PlatformError: the file cannot be written.
    """
    current = Current(path=str(folder.absolute()), digest=folder.name, number=number)
    current.write(file)
    return current


def retire(file: Path) -> None:
    """The server that reads `file` is told nothing any more: it goes on until it ends, and the next one does not start.

    Raises:
        PlatformError: the file cannot be removed.
    """
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise PlatformError(f"{file}: cannot be removed: {error.strerror}; remove it by hand") from error


def deployed(file: Path) -> Current | None:
    """What the server that reads `file` should serve; None when nothing was deployed.

    Raises:
        DataError: the file is not what a deployer writes.
    """
    return Current.read(file) if file.exists() else None
