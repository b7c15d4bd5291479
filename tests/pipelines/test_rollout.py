"""From a registered version to traffic and back: what the ledger wants is checked by the real server, deployed and shown."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from perennial import registry
from perennial.ledger import Ledger, Version
from perennial.moment import Moment
from perennial.spec.read import read
from perennial.versions.folder import open_version, publish
from serving.deployers import open_deployer
from serving.deployers.local import deployed
from serving.rollouts import carry_out, repair
from tests.pipelines.conftest import Project
from tests.second_project import NAME

pytestmark = [
    pytest.mark.local,
    pytest.mark.xdist_group("second project"),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),  # MLflow 3.17 on SQLAlchemy 2.1
]

MOMENT = datetime(2031, 6, 1, tzinfo=UTC)
LATER = MOMENT + timedelta(minutes=1)
"""Later than the training's own rollout, which has the real time."""


def add_second_version(project: Project, ledger: Ledger, model: Path | None = None) -> Version:
    """A second registered version: the first one's files with another note on the card, and another model file if given."""
    settings, first = project.settings, ledger.version(NAME)
    opened = open_version(settings.versions / NAME / first.digest)
    files = {role: opened.file(role) for role in opened.manifest.files}
    files["card"] = project.folder / "card.md"
    files["card"].write_text("another card")
    if model is not None:
        files["model"] = model
    published = publish(files, NAME, "another key", settings.versions)
    entry = first.model_dump() | {"run_key": "another key", "digest": published.digest, "recipe": first.recipe}
    del entry["number"]
    number, is_new = ledger.add_version(**entry)
    assert (number, is_new) == (2, True)
    ledger.request_rollout(model=NAME, number=2, now=MOMENT, reason="a test asks")
    return ledger.version(NAME, 2)


def test_training_rolled_the_first_version_out(trained: Project) -> None:
    with Ledger.open(trained.settings.ledger) as ledger:
        assert [rollout.state for rollout in ledger.rollouts(NAME)] == ["champion"]
        champion = ledger.champion(NAME)
    current = deployed(trained.settings.current(NAME))
    assert champion is not None
    assert current is not None
    assert (current.digest, current.number) == (champion.digest, 1)


def test_a_second_version_takes_over_and_rollback_goes_back(copied: Project) -> None:
    settings = copied.settings
    model = read(settings.models / f"{NAME}.yaml")
    with Ledger.open(settings.ledger) as ledger:
        second = add_second_version(copied, ledger)
        moved, _ = carry_out(settings, open_deployer(settings), ledger, model, Moment(LATER, LATER))
        assert moved is not None
        assert moved.state == "champion", moved.reason
        assert ledger.champion(NAME) == second
        current = deployed(settings.current(NAME))
        assert current is not None
        assert current.digest == second.digest
    back = copied.perennial("rollback", NAME, "--reason", "a test goes back")
    assert back.returncode == 0, back.stderr
    assert "version 1 has the traffic again" in back.stdout
    current = deployed(settings.current(NAME))
    assert current is not None
    assert current.number == 1
    again = copied.perennial("rollback", NAME)
    assert again.returncode == 4
    assert "no champion before version 1" in again.stderr


def test_a_version_that_was_rolled_back_by_mistake_is_asked_for_again_by_its_number(copied: Project) -> None:
    settings = copied.settings
    model = read(settings.models / f"{NAME}.yaml")
    with Ledger.open(settings.ledger) as ledger:
        second = add_second_version(copied, ledger)
        carry_out(settings, open_deployer(settings), ledger, model, Moment(LATER, LATER))
    assert copied.perennial("rollback", NAME).returncode == 0
    again = copied.perennial("rollout", NAME, "2", "--reason", "the rollback was a mistake")
    assert again.returncode == 0, again.stderr
    assert f"{NAME}: version 2 has the traffic; version 1 had it before" in again.stdout
    current = deployed(settings.current(NAME))
    assert current is not None
    assert current.digest == second.digest
    has_it = copied.perennial("rollout", NAME, "2")
    assert (has_it.returncode, "version 2 has the traffic already; nothing was changed" in has_it.stdout) == (0, True)
    unknown = copied.perennial("rollout", NAME, "9")
    assert unknown.returncode == 4
    assert "has no version 9; it has 1 to 2" in unknown.stderr
    back = copied.perennial("rollback", NAME)
    assert "version 2 was rolled back; version 1 has the traffic again" in back.stdout
    current = deployed(settings.current(NAME))
    assert current is not None
    assert current.number == 1
    shutil.rmtree(settings.versions / NAME / second.digest)
    gone = copied.perennial("rollout", NAME, "2", "--json")
    found = json.loads(gone.stdout)
    assert (gone.returncode, found["rollout"]["state"], found["champion"]["number"]) == (3, "refused", 1)
    assert "cannot be opened" in found["rollout"]["reason"]


def test_a_lost_online_store_refuses_no_version(copied: Project) -> None:
    settings = copied.settings
    online = Path(settings.online_store)
    online.parent.mkdir(parents=True, exist_ok=True)
    online.write_bytes(b"not a database")
    with Ledger.open(settings.ledger) as ledger:
        second = add_second_version(copied, ledger)
        moved, _ = carry_out(
            settings,
            open_deployer(settings),
            ledger,
            read(settings.models / f"{NAME}.yaml"),
            Moment(LATER, LATER),
        )
        assert moved is not None
        assert moved.state == "champion", "the check brings a store of its own: what is down now says nothing about the version"
        assert ledger.champion(NAME) == second


def test_a_version_that_answers_otherwise_is_refused_and_the_champion_stays(copied: Project, tmp_path: Path) -> None:
    settings = copied.settings
    model = read(settings.models / f"{NAME}.yaml")
    from perennial.training import model_file
    from perennial.versions.contract import Contract

    with Ledger.open(settings.ledger) as ledger:
        first = open_version(settings.versions / NAME / ledger.version(NAME).digest)
        swapped = model_file.load(first.file("model"))
        estimator = swapped.steps[-1][1]
        if hasattr(estimator, "coef_"):
            estimator.coef_ = -estimator.coef_
        else:
            estimator._baseline_prediction = estimator._baseline_prediction + 1.0
        model_file.dump(swapped, tmp_path / "model.skops")
        assert Contract.read(first.file("contract")).model == NAME
        add_second_version(copied, ledger, tmp_path / "model.skops")
        moved, _ = carry_out(settings, open_deployer(settings), ledger, model, Moment(LATER, LATER))
        assert moved is not None
        assert moved.state == "refused"
        assert "does not give" in moved.reason or "difference" in moved.reason
        champion = ledger.champion(NAME)
        assert champion is not None
        assert champion.number == 1
    current = deployed(settings.current(NAME))
    assert current is not None
    assert current.number == 1


def test_repair_makes_the_deployed_state_what_the_ledger_wants(copied: Project) -> None:
    settings = copied.settings
    settings.current(NAME).unlink()
    with Ledger.open(settings.ledger) as ledger:
        change = repair(settings, open_deployer(settings), ledger, read(settings.models / f"{NAME}.yaml"), MOMENT)
        champion = ledger.champion(NAME)
    assert change is not None and change.kind == "Deployed"
    current = deployed(settings.current(NAME))
    assert champion is not None
    assert current is not None
    assert current.digest == champion.digest
    assert registry.set_champion(settings, model=NAME, number=1)
    assert not registry.set_champion(settings, model=NAME, number=99)
