"""What a foreign exception means: a platform failed, where a list says so; else a bug or a fault of the data.

A type is known by its qualified name: nothing is imported for it. Where one type stands for several things, its text says which.
SQLAlchemy names its driver's error in its own text, without base classes, so the list names the subclasses too.
"""

import os
import re
import sys
from collections.abc import Iterable, Iterator
from errno import (
    EACCES,
    EAGAIN,
    EBUSY,
    EDQUOT,
    EHOSTUNREACH,
    EINTR,
    EIO,
    EMFILE,
    ENETDOWN,
    ENETUNREACH,
    ENFILE,
    ENOLCK,
    ENOMEM,
    ENOSPC,
    EPERM,
    EROFS,
    ESTALE,
    ETIMEDOUT,
)
from importlib.metadata import version
from itertools import takewhile
from traceback import FrameSummary, extract_tb

from perennial.errors import PerennialError, PlatformError, UnexpectedError

NUMBERS = (
    *(EACCES, EAGAIN, EBUSY, EDQUOT, EHOSTUNREACH, EINTR, EIO, EMFILE, ENETDOWN, ENETUNREACH, ENFILE, ENOLCK, ENOMEM),
    *(ENOSPC, EPERM, EROFS, ESTALE, ETIMEDOUT),
)
"""Of an `OSError`: full, broken, read-only or foreign disks, nothing left to open, an unreachable network."""
SYSTEM = rf"\[[Ee]rrno ({'|'.join(map(str, NUMBERS))})\]|AWS Error"
"""An `OSError`; Arrow raises one for whatever an object store answers."""
WORDS = "|".join(re.escape(os.strerror(number)) for number in NUMBERS)
"""The same as the system words it, for libraries that keep the words alone."""
STATUS = r"\b(429|5\d\d)\b"
"""HTTP: too many requests, or the server's own fault."""
SQLITE = r"locked|busy|disk I/O error|is full|unable to open|readonly|locking protocol|interrupted"
REDIS = r"^(BUSY|CLUSTERDOWN|LOADING|MASTERDOWN|MISCONF|NOAUTH|NOPERM|NOREPLICAS|OOM|READONLY|TRYAGAIN|WRONGPASS)\b"
MLFLOW = (
    r"\b(TEMPORARILY_UNAVAILABLE|RESOURCE_EXHAUSTED|REQUEST_LIMIT_EXCEEDED|DEADLINE_EXCEEDED|PERMISSION_DENIED|UNAUTHENTICATED)\b"
    rf"|failed with (timeout )?exception|error code {STATUS}|too many {STATUS} error responses"
)
"""Its own codes, and what its client says of a server that does not answer or answers with 5xx."""
POSTGRESQL = [
    "ConnectionException",
    "SqlclientUnableToEstablishSqlconnection",
    "ConnectionDoesNotExist",
    "ConnectionFailure",
    "ProtocolViolation",
    "SqlserverRejectedEstablishmentOfSqlconnection",
    "TransactionResolutionUnknown",
    "InvalidAuthorizationSpecification",
    "InvalidPassword",
    "TransactionRollback",
    "SerializationFailure",
    "StatementCompletionUnknown",
    "DeadlockDetected",
    "InsufficientResources",
    "DiskFull",
    "OutOfMemory",
    "TooManyConnections",
    "ConfigurationLimitExceeded",
    "ObjectInUse",
    "LockNotAvailable",
    "OperatorIntervention",
    "QueryCanceled",
    "AdminShutdown",
    "CrashShutdown",
    "CannotConnectNow",
    "DatabaseDropped",
    "IdleSessionTimeout",
    "SystemError",
    "IoError",
    "UndefinedFile",
    "DuplicateFile",
    "FileNameTooLong",
    "TransactionIntegrityConstraintViolation",
    "ReadOnlySqlTransaction",
    "IdleInTransactionSessionTimeout",
    "InsufficientPrivilege",
    "ConfigFileError",
    "LockFileExists",
]

_ALWAYS: dict[str, str] = {
    "builtins": "TimeoutError ConnectionError BrokenPipeError ConnectionAbortedError ConnectionRefusedError ConnectionResetError "
    "BlockingIOError InterruptedError PermissionError MemoryError",
    "socket": "gaierror herror timeout",
    "ssl": "SSLError SSLCertVerificationError SSLEOFError SSLSyscallError SSLZeroReturnError",
    "http.client": "BadStatusLine IncompleteRead RemoteDisconnected",
    "subprocess": "TimeoutExpired",
    "concurrent.futures.process": "BrokenProcessPool",
    "joblib.externals.loky.process_executor": "BrokenProcessPool TerminatedWorkerError",
    "multiprocessing.context": "TimeoutError",
    "pyarrow.lib": "ArrowMemoryError",
    "_duckdb": "OutOfMemoryException",
    "sqlalchemy.exc": "TimeoutError DisconnectionError InvalidatePoolError",
    "psycopg": "OperationalError",
    "psycopg.errors": " ".join(POSTGRESQL),
    "redis.exceptions": "ConnectionError TimeoutError AuthenticationError AuthorizationError BusyLoadingError ClusterDownError "
    "ExternalAuthProviderError MasterDownError MaxConnectionsError NoPermissionError OutOfMemoryError ReadOnlyError "
    "TryAgainError",
    "obstore.exceptions": "GenericError PermissionDeniedError UnauthenticatedError",
    "requests.exceptions": "ConnectionError Timeout ChunkedEncodingError ConnectTimeout ProxyError ReadTimeout RetryError "
    "SSLError",
    "urllib3.exceptions": "TimeoutError ClosedPoolError ConnectTimeoutError EmptyPoolError IncompleteRead InvalidChunkLength "
    "MaxRetryError NameResolutionError NewConnectionError ProtocolError ProxyError ReadTimeoutError SSLError",
    "cluster.client": "RefusedError",
}
"""By module: types that mean an outage whatever they say."""
_SAYING: dict[str, str] = {
    "builtins.OSError": SYSTEM,
    "shutil.Error": SYSTEM,
    "pyarrow.lib.ArrowException": "AWS Error",
    "pyarrow.lib.ArrowInvalid": "AWS Error",
    "_duckdb.Error": "AWS Error",
    "_duckdb.InvalidInputException": "AWS Error",
    "_duckdb.IOException": rf"{WORDS}|Could not set lock|AWS Error",
    "_duckdb.HTTPException": rf"{STATUS}|{WORDS}|[Cc]onnection|[Tt]imed? ?out",
    "sqlite3.OperationalError": SQLITE,
    "sqlite3.DatabaseError": "malformed|not a database",
    "redis.exceptions.ResponseError": REDIS,
    "mlflow.exceptions.MlflowException": MLFLOW,
    "mlflow.exceptions.RestException": rf"^INTERNAL_ERROR|{MLFLOW}",
    "kubernetes.client.exceptions.ApiException": r"^\((0|429|5\d\d)\)",
    "requests.exceptions.HTTPError": STATUS,
    "urllib.error.HTTPError": STATUS,
    "urllib.error.URLError": r"urlopen error (\[|timed out|EOF|_ssl)",
}
"""By qualified name: types that mean an outage where their text matches."""
RULES = {f"{module}.{name}": re.compile("") for module, names in _ALWAYS.items() for name in names.split()} | {
    name: re.compile(pattern) for name, pattern in _SAYING.items()
}
"""Every type that can say that a platform failed, and what its text says then."""
_DRIVER = re.compile(r"^\((?P<name>[\w.]+)\) ?(?P<text>.*)", re.DOTALL)
"""How SQLAlchemy begins an error that is its driver's."""
_SQLALCHEMY = ("sqlalchemy.exc.OperationalError", "sqlalchemy.exc.InterfaceError")
"""Its errors of which the driver's own says more, and which are an outage where it does not."""

OURS = ("cluster", "components", "console", "controller", "feature_repo", "monitoring", "perennial", "pipelines", "serving")
"""Our packages: of a trace, the last place in them is said."""
LONGEST = 500
"""Most characters of a foreign text in a message of ours."""


def says_outage(name: str, text: str) -> bool:
    """Whether an exception of this type, with this text, says that a platform failed.

    Args:
        name: of the type, with its module; a built-in one may stand without, as in a trace.
        text: what the exception says.

    >>> says_outage("urllib3.exceptions.MaxRetryError", "…"), says_outage("ValueError", "no")
    (True, False)
    >>> says_outage("OSError", "[Errno 28] No space left on device"), says_outage("OSError", "[Errno 21] Is a directory")
    (True, False)
    >>> says_outage("sqlalchemy.exc.OperationalError", "(sqlite3.OperationalError) no such table: t")
    False
    """
    full_name = name if "." in name else f"builtins.{name}"
    if full_name.startswith("sqlalchemy.exc.") and (driver := _DRIVER.match(text)):
        return says_outage(driver["name"], driver["text"])
    if full_name in _SQLALCHEMY:
        return True
    rule = RULES.get(full_name)
    return rule is not None and rule.search(text) is not None


def is_outage(error: BaseException) -> bool:
    """Whether an exception says that a platform failed, by itself or by what it was raised from.

    >>> is_outage(TimeoutError()), is_outage(KeyError("amount"))
    (True, False)
    """
    text, code, number = str(error), getattr(error, "error_code", None), getattr(error, "errno", None)
    if isinstance(code, str):
        text = f"{code}: {text}"
    if isinstance(error, OSError) and isinstance(number, int):
        text = f"[Errno {number}] {text}"
    if any(says_outage(_name(kind), text) for kind in type(error).__mro__):
        return True
    return error.__cause__ is not None and is_outage(error.__cause__)


def raised_by(error: BaseException, package: str) -> bool:
    """Whether code of an installed package raised an exception, and not who called it; what C raises is its caller's.

    Args:
        error: as it was caught.
        package: top-level name. Files of Cython are named from its folder on.

    >>> raised_by(KeyError("never raised"), "pyarrow")
    False
    """
    frames = extract_tb(error.__traceback__)
    return bool(frames) and frames[-1].filename.rpartition("/site-packages/")[2].startswith(f"{package}/")


def translated(error: BaseException, where: str, report: str = "the whole output of `perennial --debug`") -> PerennialError:
    """An exception as one of ours: unchanged if it is, a `PlatformError` where it says so, else an `UnexpectedError`.

    Args:
        error: any exception.
        where: step, command or thing that it ended.
        report: what whoever reports it sends along.
    """
    if isinstance(error, PerennialError):
        return error
    if is_outage(error):
        return outage(where, _name(type(error)), str(error))
    return unexpected(where, _name(type(error)), str(error), place_of(extract_tb(error.__traceback__)), report)


def exit_code_after(error: Exception, where: str) -> int:
    """Exit code of a program that an exception ended; what it means is said on standard error, without a traceback."""
    translation = translated(error, where, "what it printed")
    sys.stderr.write(f"{translation}\n")
    return translation.exit_code


def outage(where: str, kind: str, text: str) -> PlatformError:
    """A platform's failure in words; arguments as of `unexpected`."""
    return PlatformError(f"{where}: {_plain(kind)}: {_first(text)}; the same call may work later")


def unexpected(where: str, kind: str, text: str, place: str, report: str) -> UnexpectedError:
    """What nobody foresaw, in words.

    Args:
        where: step, command or thing that it ended.
        kind: name of the exception's type, with its module.
        text: what it says.
        place: where it was raised; empty where that is not known.
        report: what whoever reports it sends along.
    """
    location = f" ({place})" if place else ""
    description = f"{_plain(kind)}: {_first(text)}" if text.strip() else _plain(kind)
    python = ".".join(map(str, sys.version_info[:3]))
    return UnexpectedError(
        f"{where}: {description}{location}. Nobody foresaw this: it is a bug or a fault of the data, and trying again is "
        f"useless. To report it, send {report}, and that it was Perennial {version('perennial')} on Python {python}"
    )


def place_of(frames: Iterable[FrameSummary]) -> str:
    """File relative to the package, line and function of the last frame that is ours; of the last one where none is.

    >>> place_of([FrameSummary("/opt/perennial/data/rows.py", 7, "read"), FrameSummary("/opt/lib/numpy/core.py", 3, "dot")])
    'perennial/data/rows.py, line 7, in read'
    """
    locations = [(_file(frame.filename), frame) for frame in frames]
    package_locations = [location for location in locations if location[0].split("/")[0] in OURS]
    for file, frame in (package_locations or locations)[-1:]:
        return f"{file}, line {frame.lineno}, in {frame.name}"
    return ""


def _file(path: str) -> str:
    """A file as it is named from the folder of its package; only its own name where no package is known.

    >>> _file("/venv/lib/python3.11/site-packages/feast/repo.py"), _file("/tmp/x/ephemeral_component.py")
    ('feast/repo.py', 'ephemeral_component.py')
    """
    _, is_installed, rest = path.rpartition("/site-packages/")
    if is_installed:
        return rest
    parts = path.split("/")
    after = list(takewhile(lambda part: part not in OURS, reversed(parts[:-1])))
    begin = len(parts) - 2 - len(after)
    return "/".join(parts[begin:]) if begin >= 0 else parts[-1]


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _plain(name: str) -> str:
    return name.removeprefix("builtins.")


def _first(text: str) -> str:
    """The first line that says something; what follows shows statements and sources."""
    lines: Iterator[str] = (line.strip() for line in text.splitlines())
    return next((line for line in lines if line), "no text")[:LONGEST]
