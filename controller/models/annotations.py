"""Annotations of a Model that ask for something, as requests like those of the command line.

An API server tells which program set an annotation and when, not which person: its audit log does. Both stand in the request's
reason, and by that sentence a request is known that was written before a crash.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from cluster.client import Object
from perennial.loop.request import RollBack, RollOut, Train, Wish

PREFIX = "perennial.dev/"


@dataclass(frozen=True)
class Asked:
    """One annotation that asks for something."""

    name: str
    """With the prefix."""
    value: str
    """As it was written."""
    who: str
    """Which program set it, and when; empty where the API server does not tell."""

    @property
    def reason(self) -> str:
        """Why the request is made, for whoever reads it later."""
        return f"annotation {self.name}={self.value}" + (f", set {self.who}" if self.who else "")


def _train(asked: Asked) -> Wish | None:
    return Train(reason=asked.reason) if asked.value in ("now", "true") else None


def _roll_out(asked: Asked) -> Wish | None:
    number = re.fullmatch(r"v?([1-9][0-9]{0,8})", asked.value)
    return RollOut(version=int(number[1]), reason=asked.reason) if number else None


def _roll_back(asked: Asked) -> Wish | None:
    return RollBack(reason=asked.reason) if asked.value == "true" else None


def _pause(_asked: Asked) -> None:
    return None


KNOWN: Mapping[str, tuple[Callable[[Asked], Wish | None], str]] = {
    f"{PREFIX}retrain": (_train, "allowed: now"),
    f"{PREFIX}approve": (_roll_out, "allowed: the number of a version"),
    f"{PREFIX}rollback": (_roll_back, "allowed: true"),
    f"{PREFIX}pause": (_pause, "there is no pause: set spec.retraining.mode to advisory, and each training waits for a person"),
}
"""Which annotations ask for what, and what is said to a value that asks for nothing."""


def asked_of(found: Object) -> Iterator[Asked]:
    """What the annotations of an object ask for.

    >>> [asked] = asked_of({"metadata": {"annotations": {"perennial.dev/retrain": "now", "team": "a"}}})
    >>> asked.reason
    'annotation perennial.dev/retrain=now'
    """
    for name, value in sorted((found["metadata"].get("annotations") or {}).items()):
        if name in KNOWN:
            yield Asked(name, value, _who(found, name))


def wish_of(asked: Asked) -> Wish | str:
    """What is wished, or why it is not understood.

    >>> wish_of(Asked("perennial.dev/approve", "3", "")).version
    3
    >>> wish_of(Asked("perennial.dev/approve", "the last", ""))
    "perennial.dev/approve='the last' is not understood; allowed: the number of a version"
    """
    make, allowed = KNOWN[asked.name]
    return make(asked) or f"{asked.name}={asked.value!r} is not understood; {allowed}"


def _who(found: Object, name: str) -> str:
    for entry in found["metadata"].get("managedFields", []):
        if f"f:{name}" in entry.get("fieldsV1", {}).get("f:metadata", {}).get("f:annotations", {}):
            return f"by {entry.get('manager', 'unknown')} at {entry.get('time', 'an unknown time')}"
    return ""
