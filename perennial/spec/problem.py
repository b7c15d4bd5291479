"""A problem: one mistake of a spec, with its place."""

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Place:
    """A place in a text, counted from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class Problem:
    """One mistake: where it is, what was found, what is allowed.

    >>> print(Problem("models/churn.yaml", 12, 5, "spec.gates.crieria", "crieria", "criteria, data", "criteria", "unknown key"))
    models/churn.yaml:12: spec.gates.crieria: unknown key; allowed: criteria, data; did you mean 'criteria'?
    >>> print(Problem("models/churn.yaml", 3, 9, "spec.training.seed", "'7'", "a whole number", "", "wrong type"))
    models/churn.yaml:3: spec.training.seed: wrong type; found '7'; allowed: a whole number
    """

    file: str
    """File as it was named."""
    line: int
    """Line, from 1."""
    column: int
    """Column, from 1."""
    field: str
    """Path of the field, with dots; positions in lists count from 0. Empty for the file as a whole."""
    found: str
    """What stands there; empty for what is missing."""
    allowed: str
    """What is allowed, in words."""
    suggestion: str
    """The nearest right word; empty where none is near."""
    message: str
    """What is wrong."""

    def __str__(self) -> str:
        """The problem on one line."""
        is_named = self.found in ("", self.field.rpartition(".")[2])
        parts = (
            self.message,
            "" if is_named else f"found {self.found}",
            f"allowed: {self.allowed}" if self.allowed else "",
            f"did you mean {self.suggestion!r}?" if self.suggestion else "",
        )
        where = f"{self.file}:{self.line}: {f'{self.field}: ' if self.field else ''}"
        return where + "; ".join(part for part in parts if part)
