"""The bytes of the packed online store: entity keys, and one value for each view and key. Imports neither Feast nor pandas.

A key is what Feast's `serialize_entity_key`, version 3, makes of it. A value is, little-endian and without padding:

```text
digest[8]  nulls[(n + 7) // 8]  one field after the other, zero where null (a string: its length, uint32)  bytes of the strings
```

The digest is that of the layout (view, join keys, fields, types), so that bytes of another layout are noticed, never misread.
"""

import hashlib
import json
import struct
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict

Kind = Literal["float32", "float64", "int32", "int64", "bool", "string", "timestamp"]
"""Type of a field. A `timestamp` is whole seconds since 1970, as in Feast."""
Value = float | int | bool | str | None

_CODES: dict[Kind, str] = {
    "float32": "f",
    "float64": "d",
    "int32": "i",
    "int64": "q",
    "bool": "?",
    "string": "I",
    "timestamp": "q",
}
_ZERO: dict[Kind, Value] = {
    "float32": 0.0,
    "float64": 0.0,
    "int32": 0,
    "int64": 0,
    "bool": False,
    "string": 0,
    "timestamp": 0,
}
_STRING, _INT32, _INT64 = 2, 3, 4
"""Feast's numbers of the types that a key may have."""
DIGEST_BYTES = 8


class Field(BaseModel):
    """One named value of a known type."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    kind: Kind


class Layout(BaseModel):
    """How the values of one view are packed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    view: str
    join_keys: tuple[Field, ...]
    fields: tuple[Field, ...]

    @cached_property
    def digest(self) -> bytes:
        """First 8 bytes of the SHA-256 of view, join keys, fields and types; the order of join keys does not matter."""
        keys = sorted((key.name, key.kind) for key in self.join_keys)
        fields = [(field.name, field.kind) for field in self.fields]
        return hashlib.sha256(json.dumps([self.view, keys, fields]).encode()).digest()[:DIGEST_BYTES]

    @cached_property
    def name(self) -> str:
        """The name under which values of this layout are stored: those of a view's several layouts lie side by side.

        >>> Layout(view="v", join_keys=(), fields=()).name
        'v@678dbe3569746dc7'
        """
        return f"{self.view}@{self.digest.hex()}"

    @cached_property
    def _nulls(self) -> int:
        return (len(self.fields) + 7) // 8

    @cached_property
    def _struct(self) -> struct.Struct:
        return struct.Struct(f"<{DIGEST_BYTES}s{self._nulls}s" + "".join(_CODES[field.kind] for field in self.fields))

    @cached_property
    def _strings(self) -> tuple[int, ...]:
        return tuple(index for index, field in enumerate(self.fields) if field.kind == "string")

    @cached_property
    def _zeros(self) -> tuple[Value, ...]:
        return tuple(_ZERO[field.kind] for field in self.fields)

    def encode(self, values: Sequence[Value]) -> bytes:
        """`values` in the order of the fields, as bytes.

        >>> layout = Layout.model_validate({"view": "v", "join_keys": (), "fields": (
        ...     {"name": "a", "kind": "float64"}, {"name": "b", "kind": "string"}, {"name": "c", "kind": "int64"})})
        >>> layout.decode(layout.encode([0.5, "é", None]))
        (0.5, 'é', None)
        """
        nulls, packed, texts = 0, list(values), []
        for index, value in enumerate(values):
            if value is None:
                nulls |= 1 << index
                packed[index] = self._zeros[index]
        for index in self._strings:
            value = values[index]
            if value is not None:
                text = str(value).encode()
                packed[index] = len(text)
                texts.append(text)
        head = self._struct.pack(self.digest, nulls.to_bytes(self._nulls, "little"), *packed)
        return head + b"".join(texts) if texts else head

    def decode(self, data: bytes) -> tuple[Value, ...]:
        """The values in the order of the fields.

        Raises:
            ValueError: the bytes are of another layout, or cut off.
        """
        if data[:DIGEST_BYTES] != self.digest:
            raise ValueError(f"view {self.view!r}: a value of layout {data[:DIGEST_BYTES].hex()}, expected {self.digest.hex()}")
        try:
            _, mask, *values = self._struct.unpack_from(data)
        except struct.error as error:
            raise ValueError(f"view {self.view!r}: a value of {len(data)} bytes is cut off: {error}") from error
        nulls, offset = int.from_bytes(mask, "little"), self._struct.size
        for index in self._strings:
            length = values[index]
            values[index] = data[offset : offset + length].decode()
            offset += length
        if offset != len(data):
            raise ValueError(f"view {self.view!r}: a value has {len(data)} bytes, expected {offset}")
        if nulls:
            for index in range(len(values)):
                if nulls >> index & 1:
                    values[index] = None
        return tuple(values)


def key_encoder(join_keys: Sequence[Field]) -> Callable[[Sequence[Value]], bytes]:
    """A function from the values of a key, in the order of `join_keys`, to the key's bytes.

    Raises:
        ValueError: a join key is not a string, int32 or int64.

    >>> key_encoder([Field(name="id", kind="int64")])([7]).hex()
    '010000000200000002000000696404000000080000000700000000000000'
    """
    for key in join_keys:
        if key.kind not in {"string", "int32", "int64"}:
            raise ValueError(f"join key {key.name!r} is a {key.kind}; allowed: string, int32, int64")
    order = sorted(range(len(join_keys)), key=lambda index: join_keys[index].name)
    head = struct.pack("<I", len(join_keys))
    for index in order:
        name = join_keys[index].name.encode()
        head += struct.pack("<II", _STRING, len(name)) + name
    kinds = [join_keys[index].kind for index in order]

    def encode(values: Sequence[Value]) -> bytes:
        parts = [head]
        for index, kind in zip(order, kinds, strict=True):
            value = values[index]
            if kind == "string":
                text = str(value).encode()
                parts.append(struct.pack("<II", _STRING, len(text)) + text)
            elif kind == "int64":
                parts.append(struct.pack("<IIq", _INT64, 8, value))
            else:
                parts.append(struct.pack("<IIi", _INT32, 4, value))
        return b"".join(parts)

    return encode


def struct_code(kind: Kind) -> str:
    """How a value that is no string is packed, in the language of `struct`.

    >>> struct_code("float64"), struct_code("timestamp")
    ('d', 'q')
    """
    return _CODES[kind]


def is_kind(name: str) -> bool:
    """Whether `name` is a type that the store can hold.

    >>> is_kind("int64"), is_kind("bytes")
    (True, False)
    """
    return name in get_args(Kind)
