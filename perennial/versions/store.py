"""Where versions are kept: in the state; besides, as `versions/<model>/<digest>/`, in the bucket of an installation that has one.

The state is a cache then. A version's files are checked before they come into it, so what was changed in the bucket never does.
Who may know no place, KServe and an MLflow server, is told a version's *name*, `perennial://<model>/<number>/<digest>`.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from perennial.errors import DataError
from perennial.settings import Settings
from perennial.stores.bucket import Bucket
from perennial.versions.folder import MANIFEST, Published, open_version, publish

SCHEME = "perennial://"
_NAME = re.compile(rf"{SCHEME}(?P<model>[a-z0-9][a-z0-9-]*)/(?P<number>[1-9][0-9]*)/(?P<digest>[0-9a-f]{{64}})")


def keep(settings: Settings, files: Mapping[str, Path], model: str, run_key: str) -> Published:
    """The version is published, in the state and then in the bucket; a repeated call completes what one before left undone.

    Args:
        settings: where versions are kept.
        files: file to copy by role.
        model: name of the model.
        run_key: key of the training.

    Raises:
        DataError: as `perennial.versions.folder.publish`.
        NotFoundError: a file does not exist.
        PlatformError: the folder cannot be written, or the bucket does not answer.
    """
    published = publish(files, model, run_key, settings.versions)
    if settings.bucket is not None:
        Bucket(settings.bucket).put_folder(published.path, key(model, published.digest), last=MANIFEST)
    return published


def folder(settings: Settings, model: str, digest: str) -> Path:
    """Folder of a version in the state, fetched from the bucket when it is not there yet; `open_version` opens it.

    Raises:
        NotFoundError: the bucket has no such version.
        DataError: what the bucket holds is not the version; nothing of it is kept.
        PlatformError: the bucket does not answer, or the state cannot be written.
    """
    path = settings.versions / model / digest
    if settings.bucket is not None and not path.is_dir():
        Bucket(settings.bucket).fetch_folder(key(model, digest), path, open_version)
    return path


def uri(settings: Settings, model: str, digest: str) -> str:
    """Where a version is kept, for those who look it up: in the bucket, else in the state."""
    if settings.bucket is not None:
        return f"{settings.bucket}/{key(model, digest)}"
    return (settings.versions / model / digest).as_uri()


def key(model: str, digest: str) -> str:
    """Key of a version in the bucket.

    >>> key("chargeback", "0f")
    'versions/chargeback/0f'
    """
    return f"versions/{model}/{digest}"


def name_of(model: str, number: int, digest: str) -> str:
    """A version's name, which says nothing of where it is kept.

    >>> name_of("chargeback", 3, "0f")
    'perennial://chargeback/3/0f'
    """
    return f"{SCHEME}{model}/{number}/{digest}"


def named(name: str) -> tuple[str, int, str]:
    """Model, number and digest by a version's name.

    Raises:
        DataError: it is no such name.

    >>> named(name_of("chargeback", 3, "0f" * 32))[:2]
    ('chargeback', 3)
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise DataError(f"storageUri: found {name!r}; allowed: {SCHEME}<model>/<number>/<digest of 64 hexadecimal digits>")
    return match["model"], int(match["number"]), match["digest"]
