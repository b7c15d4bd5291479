"""A caller's mistakes: each is a 4xx that names what is wrong, and the same connection then gets the right answer."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.serving.world import (
    NAME,
    Connection,
    Served,
    World,
    deploy_made,
    fill,
    instance,
    make_version,
    plan,
    served,
    tensors,
)

V1, V2 = f"/v1/models/{NAME}:predict", f"/v2/models/{NAME}/infer"
LARGEST = 200_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    world = World(tmp_path_factory.mktemp("mistakes"))
    fill(world)
    deploy_made(world, make_version(world.folder, 1, plan()))
    with served(world, "--replay", "--largest-body", str(LARGEST)) as found:
        found.wait_until_ready()
        yield found


def v1(**changed: object) -> dict[str, object]:
    return {"instances": [instance(), {**instance(), **changed}]}


def without(name: str) -> dict[str, object]:
    return {"instances": [{key: value for key, value in instance().items() if key != name}]}


def v2(change: Callable[[dict[str, Any]], object]) -> dict[str, object]:
    """A good request, spoilt; tensors stand in the order of an instance: customer, shop, amount, hour, method, gift, unseen."""
    body = tensors(instance(), instance())
    change(body)
    return body


def tensor(place: int, **changed: object) -> dict[str, object]:
    return v2(lambda body: body["inputs"][place].update(changed))


def text(before: str, after: str, body: object) -> bytes:
    """A body with a piece of its text replaced, once."""
    found = json.dumps(body)
    assert before in found
    return found.replace(before, after, 1).encode()


JSON = {"Content-Type": "application/json"}
BAD: list[tuple[str, object, dict[str, str], int, str]] = [
    # path, body, headers, status, what the message must say
    (V1, b"", {}, 400, "the body is empty"),
    (V1, b"{", {}, 400, "not valid JSON"),
    (V1, json.dumps(v1()).encode()[:-9], {}, 400, "not valid JSON"),
    (V1, b"\xff\xfe{}", {}, 400, "not valid JSON"),
    (V1, b"[" * 100_000, {}, 400, "nested too deeply"),
    (V1, b'{"instances": ' * 5_000, {}, 400, "nested too deeply"),
    (V1, b"[1]", {}, 400, "a JSON object"),
    (V1, b"null", {}, 400, "a JSON object"),
    (V1, {}, {}, 400, "instances: missing"),
    (V1, {"inputs": []}, {}, 400, "instances: missing"),
    (V1, {"instances": {}}, {}, 400, "instances: found an object"),
    (V1, {"instances": []}, {}, 400, "0 rows"),
    (V1, {"instances": [1]}, {}, 400, "instances[0]: found 1"),
    (V1, {"instances": [instance(), [1, 2]]}, {}, 400, "instances[1]: found an array"),
    (V1, {"instances": [instance()], "signature": 1}, {}, 400, 'unknown name "signature"'),
    (V1, without("shop"), {}, 400, "instances[0].shop: missing"),
    (V1, without("hour"), {}, 400, "instances[0].hour: missing"),
    (V1, v1(weight=1), {}, 400, 'instances[1]: unknown name "weight"'),
    (V1, v1(customer="1"), {}, 400, 'instances[1].customer: found "1"'),
    (V1, v1(customer=1.5), {}, 400, "instances[1].customer: found 1.5"),
    (V1, v1(customer=None), {}, 400, "instances[1].customer: found null"),
    (V1, v1(customer=2**63), {}, 400, "instances[1].customer: found 9223372036854775808"),
    (V1, v1(customer=10**30), {}, 400, "instances[1].customer: found 1e+30"),
    (V1, v1(customer=True), {}, 400, "instances[1].customer: found true"),
    (V1, v1(shop=1), {}, 400, "instances[1].shop: found 1"),
    (V1, v1(shop=["S1"]), {}, 400, "instances[1].shop: found an array"),
    (V1, v1(shop={}), {}, 400, "instances[1].shop: found an object"),
    (V1, v1(shop=None), {}, 400, "instances[1].shop: found null"),
    (V1, v1(amount="5.5"), {}, 400, 'instances[1].amount: found "5.5"; allowed: a number'),
    (V1, v1(amount=1e300), {}, 400, "instances[1].amount: found 1e+300"),
    (V1, v1(amount=False), {}, 400, "instances[1].amount: found false"),
    (V1, v1(hour=7.5), {}, 400, "instances[1].hour: found 7.5"),
    (V1, v1(method=3), {}, 400, "instances[1].method: found 3"),
    (V1, v1(method="x" * 1000, gift="yes"), {}, 400, "instances[1].gift"),
    (V1, v1(gift=1), {}, 400, "instances[1].gift: found 1; allowed: true or false"),
    (V1, text("5.5", "NaN", v1()), {}, 400, "not valid JSON"),
    (V1, text("5.5", "-Infinity", v1()), {}, 400, "not valid JSON"),
    (V1, text("5.5", "1e999", v1()), {}, 400, "not valid JSON"),
    (V1, text('"hour": 7', '"hour": 7, "hour": 8', v1()), {}, 400, '"hour": given twice'),
    (V1, text('"method": "card"', '"method": "a:b", "hour": 7', v1()), {}, 400, '"hour": given twice'),
    (V1, text('"instances"', '"instances": [], "instances"', v1()), {}, 400, '"instances": given twice'),
    (V1, v1(method="x" * LARGEST), {}, 413, f"allowed: {LARGEST} bytes"),
    (V1, {"instances": [instance()] * 10_001}, {}, 413, "the body"),
    (V1, v1(), {"Content-Type": "text/plain"}, 415, "'text/plain'; allowed: application/json"),
    (V1, v1(), {"Content-Type": "application/octet-stream"}, 415, "allowed: application/json"),
    (V1, v1(), {"Content-Type": ""}, 415, "allowed: application/json"),
    (V1, v1(), {"Content-Encoding": "gzip"}, 415, "Content-Encoding"),
    (V1, v1(), {"Perennial-Time": "yesterday"}, 400, "Perennial-Time"),
    (V1, v1(), {"Perennial-Time": "2023-11-14T22:13:20"}, 400, "with a zone"),
    (V1, v1(), {"Perennial-Time": "1969-12-31T23:59:59Z"}, 400, "allowed: 1970-01-01T00:00:00Z to 2262-01-01T00:00:00Z"),
    (V2, tensors(instance()), {"Perennial-Time": "2262-01-01T00:00:01Z"}, 400, "Perennial-Time: found"),
    (V1, v1(customer=9007199254740993.0), {}, 400, "instances[1].customer: found 9007199254740992.0; allowed: a whole number"),
    (V2, b"", {}, 400, "the body is empty"),
    (V2, json.dumps(tensors(instance())).encode()[:-3], {}, 400, "not valid JSON"),
    (V2, {}, {}, 400, "inputs: missing"),
    (V2, {"inputs": {}}, {}, 400, "inputs: found an object"),
    (V2, {"inputs": []}, {}, 400, "no tensor 'customer', 'shop'"),
    (V2, {"inputs": [3]}, {}, 400, "inputs[0]: found 3"),
    (V2, v2(lambda body: body.update(instances=[])), {}, 400, 'unknown name "instances"'),
    (V2, v2(lambda body: body.update(id=7)), {}, 400, "id: found 7"),
    (V2, v2(lambda body: body.update(parameters=[])), {}, 400, "parameters: found an array"),
    (V2, v2(lambda body: body.update(parameters={"binary_data_output": True})), {}, 400, "binary_data=False"),
    (V2, v2(lambda body: body["inputs"].pop(2)), {}, 400, "no tensor 'amount'"),
    (V2, v2(lambda body: body["inputs"].append(body["inputs"][0])), {}, 400, "tensor 'customer' is given twice"),
    (V2, tensor(0, name="weight"), {}, 400, 'inputs[0]: unknown tensor "weight"'),
    (V2, tensor(0, name=None), {}, 400, "inputs[0].name: missing"),
    (V2, tensor(0, name=5), {}, 400, "inputs[0].name: found 5"),
    (V2, tensor(0, colour="red"), {}, 400, "inputs[0] 'customer': unknown name \"colour\""),
    (V2, tensor(0, datatype="FP64"), {}, 400, "inputs[0] 'customer'.datatype: found \"FP64\"; allowed: INT64, INT32"),
    (V2, tensor(1, datatype="STRING"), {}, 400, "allowed: BYTES"),
    (V2, tensor(5, datatype="INT64"), {}, 400, "inputs[5] 'gift'.datatype"),
    (V2, tensor(0, datatype=None), {}, 400, "inputs[0] 'customer'.datatype: missing"),
    (V2, tensor(0, shape=None), {}, 400, "inputs[0] 'customer'.shape: missing"),
    (V2, tensor(0, shape=2), {}, 400, "inputs[0] 'customer'.shape: found 2"),
    (V2, tensor(0, shape=[3]), {}, 400, "2 values, but the shape says 3"),
    (V2, tensor(0, shape=[1, 2]), {}, 400, "inputs[0] 'customer'.shape: found [1,2]"),
    (V2, tensor(0, shape=[-1]), {}, 400, "inputs[0] 'customer'.shape: found [-1]"),
    (V2, tensor(0, shape=[2.0]), {}, 400, "inputs[0] 'customer'.shape: found [2.0]"),
    (V2, tensor(0, shape=[True]), {}, 400, "inputs[0] 'customer'.shape: found [true]"),
    (V2, tensor(0, shape=[]), {}, 400, "inputs[0] 'customer'.shape: found []"),
    (V2, tensor(0, shape=[10**12]), {}, 400, "the shape says 1000000000000"),
    (V2, tensor(0, data=None), {}, 400, "inputs[0] 'customer'.data: missing"),
    (V2, tensor(0, data="12"), {}, 400, "inputs[0] 'customer'.data: found \"12\""),
    (V2, tensor(0, data=[1, "2"]), {}, 400, "inputs[0] 'customer'.data[1]: found \"2\""),
    (V2, tensor(0, data=[1, 2**70]), {}, 400, "inputs[0] 'customer'.data[1]"),
    (V2, tensor(0, data=[1, None]), {}, 400, "inputs[0] 'customer'.data[1]: found null"),
    (V2, tensor(0, data=[[1], [2]]), {}, 400, "inputs[0] 'customer'.data[0]: found an array"),
    (V2, tensor(0, shape=[2, 1], data=[[1], [2, 3]]), {}, 400, "inputs[0] 'customer'.data[0]: found an array"),
    (V2, tensor(2, data=[1.5, 1e39]), {}, 400, "inputs[2] 'amount'.data[1]: found 1e+39"),
    (V2, tensor(0, shape=[1], data=[1]), {}, 400, "'shop': 2 values, but 'customer' has 1"),
    (V2, v2(lambda body: [t.update(shape=[0], data=[]) for t in body["inputs"]]), {}, 400, "0 rows"),
    (V2, tensor(0, parameters={"binary_data_size": 16}, data=None), {}, 400, "binary_data_size: the binary tensor extension"),
    (V2, v2(lambda body: body.update(outputs={})), {}, 400, "outputs: found an object"),
    (V2, v2(lambda body: body.update(outputs=["probability"])), {}, 400, "outputs[0]: found"),
    (V2, v2(lambda body: body.update(outputs=[{"name": "score"}])), {}, 400, 'unknown output "score"; allowed: probability'),
    (V2, v2(lambda body: body.update(outputs=[{"name": "decision"}] * 2)), {}, 400, "asked for twice"),
    (V2, v2(lambda body: body.update(outputs=[{"name": "decision", "parameters": {"binary_data": True}}])), {}, 400, "JSON"),
    (V2, text('"shape"', '"shape": [1], "shape"', tensors(instance())), {}, 400, '"shape": given twice'),
    (V2, tensors(instance()), {"Content-Type": "application/octet-stream"}, 400, "binary_data=False"),
    (V2, tensors(instance()), {"Inference-Header-Content-Length": "100"}, 400, "binary_data=False"),
    (V2, tensors(instance(method="x" * LARGEST)), {}, 413, "allowed"),
    ("/v1/models/other:predict", v1(), {}, 404, "no such model"),
    ("/v2/models/other/infer", v1(), {}, 404, "no such model"),
    (f"/v2/models/{NAME}", v1(), {}, 405, "allowed: GET"),
    ("/v3", v1(), {}, 404, "no such path"),
]


def test_there_are_enough_of_them() -> None:
    assert len(BAD) >= 60


def test_every_mistake_is_named_and_the_next_good_call_is_right(server: Served) -> None:
    connection = server.connect()
    good = connection.v1(instance()).json["predictions"][0]["probability"]
    wrong = []
    for path, body, headers, status, said in BAD:
        shown = f"{path} {str(body)[:100]} {headers}"
        answer = connection.ask("POST", path, body, headers)
        message = answer.json["error"]
        if (answer.status, answer.headers["content-type"]) != (status, "application/json") or said not in message:
            wrong.append(f"{shown}: {answer.status} {message[:200]}; expected {status} {said}")
        assert len(answer.body) < 1000, shown
        again = connection.v1(instance())
        assert (again.status, again.json["predictions"][0]["probability"]) == (200, good), shown
        assert connection.is_the_same, shown
    assert not wrong, "\n".join(wrong)
    assert server.metrics()[f'perennial_failures_total{{model="{NAME}"}}'] == 0


def test_other_methods_are_refused_with_those_that_are_allowed(server: Served) -> None:
    connection = server.connect()
    answer = connection.ask("GET", V1)
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert connection.ask("DELETE", "/v2/health/live").headers["allow"] == "GET"
    assert connection.ask("GET", f"/v2/models/{NAME}/versions/99").status == 404
    assert connection.ask("POST", f"/v1/models/{NAME}:explain", b"{}").status == 501
    assert connection.is_the_same


def test_a_body_in_pieces_is_one_body(server: Served) -> None:
    connection = server.connect()
    whole = json.dumps({"instances": [instance()]}).encode()
    headers = {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}
    connection.http.request("POST", V1, iter([whole[:20], whole[20:]]), headers, encode_chunked=True)
    response = connection.http.getresponse()
    assert response.status == 200
    assert len(json.loads(response.read())["predictions"]) == 1
    assert connection.v1(instance()).status == 200
    assert connection.is_the_same


def test_a_piecemeal_body_without_end_is_cut_off(server: Served) -> None:
    connection: Connection = server.connect()
    connection.http.putrequest("POST", V1)
    connection.http.putheader("Content-Type", "application/json")
    connection.http.putheader("Transfer-Encoding", "chunked")
    connection.http.endheaders()
    piece = b"%x\r\n" % 50_000 + b" " * 50_000 + b"\r\n"
    for _ in range(LARGEST // 50_000 + 1):
        connection.http.send(piece)
    response = connection.http.getresponse()
    assert response.status == 413
    assert response.getheader("connection") == "close"
