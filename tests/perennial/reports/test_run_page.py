"""The page of a run needs nothing else, shows what is stored and keeps foreign text from becoming markup."""

import dataclasses
import re

import pytest

from perennial.data.validation import Validation
from perennial.evaluation.gates import GateResult
from perennial.reports.html import TEMPLATES
from perennial.reports.run_page import plots_page, report
from perennial.versions.findings import Findings
from tests.html_pages import check_alone, tables_of


@pytest.fixture(scope="module")
def text(findings: Findings) -> str:
    return report(findings)


def test_the_page_is_well_formed_and_needs_nothing_else(text: str) -> None:
    pictures = [attributes for tag, attributes in check_alone(text).tags if tag == "img"]
    assert len(pictures) == 5
    assert all(len(attributes["alt"] or "") > 40 for attributes in pictures)


def test_every_table_has_a_caption_and_headers_and_rows(text: str) -> None:
    tables = tables_of(text)
    assert len(tables) >= 7
    assert all("<caption>" in table for table in tables)


def test_only_groups_that_are_shown_to_be_worse_are_called_worst(text: str) -> None:
    (worst,) = [table for table in tables_of(text) if "<caption>The worst groups" in table]
    assert "road_speed ≥ 81.4" in worst and "weight is missing" not in worst
    assert "so that nothing shows them to be worse: weight is missing." in text


def test_where_no_group_is_shown_to_be_worse_that_is_said(findings: Findings) -> None:
    assert findings.judgement is not None
    silent = findings.judgement.analysis.model_copy(update={"found": findings.judgement.analysis.found[1:]})
    judgement = findings.judgement.model_copy(update={"analysis": silent})
    assert "No group was found that is shown to be worse." in report(dataclasses.replace(findings, judgement=judgement))


def test_it_shows_gates_metrics_groups_and_trials(text: str, findings: Findings) -> None:
    for result in findings.results:
        assert f'<th scope="row">{result.name}</th>' in text
    for wanted in ("✓ pass", "0.521 (0.502 to 0.540)", "depot = North", "road_speed ≥ 81.4", "gradient boosting", "2031-03-31"):
        assert wanted in text
    assert "Registered: every gate passed" in text


def test_a_run_that_the_data_stopped_says_so(invalid: Findings) -> None:
    text = report(invalid)
    check_alone(text)
    assert "Not registered. What stopped it: data." in text
    assert "✗ fail" in text and "<li>weight: every value is missing</li>" in text
    assert "<img" not in text and "How good it is" not in text


def test_foreign_text_is_shown_and_never_run(findings: Findings) -> None:
    attack = '<script>alert("x")</script>'
    gate = GateResult(name=f"a{attack}", verdict="fail", sentence=attack, numbers={})
    assert findings.judgement is not None
    group = findings.judgement.analysis.declared[0].model_copy(update={"name": attack})
    analysis = findings.judgement.analysis.model_copy(update={"declared": (group,), "note": attack})
    hostile = dataclasses.replace(
        findings,
        validation=Validation(gate=gate, findings=(attack,)),
        gates=None,
        judgement=findings.judgement.model_copy(update={"analysis": analysis, "comparison": None, "no_comparison": attack}),
    )
    text = report(hostile)
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 5


def test_the_same_findings_give_the_same_page(text: str, findings: Findings) -> None:
    assert report(findings) == text


def test_the_pictures_alone_are_a_page_too(findings: Findings) -> None:
    assert findings.judgement is not None and findings.candidate is not None
    text = plots_page(findings.model, findings.judgement, findings.candidate)
    check_alone(text)
    assert text.count("<img") == 5


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_can_be_read_by_day_and_by_night() -> None:
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    schemes = [dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL)]
    verdicts = re.findall(r"(?:\.\w+, )?\.(\w+) \{ color: (#\w{6}); \}", style)
    assert len(schemes) == 2 and len(verdicts) == 6
    for scheme, marks in zip(schemes, (verdicts[:3], verdicts[3:]), strict=True):
        for colour in (scheme["ink"], scheme["quiet"], *(colour for _, colour in marks)):
            for ground in (scheme["page"], scheme["soft"]):
                light, dark = sorted((luminance(colour), luminance(ground)), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (colour, ground)
