"""The server on Redis: the answers that it gives on a file, and what it says while Redis is away."""

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from feature_repo.online_store.database import open_database
from tests.servers.redis import PASSWORD, Redis
from tests.serving.world import (
    LAYOUTS,
    NAME,
    NOW,
    Made,
    Served,
    World,
    deploy_made,
    fill,
    instance,
    layout,
    make_version,
    plan,
    served,
    tensors,
)

SHOPS = [(1, "S1"), (1, "S2"), (2, "S1"), (9, "S9")]
"""Fresh; stale; with nulls; never seen."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, redis_server: Redis) -> World:
    return World(tmp_path_factory.mktemp("redis"), redis=redis_server.store())


@pytest.fixture(scope="module")
def made(world: World) -> Made:
    fill(world)
    made = make_version(world.folder, 1, plan())
    deploy_made(world, made)
    return made


@pytest.fixture(scope="module")
def process(world: World, made: Made) -> Iterator[Served]:
    with served(world, "--replay", "--log", str(world.log)) as found:
        found.wait_until_ready()
        yield found


@pytest.fixture
def server(process: Served, world: World, redis: Redis) -> Served:
    """The process on a Redis that answers and holds what it should, whatever the test before has done."""
    fill(world)
    process.wait_until_ready()
    return process


def test_answers_are_those_of_the_file(server: Served, world: World, made: Made) -> None:
    file = World(world.folder / "file")
    file.folder.mkdir()
    fill(file)
    deploy_made(file, made)
    instances = [instance(customer, shop) for customer, shop in SHOPS]
    with served(file, "--replay") as other:
        other.wait_until_ready()
        expected = other.connect().v1(*instances).json["predictions"]
    connection = server.connect()
    found = connection.v1(*instances).json["predictions"]
    for prediction in [*expected, *found]:
        del prediction["prediction_id"]
    assert found == expected
    assert found[0]["probability"] == pytest.approx(made.probability({**world.features(1, "S1"), **instance()}), abs=1e-12)
    assert [set(prediction["not_fresh"]) for prediction in found][1:] == [{"pair", "sky"}, {"pair"}, {"account", "pair", "sky"}]


def test_values_written_and_layouts_applied_while_it_serves_are_seen(server: Served, world: World, made: Made) -> None:
    connection = server.connect()
    world.write("account", (1,), [7, False, "FR"])
    (found,) = connection.v1(instance()).json["predictions"]
    assert found["probability"] == pytest.approx(made.probability({**world.features(1, "S1"), **instance()}), abs=1e-12)
    changed = layout("sky", LAYOUTS["sky"].join_keys, {"sky_rain": "float64"})
    with open_database(world.online) as database:
        keys = [key for key, *_ in database.rows("sky")]
        database.keep_layouts([changed])
        database.write(changed, [(key, int(NOW * 1e6), changed.encode([0.5, int(NOW)])) for key in keys])
    (found,) = connection.v1(instance()).json["predictions"]
    assert found["not_fresh"] == {}, "its own layout is kept"
    assert found["probability"] == pytest.approx(made.probability({**world.features(1, "S1"), **instance()}), abs=1e-12)
    with open_database(world.online) as database:
        own = [one for one in database.held() if one.view == "sky" and one.name != changed.name]
        assert database.purge({(one.view, one.digest) for one in database.held() if one not in own}) == own
    (found,) = connection.v1(instance()).json["predictions"]
    assert found["not_fresh"] == {"sky": "stale layout"}
    without = world.features(1, "S1", without=["sky"])
    assert found["probability"] == pytest.approx(made.probability({**without, **instance()}), abs=1e-12)
    with open_database(world.online) as database:
        database.keep_layouts(LAYOUTS.values())
    fill(world)


def test_readiness_follows_redis_and_comes_back_by_itself(server: Served, redis: Redis) -> None:
    connection = server.connect()
    before = connection.v1(instance()).json["predictions"][0]["probability"]
    redis.stop()
    answer = server.wait_until_ready(wanted=False)
    assert "the online store does not answer" in answer.json["reason"]
    failed = connection.v1(instance())
    assert (failed.status, failed.headers["retry-after"]) == (503, "1")
    assert "the online store does not answer" in failed.json["error"]
    assert connection.v2(tensors(instance())).status == 503
    assert connection.ask("GET", "/v2/health/live").status == 200
    assert server.metrics()[f'perennial_ready{{model="{NAME}"}}'] == 0
    redis.start()
    server.wait_until_ready()
    assert connection.v1(instance()).json["predictions"][0]["probability"] == before
    assert connection.is_the_same


def test_a_redis_that_hangs_holds_no_request_longer_than_a_second(server: Served, redis: Redis) -> None:
    connection = server.connect()
    assert connection.v1(instance()).status == 200
    redis.hang()
    begin = time.monotonic()
    assert connection.v1(instance()).status == 503
    assert time.monotonic() - begin < 1.5, "half a second, and what a busy machine adds"
    server.wait_until_ready(wanted=False)
    redis.go_on()
    server.wait_until_ready()
    assert connection.v1(instance()).status == 200


def test_a_redis_that_lost_everything_is_not_ready_until_the_views_are_applied(server: Served, world: World) -> None:
    with open_database(world.online) as database:
        database.drop(LAYOUTS)
    answer = server.wait_until_ready(wanted=False)
    assert "it holds no views of 'perennial'; `perennial features apply`, then materialise" in answer.json["reason"]
    fill(world)
    server.wait_until_ready()
    assert server.connect().v1(instance()).json["predictions"][0]["not_fresh"] == {}


@pytest.mark.usefixtures("made")
def test_a_version_waits_for_redis_and_then_serves(world: World, redis: Redis) -> None:
    redis.stop()
    with served(world, "--replay") as server:
        answer = server.wait_until_ready(wanted=False)
        assert "the online store does not answer" in answer.json["reason"]
        redis.start()
        server.wait_until_ready()
        assert server.connect().v1(instance()).status == 200


@pytest.mark.usefixtures("made")
def test_a_wrong_password_is_said_by_the_readiness(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD, "canary")
    with served(world, "--replay") as server:
        answer = server.wait_until_ready(wanted=False)
        assert f"{PASSWORD} must hold the password" in answer.json["reason"]
        assert "canary" not in server.output.read_text(encoding="utf-8") + answer.body.decode()


def test_a_url_with_a_password_is_refused_at_once_and_not_repeated(world: World) -> None:
    arguments = ["--model", NAME, "--current", str(world.current), "--online", "redis://:canary@host/0"]
    command = [sys.executable, "-m", "serving.runtime", *arguments]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 2
    assert f"give it as {PASSWORD}, from a secret" in found.stderr
    assert "canary" not in found.stderr
