"""URLs of SQLite files, as SQLAlchemy reads and writes them. The settings need them, and must not import SQLAlchemy."""

from pathlib import Path
from urllib.parse import quote, unquote

SCHEME = "sqlite:///"


def url_of(file: Path | str) -> str:
    """The URL of a file: what `sqlalchemy.URL.create("sqlite", database=file)` renders, whatever signs the path holds.

    >>> url_of("/team/50% [a]?/ledger.db")
    'sqlite:////team/50%25 %5Ba%5D%3F/ledger.db'
    """
    return SCHEME + quote(str(file), safe=" +/")


def file_of(url: str) -> Path | None:
    """The file that a URL names; None when the URL is not SQLite's.

    >>> file_of(url_of("/team/50% [a]?/ledger.db")), file_of("postgresql+psycopg://db/ledger")
    (PosixPath('/team/50% [a]?/ledger.db'), None)
    """
    return Path(unquote(url.removeprefix(SCHEME).partition("?")[0])) if url.startswith(SCHEME) else None
