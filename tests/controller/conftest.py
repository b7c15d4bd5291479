"""The small installation and its ledger, for tests that need neither MLflow nor the serving check."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from perennial import registry
from perennial.evaluation.gates import GateResult
from perennial.ledger import Ledger
from perennial.settings import Settings
from serving import rollouts
from tests.controller.world import write_world


@pytest.fixture
def quick_rollouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow and the serving check, which cost seconds, are passed; test_outages.py has the real ones."""
    passed = GateResult(name="serving", verdict="pass", sentence="It answers.", numbers={})
    monkeypatch.setattr(registry, "set_champion", lambda *_, **__: True)
    monkeypatch.setattr(rollouts, "checked", lambda *_: passed)


@pytest.fixture
def settings(tmp_path: Path, quick_rollouts: None) -> Settings:
    """The small installation."""
    return write_world(tmp_path)


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    """Its ledger."""
    with Ledger.open(settings.ledger) as opened:
        yield opened
