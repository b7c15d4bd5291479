"""What a run leaves behind: its log, and what it found. On the disk of whoever executed it, and in the bucket for all others."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from perennial.errors import NotFoundError, PlatformError
from perennial.settings import Settings
from perennial.stores.bucket import Bucket

LOG = "log.txt"
"""Name of a run's log, in its folder and in the bucket."""
LOOKS_SECONDS = 1.0
"""Between two looks at a log in the bucket that is still written."""
WHOLE = "whole"
"""Object that is written last: who sees it sees all that a run left."""
PATIENCE_SECONDS = 20.0
"""How long whoever followed a run waits for what it leaves: its end is in the ledger a little before."""


def keep(settings: Settings, run_id: str) -> None:
    """The bucket holds a run's log and its results as they are now; without a bucket this disk alone holds them.

    Args:
        settings: where things are.
        run_id: a run that was executed here, whatever became of it.

    Raises:
        PlatformError: the bucket does not answer or refuses.
    """
    folder = results_here(settings, run_id)
    if settings.bucket is None:
        return
    keep_log(settings, run_id)
    bucket = Bucket(settings.bucket)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        bucket.replace(f"{_key(run_id)}/results/{path.relative_to(folder).as_posix()}", path)
    bucket.replace(f"{_key(run_id)}/{WHOLE}", b"\n")


def keep_log(settings: Settings, run_id: str) -> None:
    """The bucket holds a run's log as far as it is written."""
    log = settings.runs / run_id / LOG
    if settings.bucket is not None and log.exists():
        Bucket(settings.bucket).replace(f"{_key(run_id)}/{LOG}", log.read_bytes())


def results_here(settings: Settings, run_id: str) -> Path:
    """Folder of what a run found, where it was executed; of a monitoring run with Evidently's page, under a name for browsers."""
    folder = settings.results / run_id
    pages = sorted((settings.runs / run_id / "steps").glob("*/measure/report"))
    if pages:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(pages[-1], folder / "report.html")
    return folder


def results_of(settings: Settings, run_id: str, patience_seconds: float = 0.0) -> Path:
    """Folder of what a run found; fetched from the bucket where this disk has none. It need not exist.

    Args:
        settings: where things are.
        run_id: the run.
        patience_seconds: how long to wait until the bucket has all of it; what it has in part is not fetched.

    Raises:
        PlatformError: the bucket does not answer or refuses, or the folder cannot be written.
    """
    folder = results_here(settings, run_id)
    if folder.exists() or settings.bucket is None or not is_whole(settings.bucket, run_id, patience_seconds):
        return folder
    bucket, prefix = Bucket(settings.bucket), f"{_key(run_id)}/results/"
    draft = folder.with_name(f".{run_id}.new")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        for key in bucket.keys(prefix):
            path = draft / key.removeprefix(prefix)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bucket.get(key))
        if draft.exists() and not folder.exists():
            draft.rename(folder)
    except OSError as error:
        raise PlatformError(f"{folder}: cannot be written ({error.strerror}); give PERENNIAL_STATE a folder that can") from error
    return folder


def log_of(settings: Settings, run_id: str) -> str | None:
    """What a run has printed so far, from this disk or from the bucket; none where neither has it.

    Raises:
        PlatformError: the bucket does not answer or refuses.
    """
    path = settings.runs / run_id / LOG
    if path.exists():
        return path.read_text(encoding="utf-8", errors="replace")
    if settings.bucket is None:
        return None
    try:
        return Bucket(settings.bucket).get(f"{_key(run_id)}/{LOG}").decode("utf-8", errors="replace")
    except NotFoundError:
        return None


def log_lines(settings: Settings, run_id: str) -> list[str]:
    """What a run has printed so far, line by line.

    Raises:
        NotFoundError: neither this disk nor the bucket has its log.
    """
    text = log_of(settings, run_id)
    if text is None:
        where = "on this machine" if settings.bucket is None else f"on this machine or in {settings.bucket}/{_key(run_id)}"
        raise NotFoundError(f"{settings.runs / run_id / LOG}: run {run_id} has no log {where}")
    return text.splitlines()


def lines_of(settings: Settings, run_id: str, is_over: Callable[[], bool], begin: int = 0) -> Iterator[str]:
    """Whole lines of a log that is still written, until the run is over.

    Args:
        settings: where things are.
        run_id: the run.
        is_over: whether the run is over; what it had printed by then is still read.
        begin: byte of the log to begin at, where it is on this disk.
    """
    path = settings.runs / run_id / LOG
    if not path.exists():
        yield from _distant_lines(settings, run_id, is_over)
        return
    with path.open(encoding="utf-8", errors="replace") as log:
        log.seek(begin)
        rest = ""
        while True:
            ended = is_over()
            rest += log.read()
            *lines, rest = rest.split("\n")
            yield from lines
            if ended:
                return
            time.sleep(0.1)


def _distant_lines(settings: Settings, run_id: str, is_over: Callable[[], bool]) -> Iterator[str]:
    """The lines of a log in the bucket, which is replaced as it grows. A run that began again begins a log anew."""
    shown = 0
    while True:
        ended = is_over()
        if ended:
            is_whole(settings.bucket, run_id, PATIENCE_SECONDS)
        *lines, _ = (log_of(settings, run_id) or "").split("\n")
        if len(lines) < shown:
            shown = 0
        yield from lines[shown:]
        shown = len(lines)
        if ended:
            return
        time.sleep(LOOKS_SECONDS)


def is_whole(uri: str | None, run_id: str, patience_seconds: float = 0.0) -> bool:
    """Whether the bucket has all that a run left, waited for as long as that; never without a bucket.

    Raises:
        PlatformError: the bucket does not answer or refuses.
    """
    if uri is None:
        return False
    until = time.monotonic() + patience_seconds
    while True:
        try:
            return bool(Bucket(uri).get(f"{_key(run_id)}/{WHOLE}"))
        except NotFoundError:
            if time.monotonic() >= until:
                return False
        time.sleep(LOOKS_SECONDS)


def _key(run_id: str) -> str:
    return f"runs/{run_id}"
