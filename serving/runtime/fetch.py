"""`python -m serving.runtime.fetch URI FOLDER`: a version's files before the runtime starts; an init container's whole work.

KServe runs it through our ClusterStorageContainer for every `storageUri` that begins with `perennial://`. Every byte is checked
against the digest in the URI, and the file that the runtime reads (`current`) is written last.
"""

import argparse
import logging
import os
import shutil
import sys
from pathlib import Path

from perennial.errors import DataError, SpecError
from perennial.outages import exit_code_after
from perennial.stores.bucket import Bucket
from perennial.versions.folder import open_version
from perennial.versions.store import SCHEME, key, named
from serving.runtime.current import Current

LOG = logging.getLogger("serving.runtime")


def fetch(name: str, folder: Path, bucket: Bucket) -> Current:
    """The version is below `folder`, checked, and `folder/current` names it.

    Args:
        name: the version's, as `version_store.name_of` makes it.
        folder: made for it; what a call before left there is fetched again where it is wrong.
        bucket: holds `versions/<model>/<digest>/`.

    Raises:
        NotFoundError: the bucket holds no such version.
        DataError: the name is wrong, or what the bucket holds is not what its digest says.
        PlatformError: the bucket does not answer, or the folder cannot be written.
    """
    model, number, digest = named(name)
    target = folder / digest

    def check(path: Path) -> None:
        version = open_version(path)
        if version.manifest.model != model:
            raise DataError(f"{name}: is a version of {version.manifest.model!r}")

    if target.exists():
        try:
            check(target)
        except DataError:
            shutil.rmtree(target)
    bucket.fetch_folder(key(model, digest), target, check)
    current = Current(path=str(target), digest=digest, number=number)
    current.write(folder / "current")
    return current


def main() -> int:
    """Fetch as the arguments say; returns the process's exit code. One line on stderr says what is wrong: KServe shows it."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.runtime.fetch", description="Fetch a version's files and check them."
    )
    parser.add_argument("uri", help=f"{SCHEME}<model>/<number>/<digest>")
    parser.add_argument("folder", type=Path, help="where they go, for example /mnt/models")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        where = os.environ.get("PERENNIAL_BUCKET", "")
        if not where.startswith("s3://"):
            raise SpecError(f"environment: PERENNIAL_BUCKET: found {where!r}; allowed: s3://<bucket>/<prefix>")
        current = fetch(arguments.uri, arguments.folder, Bucket(where))
    except Exception as error:
        return exit_code_after(error, "python -m serving.runtime.fetch")
    LOG.info("fetched version %s of %s", current.number, arguments.uri)
    return 0


if __name__ == "__main__":
    sys.exit(main())
