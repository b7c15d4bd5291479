"""A project as one object, by the hash of its content: its specs and Feast definitions, for a run in a pod."""

import io
import tarfile
from pathlib import Path

from perennial import digests
from perennial.errors import DataError, PlatformError, SpecError
from perennial.settings import Settings
from perennial.stores.bucket import Bucket

PARTS = ("models", "feature_repo/definitions")
"""Folders of a project that travel."""
LEFT_OUT = ("__pycache__",)
"""Names that do not; those that begin with a dot do not either: editors and mounted ConfigMaps have some."""


def pack(project: Path) -> bytes:
    """The project as a tar archive; the same files give the same bytes, whoever wrote them and whenever.

    Args:
        project: its folder.

    Raises:
        SpecError: the folder holds no project.
    """
    files = [path for part in PARTS for path in sorted((project / part).rglob("*")) if path.is_file() and _travels(path, project)]
    if not files:
        raise SpecError(f"{project}: holds neither {' nor '.join(PARTS)}: PERENNIAL_PROJECT must name the folder of a project")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in files:
            content = path.read_bytes()
            entry = tarfile.TarInfo(path.relative_to(project).as_posix())
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def _travels(path: Path, project: Path) -> bool:
    return not any(name.startswith(".") or name in LEFT_OUT for name in path.relative_to(project).parts)


def store(settings: Settings) -> str:
    """The bucket has the project as it is now; returns the bundle's digest.

    Raises:
        SpecError: there is no project, or no bucket.
        PlatformError: the bucket does not answer or refuses.
    """
    content = pack(settings.project)
    digest = digests.of_bytes(content)
    bucket_of(settings.bucket).replace(key_of(digest), content)
    return digest


def unpack(settings: Settings, digest: str) -> None:
    """The settings' project folder holds the bundle of this digest.

    Raises:
        DataError: the object is not what its name says.
        NotFoundError: the bucket has no such bundle.
        PlatformError: the bucket does not answer or refuses, or the folder cannot be written.
    """
    content = bucket_of(settings.bucket).get(key_of(digest))
    if digests.of_bytes(content) != digest:
        where = f"{settings.bucket}/{key_of(digest)}"
        raise DataError(f"{where}: was changed: its content has another digest; the next run that is prepared mends it")
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            archive.extractall(settings.project, filter="data")
    except OSError as error:
        raise PlatformError(f"{settings.project}: cannot be written: {error.strerror}") from error


def bucket_of(uri: str | None) -> Bucket:
    """The installation's bucket.

    Raises:
        SpecError: it has none.
    """
    if uri is None:
        raise SpecError("environment: PERENNIAL_BUCKET is not set: a run in a pod finds its project and leaves its results there")
    return Bucket(uri)


def key_of(digest: str) -> str:
    """Key of the bundle with this digest."""
    return f"bundles/{digest}.tar"
