"""A model version: an immutable folder of files, named by digest. What it holds; nothing of where it is registered.

```text
<root>/<model>/<digest of the manifest>/
    manifest.json                        format version, model, run key; file, digest and size of each role
    model-0123456789abcdef.skops         one file per role: <role>-<first 16 digits of its SHA-256><suffix>
    contract-….json, reference-….parquet, …
```

A folder is made whole or not at all, never changed, and every byte is checked before it is used. Serving reads it too, so
pandas and pyarrow are not imported with this module.
"""

import hashlib
import importlib.metadata
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from perennial import digests
from perennial.errors import DataError, NotFoundError, PlatformError
from perennial.record import Record

MANIFEST = "manifest.json"

SUFFIXES = {
    "model": ".skops",
    "contract": ".json",
    "reference": ".parquet",
    "thresholds": ".json",
    "blocks": ".parquet",
    "environment": ".json",
    "spec": ".json",
    "dataset": ".json",
    "validation": ".json",
    "candidate": ".json",
    "judgement": ".json",
    "gates": ".json",
    "card": ".md",
    "summary": ".md",
    "report": ".html",
}
"""Roles and their files' suffixes. Besides, `plot_<name>` with `.png`."""

REQUIRED = ("model", "contract")
"""Roles without which there is no version."""

REFERENCE_ROWS = 5_000
"""Most rows of the reference sample: enough for monitoring's statistics, little for a server to load."""

DRAFT = ".draft-"
"""How the name of a folder begins that is not whole yet."""

RESTORE = "Restore the folder from a backup, or train again"


class FileEntry(Record):
    """One file of a version."""

    file: str = Field(pattern=r"^[a-z0-9_]+-[0-9a-f]{16}\.[a-z]+$")
    """Its name in the folder."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Digest of its bytes."""
    bytes: int = Field(ge=0)
    """Its size."""


class Manifest(Record):
    """What a version folder holds."""

    format_version: Literal[1] = 1
    """Version of this format."""
    model: str
    """Name of the model."""
    run_key: str
    """Key of the training."""
    files: dict[str, FileEntry]
    """Files by role, sorted."""


class Environment(Record):
    """What a version was trained with."""

    python: str
    """Version of Python."""
    machine: str
    """Processor's architecture: the last digits of a fit may depend on it."""
    distributions: dict[str, str]
    """Version of every installed distribution, by lower-case name, sorted."""


@dataclass(frozen=True)
class Published:
    """Where a version lies."""

    path: Path
    """Its folder."""
    digest: str
    """Digest of its manifest, which is the folder's name."""


@dataclass(frozen=True)
class VersionFolder:
    """An opened version: its bytes were checked. Its entry in the ledger is `perennial.ledger.Version`."""

    path: Path
    """Its folder."""
    manifest: Manifest
    """What it holds."""

    @property
    def digest(self) -> str:
        """Digest of its manifest."""
        return self.path.name

    def has(self, role: str) -> bool:
        """Whether it holds a file of that role."""
        return role in self.manifest.files

    def file(self, role: str) -> Path:
        """The file of a role.

        Raises:
            NotFoundError: it holds none.
        """
        if role not in self.manifest.files:
            raise NotFoundError(f"{self.path}: no file for {role!r}; it holds {', '.join(self.manifest.files)}")
        return self.path / self.manifest.files[role].file


def environment() -> Environment:
    """What this process runs on: Python and the exact version of every distribution."""
    distributions = {d.metadata["Name"].lower(): d.version for d in importlib.metadata.distributions() if d.metadata["Name"]}
    return Environment(
        python=platform.python_version(), machine=platform.machine(), distributions=dict(sorted(distributions.items()))
    )


def publish(files: Mapping[str, Path], model: str, run_key: str, root: Path) -> Published:
    """The version is in its folder below `root`; the same files published before, or at the same time, are left as they are.

    Args:
        files: file to copy by role.
        model: name of the model.
        run_key: key of the training.
        root: folder of all versions.

    Raises:
        DataError: a role is unknown or missing, a file has the wrong suffix or too many rows, or a broken folder is in the place.
        NotFoundError: a file does not exist.
        PlatformError: the folder cannot be written.
    """
    entries = {role: _entry(role, files[role]) for role in sorted(files)}
    missing = [role for role in REQUIRED if role not in entries]
    if missing:
        raise DataError(f"version of {model}: no file for {' and '.join(missing)}; required: {', '.join(REQUIRED)}")
    text = Manifest(model=model, run_key=run_key, files=entries).to_json()
    target = root / model / digests.of_text(text)
    try:
        if not target.exists():
            _put(files, entries, text, target)
    except OSError as error:
        raise PlatformError(
            f"version {target}: {error.strerror}: {error.filename}; make {root} writable, or set PERENNIAL_STATE elsewhere"
        ) from error
    open_version(target)
    return Published(target, target.name)


def remove_drafts(model: str, root: Path, before: datetime) -> tuple[Path, ...]:
    """No drafts are left of publications that were killed; returns the folders that were removed.

    Args:
        model: name of the model.
        root: folder of all versions.
        before: only drafts not touched since are removed: a younger one may be somebody's work. Aware, real time.
    """
    drafts = [path for path in sorted((root / model).glob(f"{DRAFT}*")) if path.stat().st_mtime < before.timestamp()]
    for path in drafts:
        shutil.rmtree(path, ignore_errors=True)
    return tuple(drafts)


def open_version(path: Path) -> VersionFolder:
    """The version in a folder, every byte of it checked.

    Args:
        path: folder, named by the digest of its manifest.

    Raises:
        NotFoundError: there is no such folder.
        DataError: a file is missing, changed, foreign or a link, or the format is of another release.
    """
    if not path.is_dir():
        raise NotFoundError(f"{path}: no such version folder")
    where = path / MANIFEST
    if where.is_symlink() or not where.is_file():
        raise DataError(f"{where}: not a file; a version folder holds its manifest. {RESTORE}")
    content = where.read_bytes()
    manifest = _manifest(where, content)
    digest = hashlib.sha256(content).hexdigest()
    if digest != path.name:
        raise DataError(f"{where}: its digest is {digest}, the folder is named {path.name}: it was changed or moved. {RESTORE}")
    expected = {entry.file for entry in manifest.files.values()} | {MANIFEST}
    for child in sorted(path.iterdir()):
        if child.name not in expected:
            raise DataError(f"{child}: not in the manifest; a version folder holds nothing else. Remove it")
        if child.is_symlink() or not child.is_file():
            raise DataError(f"{child}: not an ordinary file; links are not followed. {RESTORE}")
    for role, entry in manifest.files.items():
        _check(path / entry.file, role, entry)
    return VersionFolder(path, manifest)


def _manifest(where: Path, content: bytes) -> Manifest:
    match = re.search(rb'"format_version"\s*:\s*(\d+)', content)
    if match and match[1] != b"1":
        raise DataError(f"{where}: format version {match[1].decode()}; this release reads 1. Install the release that wrote it")
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        raise DataError(f"{where}: not a manifest: {error}") from error


def _check(path: Path, role: str, entry: FileEntry) -> None:
    if entry.file != f"{role}-{entry.sha256[:16]}{path.suffix}" or path.suffix != _suffix(role):
        raise DataError(f"{path}: the name does not fit the role {role!r} and the digest {entry.sha256[:16]}…. {RESTORE}")
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise DataError(f"{path}: missing; the manifest lists it as {role}. {RESTORE}") from error
    if size != entry.bytes:
        raise DataError(f"{path}: {size} bytes, the manifest says {entry.bytes}. {RESTORE}")
    digest = digests.of_file(path)
    if digest != entry.sha256:
        raise DataError(f"{path}: its digest is {digest}, the manifest says {entry.sha256}. {RESTORE}")


def _suffix(role: str) -> str | None:
    if re.fullmatch(r"plot_[a-z0-9_]+", role):
        return ".png"
    return SUFFIXES.get(role)


def _entry(role: str, path: Path) -> FileEntry:
    suffix = _suffix(role)
    if suffix is None:
        raise DataError(f"version: unknown role {role!r}; allowed: {', '.join(SUFFIXES)}, plot_<name>")
    if path.suffix != suffix:
        raise DataError(f"{path}: the role {role!r} takes a {suffix} file")
    if not path.is_file():
        raise NotFoundError(f"{path}: no such file; expected the version's {role}")
    if role == "reference":
        _check_rows(path)
    digest = digests.of_file(path)
    return FileEntry(file=f"{role}-{digest[:16]}{suffix}", sha256=digest, bytes=path.stat().st_size)


def _check_rows(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = int(pq.read_metadata(path).num_rows)
    except pa.ArrowException as error:
        raise DataError(f"{path}: not a Parquet file: {error}") from error
    if rows > REFERENCE_ROWS:
        raise DataError(f"{path}: {rows} rows; a reference sample has at most {REFERENCE_ROWS}")


def _put(files: Mapping[str, Path], entries: Mapping[str, FileEntry], text: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=DRAFT, dir=target.parent))
    try:
        for role, entry in entries.items():
            shutil.copyfile(files[role], draft / entry.file)
        (draft / MANIFEST).write_text(text, encoding="utf-8")
        for child in draft.iterdir():
            child.chmod(0o644)
            _flush(child)
        draft.chmod(0o755)
        _flush(draft)
        try:
            draft.rename(target)
        except OSError:
            if not target.is_dir():  # else another process was first with the same bytes
                raise
        _flush(target.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
