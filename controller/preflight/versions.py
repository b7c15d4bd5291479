"""The versions of KServe and Kubeflow Pipelines that are supported, and how each was shown; `docs/support.md` says the same."""

from dataclasses import dataclass
from typing import Literal

from perennial.errors import DataError

HOW = {
    "run": "run here",
    "definitions": "its definitions were checked, it was not run here",
}
"""What the preflight says of a version, by how it was shown."""


@dataclass(frozen=True)
class SupportedVersion:
    """One version of a system that an installation stands on."""

    name: str
    """As its makers write it: `0.18`."""
    shown: Literal["run", "definitions"]
    """Whether it was run, or only its definitions were checked: the fields that it knows, the calls that it answers."""

    @property
    def number(self) -> tuple[int, int]:
        """Major and minor."""
        major, minor = self.name.split(".")[:2]
        return int(major), int(minor)


KSERVE = (
    SupportedVersion("0.18", "definitions"),
    SupportedVersion("0.19", "definitions"),
    SupportedVersion("0.20", "run"),
    SupportedVersion("0.21", "definitions"),
)
"""Of KServe, the oldest first."""
PIPELINES = (
    SupportedVersion("2.16.1", "definitions"),
    SupportedVersion("2.17", "definitions"),
)
"""Of the servers of Kubeflow Pipelines, the oldest first. Which calls are made of them, docs/support.md lists."""
KSERVE_SINCE = {"storage containers": (0, 11), "the mode Standard": (0, 16)}
"""What is asked of KServe, and the first version that has it."""


def kserve_is(number: tuple[int, int]) -> str:
    """What is known of a version of KServe.

    >>> kserve_is((0, 20)), kserve_is((0, 18))
    ('run here', 'its definitions were checked, it was not run here')
    >>> kserve_is((0, 22))
    'newer than what was tried (0.18 to 0.21)'
    >>> kserve_is((0, 15))
    Traceback (most recent call last):
        ...
    perennial.errors.DataError: is too old; needed: 0.18 or newer; it lacks the mode Standard (since 0.16)

    Args:
        number: major and minor.

    Raises:
        DataError: older than the oldest that is supported; says what it lacks.
    """
    oldest, newest = KSERVE[0], KSERVE[-1]
    if number < oldest.number:
        lacks = [f"{what} (since {major}.{minor})" for what, (major, minor) in KSERVE_SINCE.items() if number < (major, minor)]
        reason = f"it lacks {', '.join(lacks)}" if lacks else "nobody checked its definitions"
        raise DataError(f"is too old; needed: {oldest.name} or newer; {reason}")
    if number > newest.number:
        return f"newer than what was tried ({oldest.name} to {newest.name})"
    (known,) = (each for each in KSERVE if each.number == number)
    return HOW[known.shown]
