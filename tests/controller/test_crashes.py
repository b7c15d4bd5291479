"""The crash matrix: a controller killed at every point leaves what the next one ends as if nothing had happened."""

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from perennial.ledger import Ledger
from perennial.loop.request import Monitor, Retire, RollBack, RollOut, Train, Wish
from perennial.settings import Settings
from serving.deployers import local
from tests.controller.points import ticks
from tests.controller.world import (
    FIRST,
    NAME,
    NOW,
    REAL,
    add_version,
    digest_of,
    end_state,
    in_child,
    killed,
    promote,
    settings_of,
    write_world,
)
from tests.soak import IS_SOAK


@pytest.fixture(scope="module")
def quick() -> Iterator[Path]:
    """A folder in memory, where there is one: a killed process loses nothing of it, and a hundred worlds are written in it."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def template(quick: Path) -> Path:
    folder = quick / "template"
    status, said = in_child(lambda: str(write_world(folder)))
    assert status == 0, said
    return folder


Undisturbed = tuple[list[str], dict[str, list[str]]]
"""The points of a controller that nothing disturbs, and its end."""


@pytest.fixture(scope="module")
def undisturbed(template: Path, quick: Path) -> Undisturbed:
    return points_of(template, quick / "undisturbed")


def points_of(template: Path, folder: Path, is_asked: bool = False) -> Undisturbed:
    shutil.copytree(template, folder)
    status, said = in_child(lambda: ticks(folder, None, 0, is_asked=is_asked))
    assert status == 0, said
    found = json.loads(said)
    assert found["outside"] == [], "every write goes through a wrapped client"
    return found["reached"], state_of(folder)


def state_of(folder: Path) -> dict[str, list[str]]:
    """The end state, read by a new process."""
    status, said = in_child(lambda: end_state(settings_of(folder)))
    assert status == 0, said
    state: dict[str, list[str]] = json.loads(said)
    return state


def test_the_undisturbed_end_is_a_new_champion_from_one_training(undisturbed: Undisturbed) -> None:
    _, state = undisturbed
    outcomes = Counter(json.loads(row)["outcome"] for row in state["runs"])
    expected = {"registered": 2, "retrain": 1, None: 1}
    assert outcomes == expected, "the first version's, the second's, one monitoring run, and a training that a store broke"
    assert len(state["versions"]) == 2
    assert sorted(json.loads(row)["state"] for row in state["rollouts"]) == ["champion", "champion"]
    assert [json.loads(row)["state"] for row in state["decisions"]] == ["done"]
    assert {json.loads(row)["state"] for row in state["claims"]} == {"done"}
    assert digest_of(2) in state["deployed"][0]
    assert state["alias"] == ["chargeback 2"]


def test_killed_at_every_point_the_end_is_the_same(
    template: Path, undisturbed: Undisturbed, quick: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kill_at_each_point(template, undisturbed, quick)
    points, _ = undisturbed
    with capsys.disabled():
        kinds, killed_at = Counter(name.split(" by ")[0] for name in points), len(points) if IS_SOAK else len(set(points))
        print(f"\ncrash matrix: {killed_at} of {len(points)} points killed, each ended as undisturbed: {dict(kinds)}")  # noqa: T201
    assert len(points) > 40 and len(set(points)) > 20


def kill_at_each_point(template: Path, undisturbed: Undisturbed, quick: Path, is_asked: bool = False) -> None:
    """Kill a controller at each point, or at the first of each kind; the next one must come to the same end."""
    points, expected = undisturbed
    for place, name in enumerate(points):
        if not IS_SOAK and name in points[:place]:
            continue
        folder = quick / str(place)
        shutil.copytree(template, folder)
        status, said = in_child(lambda folder=folder, place=place: ticks(folder, place, 0, is_asked=is_asked))  # type: ignore[misc]
        assert killed(status), f"point {place}, {name}: {said}"
        status, said = in_child(lambda folder=folder: ticks(folder, None, 5, is_asked=is_asked))  # type: ignore[misc]
        assert status == 0, f"after a death at point {place}, {name}: {said}"
        found = state_of(folder)
        for part, rows in expected.items():
            assert found[part] == rows, f"{part} after a death at point {place}, {name}"
        shutil.rmtree(folder)


def ask(folder: Path, wish: Wish) -> None:
    """A person asks for something, in a world where version 2 has the traffic."""
    settings = settings_of(folder)
    with Ledger.open(settings.ledger) as ledger:
        ledger.start_run(run_id="second", model=NAME, mode="refit", started=NOW, now=FIRST, spec="s", folder="f")
        ledger.finish_run("second", finished=NOW, outcome="registered", reason="version 2")
        add_version(ledger, "second", "second", FIRST)
        promote(ledger, FIRST)
        local.deploy(settings.current(NAME), settings.versions / NAME / digest_of(2), 2)
        ledger.add_request(NAME, wish, made=REAL, now=NOW)
    if isinstance(wish, Retire):
        (settings.models / f"{NAME}.yaml").unlink()


@pytest.mark.parametrize(
    ("wish", "outcome", "champion", "fewest"),
    [
        (Train(reason="a new season"), "registered", 3, 20),
        (Monitor(), "retrain", 2, 10),
        (RollBack(reason="complaints"), "", 1, 8),
        (RollOut(version=1, reason="complaints"), "", 1, 14),
        (Retire(reason="replaced"), "its versions, records and predictions are kept", None, 8),
    ],
    ids=["train", "monitor", "rollback", "rollout", "retire"],
)
def test_what_a_person_asked_for_ends_the_same_wherever_its_controller_is_killed(
    template: Path, quick: Path, wish: Wish, outcome: str, champion: int | None, fewest: int
) -> None:
    folder = quick / wish.kind
    shutil.copytree(template, folder / "template")
    status, said = in_child(lambda: ask(folder / "template", wish))
    assert status == 0, said
    undisturbed = points_of(folder / "template", folder / "undisturbed", is_asked=True)
    points, state = undisturbed
    (request,) = [json.loads(row) for row in state["requests"]]
    assert (request["state"], request["outcome"], request["failure"]) == ("done", outcome, None)
    assert state["deployed"] == [] if champion is None else digest_of(champion) in state["deployed"][0]
    assert len(points) >= fewest
    kill_at_each_point(folder / "template", undisturbed, folder, is_asked=True)
    shutil.rmtree(folder)


def write_file(settings: Settings) -> None:
    (settings.state / "stray").write_text("no client knows of this")


def write_row(settings: Settings) -> None:
    with create_engine(settings.ledger).begin() as connection:
        connection.execute(text("update runs set reason = 'stray'"))


@pytest.mark.parametrize("plant", [write_file, write_row])
def test_a_write_outside_the_wrapped_clients_is_noticed(template: Path, tmp_path: Path, plant: object) -> None:
    folder = tmp_path / "world"
    shutil.copytree(template, folder)
    status, said = in_child(lambda: ticks(folder, None, 0, plant))  # type: ignore[arg-type]
    assert status == 0, said
    assert len(json.loads(said)["outside"]) == 1, said
