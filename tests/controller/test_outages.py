"""A rollout with the real serving check, deployer and MLflow, one of which is down in the middle of it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from perennial.errors import NotFoundError, PlatformError
from perennial.ledger import Ledger
from perennial.moment import Moment
from perennial.settings import Settings
from perennial.spec.read import read
from perennial.versions.folder import publish
from serving.deployers import local, open_deployer
from serving.deployers.local import deployed
from serving.rollouts import leaving, roll_back
from tests.controller.world import NAME, NOW, REAL, QuickRunner, tick_until_idle, write_world
from tests.serving.verification.refit import answered, reference
from tests.serving.world import make_version, plan

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),  # MLflow 3.17 on SQLAlchemy 2.1
]
BUDGET_MS = 2_000
"""No answer takes that long, however busy the machine."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What a refit writes."""
    folder = tmp_path_factory.mktemp("refitted")
    made = make_version(folder, 1, plan())
    answered(reference(), made.model, made.contract).to_parquet(folder / "reference.parquet", index=False)
    return {"model": folder / "1.skops", "contract": folder / "1.json", "reference": folder / "reference.parquet"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = write_world(tmp_path)
    spec = settings.models / f"{NAME}.yaml"
    spec.write_text(spec.read_text() + f"  serving: {{p95_ms: {BUDGET_MS}}}\n")
    return settings


@pytest.fixture
def runner(settings: Settings, files: dict[str, Path]) -> QuickRunner:
    """Its training makes a version that can be served."""
    return QuickRunner(settings, digest=publish(files, NAME, "k", settings.versions).digest)


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    with Ledger.open(settings.ledger) as opened:
        yield opened


def has_traffic(settings: Settings, ledger: Ledger, number: int) -> tuple[bool, bool]:
    """Whether a version is the champion, and whether it is deployed."""
    champion, current = ledger.champion(NAME), deployed(settings.current(NAME))
    assert champion is not None
    return champion.number == number, current is not None and current.number == number


def test_with_mlflow_down_a_rollout_gives_traffic_and_the_alias_follows(
    settings: Settings, ledger: Ledger, runner: QuickRunner
) -> None:
    database = Path(settings.tracking.removeprefix("sqlite:///"))
    database.parent.mkdir(parents=True)
    database.write_bytes(b"a disk that lies" * 100)
    problem = tick_until_idle(settings, runner=runner)[-1].problems[0].sentence
    assert problem.startswith("the rollout stands still: MLflow")
    assert has_traffic(settings, ledger, 2) == (True, True), ledger.rollouts(NAME)[0].reason
    database.unlink()
    assert tick_until_idle(settings, runner=runner)[-1].problems == ()


def test_with_the_deployer_down_nothing_is_refused_and_the_version_is_deployed_later(
    settings: Settings, ledger: Ledger, runner: QuickRunner
) -> None:
    folder = settings.current(NAME).parent
    folder.parent.mkdir(parents=True)
    folder.write_text("a file where a folder should be")
    problem = tick_until_idle(settings, runner=runner)[-1].problems[0].sentence
    assert "cannot be written" in problem
    assert [rollout.state for rollout in ledger.rollouts(NAME)] == ["champion", "champion"]
    folder.unlink()
    tick_until_idle(settings, runner=runner)
    assert has_traffic(settings, ledger, 2) == (True, True)


def test_a_version_that_cannot_be_served_is_refused_and_the_champion_stays(
    settings: Settings, ledger: Ledger, runner: QuickRunner
) -> None:
    shutil.rmtree(settings.versions / NAME / runner.digest)
    tick_until_idle(settings, runner=runner)
    newest = ledger.rollouts(NAME)[0]
    assert (newest.state, newest.moved) == ("refused", NOW)
    assert "cannot be opened" in newest.reason
    assert has_traffic(settings, ledger, 1) == (True, True)


def test_a_rollback_that_could_not_be_deployed_goes_back_no_further_when_it_is_repeated(
    settings: Settings, ledger: Ledger, runner: QuickRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    tick_until_idle(settings, runner=runner)
    spec, deployer = read(settings.models / f"{NAME}.yaml"), open_deployer(settings)
    with monkeypatch.context() as patch:
        patch.setattr(local, "deploy", away)
        with pytest.raises(PlatformError):
            roll_back(settings, deployer, ledger, spec, leaving(deployer, ledger, NAME).number, Moment(NOW, REAL), "complaints")
    assert has_traffic(settings, ledger, 1) == (True, False)
    left = leaving(deployer, ledger, NAME)
    assert (left.number, left.state) == (2, "rolled back")
    assert roll_back(settings, deployer, ledger, spec, left.number, Moment(NOW, REAL), "complaints") is None
    assert has_traffic(settings, ledger, 1) == (True, True)
    with pytest.raises(NotFoundError, match="no champion before version 1"):
        leaving(deployer, ledger, NAME)


def away(*_: object) -> None:
    raise PlatformError("the disk does not answer")
