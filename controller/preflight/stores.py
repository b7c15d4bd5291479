"""Rows about the stores: object store, online store, ledger, feature registry, MLflow. Each is asked by its own client."""

from collections.abc import Mapping

from controller.preflight.row import PreflightRow, asked
from feature_repo.online_store.redis_server import redis_server
from perennial.errors import DataError, SpecError
from perennial.ledger.standing import ledger_standing
from perennial.registry.server import server_version
from perennial.settings import PREFIX, Settings
from perennial.stores import postgresql
from perennial.stores.bucket import Bucket

WAIT_SECONDS = 5.0
"""How long a store is waited for."""

KEY = "preflight/probe"
"""The object that stays in the bucket: Perennial never deletes one, so a right to delete is not asked for."""

PROBE = b"written by perennial cluster check"

CREDENTIALS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of a user who may put, get and list"


def rows(settings: Settings, environment: Mapping[str, str]) -> tuple[PreflightRow, ...]:
    """What each store says; one that does not answer says nothing about the others.

    Args:
        settings: of the installation.
        environment: variables: MLFLOW_*.
    """
    return (
        asked(
            "object store",
            lambda: object_store(settings.bucket),
            f"make it; set PERENNIAL_BUCKET=s3://BUCKET/PREFIX, AWS_ENDPOINT_URL where it is not Amazon's, and {CREDENTIALS}",
        ),
        asked(
            "online store",
            lambda: online_store(settings.online_store),
            "set PERENNIAL_ONLINE_STORE=redis://HOST:6379/0, and REDISCLI_AUTH from the secret perennial-redis",
        ),
        asked("ledger", lambda: ledger(settings.ledger), _database("PERENNIAL_LEDGER")),
        asked(
            "feature registry",
            lambda: database("feature registry", "feature_registry", settings.feature_registry),
            _database("PERENNIAL_FEATURE_REGISTRY"),
        ),
        asked(
            "MLflow",
            lambda: tracking(settings.tracking, environment),
            "set PERENNIAL_TRACKING=http://HOST:5000, or a PostgreSQL, MLFLOW_TRACKING_USERNAME and _PASSWORD if it wants them",
        ),
    )


def object_store(uri: str | None) -> str:
    """That objects are put, read and listed, and that one that is there is not written over.

    Raises:
        SpecError: there is no bucket among the settings.
        DataError: the store does not keep what it is given.
        PlatformError: it does not answer or refuses.
    """
    if uri is None:
        raise SpecError("PERENNIAL_BUCKET is not set: pods share no disk")
    bucket = Bucket(uri, WAIT_SECONDS, WAIT_SECONDS)
    is_new = bucket.put(KEY, PROBE)
    held = bucket.get(KEY)
    if is_new and held != PROBE:
        raise DataError(f"{uri}/{KEY}: read back different content than was written")
    if KEY not in bucket.keys(f"{KEY.rpartition('/')[0]}/"):
        raise DataError(f"{uri}/{KEY}: was put and is not listed")
    if bucket.put(KEY, held + b".") or bucket.get(KEY) != held:
        raise DataError(f"{uri}: writes over an object although told not to (If-None-Match); versions would not be safe in it")
    return f"{uri}: put, get, list and put-if-absent do what they should"


def online_store(url: str) -> str:
    """That the Redis answers and keeps all it is given.

    Raises:
        SpecError: it is a file.
        DataError: it drops values when it is full.
        PlatformError: it does not answer or refuses.
    """
    if not url.startswith(("redis://", "rediss://")):
        raise SpecError(f"PERENNIAL_ONLINE_STORE is no Redis: found {url}: pods share no disk")
    server = redis_server(url, WAIT_SECONDS)
    if server.drops:
        raise DataError(f"{url}: drops values when its memory is full ({server.drops}); set maxmemory-policy to noeviction")
    return f"Redis {server.version} at {url}, {'with' if server.has_password else 'without'} a password"


def ledger(url: str) -> str:
    """That its database answers, and was not written by a newer release.

    Raises:
        SpecError: it is a file.
        DataError: a newer release wrote it.
        PlatformError: it does not answer or refuses.
    """
    _refuse_file("ledger", url)
    standing = ledger_standing(url, WAIT_SECONDS)
    if not standing.is_current:
        raise DataError(f"{url}: was written by a newer release (revision {standing.revision}); install that one")
    revision = "is empty: the first use makes its tables" if standing.revision is None else f"has revision {standing.revision}"
    return f"{standing.server} at {url} {revision}"


def database(name: str, setting: str, url: str) -> str:
    """That a PostgreSQL answers.

    Args:
        name: what it is to the reader.
        setting: the field of the settings that names it.
        url: of SQLAlchemy.

    Raises:
        SpecError: it is a file.
        PlatformError: it does not answer or refuses.
    """
    _refuse_file(setting, url)
    with postgresql.answering(name, url, WAIT_SECONDS) as connection:
        version = connection.info.server_version
    return f"PostgreSQL {version // 10000}.{version % 10000} at {url}"


def tracking(url: str, environment: Mapping[str, str]) -> str:
    """That MLflow's server or database answers.

    Raises:
        SpecError: it is a file.
        PlatformError: it does not answer or refuses.
    """
    if url.startswith("http"):
        return f"MLflow {server_version(url, environment, WAIT_SECONDS)} at {url}"
    return database("MLflow", "tracking", url)


def _refuse_file(setting: str, url: str) -> None:
    if url.startswith("sqlite"):
        raise SpecError(f"{PREFIX}{setting.upper()} is a file: found {url}: pods share no disk")


def _database(variable: str) -> str:
    return f"set {variable}=postgresql+psycopg://USER@HOST/DATABASE, and PGPASSWORD from the secret perennial-postgresql"
