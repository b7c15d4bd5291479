"""The packed online store, wherever it is: one value for each layout of a view and entity key. Imports neither Feast nor pandas.

A view has one *current* layout, that of the definitions. Others of it are *kept*: a version that was trained before a definition
changed goes on reading values of its own layout, until no version needs them and they are purged.

A file is SQLite (`sqlite_store`), a URL a Redis (`redis_store`). Both hold the same keys and values, those of `layout`, and
replace a value only by one that is not older. The choice is made here and nowhere else; what was not chosen is not imported.
"""

from contextlib import AbstractContextManager

from feature_repo.online_store.interface import Lookup, OnlineDatabase
from perennial.errors import SpecError

REDIS = ("redis://", "rediss://")
"""How the URL of a Redis begins; with `rediss` the connection is encrypted."""


def is_redis(where: str) -> bool:
    """Whether the store is a Redis, not a file.

    >>> is_redis("redis://host:6379/0"), is_redis("/var/lib/perennial/online.db")
    (True, False)
    """
    return where.startswith(REDIS)


def open_database(where: str, *, write: bool = True) -> AbstractContextManager[OnlineDatabase]:
    """The store for its writers; a file is made when absent.

    What is done with a file is one transaction, undone by an exception. A Redis keeps what was written until then: the caller
    writes the same rows again, which changes nothing twice.

    Args:
        where: path of a file, or URL of a Redis.
        write: whether something is written. A file's write lock is then taken at once: in the middle it could not wait.

    Raises:
        PlatformError: the store is locked, cannot be reached or written, or is no such database.
        SpecError: the URL is wrong.
    """
    if is_redis(where):
        from feature_repo.online_store.redis import open_redis

        return open_redis(where)
    from feature_repo.online_store.sqlite import open_file

    return open_file(where, write=write)


def open_lookup(where: str) -> Lookup:
    """The store for a server; nothing is opened yet.

    Args:
        where: path of a file, or URL of a Redis.

    Raises:
        SpecError: the URL is wrong.
    """
    if is_redis(where):
        from feature_repo.online_store.redis import RedisLookup

        return RedisLookup(where)
    from feature_repo.online_store.sqlite import FileLookup

    return FileLookup(where)


def check_prefix(where: str, name: str) -> None:
    """The keys in a Redis begin with the name of the installation.

    A server is given the URL alone, so that the URL says how they begin. Two installations never write the same keys by mistake.

    Args:
        where: URL of the Redis.
        name: of the installation.

    Raises:
        SpecError: they begin otherwise, or the URL is wrong.
    """
    from feature_repo.online_store.redis import RedisPlace

    prefix = RedisPlace.of(where).prefix
    if prefix != name:
        raise SpecError(
            f"PERENNIAL_ONLINE_STORE: {where}: its keys begin with {prefix!r}, PERENNIAL_NAME is {name!r}: "
            f"let the URL end in ?prefix={name}"
        )
