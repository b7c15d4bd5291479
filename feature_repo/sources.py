"""The Parquet sources, `<name>.parquet`: files of a folder or objects of an S3 store; how either is opened.

Definitions ask `path`, everybody else the settings. Which files a source consists of is decided in `files`, whether it can be
used in `source_checks`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.fs

from feature_repo.reading.files import Files, listed
from perennial import sqlite
from perennial.errors import DataError, PlatformError
from perennial.outages import is_outage, raised_by, translated
from perennial.settings import Settings
from perennial.spec import part

REMOTE = "s3://"
CONNECT_SECONDS, REQUEST_SECONDS = 5, 10
"""How long an object store may take to be reached, and to send anything; asked three times, then it does not answer."""
TIME = part.TIME
"""Column of every source: the time from which serving can read the row."""

_loading: ContextVar[Settings | None] = ContextVar("settings", default=None)


def path(name: str) -> str:
    """Path or URI of the source `name`, as a definition gives it to Feast's `FileSource`.

    While Perennial loads the definitions, the folder is that of its settings. Under Feast's own command line it is that of the
    environment; in the folder of `feature_store.yaml` the project is the folder above.
    """
    settings = _loading.get()
    if settings is None:
        environment = dict(os.environ)
        if Path("feature_store.yaml").is_file():
            environment.setdefault("PERENNIAL_PROJECT", str(Path.cwd().parent))
        settings = Settings.from_environment(environment)
        # Feast opens its registry next: `feast plan` would fail in a fresh clone.
        make_registry_folder(settings.feature_registry)
    return settings.source(name)


def make_registry_folder(registry: str) -> None:
    """The folder of a registry that is a file exists; SQLite makes none.

    Raises:
        PlatformError: it cannot be made.
    """
    file = sqlite.file_of(registry)
    if file is None:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PlatformError(f"{file.parent}: {error}; the state's folder must be writable") from error


@contextmanager
def sources_of(settings: Settings) -> Iterator[None]:
    """Inside, `path` answers for these settings."""
    token = _loading.set(settings)
    try:
        yield
    finally:
        _loading.reset(token)


@contextmanager
def opened(source: str) -> Iterator[pyarrow.dataset.Dataset]:
    """Inside, the source can be read through Arrow; nothing of it is held in memory.

    Args:
        source: path of a Parquet file or of a folder of them, or `s3://<bucket>/<key>`. `AWS_ENDPOINT_URL` and the other
            variables that every client of S3 knows say where the store is and who asks.

    Raises:
        NotFoundError: there is no such source.
        DataError: it is not Parquet, its files disagree, or what is read of it is not in it.
        PlatformError: the object store or the disk does not answer or refuses.
    """
    with files(source) as source_files:
        yield source_files.dataset


@contextmanager
def files(source: str) -> Iterator[Files]:
    """Inside, the files of the source can be read. Raises as `opened`; what is not Arrow's goes through as it is."""
    try:
        if source.startswith(REMOTE):
            yield listed(source, source.removeprefix(REMOTE).rstrip("/"), _object_store())
        else:
            yield listed(source, source.rstrip("/"), pyarrow.fs.LocalFileSystem())
    except (pa.ArrowException, OSError) as error:
        if not (isinstance(error, pa.ArrowException) or raised_by(error, "pyarrow")):
            raise  # of whoever reads: a file of its own, or a mistake
        refuse_outage(error, source)
        raise DataError(f"{source}: not a Parquet file that can be read: {error}; write the source again") from error


def frame_of(table: pa.Table) -> pd.DataFrame:
    """A table as a pandas frame in which whole numbers stay whole: integers with nulls are Int64, never float."""
    mapper = {pa.int64(): pd.Int64Dtype(), pa.int32(): pd.Int32Dtype(), pa.uint64(): pd.UInt64Dtype()}.get
    columns = zip(table.column_names, table.columns, strict=True)
    return pd.DataFrame({name: column.to_pandas(types_mapper=mapper if column.null_count else None) for name, column in columns})


def refuse_outage(error: Exception, where: str) -> None:
    """An error of Arrow or of DuckDB that the object store or the disk caused is a `PlatformError`: the same may work later."""
    _, separator, reason = str(error).partition("AWS Error ")
    if is_outage(error) and not separator:
        raise translated(error, where) from error
    if separator:
        raise PlatformError(f"{where}: the object store does not answer or refuses: {reason.splitlines()[0][:300]}") from error


def _object_store() -> pyarrow.fs.FileSystem:
    # Unlike other clients, Arrow's does not read AWS_ENDPOINT_URL by itself.
    return pyarrow.fs.S3FileSystem(
        endpoint_override=os.environ.get("AWS_ENDPOINT_URL"),
        region=os.environ.get("AWS_REGION", "us-east-1"),
        connect_timeout=CONNECT_SECONDS,
        request_timeout=REQUEST_SECONDS,
    )
