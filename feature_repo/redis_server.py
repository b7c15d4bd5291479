"""What the Redis of the online store says of itself, without the store."""

from dataclasses import dataclass

import redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from perennial.errors import PlatformError

PASSWORD = "the password is read from REDISCLI_AUTH: set it, from a secret"


@dataclass(frozen=True)
class RedisServer:
    """A Redis as it answers."""

    version: str
    """For example `7.0.15`."""
    drops: str | None
    """The policy by which it drops values when its memory is full; None when it keeps all."""
    has_password: bool
    """Whether it wants one."""


def redis_server(url: str, password: str | None, wait_seconds: float) -> RedisServer:
    """What the Redis at a URL says of itself.

    Args:
        url: `redis://` or `rediss://`, without the password.
        password: None sends none.
        wait_seconds: how long it is waited for.

    Raises:
        PlatformError: it does not answer or refuses.
    """
    timeouts = {"socket_connect_timeout": wait_seconds, "socket_timeout": wait_seconds}
    try:
        with redis.Redis.from_url(url, password=password, decode_responses=True, **timeouts) as client:
            client.ping()
            said = {**client.info("server"), **client.info("memory")}
        policy = said.get("maxmemory_policy", "noeviction")
        drops = None if policy == "noeviction" or not int(said.get("maxmemory", 0)) else str(policy)
        return RedisServer(str(said.get("redis_version", "of unknown version")), drops, password is not None)
    except AuthenticationError as error:
        raise PlatformError(f"online store {url}: {error}; {PASSWORD}") from error
    except NoPermissionError as error:
        raise PlatformError(f"online store {url}: {error}; grant its user `+@read +@write +ping +info`") from error
    except (RedisError, OSError, ValueError) as error:
        raise PlatformError(f"online store {url}: {error}; see that the server runs and that the URL names it") from error
