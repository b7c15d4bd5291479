"""The packed bytes: what goes in comes out, bytes of another layout are noticed, keys are Feast's."""

import subprocess
import sys

import pytest
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value as ValueProto

from feature_repo.online_store.layout import Field, Layout, Value, key_encoder

KINDS = ("float32", "float64", "int32", "int64", "bool", "string", "timestamp", "string", "bool")
LAYOUT = Layout.model_validate(
    {
        "view": "v",
        "join_keys": ({"name": "id", "kind": "int64"},),
        "fields": tuple({"name": f"f{place}", "kind": kind} for place, kind in enumerate(KINDS)),
    }
)
FULL: tuple[Value, ...] = (0.5, -1e300, -(2**31), 2**62 + 1, True, "Größe", 1_360_000_000, "", False)


@pytest.mark.parametrize("missing", [set(), {0}, {5}, {7, 8}, set(range(len(KINDS)))])
def test_values_come_out_as_they_went_in(missing: set[int]) -> None:
    values = [None if place in missing else value for place, value in enumerate(FULL)]
    assert LAYOUT.decode(LAYOUT.encode(values)) == tuple(values)


def test_an_empty_string_is_not_a_missing_one() -> None:
    assert LAYOUT.encode([*FULL]) != LAYOUT.encode([None if value == "" else value for value in FULL])


@pytest.mark.parametrize(
    "change",
    [
        {"view": "w"},
        {"fields": LAYOUT.fields[::-1]},
        {"fields": (*LAYOUT.fields, Field(name="more", kind="bool"))},
        {"fields": (Field(name="f0", kind="float64"), *LAYOUT.fields[1:])},
        {"join_keys": (Field(name="id", kind="string"),)},
    ],
    ids=["view", "order", "one more", "type", "key"],
)
def test_bytes_of_another_layout_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="layout"):
        Layout.model_validate({**LAYOUT.model_dump(), **change}).decode(LAYOUT.encode(FULL))


def test_bytes_that_are_cut_off_or_too_many_are_refused() -> None:
    data = LAYOUT.encode(FULL)
    for wrong in (data[:12], data[:-1], data + b"x"):
        with pytest.raises(ValueError, match="bytes"):
            LAYOUT.decode(wrong)


def test_the_order_of_join_keys_does_not_matter() -> None:
    keys = (Field(name="b", kind="string"), Field(name="a", kind="int32"))
    one, other = (Layout(view="v", join_keys=order, fields=LAYOUT.fields) for order in (keys, keys[::-1]))
    assert one.digest == other.digest
    assert key_encoder(keys)(["x", 7]) == key_encoder(keys[::-1])([7, "x"])


def test_keys_are_those_of_feast() -> None:
    mine = key_encoder([Field(name="shop", kind="string"), Field(name="id", kind="int64"), Field(name="lane", kind="int32")])
    key = EntityKey(
        join_keys=["shop", "id", "lane"],
        entity_values=[ValueProto(string_val="Größe"), ValueProto(int64_val=-(2**40)), ValueProto(int32_val=-3)],
    )
    assert mine(["Größe", -(2**40), -3]) == serialize_entity_key(key, entity_key_serialization_version=3)


def test_a_key_of_another_type_is_refused() -> None:
    with pytest.raises(ValueError, match="allowed: string, int32, int64"):
        key_encoder([Field(name="x", kind="float64")])


def test_a_reader_imports_neither_feast_nor_pandas() -> None:
    code = (
        "import sys, feature_repo.online_store.database, feature_repo.online_store.layout;"
        "print(sorted({'feast', 'pandas', 'pyarrow', 'duckdb', 'google.protobuf'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
