"""Which page `report` names: of a model in service, of its newest training before that, or of the run that was asked for."""

import json
from pathlib import Path

import pytest

from console.display.results import show_report
from perennial.errors import NotFoundError
from perennial.ledger import Ledger
from perennial.settings import Settings
from tests.made_up import FIRST, NAME, WEEK, add_version, add_window, measurement, settings_in

NOW = FIRST + 3 * WEEK


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A model with one version, whose run left a page."""
    settings = settings_in(tmp_path)
    with Ledger.open(settings.ledger) as ledger:
        add_version(ledger, 1, FIRST)
    page = settings.results / f"{NAME}-1" / "report.html"
    page.parent.mkdir(parents=True)
    page.write_text("the run's page")
    return settings


def named(settings: Settings, name: str, capsys: pytest.CaptureFixture[str]) -> Path:
    show_report(settings, name, NOW, NOW, json=True)
    return Path(json.loads(capsys.readouterr().out)["report"])


def test_before_the_first_window_it_is_the_newest_training_s(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert named(settings, NAME, capsys).read_text() == "the run's page"


def test_of_a_model_in_service_it_is_made_anew(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with Ledger.open(settings.ledger) as ledger:
        add_window(ledger, 0, measurement())
    path = named(settings, NAME, capsys)
    assert path == settings.report(NAME)
    assert "1 window from 2024-04-01" in path.read_text()
    assert [found.name for found in path.parent.iterdir()] == [path.name]
    with Ledger.open(settings.ledger) as ledger:
        add_window(ledger, 1, measurement())
    assert "2 windows from 2024-04-01" in named(settings, NAME, capsys).read_text()
    assert named(settings, f"{NAME}-1", capsys).read_text() == "the run's page"


def test_of_a_monitoring_run_it_is_evidently_s_and_without_one_that_is_said(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with Ledger.open(settings.ledger) as ledger:
        ledger.start_run(run_id="m1", model=NAME, mode="monitor", started=FIRST, now=FIRST + WEEK, spec="s", folder="f")
    with pytest.raises(NotFoundError, match="m1 left no report"):
        show_report(settings, "m1", NOW, NOW, json=False)
    report = settings.runs / "m1" / "steps" / "monitoring-1" / "measure" / "report"
    report.parent.mkdir(parents=True)
    report.write_text("Evidently's page")
    path = named(settings, "m1", capsys)
    assert (path.name, path.read_text()) == ("report.html", "Evidently's page")
    assert named(settings, NAME, capsys).read_text() == "the run's page"


def test_a_page_says_first_how_the_model_is_and_what_comes_next(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with Ledger.open(settings.ledger) as ledger:
        add_window(ledger, 2, measurement())
    text = named(settings, NAME, capsys).read_text()
    said = text.partition('<p class="state registered"><span>')[2].partition("</p>")[0]
    assert said.startswith("<strong>Watched:</strong> version 1 knows labels up to 2024-04-01 00:00; window from 2024-04-15: ")
    assert "<strong>Next:</strong> nothing was decided yet; another training by hand: <code>perennial train churn</code>." in said
    show_report(settings, NAME, NOW + WEEK, NOW, json=True)
    assert "<strong>Window due:</strong>" in settings.report(NAME).read_text()
