"""A feature is renamed or changes its type after version 1: that goes on serving, and there is a way to version 2 and back."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pandas as pd
import pytest

from feature_repo import store
from feature_repo.online_store.database import open_database
from feature_repo.online_store.reader import PlanReader
from perennial.ledger import Ledger, Version
from perennial.settings import Settings
from perennial.versions import store as version_store
from perennial.versions.contract import Contract
from perennial.versions.folder import open_version
from tests.pipelines.conftest import Project
from tests.second_project import FIRST_DAY, NAME, NOW

pytestmark = [pytest.mark.local, pytest.mark.xdist_group("second project")]
BEGIN = FIRST_DAY - timedelta(days=30)


@dataclass(frozen=True)
class Change:
    """What a team does to a view and its source."""

    definition: tuple[str, str]
    """A text of the definitions, and what takes its place."""
    source: Callable[[pd.DataFrame], pd.DataFrame]
    """What becomes of the source."""
    said: str
    """What is told of version 1's layout when values are materialised."""
    note: str
    """What the training says of the champion's recipe; empty where it can be refitted."""


CHANGES = {
    "renamed": Change(
        ('"account_country"', '"account_land"'),
        lambda frame: frame.rename(columns={"account_country": "account_land"}),
        "its source has no column account_country any more",
        "The champion's recipe names account_country, which the dataset no longer has: searched again",
    ),
    "retyped": Change(
        ('"account_days", dtype=Int64', '"account_days", dtype=String'),
        lambda frame: frame.assign(account_days=pd.cut(frame["account_days"], [0, 200, 400, 9999]).astype(str)),
        "its source has account_days as string, not int64",
        "",
    ),
}


def features_of(settings: Settings, version: Version) -> dict[str, Any]:
    """What a version reads of one customer and shop, by its own plan, as its server would."""
    contract = Contract.read(open_version(version_store.folder(settings, NAME, version.digest)).file("contract"))
    assert contract.plan is not None
    reader = PlanReader(contract.plan, settings.online_store)
    reader.check()
    (found,) = reader.read([[7 if key.name == "customer_id" else "S03" for key in contract.plan.keys]])
    reader.close()
    assert "stale layout" not in found.status
    names = [column.name for view in contract.plan.views for column in view.features]
    return dict(zip(names, found.values, strict=True))


def materialize(settings: Settings) -> list[str]:
    said: list[str] = []
    store.apply(settings)
    store.materialize(settings, BEGIN, NOW, said.append)
    return said


def champion(settings: Settings) -> Version:
    with Ledger.open(settings.ledger) as ledger:
        found = ledger.champion(NAME)
    assert found is not None
    return found


@pytest.mark.parametrize("case", CHANGES)
def test_the_whole_path_of_a_feature_that_changed(copied: Project, case: str) -> None:
    settings, change = copied.settings, CHANGES[case]
    quiet = materialize(settings)
    assert not any("a version still reads" in sentence for sentence in quiet)
    first = champion(settings)
    before = features_of(settings, first)
    assert before["account_days"] is not None

    definitions = settings.definitions / "payments.py"
    assert change.definition[0] in definitions.read_text()
    definitions.write_text(definitions.read_text().replace(*change.definition))
    copied.change("account", change.source)
    said = materialize(settings)
    assert features_of(settings, first) == before, "version 1 goes on serving by its own layout"
    assert [sentence for sentence in said if "which a version still reads" in sentence and change.said in sentence]

    code, found, error = copied.train()
    assert code == 3, error
    gates = {gate["name"]: gate for gate in found["gates"]}
    assert gates["non-inferiority:log-loss"]["verdict"] == "undecided"
    assert f"`perennial train {NAME} --replace --reason" in gates["non-inferiority:log-loss"]["sentence"]
    assert change.note in found["run"]["reason"]

    refused = copied.perennial("train", NAME, "--now", NOW.isoformat(), "--replace")
    assert refused.returncode == 2 and "--reason is missing" in refused.stderr
    code, found, error = copied.train("--replace", "--reason", "the source changed")
    assert code == 0, (error, found)
    second = champion(settings)
    assert second.number == first.number + 1
    with Ledger.open(settings.ledger) as ledger:
        decision = ledger.decisions(NAME)[0]
        assert decision.reason == "manual" and "Why: the source changed" in decision.sentence
    assert features_of(settings, second).keys() == {change.definition[1].partition('"')[2].partition('"')[0], *before} - (
        {"account_country"} if case == "renamed" else set()
    )
    assert features_of(settings, first) == before, "a version that can be rolled back to is needed too"

    assert copied.perennial("rollback", NAME, "--reason", "complaints").returncode == 0
    assert champion(settings) == first
    materialize(settings)
    assert features_of(settings, first) == before

    with Ledger.open(settings.ledger) as ledger:
        names = {rollout.state for rollout in ledger.rollouts(NAME)}
    assert names == {"champion", "rolled back"}
    with open_database(settings.online_store, write=False) as database:
        held = {layout.view for layout in database.held() if layout.name != database.layout(layout.view).name}
    assert held == {"account"}, "one kept layout, and no more"


def test_a_layout_that_no_version_needs_is_dropped_and_one_that_cannot_be_judged_is_not(copied: Project) -> None:
    settings = copied.settings
    materialize(settings)
    first = champion(settings)
    definitions = settings.definitions / "payments.py"
    for name in ("account_land", "account_nation"):
        definitions.write_text(
            definitions.read_text().replace('"account_country"', f'"{name}"').replace('"account_land"', f'"{name}"')
        )
        assert store.apply(settings).note == ""
        with open_database(settings.online_store, write=False) as database:
            fields = [sorted(field.name for field in layout.fields) for layout in database.held() if layout.view == "account"]
        # Version 1's layout, and the current one: the one between no version ever read.
        assert len(fields) == 2 and any("account_country" in names for names in fields) and any(name in names for names in fields)
    contract = open_version(version_store.folder(settings, NAME, first.digest)).file("contract")
    contract.write_text(contract.read_text() + " ")
    definitions.write_text(definitions.read_text().replace('"account_nation"', '"account_realm"'))
    note = store.apply(settings).note
    assert "every layout of the online store is kept" in note and "contract" in note
    with open_database(settings.online_store, write=False) as database:
        assert len([layout for layout in database.held() if layout.view == "account"]) == 3, "nobody knows what it needs"
