"""Finished segments of the prediction log go to the bucket, in a thread of their own: no answer ever waits for it.

A segment is put under its name if nothing is there, and its file is removed then. While the store does not answer, segments wait
on the disk. What the process has numbered is announced besides, so that rows which vanish with the machine are counted, and that
it lives, so that nobody takes a window as complete whose rows still wait here.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from perennial.errors import DataError, PlatformError
from perennial.prediction_log import LogWriter, seal_left
from perennial.prediction_log.segment import HEADER_BYTES, OPEN, SEALED, DamageError, parse_header
from perennial.prediction_log.shipped import IDLE_SECONDS, NAME, Announcement, boot_key, read_announcement, segment_key
from perennial.stores.bucket import Bucket
from serving.runtime.metrics import Metrics

LOG = logging.getLogger("serving.runtime")
SEAL_SECONDS = 4.0
"""Age from which a segment is sealed when there is a bucket: sealing and shipping must be done within five seconds."""
ROUND_SECONDS = 0.5
"""Between two looks for finished segments."""
ANNOUNCE_SECONDS = 1.0
"""Between two announcements while rows come: rows of this time are not counted when the machine vanishes."""
LONGEST_PAUSE_SECONDS = 10.0
"""Between two attempts while the store does not answer."""
RETRY_SECONDS = 2.0
REQUEST_SECONDS = 10.0
"""How long a request to the store is repeated, and may take beside the time that a large segment needs: less than the default, as
every round is another attempt."""
DIFFERS = ".differs"
"""Ending of a segment that lies in the bucket with another content."""


class Shipper:
    """Ships the segments of one folder. `ship` belongs to its thread, once that was started."""

    def __init__(
        self, folder: Path, bucket: Bucket, model: str, log: LogWriter, metrics: Metrics, clock: Callable[[], float]
    ) -> None:
        """Nothing is shipped yet.

        Args:
            folder: of the segments; what dead processes left there is shipped too.
            bucket: where they go.
            model: name of the model.
            log: writes the segments of this process.
            metrics: told of what waits, was shipped and failed.
            clock: Unix seconds UTC.
        """
        self._folder, self._bucket, self._model, self._log = folder, bucket, model, log
        self._metrics, self._clock = metrics, clock
        self._announced: dict[str, int] = {}
        """By process that was announced: the number of its next row."""
        self._announced_at = 0.0
        self._failure = ""
        self._wake = threading.Event()
        self._at_once = self._is_ending = self._stopped = False
        self._thread = threading.Thread(target=self._run, name="shipping", daemon=True)

    def start(self) -> None:
        """Segments are shipped as they are finished."""
        self._thread.start()

    def hurry(self) -> None:
        """What was written so far is sealed and shipped at once: the process was told to end."""
        self._at_once = True
        self._wake.set()

    def end(self, seconds: float) -> bool:
        """Everything was shipped and the process's end announced, or `seconds` have passed; returns whether it was.

        What could not be shipped stays in the folder, for the next process there.
        """
        self._is_ending = True
        self._wake.set()
        self._thread.join(seconds)
        if not self._thread.is_alive():
            return True
        self._stopped = True
        segments = [path for ending in (OPEN, SEALED) for path in self._folder.glob(f"*{ending}")]
        LOG.error(
            "%d segments (%d bytes) could not be shipped within %g s: %s; they are lost unless another process starts in %s",
            len(segments),
            sum(path.stat().st_size for path in segments),
            seconds,
            self._failure or "the object store has not answered yet",
            self._folder,
        )
        return False

    def ship(self, *, at_once: bool = False, ended: bool = False) -> bool:
        """Everything that is finished is in the bucket and what is numbered announced; returns whether it is.

        Args:
            at_once: announce although it was done a moment ago.
            ended: whether no row will follow.
        """
        try:
            if ended:
                seal_left(self._folder, self._clock())  # what the writer could not finish
            self._announce(at_once=at_once or ended)
            for path in self._finished():
                self._ship(path)
            if ended:
                self._announce_end()
            self._count()
        except (PlatformError, OSError) as error:
            self._metrics.ship_failures += 1
            if not self._failure:
                LOG.error("the prediction log waits on the disk: %s", error)
            self._failure = str(error)
            with suppress(OSError):
                self._count()
        except Exception:  # the thread must outlive whatever it meets
            self._metrics.ship_failures += 1
            self._failure = "unexpected; the traceback is above"
            LOG.exception("shipping %s failed unexpectedly", self._folder)
        else:
            if self._failure:
                LOG.info("the prediction log is shipped again")
            self._failure = ""
        return not self._failure

    def _run(self) -> None:
        pause = ROUND_SECONDS
        while not self._stopped:
            self._wake.wait(pause)
            self._wake.clear()
            is_ending, at_once = self._is_ending, self._at_once
            if at_once:
                self._at_once = False
                self._log.seal()
            else:
                self._log.seal_if_due()
            if self.ship(at_once=at_once, ended=is_ending):
                pause = ROUND_SECONDS
                if is_ending:
                    return
            else:
                pause = ROUND_SECONDS if is_ending else min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _announce(self, *, at_once: bool) -> None:
        announced_sequence, now = self._announced.get(self._log.boot_id, 0), self._clock()
        pause = ANNOUNCE_SECONDS if self._log.sequence > announced_sequence else IDLE_SECONDS
        has_news = self._log.sequence > announced_sequence and (at_once or announced_sequence == 0)
        if has_news or (announced_sequence > 0 and now - self._announced_at >= pause):
            self._say(ended=False)

    def _announce_end(self) -> None:
        if any(self._folder.glob(f"{self._log.boot_id}-*{OPEN}")):
            raise PlatformError(f"{self._folder}: the last segment could not be finished: the disk is full or read-only")
        if self._log.sequence:
            self._say(ended=True)

    def _say(self, *, ended: bool) -> None:
        announcement = Announcement(self._log.boot_id, self._log.sequence, self._clock(), ended)
        self._bucket.replace(boot_key(self._model, announcement.boot_id), announcement.to_json())
        self._announced[announcement.boot_id], self._announced_at = announcement.next_sequence, announcement.time

    def _announce_other(self, boot_id: str) -> None:
        """A process that died is looked for, before it announced itself or long after: its segments come only now."""
        if boot_id in self._announced:
            return
        key, now = boot_key(self._model, boot_id), self._clock()
        if not self._bucket.put(key, Announcement(boot_id, 0, now, ended=False).to_json()):
            with suppress(DataError):  # of a newer release: its reader looks for the segments anyway
                announcement = read_announcement(self._bucket.get(key), key)
                if not announcement.ended:
                    self._bucket.replace(key, replace(announcement, time=now).to_json())
        self._announced[boot_id] = 0

    def _finished(self) -> list[Path]:
        return sorted(path for path in self._folder.glob(f"*{SEALED}") if NAME.fullmatch(path.stem))

    def _ship(self, path: Path) -> None:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return  # another process of the folder was faster
        self._announce_other(path.stem.partition("-")[0])
        key = segment_key(self._model, path.stem)
        if not self._bucket.put(key, content) and self._bucket.get(key) != content:
            path.rename(path.with_suffix(DIFFERS))
            raise PlatformError(f"{self._bucket.uri}/{key}: has another content than {path}, which is kept as {DIFFERS}")
        path.unlink(missing_ok=True)
        self._metrics.ships += 1

    def _count(self) -> None:
        """The metrics say what waits."""
        waiting = self._finished()
        open_segments = [path for path in self._folder.glob(f"*{OPEN}") if NAME.fullmatch(path.stem)]
        first: dict[str, Path] = {}
        for path in sorted((*waiting, *open_segments), key=lambda path: path.stem):
            first.setdefault(path.stem.partition("-")[0], path)
        begins = [opened for path in first.values() if (opened := _opened(path)) is not None]
        self._metrics.waiting_segments = len(waiting)
        self._metrics.waiting_bytes = sum(_size(path) for path in waiting)
        self._metrics.oldest_unshipped = min(begins, default=None)


def _opened(path: Path) -> float | None:
    """When a segment was begun; None when it is gone or damaged."""
    try:
        with path.open("rb") as stream:
            return parse_header(stream.read(HEADER_BYTES))[2]
    except (OSError, DamageError):
        return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
