"""The columns of a model: their names, types and origin, in the order in which the model sees them."""

from perennial.record import Record
from perennial.spec.features import DType


class Column(Record):
    """One input of the model."""

    name: str
    """Unique within the model."""
    dtype: DType
    """`float`, `int`, `string` or `bool`."""
    view: str | None
    """Feature view that it is looked up in; null for a request-time field."""
