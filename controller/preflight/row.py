"""One row of the preflight: what was asked, what was found, what to do."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from cluster.client import RefusedError
from perennial.errors import PerennialError


class NotShownError(PerennialError):
    """The question cannot be answered, or its answer is not needed: no failure."""


@dataclass(frozen=True)
class Row:
    """One thing that was asked."""

    name: str
    """What was asked for."""
    state: Literal["ok", "missing", "not shown"]
    """Whether it is there. Only what is missing keeps the installation from working."""
    found: str
    """What was found, in one sentence."""
    remedy: str = ""
    """How to get what is missing; empty when nothing is."""


def asked(name: str, question: Callable[[], str], remedy: str) -> Row:
    """The row that a question makes.

    Args:
        name: what is asked for.
        question: returns what was found; raises NotShownError where nothing can be said, another of our errors where
            it is missing.
        remedy: how to get it.

    >>> from perennial.errors import NotFoundError
    >>> def no(): raise NotFoundError("there is none")
    >>> asked("a thing", lambda: "one", "make one").state, asked("a thing", no, "make one").remedy
    ('ok', 'make one')
    """
    try:
        return Row(name, "ok", question())
    except NotShownError as error:
        return Row(name, "not shown", str(error))
    except RefusedError as error:
        if error.status == 403:
            return Row(name, "not shown", f"who asks may not see it: {error.said}")
        return Row(name, "missing", str(error), remedy)
    except PerennialError as error:
        return Row(name, "missing", str(error), remedy)
