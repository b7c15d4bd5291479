"""The object store of a cluster's installation: one bucket and a prefix. The only home of its client.

Objects are written once and named by content or by writer, so that a repeated write changes nothing. Serving uses it too, so
pandas and pyarrow are not imported here. Where it is and who asks: `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`,
`AWS_SECRET_ACCESS_KEY` and the other variables that every client of S3 knows.
"""

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from perennial.errors import DataError, NotFoundError, PlatformError
from perennial.outages import is_outage, translated

REQUEST_SECONDS = 30
"""How long one request may take, beside the time that a large object needs."""
BYTES_PER_SECOND = 1_000_000
"""Rate at which content has to come or go at least: 8 Mbit/s."""
LARGE_BYTES = 1_000_000
"""Size from which a request gets the time that its content needs at this rate besides."""
RETRY_SECONDS = 20
"""How long a request is repeated while the store does not answer; then the caller decides."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An object as a listing shows it."""

    key: str
    """Below the prefix."""
    size: int
    """Bytes."""
    tag: str | None
    """Its entity tag: changes when the content does. Null where a store gives none."""


def seconds_for(size: int, request_seconds: float) -> float:
    """How long a request with this content may take.

    >>> seconds_for(1_000, 30), seconds_for(150_000_000, 30)
    (30, 180.0)

    Args:
        size: of the content, bytes.
        request_seconds: how long a request may take besides.
    """
    return request_seconds + (size / BYTES_PER_SECOND if size > LARGE_BYTES else 0)


class Bucket:
    """The objects below `s3://<bucket>/<prefix>`."""

    def __init__(self, uri: str, retry_seconds: float = RETRY_SECONDS, request_seconds: float = REQUEST_SECONDS) -> None:
        """Nothing is asked yet.

        Args:
            uri: `s3://<bucket>/<prefix>`.
            retry_seconds: how long a request is repeated while the store does not answer.
            request_seconds: how long one request may take, beside the time that a large object needs.
        """
        self.uri = uri.rstrip("/")
        self._retry_seconds, self._request_seconds = retry_seconds, request_seconds
        self._store = self._opened(request_seconds)

    def put(self, key: str, content: bytes | Path) -> bool:
        """The object is there; whether this call made it. One that was there before is left as it is.

        Args:
            key: below the prefix.
            content: bytes, or the file that holds them.

        Raises:
            PlatformError: the store does not answer or refuses.
        """
        with self._answering(key):
            try:
                # Only a put in one request can be refused because the object exists.
                obstore.put(self._store_for(_size(content)), key, content, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
        return True

    def replace(self, key: str, content: bytes | Path) -> None:
        """The object has this content, whatever it had; readers see the old or the new, never a part.

        Args:
            key: below the prefix.
            content: bytes, or the file that holds them.

        Raises:
            PlatformError: the store does not answer or refuses.
        """
        with self._answering(key):
            obstore.put(self._store_for(_size(content)), key, content, use_multipart=False)

    def get(self, key: str) -> bytes:
        """Content of an object.

        Raises:
            NotFoundError: there is none.
            PlatformError: the store does not answer or refuses.
        """
        with self._answering(key):
            response = obstore.get(self._store, key)
            if response.meta["size"] > LARGE_BYTES:  # asked for again with the time that it needs
                response = obstore.get(self._store_for(response.meta["size"]), key)
            return bytes(response.bytes())

    def keys(self, prefix: str) -> list[str]:
        """Keys of the objects below a prefix, sorted.

        Raises:
            PlatformError: the store does not answer or refuses.
        """
        with self._answering(prefix):
            return sorted(str(meta["path"]) for chunk in obstore.list(self._store, prefix) for meta in chunk)

    def objects_after(self, folder: str, key: str) -> Iterator[Listed]:
        """The objects below a folder that sort after one, in their order, asked for by the thousand as they are taken.

        Args:
            folder: without the slash at its end.
            key: need not exist.

        Raises:
            PlatformError: the store does not answer or refuses.
        """
        with self._answering(folder):
            for chunk in obstore.list(self._store, folder, offset=key, chunk_size=1000):
                yield from (Listed(str(meta["path"]), meta["size"], meta["e_tag"]) for meta in chunk)

    def put_folder(self, folder: Path, key: str, last: str) -> None:
        """Every file of a folder is an object below a key; `last` after all others, so that who sees it sees them all.

        Args:
            folder: without folders in it.
            key: below the prefix.
            last: name of the file that is written last.

        Raises:
            PlatformError: the store does not answer or refuses.
        """
        for file in sorted(folder.iterdir(), key=lambda path: (path.name == last, path.name)):
            self.put(f"{key}/{file.name}", file)

    def fetch_folder(self, key: str, folder: Path, check: Callable[[Path], object]) -> None:
        """The objects below a key are files of a folder, which appears whole and checked or not at all; one that exists stays.

        Args:
            key: below the prefix.
            folder: where they go.
            check: called with a folder of that name before it is in its place; raises `DataError` when it must not come there.

        Raises:
            NotFoundError: there is no object below the key.
            DataError: `check` says so; its message names the objects.
            PlatformError: the store does not answer or refuses, or the folder cannot be written.
        """
        if folder.exists():
            return
        keys = self.keys(f"{key}/")
        if not keys:
            raise NotFoundError(f"{self.uri}/{key}: no such objects")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            # Named like the drafts of `versions.folder`, which are removed when a killed process left one.
            with tempfile.TemporaryDirectory(prefix=".draft-", dir=folder.parent) as draft:
                whole = Path(draft) / folder.name
                whole.mkdir()
                for object_key in keys:
                    (whole / object_key.rpartition("/")[2]).write_bytes(self.get(object_key))
                try:
                    check(whole)
                except DataError as error:
                    raise DataError(str(error).replace(str(whole), f"{self.uri}/{key}")) from error
                if not folder.is_dir():  # else another process was first with the same bytes
                    whole.rename(folder)
        except OSError as error:
            if not folder.is_dir():
                raise PlatformError(f"{folder}: cannot be written: {error.strerror}") from error

    def _store_for(self, size: int) -> S3Store:
        seconds = seconds_for(size, self._request_seconds)
        return self._store if seconds == self._request_seconds else self._opened(seconds)

    def _opened(self, request_seconds: float) -> S3Store:
        """The client has one timeout for all of its requests."""
        bucket, _, prefix = self.uri.removeprefix("s3://").partition("/")
        return S3Store(
            bucket,
            prefix=prefix or None,
            config={"region": os.environ.get("AWS_REGION", "us-east-1")},
            client_options={
                "allow_http": os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://"),
                "timeout": timedelta(seconds=request_seconds),
            },
            retry_config={"retry_timeout": timedelta(seconds=self._retry_seconds), "max_retries": 10},
        )

    @contextmanager
    def _answering(self, key: str) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            # The client's messages are long and may show how a request was signed: S3's own code says what is wrong.
            code = re.search(r"<Code>(\w+)</Code>", str(error))
            reason = code[1] if code else str(error).strip().partition("\n")[0][:300]
            if isinstance(error, FileNotFoundError) and reason != "NoSuchBucket":
                raise NotFoundError(f"{self.uri}/{key}: no such object") from error
            if not (is_outage(error) or code):
                raise translated(error, f"{self.uri}/{key}") from error
            raise PlatformError(f"{self.uri}/{key}: the object store does not answer or refuses: {reason}") from error


def _size(content: bytes | Path) -> int:
    return content.stat().st_size if isinstance(content, Path) else len(content)
