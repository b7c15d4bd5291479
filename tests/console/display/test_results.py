"""Which page `report` names: of a model in service, of its newest training before that, or of the run that was asked for."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from console.display.results import show_card, show_report
from perennial.errors import NotFoundError, PlatformError
from perennial.ledger import Ledger
from perennial.reports.card import card
from perennial.reports.summary import summary
from perennial.settings import Settings
from perennial.versions import store as version_store
from perennial.versions.findings import Findings
from tests.made_up import FIRST, NAME, RECIPE, WEEK, add_version, add_window, draft, measurement, performance, settings_in
from tests.perennial.conftest import made_up


@pytest.fixture(scope="module")
def findings() -> Findings:
    return made_up()


NOW = FIRST + 3 * WEEK + timedelta(hours=1)
"""The third window has been measured."""


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


def named(settings: Settings, name: str, capsys: pytest.CaptureFixture[str], now: datetime = NOW) -> Path:
    show_report(settings, name, now, now, json=True)
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


def test_a_page_of_an_earlier_time_leaves_out_what_began_later(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """The first window ends after a week, is measured an hour later, and matures after three days."""
    with Ledger.open(settings.ledger) as ledger:
        for week in (0, 1):
            add_window(ledger, week, measurement(), performance(FIRST + (week + 1) * WEEK, auc=0.654))
            made = FIRST + (week + 1) * WEEK + timedelta(days=3)
            ledger.add_decision(NAME, cause=f"{NAME}/monitor/{week}", now=made, draft=draft("leave"), state="done")
    assert "2 windows from 2024-04-01" in named(settings, NAME, capsys).read_text()
    early = named(settings, NAME, capsys, FIRST + WEEK + timedelta(days=1)).read_text()
    assert "1 window from 2024-04-01" in early and "Decisions: none" in early
    assert "0.654" not in early and "0.654" in named(settings, NAME, capsys, FIRST + WEEK + timedelta(days=4)).read_text()
    assert named(settings, NAME, capsys, FIRST + WEEK).read_text() == "the run's page"


def test_a_page_says_first_how_the_model_is_and_what_comes_next(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with Ledger.open(settings.ledger) as ledger:
        add_window(ledger, 2, measurement())
    text = named(settings, NAME, capsys).read_text()
    said = text.partition('<p class="state registered"><span>')[2].partition("</p>")[0]
    assert said.startswith("<strong>Watched:</strong> version 1 knows labels up to 2024-04-01 00:00; window from 2024-04-15: ")
    assert "<strong>Next:</strong> nothing was decided yet; another training by hand: <code>perennial train churn</code>." in said
    show_report(settings, NAME, NOW + WEEK, NOW, json=True)
    assert "<strong>Window due:</strong>" in settings.report(NAME).read_text()


@pytest.fixture
def published(settings: Settings, findings: Findings, tmp_path: Path) -> Settings:
    """The model's version 1 has a folder, with the findings of a made-up run."""
    folder = tmp_path / "findings"
    findings.write(folder)
    (folder / "model.skops").write_bytes(b"no model")
    (folder / "card.md").write_text(card(findings))
    (folder / "summary.md").write_text(summary(findings))
    roles = ("spec", "dataset", "validation", "candidate", "judgement", "gates", "contract")
    files = {role: folder / f"{role}.json" for role in roles} | {role: folder / f"{role}.md" for role in ("card", "summary")}
    kept = version_store.keep(settings, {**files, "model": folder / "model.skops"}, NAME, "key 2")
    with Ledger.open(settings.ledger) as ledger:
        now = FIRST + WEEK
        run = ledger.start_run(run_id="r2", model=NAME, mode="search", started=now, now=now, spec="s" * 64, folder="f")
        ledger.add_version(
            model=NAME,
            run_key="key 2",
            digest=kept.digest,
            created=now,
            run_id=run.run_id,
            recipe=RECIPE,
            searched_at=now,
            trained_until=now,
        )
        add_window(ledger, 2, measurement(champion=kept.digest), performance(FIRST + 3 * WEEK))
    return settings


def card_of(settings: Settings, capsys: pytest.CaptureFixture[str], **asked: bool) -> str:
    show_card(settings, NAME, None, **{"summary": False, "html": False, "json": False, **asked})
    return capsys.readouterr().out


def test_card_and_summary_are_the_stored_markdown_and_the_summary_says_what_was_earned_lately(
    published: Settings, findings: Findings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert card_of(published, capsys) == card(findings)
    stored, lately = card_of(published, capsys, summary=True).split("\n## What has it earned lately?\n")
    assert stored == summary(findings)
    assert "From 2024-04-15 to 2024-04-21 it earned about **42 points" in lately
    assert "It earns less than it promised" in lately
    assert json.loads(card_of(published, capsys, summary=True, json=True))["text"].endswith(lately)


def test_card_and_summary_are_written_as_pages(published: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    folder = published.report(NAME).parent / NAME
    printed = card_of(published, capsys, html=True)
    assert printed == f"{NAME} version 2: card\n{folder / 'version-2-card.html'}\n"
    assert "<h1>Model card: parcel-late</h1>" in (folder / "version-2-card.html").read_text()
    page = Path(json.loads(card_of(published, capsys, summary=True, html=True, json=True))["path"])
    assert page == folder / "version-2-summary.html"
    assert "<h2>What has it earned lately?</h2>" in page.read_text()


def test_a_page_that_cannot_be_written_is_a_fault_of_the_platform(published: Settings) -> None:
    published.report(NAME).parent.write_text("a file is in the way")
    with pytest.raises(PlatformError, match="give PERENNIAL_STATE a folder that can"):
        show_card(published, NAME, None, summary=False, html=True, json=False)
