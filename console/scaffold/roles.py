"""What the columns of a table are for, as the command is told, and whether that can be."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from perennial.errors import SpecError
from perennial.spec.part import RESERVED, TIME
from perennial.spec.shape import matching

NAME = re.compile(r"[a-z][a-z0-9_]*")
"""What the spec allows as the name of a column."""
IDENTIFIER = "request_id"
"""The id of a request where the table has none: its rows are numbered."""
REFUSED = (*RESERVED, "probability", "block")
"""Names that belong to datasets and answers; no column that a model reads may have them."""


@dataclass(frozen=True)
class Roles:
    """Names of columns by what they are for. What is named nowhere is a feature."""

    keys: tuple[str, ...]
    """What features are looked up by."""
    time: str
    """When the question is asked, and from when on the row's features could be read."""
    label: str
    """What came true."""
    request_fields: tuple[str, ...] = ()
    """What the caller sends along."""
    identifier: str | None = None
    """The id of a request; None numbers the rows."""
    left_out: tuple[str, ...] = ()
    """What no source gets."""
    label_hours: float = 24.0
    """Hours after the question until its label is known."""

    @property
    def request_id(self) -> str:
        """The column of the requests that identifies one."""
        return self.identifier or IDENTIFIER

    @property
    def told(self) -> Iterator[tuple[str, str]]:
        """Option and column of each role."""
        yield from (("--key", name) for name in self.keys)
        yield "--time", self.time
        yield "--label", self.label
        if self.identifier is not None:
            yield "--id", self.identifier
        yield from (("--request-field", name) for name in self.request_fields)
        yield from (("--leave-out", name) for name in self.left_out)

    def features(self, columns: list[str]) -> list[str]:
        """The columns that are named nowhere, in their order."""
        named = {name for _, name in self.told}
        return [name for name in columns if name not in named]

    def view(self, columns: list[str]) -> str:
        """A name for the feature view, after its keys: one that no source has."""
        name = "_".join(key.removesuffix("_id") for key in self.keys)
        source_names = {"requests", "labels", *(column.removesuffix("_observed_at") for column in columns)}
        while name in source_names or not NAME.fullmatch(name):
            name += "_features"
        return name


def check_roles(where: str, columns: list[str], roles: Roles) -> None:
    """The table has the columns that are named, each for one thing, by names that a spec can hold.

    Args:
        where: the table, in messages.
        columns: its columns.
        roles: what the command was told.

    Raises:
        SpecError: the first thing that is wrong; it says what is allowed.

    >>> check_roles("data.csv", ["customer_id", "at", "gone", "visits"], Roles(("customer_id",), "at", "gone"))
    >>> check_roles("data.csv", ["customer_id", "at", "visits"], Roles(("customer_id",), "at", "gone"))
    Traceback (most recent call last):
        ...
    perennial.errors.SpecError: data.csv: --label: no column 'gone'; allowed: customer_id, at, visits
    """
    option_of: dict[str, str] = {}
    for option, name in roles.told:
        if name not in columns:
            raise SpecError(f"{where}: {option}: no column {name!r}; allowed: {', '.join(columns)}")
        if name in option_of:
            raise SpecError(
                f"{where}: {option}: {name!r} is named by {option_of[name]} already; allowed: one option for each column"
            )
        option_of[name] = option
    if not roles.keys:
        raise SpecError(f"{where}: --key: no column is named; allowed: {', '.join(columns)}")
    if not 0 < roles.label_hours < float("inf"):
        raise SpecError(f"--label-hours: found {roles.label_hours:g}; allowed: more than 0, the hours until the label is known")
    for name in columns:
        if name != roles.time and name not in roles.left_out:
            _check_name(where, name)
    if roles.identifier is None and IDENTIFIER in columns and IDENTIFIER not in roles.left_out:
        raise SpecError(
            f"{where}: {IDENTIFIER!r} would be the name of the numbered rows, and is a column; "
            f"write --id {IDENTIFIER} if it identifies a row, else --leave-out {IDENTIFIER}"
        )
    if not roles.features(columns):
        raise SpecError(
            f"{where}: no column is left to be a feature that is looked up by {', '.join(roles.keys)}; "
            f"allowed: at least one that no option names; columns: {', '.join(columns)}"
        )


def _check_name(where: str, name: str) -> None:
    if name in REFUSED:
        reason = f"a name of Perennial's own; allowed: any but {', '.join(REFUSED)}"
        _refuse_name(where, name, reason + f"; --time {name} if it is when the question was asked" * (name == TIME))
    if not NAME.fullmatch(name):
        from perennial.spec.features import RequestField

        bent = matching(name, RequestField.model_fields["name"])
        _refuse_name(
            where,
            name,
            f"no name for a column; allowed: lower-case letters, digits and _{f', as in {bent!r}' if bent else ''}",
        )


def _refuse_name(where: str, name: str, why: str) -> NoReturn:
    raise SpecError(f"{where}: column {name!r} has {why}; rename it in the file, or --leave-out {name!r}")
