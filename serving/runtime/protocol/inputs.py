"""What a request must bring for one version: join keys and request-time fields, each with its type. One rule for V1 and V2."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from feature_repo.online_store.layout import Value
from perennial.data.matrix import LARGEST
from perennial.data.read_plan import ReadPlan
from perennial.errors import DataError
from serving.runtime.protocol.failure import RequestFailure, mistake
from serving.runtime.protocol.json_text import shown

INT32, INT64 = 2**31, 2**63
EXACT = 2**53
"""Below this a float stands for one whole number; from here on for several: which of them was sent cannot be told."""
DATATYPES = {"string": "BYTES", "int": "INT64", "int32": "INT64", "int64": "INT64", "float": "FP64", "bool": "BOOL"}
"""Type of the V2 tensor that carries a value of ours."""
ACCEPTED = {
    "string": ("BYTES",),
    "int": ("INT64", "INT32", "FP64", "FP32"),
    "int32": ("INT64", "INT32"),
    "int64": ("INT64", "INT32"),
    "float": ("FP64", "FP32", "INT64", "INT32"),
    "bool": ("BOOL",),
}
"""Types of V2 tensors that may carry it."""


@dataclass(slots=True)
class Row:
    """One row of a request, checked."""

    keys: tuple[str | int, ...]
    """A value for each key of the plan, in its order."""
    fields: tuple[Value, ...]
    """A value for each request-time field of the plan, in its order; None where the caller said null."""
    time: float
    """Time of the request, Unix seconds UTC."""
    id: str | int | None = None
    """The request's own id; None where the caller gave none."""


@dataclass(frozen=True, slots=True)
class Input:
    """One named value of a request."""

    name: str
    kind: str
    """`string`, `int`, `int32`, `int64`, `float` or `bool`."""
    nullable: bool
    """Whether null is allowed: a field may be missing, a key never."""
    check: Callable[[object], Value]
    """The value as the version reads it; a `ValueError` says what is allowed."""


class Inputs:
    """Everything that a request must bring, in one order: keys first, then fields that are no keys. And its id, which it may."""

    def __init__(self, plan: ReadPlan, id_column: str = "", id_kind: Literal["string", "int64"] = "string") -> None:
        """The plan's inputs.

        Args:
            plan: keys and fields.
            id_column: name under which a request may carry its own id; empty when it has none.
            id_kind: type of that id.

        Raises:
            DataError: a key is also a request-time field, of another type.
        """
        keys = {key.name: key.kind for key in plan.keys}
        for field in plan.fields:
            if field.name in keys and (field.dtype == "string") != (keys[field.name] == "string"):
                raise DataError(
                    f"{field.name!r} is a join key of type {keys[field.name]} and a request-time field of {field.dtype}"
                )
        self.all = (
            *(Input(name, kind, False, CHECKS[kind]) for name, kind in keys.items()),
            *(
                Input(field.name, field.dtype, True, _or_null(CHECKS[field.dtype]))
                for field in plan.fields
                if field.name not in keys
            ),
        )
        self.names = tuple(item.name for item in self.all)
        self._checks = tuple((item.name, item.check) for item in self.all)
        self._keys = len(keys)
        positions = {name: position for position, name in enumerate(self.names)}
        self._fields = tuple(positions[field.name] for field in plan.fields)
        self._id_place = positions.get(id_column)
        """Where the id stands when it is one of the keys: then a request always has it."""
        self.id = None
        """The id that a request may carry besides; None when there is none."""
        if id_column and self._id_place is None:
            self.id = Input(id_column, id_kind, True, _or_null(CHECKS[id_kind]))
        self.by_name = {item.name: item for item in (*self.all, self.id) if item is not None}
        """Everything that a request may hold."""

    def row(self, values: Sequence[Value], time: float, identifier: Value = None) -> Row:
        """A row of checked values in the order of `all`, and of the request's own id if it has one."""
        keys = cast(tuple[str | int, ...], tuple(values[: self._keys]))  # their checks let nothing else through
        row_id = identifier if self._id_place is None else values[self._id_place]
        return Row(keys, tuple([values[position] for position in self._fields]), time, cast(str | int | None, row_id))

    def read(self, instance: object, place: int, time: float) -> Row:
        """The row in one object of a V1 request.

        Raises:
            RequestFailure: it is no object, or a name is missing, unknown or has a wrong value.
        """
        if isinstance(instance, dict):
            try:
                values = [check(instance[name]) for name, check in self._checks]
            except (KeyError, ValueError):
                pass
            else:
                if len(instance) == len(values):
                    return self.row(values, time)
                if self.id is not None and self.id.name in instance and len(instance) == len(values) + 1:
                    try:
                        return self.row(values, time, self.id.check(instance[self.id.name]))
                    except ValueError:
                        pass
        raise self._what_is_wrong(instance, f"instances[{place}]")

    def _what_is_wrong(self, instance: object, place: str) -> RequestFailure:
        if not isinstance(instance, Mapping):
            return mistake(place, shown(instance), f"an object with {', '.join(self.names)}")
        for name in instance:
            if name not in self.by_name:
                return RequestFailure(400, f"{place}: unknown name {shown(name)}; allowed: {', '.join(self.by_name)}")
        for item in self.by_name.values():
            if item.name not in instance:
                if item is self.id:
                    continue
                hint = " (null where it is not known)" if item.nullable else ""
                return RequestFailure(400, f"{place}.{item.name}: missing; required{hint}: {', '.join(self.names)}")
            try:
                item.check(instance[item.name])
            except ValueError as error:
                return mistake(f"{place}.{item.name}", shown(instance[item.name]), str(error))
        return RequestFailure(400, f"{place}: not understood")


def _string(value: object) -> Value:
    if type(value) is str:
        return value
    raise ValueError("a string")


def _whole(bound: int) -> Callable[[object], Value]:
    without_point = f", beyond {EXACT - 1} without point and exponent" if bound > EXACT else ""

    def check(value: object) -> Value:
        if type(value) is int and -bound <= value < bound:
            return value
        if type(value) is float and value.is_integer() and -bound <= value < bound and abs(value) < EXACT:
            return int(value)
        raise ValueError(f"a whole number from {-bound} to {bound - 1}{without_point}")

    return check


def _number(value: object) -> Value:
    if (type(value) is float or type(value) is int) and -LARGEST <= value <= LARGEST:
        return float(value)
    raise ValueError(f"a number from {-LARGEST:g} to {LARGEST:g}")


def _truth(value: object) -> Value:
    if type(value) is bool:
        return value
    raise ValueError("true or false")


def _or_null(check: Callable[[object], Value]) -> Callable[[object], Value]:
    def check_or_null(value: object) -> Value:
        if value is None:
            return None
        try:
            return check(value)
        except ValueError as error:
            raise ValueError(f"{error}, or null") from None

    return check_or_null


CHECKS: dict[str, Callable[[object], Value]] = {
    "string": _string,
    "int": _whole(INT64),
    "int32": _whole(INT32),
    "int64": _whole(INT64),
    "float": _number,
    "bool": _truth,
}
