"""What a server should serve: a small file that a deployer renames into place and the runtime reads."""

import os
from pathlib import Path

from pydantic import Field

from perennial.errors import PlatformError
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

    def write(self, file: Path) -> None:
        """`file` says this; a reader sees the old or the new content, never a part.

        Args:
            file: made when absent, its folder too.

        Raises:
            PlatformError: it cannot be written.
        """
        draft = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with draft.open("w", encoding="utf-8") as stream:
                stream.write(self.to_json())
                stream.flush()
                os.fsync(stream.fileno())
            draft.replace(file)
        except OSError as error:
            raise PlatformError(f"{file}: cannot be written: {error.strerror}; the server goes on with what it has") from error
