"""One row of the preflight: what was asked, what was found, what to do."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from cluster.client import RefusedError
from perennial.errors import PerennialError, PlatformError

SEE = (
    "not seen by who asks: bind the Role perennial-controller and the ClusterRole perennial-preflight to it"
    " (an overlay brings both: k8s/README.md), or ask as an administrator of the cluster"
)


class NotShownError(PerennialError):
    """Nothing can be said: what is asked for is only good to have, or another row says what is in the way."""


@dataclass(frozen=True)
class PreflightRow:
    """One thing that was asked."""

    name: str
    """What was asked for."""
    state: Literal["ok", "missing", "not shown"]
    """Whether it is there; *not shown*: nobody knows."""
    found: str
    """What was found, in one sentence."""
    remedy: str = ""
    """How to get what is missing, or to see what is needed; empty where there is nothing to do."""
    is_needed: bool = True
    """Whether it must be seen to be there; if not, *not shown* is no failure."""

    @property
    def is_lacking(self) -> bool:
        """Whether the installation is not known to be complete because of it."""
        return self.state == "missing" or (self.state == "not shown" and self.is_needed)


def asked(name: str, question: Callable[[], str], remedy: str, is_needed: bool = True) -> PreflightRow:
    """The row that a question makes.

    Args:
        name: what is asked for.
        question: returns what was found; raises NotShownError where nothing can be said, another of our errors where
            it is missing.
        remedy: how to get it.
        is_needed: whether it must be seen to be there; if not, who is refused or not answered is not shown it.

    >>> from perennial.errors import NotFoundError
    >>> def no(): raise NotFoundError("there is none")
    >>> asked("a thing", lambda: "one", "make one").state, asked("a thing", no, "make one").remedy
    ('ok', 'make one')
    >>> def silent(): raise PlatformError("no answer")
    >>> asked("a thing", silent, "make one").state, asked("a thing", silent, "make one", is_needed=False).state
    ('missing', 'not shown')
    """
    try:
        return PreflightRow(name, "ok", question(), is_needed=is_needed)
    except NotShownError as error:
        return PreflightRow(name, "not shown", str(error), is_needed=is_needed)
    except PerennialError as error:
        if isinstance(error, RefusedError) and error.status == 403:
            return PreflightRow(name, "not shown", f"who asks may not see it: {error.said}", SEE if is_needed else "", is_needed)
        if isinstance(error, PlatformError) and not is_needed:
            return PreflightRow(name, "not shown", str(error), is_needed=False)
        return PreflightRow(name, "missing", str(error), remedy, is_needed)
