"""Versions in and out of service: swaps under load, refusals, a store that fails, the end of the process."""

import http.client
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from feature_repo.online_store.database import open_database
from perennial.prediction_log import read_segment
from serving.deployers.local import deploy
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


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    found = World(tmp_path_factory.mktemp("versions"))
    fill(found)
    return found


@pytest.fixture(scope="module")
def first(world: World) -> Made:
    return make_version(world.folder, 1, plan())


@pytest.fixture(scope="module")
def second(world: World) -> Made:
    return make_version(world.folder, 2, plan())


@pytest.fixture(scope="module")
def rejecting(world: World) -> Made:
    """A version that rejects a row whose sky is stale."""
    return make_version(world.folder, 3, plan("reject"))


@pytest.fixture(scope="module")
def process(world: World, first: Made) -> Iterator[Served]:
    deploy_made(world, first)
    with served(world, "--replay", "--log", str(world.log)) as found:
        found.wait_until_ready()
        yield found


@pytest.fixture
def server(process: Served, world: World, first: Made) -> Served:
    """The process with the first version in service, whatever the test before has done."""
    deploy_made(world, first)
    wait_for(process, first)
    return process


def wait_for(server: Served, made: Made, seconds: float = 10) -> None:
    """Until the version serves."""
    until = time.monotonic() + seconds
    while server.connect().ask("GET", f"/v2/models/{NAME}/ready").json.get("version") != made.digest:
        assert time.monotonic() < until, server.output.read_text(encoding="utf-8")
        time.sleep(0.05)


class Load:
    """Clients that ask without pause and keep what they were told."""

    def __init__(self, server: Served, clients: int = 4) -> None:
        self.answers: list[tuple[str, float]] = []
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._connections = [server.connect() for _ in range(clients)]
        self._threads = [threading.Thread(target=self._ask, args=(place,)) for place in range(clients)]

    def _ask(self, place: int) -> None:
        connection = self._connections[place]
        while not self._stop.is_set():
            try:
                if place % 2:
                    answer = connection.v1(instance())
                    probability = answer.json["predictions"][0]["probability"] if answer.status == 200 else None
                else:
                    answer = connection.v2(tensors(instance()))
                    probability = answer.json["outputs"][0]["data"][0] if answer.status == 200 else None
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                return
            if probability is None:
                self.failures.append(f"{answer.status} {answer.body!r}")
            else:
                self.answers.append((answer.json["model_version"], probability))

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_swaps_under_load_fail_nothing_and_mix_nothing(server: Served, world: World, first: Made, second: Made) -> None:
    right = {made.digest: made.probability({**world.features(1, "S1"), **instance()}) for made in (first, second)}
    assert abs(right[first.digest] - right[second.digest]) > 1e-3
    with Load(server) as load:
        for made in (second, first, second):
            deploy_made(world, made)
            wait_for(server, made)
            time.sleep(0.3)
    assert load.failures == []
    assert {digest for digest, _ in load.answers} == set(right)
    assert len(load.answers) > 100
    wrong = [(digest, probability) for digest, probability in load.answers if abs(probability - right[digest]) > 1e-9]
    assert wrong == []
    assert server.metrics()[f'perennial_swaps_total{{model="{NAME}"}}'] >= 4


def broken(world: World, made: Made, role: str, content: bytes) -> Path:
    """A copy of a version with a file's bytes replaced, in a folder of its name."""
    folder = world.folder / f"broken-{role}-{len(content)}" / made.digest
    folder.mkdir(parents=True)
    for path in made.published.path.iterdir():
        (folder / path.name).write_bytes(content if path.name.startswith(role) else path.read_bytes())
    return folder


def test_a_version_that_does_not_fit_is_refused_and_the_old_one_serves(server: Served, world: World, first: Made) -> None:
    other = make_version(world.folder / "other", 4, plan(), name="another")
    planless = make_version(world.folder, 5, None)
    foreign = plan()
    changed = layout("sky", LAYOUTS["sky"].join_keys, {"sky_rain": "float64"})
    sky = foreign.views[2].model_copy(
        update={
            "layout": changed.digest.hex(),
            "fields": tuple(
                value.model_copy(update={"kind": kind.kind})
                for value, kind in zip(foreign.views[2].fields, changed.fields, strict=True)
            ),
        }
    )
    moved = make_version(world.folder, 6, foreign.model_copy(update={"views": (*foreign.views[:2], sky)}))
    swapped = (second_model := make_version(world.folder, 7, plan())).published.path
    model = next(path for path in swapped.iterdir() if path.name.startswith("model"))
    cases = {
        world.folder / "nowhere" / ("0" * 64): "no such version folder",
        broken(world, second_model, "model", b"short"): "bytes, the manifest says",
        broken(world, second_model, "model", model.read_bytes()[::-1]): "its digest is",
        broken(world, second_model, "manifest", b"{}"): "not a manifest",
        other.published.path: "is a version of 'another'",
        planless.published.path: "has no read plan",
        moved.published.path: "view 'sky' has layout",
    }
    connection = server.connect()
    for folder, said in cases.items():
        deploy(world.current, folder, 99)
        refused = wait_for_refusal(server, folder.name, said)
        assert said in refused, folder
        answer = connection.v1(instance())
        assert (answer.status, answer.json["model_version"]) == (200, first.digest)
        assert server.metrics()[f'perennial_version_refused{{model="{NAME}",version="{folder.name}"}}'] == 1
    assert "goes on serving" in server.output.read_text(encoding="utf-8")
    deploy_made(world, first)
    until = time.monotonic() + 5
    while "refused" in connection.ask("GET", f"/v2/models/{NAME}/ready").json:
        assert time.monotonic() < until
        time.sleep(0.05)


def wait_for_refusal(server: Served, digest: str, said: str) -> str:
    until, found = time.monotonic() + 10, {}
    while time.monotonic() < until:
        answer = server.connect().ask("GET", f"/v2/models/{NAME}/ready")
        assert answer.status == 200
        found = answer.json.get("refused", {})
        if found.get("version") == digest and said in found["reason"]:
            return str(found["reason"])
        time.sleep(0.05)
    return str(found)


def test_a_stale_view_with_reject_gives_no_prediction(server: Served, world: World, rejecting: Made) -> None:
    deploy_made(world, rejecting)
    wait_for(server, rejecting)
    connection = server.connect()
    good, stale, missing = connection.v1(instance(1, "S1"), instance(1, "S2"), instance(1, "S9")).json["predictions"]
    assert "rejected" not in good
    assert 0 < good["probability"] < 1
    assert (stale["probability"], stale["decision"], stale["rejected"]) == (None, None, ["sky"])
    assert missing["probability"] is not None
    assert missing["not_fresh"] == {"pair": "missing", "sky": "missing"}
    answer = connection.v2(tensors(instance(1, "S1"), instance(1, "S2")))
    assert answer.status == 503
    assert answer.json["error"].startswith("row 1: no prediction: view 'sky' was observed 5.00 h before the request, at most 3 h")
    assert connection.v2(tensors(instance(1, "S1"))).status == 200
    assert server.metrics()[f'perennial_rejected_rows_total{{model="{NAME}"}}'] == 2
    rows = [row for path in world.log.iterdir() for row in read_segment(path).rows]
    assert [row.stale for row in rows if row.probability is None] == [{"pair": "stale", "sky": "stale"}] * 2


def test_readiness_follows_the_online_store(server: Served, world: World) -> None:
    store = Path(world.online)
    hidden = store.with_suffix(".away")
    connection = server.connect()
    store.rename(hidden)
    try:
        answer = server.wait_until_ready(wanted=False)
        assert "the online store does not answer" in answer.json["reason"]
        failed = connection.v1(instance())
        assert (failed.status, failed.headers["retry-after"]) == (503, "1")
        assert connection.ask("GET", "/v2/health/live").status == 200
        assert server.metrics()[f'perennial_ready{{model="{NAME}"}}'] == 0
    finally:
        hidden.rename(store)
    server.wait_until_ready()
    assert connection.v1(instance()).status == 200
    assert connection.is_the_same


def test_a_view_applied_anew_is_a_stale_layout_once_its_old_one_is_gone(server: Served, world: World, first: Made) -> None:
    changed = layout("sky", LAYOUTS["sky"].join_keys, {"sky_rain": "float64"})
    connection = server.connect()
    with open_database(world.online, write=False) as database:
        kept = list(database.rows("sky"))
    with open_database(world.online) as database:
        database.keep_layouts([changed])
        database.write(changed, [(key, int(NOW * 1e6), changed.encode([0.5, int(NOW)])) for key, _, _ in kept])
    assert connection.v1(instance(1, "S1")).json["predictions"][0]["not_fresh"] == {}, "the version's own layout is kept"
    with open_database(world.online) as database:
        needed = {(one.view, one.digest) for one in LAYOUTS.values() if one.view != "sky"}
        assert database.purge(needed) == [LAYOUTS["sky"]]
    try:
        (found,) = connection.v1(instance(1, "S1")).json["predictions"]
        assert found["not_fresh"] == {"sky": "stale layout"}
        expected = first.probability({**world.features(1, "S1", without=["sky"]), **instance()})
        assert found["probability"] == pytest.approx(expected, abs=1e-12)
    finally:
        with open_database(world.online) as database:
            database.keep_layouts(LAYOUTS.values())
            database.write(LAYOUTS["sky"], kept)
    assert connection.v1(instance(1, "S1")).json["predictions"][0]["not_fresh"] == {}


def test_a_process_without_version_or_log_lives_and_says_what_it_lacks(tmp_path: Path) -> None:
    world = World(tmp_path)
    fill(world)
    blocked = world.log
    blocked.write_text("a file where the folder should be")
    ordinary, strict = make_version(tmp_path, 1, plan()), make_version(tmp_path, 2, plan(), log_required=True)
    with served(world, "--log", str(blocked)) as server:
        connection = server.connect()
        assert connection.ask("GET", "/v2/health/live").status == 200
        answer = connection.ask("GET", "/v2/health/ready")
        assert (answer.status, answer.json["ready"]) == (503, False)
        assert "no such file" in answer.json["reason"]
        assert "is not ready" in connection.v1(instance()).json["error"]

        deploy_made(world, ordinary)
        server.wait_until_ready()
        refused = connection.v1(instance())
        assert (refused.status, "not started with --replay" in refused.json["error"]) == (400, True)
        connection.time = None
        answer = connection.v1(instance(), instance())
        assert answer.status == 200
        assert answer.json["predictions"][0]["feature_age_s"]["account"] == pytest.approx(time.time() - NOW, abs=60)
        assert server.metrics()[f'perennial_log_lost_rows_total{{model="{NAME}"}}'] == 2

        deploy_made(world, strict)
        wait_for(server, strict)
        answer = connection.v1(instance())
        assert (answer.status, "could not be logged" in answer.json["error"]) == (503, True)
        blocked.unlink()
        assert connection.v1(instance()).status == 200
        assert connection.is_the_same


def test_the_end_is_not_ready_first_then_what_is_in_flight_then_exit_0(world: World, first: Made) -> None:
    deploy_made(world, first)
    with served(world, "--replay", "--drain-seconds", "0.6") as server:
        server.wait_until_ready()
        connection, slow, many = server.connect(), server.connect(), [instance(customer) for customer in range(8000)]
        found = []
        thread = threading.Thread(target=lambda: found.append(slow.v1(*many)))
        with Load(server) as load:
            time.sleep(0.3)
            server.process.send_signal(signal.SIGTERM)
            statuses, began = [], time.monotonic()
            while time.monotonic() < began + 0.3:
                statuses.append(connection.ask("GET", "/v2/health/ready").status)
                time.sleep(0.02)
        assert statuses[-1] == 503
        assert load.failures == []
        assert connection.v1(instance()).status == 200, "it answers as long as it listens"
        thread.start()  # the drain ends while this request is on its way
        thread.join()
        assert found[0].status == 200
        assert len(found[0].json["predictions"]) == 8000
        assert server.process.wait(timeout=10) == 0
        assert "ended" in server.output.read_text(encoding="utf-8")
