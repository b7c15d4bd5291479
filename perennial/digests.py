"""Digests: SHA-256 of values, files and our own code, as lower-case hexadecimal."""

import hashlib
import json
from pathlib import Path


def of_text(text: str) -> str:
    """Digest of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def of_bytes(content: bytes) -> str:
    """Digest of bytes."""
    return hashlib.sha256(content).hexdigest()


def of_json(value: object) -> str:
    """Digest of a JSON value; the order of keys does not matter.

    >>> of_json({"a": 1, "b": 2}) == of_json({"b": 2, "a": 1})
    True
    """
    return of_text(json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False))


def of_file(path: Path) -> str:
    """Digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_files(paths: list[Path], root: Path) -> str:
    """Digest of several files: their paths below `root` and their bytes, sorted."""
    return of_json({path.relative_to(root).as_posix(): of_file(path) for path in sorted(paths)})
