"""Whether the stores of this installation answer, asked of each by itself. For people; nothing is decided by it."""

import os
import sqlite3
from pathlib import Path

from feature_repo.online_store.database import is_redis, open_database
from perennial import sqlite
from perennial.errors import PerennialError
from perennial.registry.server import server_version
from perennial.settings import Settings
from perennial.stores import postgresql

ANSWER_SECONDS = 0.2
"""How long a file may be locked before it counts as failing."""
SERVER_SECONDS = 2.0
"""How long a server may take to answer. PostgreSQL's client takes no less."""


def failing_stores(settings: Settings) -> tuple[str, ...]:
    """One sentence for each store that is there and does not answer, with who must act; one that was never made is no fault."""
    stores = {
        "the feature registry": settings.feature_registry,
        "the online store": settings.online_store if is_redis(settings.online_store) else sqlite.url_of(settings.online_store),
        "MLflow's database": settings.tracking,
    }
    files = {name: file for name, url in stores.items() if (file := sqlite.file_of(url)) is not None}
    faults = {name: _fault(file) for name, file in files.items()}
    sentences = [f"{name} fails: {files[name]}: {fault}" for name, fault in faults.items() if fault]
    sentences += [f"the online store fails: {fault}" for fault in [_redis_fault(settings.online_store)] if fault]
    sentences += [
        f"{name} fails: {fault}" for name in ("the feature registry", "MLflow's database") if (fault := _fault_of(stores[name]))
    ]
    return tuple(f"{fault}: the platform team brings it back" for fault in sentences)


def _redis_fault(where: str) -> str:
    """What is wrong with the online store when it is a Redis; empty when it answers, or is a file."""
    if not is_redis(where):
        return ""
    try:
        with open_database(where, write=False) as database:
            database.views()
    except PerennialError as error:
        return str(error)
    return ""


def _fault_of(url: str) -> str:
    """What is wrong with what is behind a URL; empty when it answers, or is a file."""
    try:
        if url.startswith(postgresql.SCHEME):
            with postgresql.answering("PostgreSQL", url, SERVER_SECONDS):
                return ""
        if url.startswith("http"):
            server_version(url, os.environ, SERVER_SECONDS)
    except PerennialError as error:
        return str(error)
    return ""


def _fault(file: Path) -> str:
    """What is wrong with an SQLite file; empty when it can be read, or is not there."""
    try:
        if not file.exists():
            return ""
        connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=ANSWER_SECONDS)
    except (OSError, sqlite3.Error) as error:
        return str(error)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        return str(error)
    finally:
        connection.close()
    return ""
