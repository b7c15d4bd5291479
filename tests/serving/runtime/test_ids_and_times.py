"""Keys, ids and times at the door: what is let in is exact in the answer and the log, and what cannot be is refused."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from perennial.prediction_log import LogRow, read_segment
from tests.serving.world import NAME, Connection, Served, World, deploy_made, fill, instance, make_version, plan, served, tensors

V1, V2 = f"/v1/models/{NAME}:predict", f"/v2/models/{NAME}/infer"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Its requests carry an order's number."""
    found = World(tmp_path_factory.mktemp("door"))
    fill(found)
    for customer in (2**63 - 1, -(2**63), 1000):
        found.write("account", (customer,), [customer % 7, True, "DE"])
    deploy_made(found, make_version(found.folder, 1, plan(), id_column="order_id", id_kind="int64"))
    return found


@pytest.fixture(scope="module")
def server(world: World) -> Iterator[Served]:
    with served(world, "--log", str(world.log), "--replay") as found:
        found.wait_until_ready()
        yield found


def logged(folder: Path) -> dict[str, LogRow]:
    """Every row of the log by the id that its answer carried."""
    return {row.prediction_id: row for path in sorted(folder.iterdir()) for row in read_segment(path).rows}


def ask(connection: Connection, protocol: str, **given: object) -> tuple[int, str]:
    """Status, and the answer's id or what was said."""
    one = instance(**given)  # type: ignore[arg-type]
    answer = connection.ask("POST", V1, {"instances": [one]}) if protocol == V1 else connection.ask("POST", V2, tensors(one))
    if answer.status != 200:
        return answer.status, answer.json["error"]
    if protocol == V1:
        return 200, answer.json["predictions"][0]["prediction_id"]
    return 200, next(output["data"][0] for output in answer.json["outputs"] if output["name"] == "prediction_id")


LET_IN: list[tuple[str, object, object]] = [
    # name, as it is sent, as it must be logged
    ("customer", 2**63 - 1, 2**63 - 1),
    ("customer", -(2**63), -(2**63)),
    ("customer", 2**53 + 1, 2**53 + 1),
    ("customer", 1e3, 1000),
    ("customer", float(2**53 - 1), 2**53 - 1),
    ("order_id", 2**63 - 1, 2**63 - 1),
    ("order_id", -(2**63), -(2**63)),
    ("order_id", 1e3, 1000),
    ("shop", "007", "007"),
    ("shop", "🛒", "🛒"),
    ("shop", "9007199254740993", "9007199254740993"),
]
REFUSED: list[tuple[str, object]] = [
    ("customer", 2**63),
    ("customer", -(2**63) - 1),
    ("customer", 9007199254740993.0),
    ("customer", -9007199254740993.0),
    ("customer", 9.3e18),
    ("customer", "007"),
    ("customer", "🛒"),
    ("order_id", 2**63),
    ("order_id", 9007199254740993.0),
    ("order_id", "007"),
    ("shop", 7),
]


@pytest.mark.parametrize("protocol", [V1, V2], ids=["v1", "v2"])
@pytest.mark.parametrize(("name", "sent", "kept"), LET_IN)
def test_what_is_let_in_is_logged_exactly(
    server: Served, world: World, protocol: str, name: str, sent: object, kept: object
) -> None:
    status, prediction = ask(server.connect(), protocol, **{name: sent})
    assert status == 200, prediction
    row = logged(world.log)[prediction]
    found = {**row.fields, **row.keys}[name]
    assert (found, type(found)) == (kept, type(kept))


@pytest.mark.parametrize("protocol", [V1, V2], ids=["v1", "v2"])
@pytest.mark.parametrize(("name", "sent"), REFUSED)
def test_what_cannot_be_exact_is_refused_and_not_logged(
    server: Served, world: World, protocol: str, name: str, sent: object
) -> None:
    before = len(logged(world.log))
    status, said = ask(server.connect(), protocol, **{name: sent})
    assert status == 400, said
    assert name in said
    assert "allowed: a" in said
    assert len(logged(world.log)) == before


def test_neighbours_beyond_what_a_float_tells_apart_get_answers_of_their_own(server: Served, world: World) -> None:
    connection = server.connect()
    ids = [ask(connection, V1, customer=2**53 + more, order_id=2**53 + more)[1] for more in range(4)]
    rows = logged(world.log)
    assert [rows[found].keys["customer"] for found in ids] == [2**53 + more for more in range(4)]
    assert [rows[found].fields["order_id"] for found in ids] == [2**53 + more for more in range(4)]


TIMES = [
    # what a request says, and whether a log can hold it
    ("1970-01-01T00:00:00Z", True),
    ("1970-01-01T02:00:00+02:00", True),
    ("2262-01-01T00:00:00Z", True),
    ("1969-12-31T23:59:59Z", False),
    ("1970-01-01T00:00:00+02:00", False),
    ("2262-01-01T00:00:00.000001Z", False),
    ("2261-12-31T23:59:59-01:00", False),
    ("0001-01-01T00:00:00+14:00", False),
    ("9999-12-31T23:59:59-14:00", False),
    ("12013-04-01T00:00:00Z", False),
    ("0000-01-01T00:00:00Z", False),
]


@pytest.mark.parametrize("protocol", [V1, V2], ids=["v1", "v2"])
@pytest.mark.parametrize(("time", "is_let_in"), TIMES)
def test_a_time_that_a_log_cannot_hold_is_refused_and_costs_nothing(
    server: Served, world: World, protocol: str, time: str, is_let_in: bool
) -> None:
    before, connection = len(logged(world.log)), server.connect()
    connection.time = time
    status, said = ask(connection, protocol)
    assert status == (200 if is_let_in else 400), said
    assert is_let_in or ("Perennial-Time: found" in said and "allowed: " in said)
    assert len(logged(world.log)) == before + is_let_in
    failures = server.metrics()[f'perennial_failures_total{{model="{NAME}"}}']
    assert json.loads(str(failures)) == 0, "a caller's mistake is no failure of the server"
