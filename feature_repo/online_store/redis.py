"""The packed online store in a Redis: the only home of its client. `database` decides when it is used.

One string for each layout and entity key, `<prefix>:<view>@<digest>:<key>`, holds the event timestamp (8 bytes, little-endian
microseconds) and the packed value; the hash `<prefix>:layouts` holds each view's current layout (digest, JSON) by the view, and
every layout that is current or kept by its name, `<view>@<digest>`. A lookup is one MGET, so that what it finds is of one moment.
One server, with or without replicas: the keys of a Redis Cluster lie on several, which no MGET reads.
"""

import os
import re
import struct
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self
from urllib.parse import parse_qsl, quote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from redis.retry import Retry

from feature_repo.online_store.interface import Row, no_view, other_layout
from feature_repo.online_store.layout import DIGEST_BYTES, Layout
from perennial.errors import PerennialError, PlatformError, SpecError
from perennial.outages import is_outage, translated

PASSWORD = "REDISCLI_AUTH"
"""Variable that holds the password, as for Redis's own command line."""
PREFIX = "perennial"
"""How keys begin, unless the URL says otherwise: the name that an installation has by default."""
WRITE_SECONDS = (2.0, 10.0)
"""How long a writer waits for the connection, and for each answer. A batch takes milliseconds, a fork for a snapshot a second."""
READ_SECONDS = (0.4, 0.5)
"""The same for a lookup: a request waits for it, and the caller has a policy for a store that does not answer."""
BATCH_ROWS = 500
"""Rows that one script writes, which nobody else can interrupt: some milliseconds."""
BATCHES = 20
"""Scripts that are sent before their answers are awaited."""
PAGE = 1000
"""Keys that one step of a search looks at."""

WRITE = """
local current = redis.call('HGET', KEYS[1], ARGV[1])
if current and redis.call('HEXISTS', KEYS[1], ARGV[2]) == 0 then return string.sub(current, 1, 8) end
for place = 2, #KEYS do
  local value = ARGV[place + 1]
  local stored = redis.call('GETRANGE', KEYS[place], 0, 7)
  if stored == '' or struct.unpack('<i8', value) >= struct.unpack('<i8', stored) then
    redis.call('SET', KEYS[place], value)
  end
end
return false
"""
COUNT = """
local count = 0
for _, key in ipairs(KEYS) do
  local stored = redis.call('GETRANGE', key, 0, 7)
  if stored ~= '' then
    local time = struct.unpack('<i8', stored)
    if time > tonumber(ARGV[1]) and time <= tonumber(ARGV[2]) then count = count + 1 end
  end
end
return count
"""
_TIME = struct.Struct("<q")


@dataclass(frozen=True)
class RedisPlace:
    """What a URL says: `redis://[user@]host[:port][/number][?prefix=name]`, or `rediss` for an encrypted connection."""

    is_encrypted: bool
    user: str | None
    host: str
    port: int
    number: int
    """Of the database in the server."""
    prefix: str
    """How keys begin. Installations that share a database differ in it."""

    @classmethod
    def of(cls, where: str) -> Self:
        """The place that a URL names.

        Raises:
            SpecError: the URL is wrong, or holds a password.

        >>> RedisPlace.of("redis://host/2?prefix=fraud")
        RedisPlace(is_encrypted=False, user=None, host='host', port=6379, number=2, prefix='fraud')
        """
        try:
            url = urlsplit(where)
        except ValueError as error:
            raise _unusable(["host"]) from error
        if url.password is not None:
            raise SpecError(f"the URL of the online store holds a password; give it as {PASSWORD}, from a secret")
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        prefix, number = query.pop("prefix", PREFIX), url.path.removeprefix("/") or "0"
        try:
            port = url.port or 6379
        except ValueError:
            port = 0
        good = {
            "host": url.hostname,
            "port": port,
            "number": number.isdecimal(),
            "prefix": re.fullmatch(r"[a-z][a-z0-9_]*", prefix),
        }
        wrong = [part for part, is_good in good.items() if not is_good] + list(query)
        if wrong:
            raise _unusable(wrong)
        return cls(url.scheme == "rediss", url.username, str(url.hostname), port, int(number), prefix)

    @property
    def layouts(self) -> bytes:
        """Key of the layouts."""
        return f"{self.prefix}:layouts".encode()

    def start(self, view: str) -> bytes:
        """How the keys of a view begin: its name without signs that separate, or that mean something to a search."""
        return f"{self.prefix}:{quote(view, safe='')}:".encode()

    @property
    def kind(self) -> type[Connection]:
        """Class of its connections. An encrypted one trusts the authorities that the system trusts, or `SSL_CERT_FILE`."""
        return SSLConnection if self.is_encrypted else Connection

    def options(self, seconds: tuple[float, float]) -> dict[str, Any]:
        """Arguments of its connections, by which every question is asked once.

        Args:
            seconds: how long it may take to connect, and to answer.
        """
        return {
            "host": self.host,
            "port": self.port,
            "db": self.number,
            "username": self.user,
            "password": os.environ.get(PASSWORD) or None,
            "socket_connect_timeout": seconds[0],
            "socket_timeout": seconds[1],
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            "driver_info": None,
        }


def _unusable(parts: Iterable[str]) -> SpecError:
    # What was found is not repeated: a password may stand where none belongs.
    allowed = "redis[s]://[user@]host[:port][/number][?prefix=name]"
    return SpecError(f"the URL of the online store: {', '.join(parts)} cannot be used; allowed: {allowed}")


class RedisDatabase:
    """A Redis, opened: an `OnlineDatabase`. Each batch of a write is done as a whole; repeated, it changes nothing."""

    def __init__(self, where: str, place: RedisPlace, client: Any) -> None:  # its answers are typed as text or bytes
        self.where = where
        self._place = place
        self._client = client

    def keep_layouts(self, layouts: Iterable[Layout]) -> None:
        """These layouts are current; values of other layouts of their views stay."""
        for layout in layouts:
            record = layout.digest + layout.model_dump_json().encode()
            self._client.hset(self._place.layouts, mapping={layout.name: record, layout.view: record})

    def forget(self, views: Iterable[str]) -> None:
        """These views are in no definition any more; their values stay."""
        for view in views:
            self._client.hdel(self._place.layouts, view)

    def held(self) -> list[Layout]:
        """Every layout, current or kept, by name."""
        entries = self._client.hgetall(self._place.layouts)
        records = {name.decode(): record for name, record in entries.items() if is_name(name.decode())}
        return [Layout.model_validate_json(record[DIGEST_BYTES:]) for _, record in sorted(records.items())]

    def purge(self, needed: Container[tuple[str, bytes]]) -> list[Layout]:
        """Drop the layouts, with their values, that are neither current nor needed; returns them."""
        current = {(view, (self._current(view) or b"")[:DIGEST_BYTES]) for view in self.views()}
        gone = [layout for layout in self.held() if (layout.view, layout.digest) not in current]
        gone = [layout for layout in gone if (layout.view, layout.digest) not in needed]
        for layout in gone:
            # First: from now on no writer adds a value of it.
            self._client.hdel(self._place.layouts, layout.name)
            for keys in self._pages(layout.name):
                self._client.unlink(*keys)
        return gone

    def views(self) -> list[str]:
        """Views that were applied here, sorted."""
        return sorted(name for name in map(bytes.decode, self._client.hkeys(self._place.layouts)) if not is_name(name))

    def layout(self, view: str) -> Layout:
        """Current layout of a view.

        Raises:
            NotFoundError: the view was never applied here.
        """
        record = self._current(view)
        if record is None:
            raise no_view(self.where, view, self.views())
        return Layout.model_validate_json(record[DIGEST_BYTES:])

    def write(self, layout: Layout, rows: Iterable[Row]) -> None:
        """Each row is stored unless a newer one of its key is.

        Raises:
            DataError: the layout was purged by another process since it was read, or never kept.
        """
        row_iterator, start = iter(rows), self._place.start(layout.name)
        while True:
            pipeline = self._client.pipeline(transaction=False)
            for _ in range(BATCHES):
                batch = list(islice(row_iterator, BATCH_ROWS))
                if not batch:
                    break
                keys = [start + key for key, _, _ in batch]
                values = [_TIME.pack(time) + value for _, time, value in batch]
                pipeline.eval(WRITE, 1 + len(keys), self._place.layouts, *keys, layout.view, layout.name, *values)
            if not len(pipeline):
                return
            for current in pipeline.execute():
                if current is not None:
                    raise other_layout(self.where, layout, current)

    def read(self, view: str, keys: Sequence[bytes]) -> list[tuple[int, bytes] | None]:
        """Event timestamp (microseconds) and value of each key, by the current layout; None where there is none."""
        if not keys:
            return []
        start = self._place.start(self._name(view))
        replies = self._client.mget([start + key for key in keys])
        return [None if data is None else (_TIME.unpack_from(data)[0], data[_TIME.size :]) for data in replies]

    def rows(self, view: str) -> Iterator[Row]:
        """Everything stored by the current layout of a view, or by the layout of that name, ordered by key."""
        name = self._name(view)
        length = len(self._place.start(name))
        keys = iter(sorted(self._keys(name)))
        while page := [key[length:] for key in islice(keys, PAGE)]:
            for key, row in zip(page, self.read(name, page), strict=True):
                if row is not None:
                    yield key, *row

    def count(self, view: str, after: int, until: int) -> int:
        """How many values of a view's current layout have an event timestamp in (after, until], in microseconds."""
        count, keys = 0, iter(self._keys(self._name(view)))
        while page := list(islice(keys, PAGE)):
            count += self._client.eval(COUNT, len(page), *page, str(after), str(until))
        return count

    def drop(self, views: Iterable[str]) -> None:
        """Nothing is stored of these views any more, by whatever layout."""
        gone = set(views)
        for layout in self.held():
            if layout.view in gone:
                for keys in self._pages(layout.name):
                    self._client.unlink(*keys)
                self._client.hdel(self._place.layouts, layout.name)
        for view in gone:
            self._client.hdel(self._place.layouts, view)

    def _name(self, view: str) -> str:
        """The name of a view's current layout; a name of a layout is itself."""
        record = None if is_name(view) else self._current(view)
        return view if record is None else f"{view}@{record[:DIGEST_BYTES].hex()}"

    def _current(self, view: str) -> bytes | None:
        """Digest and layout of a view; None when it was never applied."""
        record: bytes | None = self._client.hget(self._place.layouts, view)
        return record

    def _keys(self, view: str) -> set[bytes]:
        """Keys of a view; a search may meet one twice."""
        return {key for keys in self._pages(view) for key in keys}

    def _pages(self, view: str) -> Iterator[list[bytes]]:
        pattern, cursor = self._place.start(view) + b"*", 0
        while True:
            cursor, keys = self._client.scan(cursor, match=pattern, count=PAGE)
            if keys:
                yield keys
            if cursor == 0:
                return


@contextmanager
def open_redis(where: str) -> Iterator[RedisDatabase]:
    """The Redis at a URL, for its writers.

    Raises:
        SpecError: the URL is wrong.
        PlatformError: it does not answer in time, or refuses.
    """
    place = RedisPlace.of(where)
    client = redis.Redis.from_pool(redis.ConnectionPool(connection_class=place.kind, **place.options(WRITE_SECONDS)))
    try:
        yield RedisDatabase(where, place, client)
    except (RedisError, OSError) as error:
        raise failure(where, error) from error
    finally:
        client.close()


class RedisLookup:
    """The Redis at a URL, read by a server: a `Lookup`."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._place = RedisPlace.of(where)
        self._starts: dict[str, bytes] = {}
        self._connection: Any = None

    def layouts(self) -> dict[str, frozenset[bytes]]:
        """Digests of each view's layouts, current and kept."""
        digests: dict[str, frozenset[bytes]] = {}
        for name in map(bytes.decode, self._ask("HKEYS", self._place.layouts)):
            if is_name(name):
                view, _, digest = name.rpartition("@")
                digests[view] = digests.get(view, frozenset()) | {bytes.fromhex(digest)}
        return digests

    def answers(self) -> None:
        """The server answers, and has not lost what was applied."""
        if not self._ask("EXISTS", self._place.layouts):
            raise PlatformError(
                f"{self._where}: the online store does not answer: it holds no views of {self._place.prefix!r}; "
                "`perennial features apply`, then materialise"
            )

    def values(self, wanted: Sequence[tuple[str, bytes]]) -> list[bytes | None]:
        """What is stored of these pairs of a layout's name and a key, all of one moment; None where there is nothing."""
        starts = self._starts
        for view, _ in wanted:
            if view not in starts:
                starts[view] = self._place.start(view)
        replies = self._ask("MGET", *[starts[view] + key for view, key in wanted])
        return [None if data is None else data[_TIME.size :] for data in replies]

    def close(self) -> None:
        """There is no connection."""
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None

    def _ask(self, *command: str | bytes) -> Any:
        was_kept = self._connection is not None
        try:
            try:
                return self._exchange(command)
            except redis.ConnectionError:
                if not was_kept:
                    raise
                # The server has ended the connection since the last question; it may be back already.
                self.close()
                return self._exchange(command)
        except (RedisError, OSError) as error:
            self.close()
            raise failure(self._where, error) from error

    def _exchange(self, command: Sequence[str | bytes]) -> Any:
        if self._connection is None:
            self._connection = self._place.kind(**self._place.options(READ_SECONDS))
        self._connection.send_command(*command)
        return self._connection.read_response()


def is_name(field: str) -> bool:
    """Whether a field of the hash of layouts is the name of a layout, and not that of a view.

    >>> is_name("account"), is_name("account@0123456789abcdef")
    (False, True)
    """
    return re.fullmatch(r".*@[0-9a-f]{16}", field) is not None


def failure(where: str, error: Exception) -> PerennialError:
    """What an error of the client says, and what helps; an `UnexpectedError` where no server failed."""
    if not is_outage(error):
        return translated(error, where)
    remedy = "Redis must run there and let this machine in: try again"
    if isinstance(error, AuthenticationError):
        remedy = f"{PASSWORD} must hold the password"
    elif isinstance(error, NoPermissionError):
        remedy = "grant its user `+@read +@write +@scripting +@connection` on the keys of its prefix"
    return PlatformError(f"{where}: the online store does not answer: {error}; {remedy}")
