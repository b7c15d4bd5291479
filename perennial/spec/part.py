"""What every part of a spec obeys, and how a rule between fields is refused at the field that breaks it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

TIME = "event_timestamp"
"""Column of every source and dataset: the moment from which serving can read a row."""
RESERVED = (TIME, "label", "label_known_at")
"""Names of a dataset's own columns; no id, field or feature may have them."""


class Part(BaseModel):
    """A part of a spec: frozen, unknown keys refused, the docstring under a field is its documentation."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Breach:
    """A rule between fields that a part breaks."""

    place: tuple[str | int, ...]
    """Path below the part to the field that has to change; empty for the part itself."""
    message: str
    """What is wrong, with what was found."""
    allowed: str = ""
    """What is allowed; empty when the message says it."""
    words: tuple[str, ...] = ()
    """Words of which the nearest is suggested."""


class RuleError(ValueError):
    """The rules that one part breaks; a validator raises it, `perennial.spec.read` makes a problem of each breach."""

    def __init__(self, breaches: Sequence[Breach]) -> None:
        self.breaches = tuple(breaches)
        super().__init__(
            "; ".join(f"{'.'.join(map(str, breach.place))}: {breach.message}".removeprefix(": ") for breach in self.breaches)
        )


def refuse(breaches: Sequence[Breach]) -> None:
    """Raise the breaches together, if there are any.

    >>> refuse([])
    >>> refuse([Breach(("days",), "too few")])
    Traceback (most recent call last):
        ...
    perennial.spec.part.RuleError: days: too few
    """
    if breaches:
        raise RuleError(breaches)


def repeated(values: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Position and value of everything that was there before.

    >>> list(repeated(["a", "b", "a"]))
    [(2, 'a')]
    >>> list(repeated(["a", "b"]))
    []
    """
    for position, value in enumerate(values):
        if value in values[:position]:
            yield position, value
