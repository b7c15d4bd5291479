"""What a foreign exception means: a platform that failed, or something that nobody foresaw.

An exception that is not ours is a bug or a fault of the data until something says that a platform failed. What says so is listed
here, by the library and type that raises it; the libraries are not imported. The edges that can foresee an error translate it
themselves, with a remedy: what comes here is what they did not.
"""

import errno
import re
import traceback
from collections.abc import Iterable
from importlib import metadata
from platform import python_version

from perennial.errors import PerennialError, PlatformError, UnexpectedError

TYPES = {
    "builtins": "TimeoutError ConnectionError ConnectionRefusedError ConnectionResetError ConnectionAbortedError BrokenPipeError "
    "BlockingIOError",
    "socket": "gaierror timeout",
    "ssl": "SSLError",
    "http.client": "RemoteDisconnected IncompleteRead",
    "sqlite3": "OperationalError",
    "sqlalchemy.exc": "OperationalError InterfaceError TimeoutError DisconnectionError",
    "psycopg": "OperationalError InterfaceError",
    "redis.exceptions": "ConnectionError TimeoutError BusyLoadingError ReadOnlyError MaxConnectionsError",
    "urllib3.exceptions": "MaxRetryError NewConnectionError ProtocolError ConnectTimeoutError ReadTimeoutError SSLError",
    "requests.exceptions": "ConnectionError Timeout ConnectTimeout ReadTimeout ChunkedEncodingError RetryError",
    "obstore.exceptions": "GenericError PermissionDeniedError UnauthenticatedError",
}
"""Exceptions that say it by their type alone, by library."""
PASSING = frozenset(f"{library}.{name}" for library, names in TYPES.items() for name in names.split())
DISKS = frozenset(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EIO", "EROFS", "EMFILE", "ENFILE", "EAGAIN", "ENOLCK", "EACCES", "EPERM", "ESTALE", "EBUSY")
)
"""Numbers of an `OSError` that say it: disks that are full, broken or locked, and folders that may not be used."""
STATUSES = (0, 408, 425, 429)
"""Statuses of HTTP besides 5xx that say it; 0 where there was no answer."""
WITH_STATUS = (
    *("kubernetes.client.exceptions.ApiException", "mlflow.exceptions.MlflowException", "mlflow.exceptions.RestException"),
    *("requests.exceptions.HTTPError", "urllib.error.HTTPError"),
)
"""Exceptions that carry the status of an answer."""
OURS = ("perennial", "cluster", "feature_repo", "monitoring", "serving", "components", "pipelines", "controller", "console")
FRAME = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<name>.+)$')
NUMBER = re.compile(r"\[Errno (\d+)\]")
STATUS = re.compile(r"^\s*\(?(?:HTTP Error )?(\d{3})\b")


def translated(error: BaseException, where: str) -> PerennialError:
    """What an exception means; ours is itself.

    Args:
        error: as it was caught.
        where: the command or step in which it came up.
    """
    if isinstance(error, PerennialError):
        return error
    names = [f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__]
    if any(is_passing(name, str(error), _number(error), _status(error)) for name in names):
        return PlatformError(f"{where}: {plain(names[0])}: {error}; the same call may work later")
    frames = [(frame.filename, frame.lineno or 0, frame.name) for frame in traceback.extract_tb(error.__traceback__)]
    return UnexpectedError(unexpected(where, names[0], str(error), frames))


def in_words(where: str, name: str, message: str, trace: Iterable[str]) -> PerennialError:
    """What an exception means that a process printed.

    Args:
        where: the step that printed it.
        name: type of the exception as it is printed: without its module where that is `builtins`.
        message: its text.
        trace: lines of its traceback.
    """
    full = name if "." in name else f"builtins.{name}"
    number, status = NUMBER.search(message), STATUS.match(message)
    if is_passing(full, message, int(number[1]) if number else None, int(status[1]) if status else None):
        return PlatformError(f"{where}: {name}: {message}; the same call may work later")
    frames = [(found["file"], int(found["line"]), found["name"]) for found in map(FRAME.match, trace) if found]
    return UnexpectedError(unexpected(where, full, message, frames))


def is_passing(name: str, message: str, number: int | None = None, status: int | None = None) -> bool:
    """Whether an exception says that a platform failed.

    >>> is_passing("builtins.ConnectionRefusedError", ""), is_passing("builtins.ValueError", "")
    (True, False)
    >>> is_passing("builtins.OSError", "", errno.ENOSPC), is_passing("builtins.OSError", "", errno.EISDIR)
    (True, False)
    >>> [is_passing("mlflow.exceptions.MlflowException", "", None, status) for status in (400, 503)]
    [False, True]

    Args:
        name: full name of its type.
        message: its text.
        number: of an `OSError`.
        status: of an answer of HTTP.
    """
    if name in PASSING:
        return True
    if name.startswith(("builtins.OSError", "builtins.PermissionError")):
        return number in DISKS
    if name in WITH_STATUS:
        return status is not None and (status >= 500 or status in STATUSES)
    if name.endswith("duckdb.IOException"):
        return any(said in message for said in ("No space left", "Could not set lock", "Connection", "timed out", "Input/output"))
    return False


def unexpected(where: str, name: str, message: str, frames: Iterable[tuple[str, int, str]]) -> str:
    """The sentence of an error that nobody foresaw, with the place and how to report it.

    Args:
        where: the command or step in which it came up.
        name: full name of its type.
        message: its text.
        frames: file, line and function, the innermost last; the last of ours is the place.
    """
    listed = list(frames)
    own = [frame for frame in listed if _below(frame[0])] or listed
    place = f" ({_below(own[-1][0]) or own[-1][0]}:{own[-1][1]} in {own[-1][2]})" if own else ""
    try:
        release = metadata.version("perennial")
    except metadata.PackageNotFoundError:
        release = "unknown"
    return (
        f"{where}: {plain(name)}: {message}{place}: a bug, or a fault of the data that nobody foresaw; trying again is useless. "
        f"Report it with this line, the run's log if there is one, and: Perennial {release}, Python {python_version()}"
    )


def plain(name: str) -> str:
    """A type's name as Python prints it.

    >>> plain("builtins.ValueError"), plain("duckdb.IOException")
    ('ValueError', 'duckdb.IOException')
    """
    return name.removeprefix("builtins.")


def _below(file: str) -> str:
    """A file's path from one of our packages on; empty when it is in none."""
    parts = file.split("/")
    for place in range(len(parts) - 1, -1, -1):
        if parts[place] in OURS and "site-packages" not in parts[place:]:
            return "/".join(parts[place:])
    return ""


def _number(error: BaseException) -> int | None:
    return error.errno if isinstance(error, OSError) else None


def _status(error: BaseException) -> int | None:
    """Status of the answer that an exception tells of."""
    for name in ("status", "code"):
        found = getattr(error, name, None)
        if isinstance(found, int):
            return found
    answer = getattr(error, "response", None)
    code = getattr(answer, "status_code", None)
    if isinstance(code, int):
        return code
    ask = getattr(error, "get_http_status_code", None)
    return int(ask()) if callable(ask) else None
