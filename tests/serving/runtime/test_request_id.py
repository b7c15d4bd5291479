"""A request may carry its own id: it is checked, logged among the fields, and never seen by the model."""

import json
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any, Literal

import pytest

from perennial.prediction_log import LogRow
from serving.deployers.local import deployed
from serving.runtime.loading import load
from serving.runtime.predictor import Predictor
from serving.runtime.protocol import v1, v2
from serving.runtime.protocol.failure import RequestFailure
from serving.runtime.protocol.inputs import Inputs, Row
from tests.serving.world import NAME, NOW, World, deploy_made, fill, instance, make_version, plan, tensors

Kind = Literal["string", "int64"]


def predictor_in(folder: Path, id_column: str, id_kind: Kind = "string") -> Predictor:
    world = World(folder)
    fill(world)
    deploy_made(world, make_version(world.folder, 1, plan(), id_column=id_column, id_kind=id_kind))
    current = deployed(world.current)
    assert current is not None
    return load(current, NAME, world.online)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return predictor_in(tmp_path_factory.mktemp("ids"), "order_id")


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return predictor_in(tmp_path_factory.mktemp("numbers"), "order_id", "int64")


def asked(predictor: Predictor, *instances: dict[str, object]) -> list[Row]:
    return v1.read(json.dumps({"instances": instances}).encode(), predictor.inputs, NOW)


def logged(predictor: Predictor, rows: Sequence[Row]) -> list[LogRow]:
    numbers = count()
    return [made.row for made in predictor.predict(rows, predictor.look_up(rows), lambda: str(next(numbers)))]


def tensor(name: str, datatype: str, *values: object) -> dict[str, object]:
    return {"name": name, "shape": [len(values)], "datatype": datatype, "data": list(values)}


def asked_v2(predictor: Predictor, rows: int, *more: dict[str, object]) -> list[Row]:
    body: dict[str, Any] = tensors(*[instance()] * rows)
    body["inputs"] += more
    return v2.read(json.dumps(body).encode(), predictor.inputs, predictor.views, NOW).rows


def test_an_id_is_logged_among_the_fields_and_changes_no_answer(predictor: Predictor) -> None:
    with_id, without = logged(predictor, asked(predictor, instance(order_id="A1"), instance()))
    assert with_id.fields == {**without.fields, "order_id": "A1"}
    assert "order_id" not in without.fields
    assert with_id.probability == without.probability is not None


def test_an_id_is_an_optional_tensor_in_v2(predictor: Predictor) -> None:
    given = logged(predictor, asked_v2(predictor, 2, tensor("order_id", "BYTES", "A1", None)))
    assert [row.fields.get("order_id") for row in given] == ["A1", None]
    assert ["order_id" in row.fields for row in given] == [True, False]
    assert "order_id" not in logged(predictor, asked_v2(predictor, 1))[0].fields


def test_a_numbered_id_stays_exact(numbered: Predictor) -> None:
    assert logged(numbered, asked(numbered, instance(order_id=2**53 + 1)))[0].fields["order_id"] == 2**53 + 1
    rows = asked_v2(numbered, 1, tensor("order_id", "INT64", 2**53 + 1))
    assert logged(numbered, rows)[0].fields["order_id"] == 2**53 + 1


@pytest.mark.parametrize("wrong", [7, 7.5, True, ["A1"]])
def test_an_id_of_another_type_is_refused(predictor: Predictor, wrong: object) -> None:
    with pytest.raises(RequestFailure, match=r"instances\[0\]\.order_id: found .*; allowed: a string, or null") as refused:
        asked(predictor, instance(order_id=wrong))
    assert refused.value.status == 400


def test_a_wrong_tensor_of_ids_is_refused(predictor: Predictor, numbered: Predictor) -> None:
    with pytest.raises(RequestFailure, match=r"'order_id'\.datatype: found \"INT64\"; allowed: BYTES"):
        asked_v2(predictor, 1, tensor("order_id", "INT64", 7))
    with pytest.raises(RequestFailure, match=r"'order_id'\.data\[0\]: found 7\.5"):
        asked_v2(numbered, 1, tensor("order_id", "INT64", 7.5))
    with pytest.raises(RequestFailure, match=r"inputs 'order_id': 1 values, but 'customer' has 2"):
        asked_v2(predictor, 2, tensor("order_id", "BYTES", "A1"))


def test_a_repeated_or_unknown_name_is_still_refused(predictor: Predictor) -> None:
    body = json.dumps({"instances": [instance(order_id="A1")]}).replace('"order_id"', '"order_id": "A0", "order_id"')
    with pytest.raises(RequestFailure, match="given twice"):
        v1.read(body.encode(), predictor.inputs, NOW)
    with pytest.raises(RequestFailure, match=r'unknown name "weight"; allowed: .*order_id'):
        asked(predictor, instance(order_id="A1", weight=3))


def test_a_version_that_knows_no_id_refuses_one() -> None:
    with pytest.raises(RequestFailure, match='unknown name "order_id"'):
        Inputs(plan()).read(instance(order_id="A1"), 0, NOW)


def test_an_id_that_is_a_key_is_logged_besides(tmp_path: Path) -> None:
    predictor = predictor_in(tmp_path, "customer", "int64")
    row = logged(predictor, asked(predictor, instance(2)))[0]
    assert row.keys["customer"] == row.fields["customer"] == 2


def test_metadata_names_the_id_as_optional(predictor: Predictor, tmp_path: Path) -> None:
    named: Any = v2.metadata(predictor)["inputs"]
    assert named[-1] == {"name": "order_id", "datatype": "BYTES", "shape": [-1], "parameters": {"optional": True}}
