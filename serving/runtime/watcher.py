"""Which version serves: looks at the `current` file, loads beside what serves, swaps, and watches whether the store answers.

One thread of its own, twice a second. Whatever is wrong with a wanted version, the one that serves goes on serving.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from feature_repo.online_store.reader import PlanReader
from perennial.errors import DataError, NotFoundError, PerennialError, PlatformError
from serving.runtime.current import Current
from serving.runtime.loading import load
from serving.runtime.metrics import Metrics
from serving.runtime.predictor import Predictor

LOG = logging.getLogger("serving.runtime")
LOOK_SECONDS = 0.5
"""Between two looks at the file and the store: a rollout takes no longer to begin, and it costs nothing."""
RETRY_LOOKS = 20
"""Looks until a refused version is tried again, unless it is deployed again: what refused it may have been mended."""


@dataclass(slots=True)
class Refused:
    """A wanted version that does not serve."""

    digest: str
    reason: str


class Watcher:
    """What serves, and whether it can. Attributes are read by the loop, written by the watcher's thread."""

    def __init__(self, file: Path, name: str, online: str, metrics: Metrics) -> None:
        """Nothing serves yet.

        Args:
            file: the `current` file.
            name: of the model.
            online: path of the online store's file, or URL of its Redis.
            metrics: told of swaps and refusals.
        """
        self._file, self._name, self._online, self._metrics = file, name, online, metrics
        self.serving: Predictor | None = None
        self.refused: Refused | None = None
        self.store_failure: str | None = None
        """Why the online store does not answer; None when it does."""
        self.is_draining = False
        """Whether the process is about to end: it still answers, but wants no new traffic."""
        self._probe: PlanReader | None = None
        self._looks_until_retry = 0
        self._tried: tuple[Current, int] | None = None
        """What was tried last, and when its file was written."""
        self._file_failure = ""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def not_ready(self) -> str | None:
        """Why requests should go elsewhere; None when they are welcome."""
        return self.without_answer() or self.store_failure

    def without_answer(self) -> str | None:
        """Why this process has no answer to give, whatever the online store does; None when it has.

        A store that is away is away for every process: were all of them taken out of a cluster's Service, callers would meet a
        refused connection instead of a 503 that says why.
        """
        if self.is_draining:
            return "the process is about to end"
        if self.serving is None:
            return self.refused.reason if self.refused else f"no version is in service: {self._file_failure}"
        return None

    def start(self, looked: Callable[[], None] = lambda: None) -> None:
        """The watcher looks, now and every half second.

        Args:
            looked: called after each look, in the watcher's thread.
        """

        def run() -> None:
            while True:
                self.look()
                looked()
                if self._stop.wait(LOOK_SECONDS):
                    return

        self._thread = threading.Thread(target=run, name="watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """The watcher looks no more."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def look(self) -> None:
        """What is wanted serves, or the reason why not is known; whether the store answers is known."""
        try:
            self._look_at_file()
            self._look_at_store()
        except Exception:  # the thread must outlive whatever it meets
            LOG.exception("looking at %s failed unexpectedly", self._file)
        self._metrics.ready = self.not_ready() is None

    def _look_at_file(self) -> None:
        try:
            current, mtime = Current.read(self._file), self._file.stat().st_mtime_ns
        except (NotFoundError, DataError, OSError) as error:
            if str(error) != self._file_failure:
                LOG.warning("%s", error)
            self._file_failure = str(error)
            return
        self._file_failure = ""
        if self.serving is not None and current.digest == self.serving.digest:
            self._refuse(None)
            return
        if self.refused is not None and self._tried == (current, mtime) and self._looks_until_retry > 0:
            self._looks_until_retry -= 1
            return
        self._tried = (current, mtime)
        try:
            loaded = load(current, self._name, self._online)
        except PerennialError as error:
            # A store that does not answer is looked at again at once, a wrong version only now and then.
            self._looks_until_retry = 0 if isinstance(error, PlatformError) else RETRY_LOOKS
            self._refuse(Refused(current.digest, str(error)))
            return
        self._refuse(None)
        self._probe = PlanReader(loaded.plan, self._online)
        self.serving = loaded
        self._metrics.serving = (loaded.digest, loaded.number)
        self._metrics.swaps += 1
        LOG.info("version %s (%s) is in service", current.number, current.digest)

    def _refuse(self, refused: Refused | None) -> None:
        if refused is not None and refused != self.refused:
            stays = "nothing serves" if self.serving is None else f"version {self.serving.digest} goes on serving"
            LOG.error("version %s is refused, %s: %s", refused.digest, stays, refused.reason)
            self._metrics.refusals += 1
        self.refused = refused
        self._metrics.refused = None if refused is None else refused.digest

    def _look_at_store(self) -> None:
        if self._probe is None:
            return
        try:
            self._probe.answers()
        except PerennialError as error:
            if self.store_failure is None:
                LOG.error("%s", error)
            self.store_failure = str(error)
        else:
            self.store_failure = None
