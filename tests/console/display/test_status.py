"""What status says, from what is stored about a model and from its local server."""

import dataclasses
import fcntl
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from console.display.status import WORDS, controller_in_words, served, show_status
from console.status import read_status, server_of
from perennial.errors import PlatformError
from perennial.ledger import Ledger, Mode
from perennial.loop.decision import DecisionState
from perennial.loop.failure import Failure
from perennial.loop.rollout import Observation
from perennial.loop.standing import Standing
from perennial.settings import Settings
from perennial.status.condition import STATES, Reason, condition
from perennial.status.installation import controller_condition
from perennial.status.model_status import ModelStatus, ServerStatus
from serving.deployers import local
from tests.made_up import (
    DIGESTS,
    FIRST,
    NAME,
    WEEK,
    add_version,
    add_window,
    broken,
    draft,
    measurement,
    performance,
    quiet_column,
    settings_in,
)
from tests.servers.http import listening

BEFORE = FIRST - timedelta(days=4)
"""End of the first version's training."""
NOW = FIRST + WEEK + timedelta(days=1)
"""The first window is closed, its labels have not matured."""


@dataclasses.dataclass(frozen=True)
class World:
    """A project with a ledger to write into."""

    settings: Settings
    ledger: Ledger

    def stands(self, now: datetime = NOW, clock: datetime = NOW) -> ModelStatus:
        """How the model stands."""
        _, found = read_status(self.settings, now, clock)
        assert [status.model for status in found] == [NAME]
        return found[0]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    settings = settings_in(tmp_path)
    with Ledger.open(settings.ledger) as ledger:
        yield World(settings, ledger)


def start_run(world: World, mode: Mode = "search") -> None:
    world.ledger.start_run(run_id="r1", model=NAME, mode=mode, started=NOW, now=NOW, spec="s", folder="f")


@contextmanager
def executing(settings: Settings, run_id: str) -> Iterator[None]:
    """A process that executes a run holds its lock."""
    folder = settings.runs / run_id
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def decide(world: World, kind: str, reason: str | None, state: DecisionState) -> None:
    world.ledger.add_decision(NAME, cause=f"{NAME}/monitor/{kind}", now=NOW, draft=draft(kind, reason), state=state)


def test_a_model_without_a_version_is_to_be_trained(world: World) -> None:
    status = world.stands()
    assert status.state == Reason.NOT_TRAINED
    assert "perennial train churn" in status.headline.next
    assert status.coming == ()


def test_a_run_whose_process_is_gone_is_lost_and_can_be_started_again(world: World) -> None:
    start_run(world)
    elsewhere = world.stands(clock=NOW + timedelta(minutes=2))
    assert elsewhere.state == Reason.RUN_LOST
    assert "nothing was heard of its host since" in elsewhere.headline.message
    assert "begins a fresh run for the same" in elsewhere.headline.next and "pipelines.run" not in elsewhere.headline.next
    (world.settings.runs / "r1").mkdir(parents=True)
    lost = world.stands()
    assert lost.state == Reason.RUN_LOST
    assert "python -m pipelines.run r1" in lost.headline.next
    with executing(world.settings, "r1"):
        assert world.stands().state == Reason.TRAINING


def test_a_monitoring_run_that_executes_or_broke_is_said(world: World) -> None:
    start_run(world, "monitor")
    with executing(world.settings, "r1"):
        assert world.stands().state == Reason.MONITORING
    world.ledger.fail_run("r1", finished=NOW, failure=Failure.of(PlatformError("the disk is full")))
    broke = world.stands()
    assert (broke.state, broke.headline.message) == (Reason.RUN_FAILED, "run r1: PlatformError: the disk is full")
    assert "perennial monitor churn" in broke.headline.next


def test_a_wrong_spec_is_the_owner_s_to_mend(world: World) -> None:
    path = world.settings.models / f"{NAME}.yaml"
    path.write_text(path.read_text().replace("owner:", "ownre:"))
    status = world.stands()
    assert status.state == Reason.SPEC_WRONG
    assert "spec.owner" in status.headline.message and "owner mends it" in status.headline.next


def test_a_model_without_a_spec_is_named_while_anything_of_it_is_deployed(world: World) -> None:
    add_version(world.ledger, 1, BEFORE)
    current = world.settings.current(NAME)
    local.deploy(current, world.settings.versions / NAME / DIGESTS[0], 1)
    (world.settings.models / f"{NAME}.yaml").unlink()
    status = world.stands()
    assert status.state == Reason.SPEC_MISSING
    assert status.headline.message.endswith("churn.yaml is gone, and version 1 goes on serving")
    assert "`perennial retire churn --reason '…'` ends its service" in status.headline.next
    local.retire(current)
    retired = world.stands()
    assert (retired.state, retired.also) == (Reason.RETIRED, ())


def test_a_model_that_only_the_deployer_knows_is_named(world: World) -> None:
    local.deploy(world.settings.current("lost"), world.settings.versions / "lost" / DIGESTS[1], 7)
    _, found = read_status(world.settings, NOW, NOW)
    assert [(status.model, status.state) for status in found] == [(NAME, Reason.NOT_TRAINED), ("lost", Reason.SPEC_MISSING)]
    assert f"a version of digest {DIGESTS[1][:16]} goes on serving" in found[1].headline.message


def test_a_champion_that_is_not_served_yet_is_trained(world: World) -> None:
    add_version(world.ledger, 1, BEFORE)
    status = world.stands()
    assert status.state == Reason.TRAINED
    assert "knows labels up to 2024-03-28 00:00" in status.headline.message
    assert [(one.when, one.what) for one in status.coming] == [(BEFORE + timedelta(days=61), "its scheduled retrain is due")]


def test_a_watched_model_says_what_comes_and_when(world: World) -> None:
    add_version(world.ledger, 1, BEFORE)
    add_window(world.ledger, 0, measurement(columns=[quiet_column("weight")]))
    status = world.stands()
    assert status.state == Reason.WATCHED
    assert "1,400 predictions, nothing flagged" in status.headline.message
    assert [(f"{one.when:%m-%d}", one.what) for one in status.coming] == [
        ("04-11", "the labels of the window from 2024-04-01 mature"),
        ("04-15", "the window from 2024-04-08 closes"),
        ("05-28", "its scheduled retrain is due"),
    ]


def test_where_nothing_could_be_judged_nothing_is_called_quiet(world: World) -> None:
    add_version(world.ledger, 1, BEFORE)
    add_window(world.ledger, 0, measurement())
    assert "1,400 predictions, no column is watched for drift (monitoring.columns)" in world.stands().headline.message
    add_window(world.ledger, 1, measurement(rows=0))
    assert "0 predictions, nothing to judge" in world.stands().headline.message


def test_windows_that_nobody_measured_or_judged_are_due(world: World) -> None:
    add_version(world.ledger, 1, BEFORE)
    add_window(world.ledger, 0, measurement())
    due = world.stands(FIRST + 3 * WEEK)
    assert due.state == Reason.WINDOW_DUE
    assert due.headline.message == "windows closed without a record: 2, matured without a judgement: 1"
    assert "perennial monitor churn" in due.headline.next and "start `perennial watch`" in due.headline.next
    clock = datetime(2026, 1, 1, tzinfo=UTC)
    world.ledger.take_lease("controller", "host:1", now=clock, seconds=60)
    assert "the controller starts a monitoring run" in world.stands(FIRST + 3 * WEEK, clock).headline.next


def test_a_matured_window_without_any_label_is_the_owner_s(world: World) -> None:
    add_version(world.ledger, 1, BEFORE)
    add_window(world.ledger, 0, measurement(), performance(FIRST + WEEK, arrived=0, missing=1400))
    status = world.stands()
    assert status.state == Reason.LABELS_MISSING
    assert "payments team looks" in status.headline.next and "perennial labels churn" in status.headline.next


def test_an_open_incident_is_said_with_its_owner_and_how_it_closes(world: World) -> None:
    add_version(world.ledger, 1, BEFORE)
    add_window(world.ledger, 0, measurement(checks=[broken("amount")]))
    decide(world, "fix data", None, "done")
    excluded = {"excluded_from": FIRST, "excluded_until": FIRST + WEEK}
    world.ledger.open_incident(
        NAME, decision=1, now=NOW, owner="payments team", seen="40 % are missing.", subjects=["amount"], needed=2, **excluded
    )
    status = world.stands()
    assert (status.state, status.headline.message) == (Reason.DATA_BROKEN, "incident 1 since 2024-04-09 00:00: 40 % are missing.")
    for said in ("payments team acts", "do not train", "2 clean windows", "perennial decisions close churn"):
        assert said in status.headline.next
    assert [other.reason for other in status.also] == [Reason.WATCHED]
    world.ledger.close_incident(NAME, 1, now=NOW, closing="two clean windows")
    assert world.stands().state == Reason.WATCHED


def test_a_retrain_that_waits_is_open_or_failed_says_who_acts(world: World) -> None:
    add_version(world.ledger, 1, BEFORE)
    decide(world, "retrain", "scheduled", "waits for a person")
    waits = world.stands()
    assert waits.state == Reason.WAITS_FOR_PERSON
    assert "perennial decisions accept churn 1" in waits.headline.next
    world.ledger.move_decision(NAME, 1, before="waits for a person", after="open")
    assert world.stands().state == Reason.RETRAIN_DECIDED
    world.ledger.move_decision(NAME, 1, before="open", after="failed", outcome="three runs were killed")
    failed = world.stands()
    assert failed.state == Reason.RETRAIN_FAILED
    assert "three runs were killed" in failed.headline.message and "platform team" in failed.headline.next


def test_a_rollout_on_its_way_or_refused_and_a_server_that_differs_are_said(world: World) -> None:
    add_version(world.ledger, 1, BEFORE)
    current = world.settings.current(NAME)
    local.deploy(current, world.settings.versions / NAME / DIGESTS[0], 1)
    assert world.stands().state == Reason.TRAINED
    local.deploy(current, world.settings.versions / NAME / DIGESTS[1], 2)
    differs = world.stands()
    assert differs.state == Reason.DEPLOYMENT_DIFFERS
    assert "version 1 is champion" in differs.headline.message
    local.deploy(current, world.settings.versions / NAME / DIGESTS[0], 1)
    rollout = world.ledger.request_rollout(model=NAME, number=add_unrolled(world), now=NOW, reason="it passed its gates")
    assert world.stands().state == Reason.ROLLING_OUT
    seen = Observation(seen="failed", digest=rollout.digest, time=NOW, reason="the serving check did not pass")
    world.ledger.move_rollout(rollout, seen)
    refused = world.stands()
    assert refused.state == Reason.ROLLOUT_REFUSED
    assert "the serving check did not pass" in refused.headline.message


@dataclasses.dataclass
class Cluster:
    """A deployer that says what it is told to."""

    said: Standing | PlatformError

    def models(self) -> tuple[str, ...]:
        if isinstance(self.said, PlatformError):
            raise self.said
        return (NAME,)

    def deployed(self, model: str) -> str:  # noqa: ARG002
        return DIGESTS[0]

    def standing(self, model: str) -> Standing:  # noqa: ARG002
        if isinstance(self.said, PlatformError):
            raise self.said
        return self.said


@pytest.mark.parametrize(
    ("said", "state", "why"),
    [
        (Standing(state="serving", sentence="version 1: 2 of 2 pods answer"), Reason.TRAINED, "version 1 knows labels"),
        (Standing(state="rolling", sentence="version 1: 1 of 2 pods answer"), Reason.PODS_ROLLING, "1 of 2 pods"),
        (Standing(state="stuck", sentence="version 1: pod/a: ErrImagePull"), Reason.TRAFFIC_STUCK, "ErrImagePull"),
        (
            Standing(state="foreign", sentence="a foreign image; version 1: 2 of 2 pods answer"),
            Reason.TRAFFIC_FOREIGN,
            "a foreign",
        ),
        (Standing(state="absent", sentence="there is no InferenceService"), Reason.DEPLOYMENT_DIFFERS, "no InferenceService"),
        (PlatformError("the API server does not answer"), Reason.TRAFFIC_UNKNOWN, "the API server does not answer"),
    ],
)
def test_what_the_cluster_says_of_the_champion_is_its_state(
    world: World, monkeypatch: pytest.MonkeyPatch, said: Standing | PlatformError, state: Reason, why: str
) -> None:
    add_version(world.ledger, 1, BEFORE)
    monkeypatch.setattr("console.status.open_reading", lambda settings: Cluster(said))  # noqa: ARG005
    on_cluster = dataclasses.replace(world, settings=world.settings.model_copy(update={"namespace": "team"}))
    status = on_cluster.stands()
    assert status.state == state
    assert why in status.headline.message
    assert "perennial serve" not in status.headline.next
    assert served(status) == (said.sentence if isinstance(said, Standing) else "the cluster does not say")


def add_unrolled(world: World) -> int:
    version = world.ledger.version(NAME, 1)
    made = version.model_dump(exclude={"number", "recipe"}) | {"run_key": "other", "digest": DIGESTS[1]}
    return world.ledger.add_version(**made, recipe=version.recipe)[0]


def test_the_controller_is_watching_gone_or_before_its_clock(world: World) -> None:
    nobody = controller_condition(world.ledger.lease("controller"), NOW)
    assert (nobody.reason, nobody.status) == (Reason.NO_CONTROLLER, "False")
    assert controller_in_words(nobody).startswith(
        "no controller is watching: start `perennial watch`; no controller has ticked yet"
    )
    lease = world.ledger.take_lease("controller", "host:1", now=NOW, seconds=60)
    world.ledger.note_tick("controller", NOW)
    lease = world.ledger.lease("controller")
    here = controller_condition(lease, NOW + timedelta(seconds=59))
    assert (here.status, controller_in_words(here)) == ("True", "host:1 is watching; it last ticked for 2024-04-09 00:00")
    gone = controller_condition(lease, NOW + timedelta(seconds=60))
    assert (gone.reason, gone.since) == (Reason.NO_CONTROLLER, NOW + timedelta(seconds=60))
    assert "start `perennial watch`; host:1 said nothing" in controller_in_words(gone)
    back = controller_condition(lease, NOW - timedelta(seconds=1))
    assert (back.reason, back.status) == (Reason.CLOCK_WENT_BACK, "False")
    assert "the clock went back" in controller_in_words(back) and "platform team" in controller_in_words(back)


def test_every_state_and_word_of_the_controller_is_in_the_runbook() -> None:
    """What a state means, what to look at and what to do stands under its own heading, with the word that people read."""
    text = (Path(__file__).parents[3] / "docs" / "runbook.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^### `(\w+)`: (.+)$", text, flags=re.MULTILINE))
    assert sections == {reason.value: word for reason, word in WORDS.items()}
    assert set(STATES) <= set(WORDS)
    assert [name for name in sections if name in STATES] == [reason.value for reason in WORDS if reason in STATES]
    every = dict(re.findall(r"^### `([^`]+)`[^\n]*\n(.*?)(?=^##|\Z)", text, flags=re.DOTALL | re.MULTILINE))
    assert set(every) >= {"no local server answers", "answers were not logged", "not ready"}
    for name, section in every.items():
        for part in ("Means:", "Look at:", "Do:"):
            assert part in section, f"{name}: {part}"


def test_status_fits_one_screen_and_its_json_says_the_same(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    add_version(world.ledger, 1, BEFORE)
    add_window(world.ledger, 0, measurement())
    decide(world, "retrain", "scheduled", "waits for a person")
    show_status(world.settings, NOW, NOW, json=False)
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) <= 24
    for said in ("no controller is watching", "waits for a person", "the window from 2024-04-08 closes", "no local server"):
        assert said in " ".join(printed.split())
    show_status(world.settings, NOW, NOW, json=True)
    stated = json.loads(capsys.readouterr().out)
    assert ModelStatus.model_validate(stated["models"][0]) == world.stands()
    assert stated["controller"]["status"] == "False"


class Answers(BaseHTTPRequestHandler):
    """A server that lost three rows."""

    def do_GET(self) -> None:
        body = b'perennial_log_lost_rows_total{model="churn"} 3.0\n' if self.path == "/metrics" else b"{}"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    with listening(Answers) as url:
        yield url.removeprefix("http://")


def test_rows_that_a_server_lost_are_said_with_who_must_act(address: str, tmp_path: Path) -> None:
    settings = Settings.from_environment({"PERENNIAL_PROJECT": str(tmp_path)})
    assert server_of(settings, "churn") is None
    settings.server_address("churn").parent.mkdir(parents=True)
    settings.server_address("churn").write_text(address)
    server = server_of(settings, "churn")
    assert server == ServerStatus(address=address, is_ready=True, lost_rows=3)
    trained = condition(Reason.TRAINED, "")
    said = served(ModelStatus(model=NAME, state=trained.reason, conditions=(trained,), server=server))
    assert "3 answers were not logged" in said
    assert "platform" in said


def test_a_server_that_is_gone_is_no_server(tmp_path: Path) -> None:
    settings = Settings.from_environment({"PERENNIAL_PROJECT": str(tmp_path)})
    settings.server_address("churn").parent.mkdir(parents=True)
    settings.server_address("churn").write_text("127.0.0.1:1")
    assert server_of(settings, "churn") is None
