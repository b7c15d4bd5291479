"""What the Redis of the online store says of itself, without the store."""

import os
from dataclasses import dataclass

import redis
from redis.exceptions import RedisError

from feature_repo.online_store.redis import PASSWORD, RedisPlace, failure


@dataclass(frozen=True)
class RedisServer:
    """A Redis as it answers."""

    version: str
    """For example `7.0.15`."""
    drops: str | None
    """The policy by which it drops values when its memory is full; None when it keeps all."""
    has_password: bool
    """Whether it was given one."""


def redis_server(where: str, wait_seconds: float) -> RedisServer:
    """What the Redis at a URL says of itself; its password is read from REDISCLI_AUTH.

    Args:
        where: `redis://` or `rediss://`.
        wait_seconds: how long it is waited for, to connect and to answer.

    Raises:
        SpecError: the URL is wrong.
        PlatformError: it does not answer or refuses.
    """
    place = RedisPlace.of(where)
    pool = redis.ConnectionPool(connection_class=place.kind, **place.options((wait_seconds, wait_seconds)))
    client = redis.Redis.from_pool(pool)
    try:
        info = client.info("server") | client.info("memory")
    except (RedisError, OSError) as error:
        raise failure(where, error) from error
    finally:
        client.close()
    policy = str(info.get("maxmemory_policy", "noeviction"))
    drops = None if policy == "noeviction" or not int(info.get("maxmemory", 0)) else policy
    return RedisServer(str(info["redis_version"]), drops, bool(os.environ.get(PASSWORD)))
