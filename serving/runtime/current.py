"""What a server should serve: a small file that a deployer renames into place and the runtime reads."""

from pathlib import Path

from pydantic import Field

from perennial.record import Record


class Current(Record):
    """The version that is wanted."""

    path: str
    """Folder of the version, absolute."""
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Digest of the version: the folder's name."""
    number: int | None = None
    """Number of the version in the ledger, for people; null when it has none."""

    @property
    def folder(self) -> Path:
        """Folder of the version."""
        return Path(self.path)
