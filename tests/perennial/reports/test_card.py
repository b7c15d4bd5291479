"""The card says what was stored, all of it in figures that can be found again, and nothing twice differently."""

import dataclasses
import re
from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from perennial.evaluation.metrics import ErrorAnalysis, Estimate
from perennial.reports.card import card
from perennial.reports.formats import count, figure, interval, last_day, percent_interval
from perennial.reports.run_tables import METRIC_NAMES
from perennial.reports.summary import summary
from perennial.versions.findings import Findings

NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
WORDS_WITH_NUMBERS = {"50", "100", "1,000", "95"}
"""A coin's pairs, cases in a hundred, requests that utility is counted on, the percentile of a latency."""


def every(value: object) -> Iterator[object]:
    """Every value that is stored in a record, records included."""
    yield value
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from every(getattr(value, name))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from every(key)
            yield from every(item)
    elif isinstance(value, tuple):
        for item in value:
            yield from every(item)


def figures(text: str) -> set[str]:
    return set(NUMBER.findall(text))


def stored_figures(findings: Findings) -> set[str]:
    """Every figure that the wording makes of a stored value."""
    found: set[str] = set()
    parts = [findings.model, findings.info, findings.validation, findings.candidate, findings.judgement, findings.gates]
    for value in every((*parts, findings.contract)):
        if isinstance(value, str):
            found |= figures(value)
            if re.fullmatch(r"\d{4}-\d\d-\d\dT.*", value):
                found |= figures(last_day(value))
        elif isinstance(value, bool) or value is None:
            continue
        elif isinstance(value, int | float):
            found |= figures(figure(value)) | figures(figure(100 * value)) | {str(round(100 * value))}
            found |= {count(value)} if isinstance(value, int) else set()
        elif isinstance(value, Estimate):
            found |= figures(interval(value)) | figures(percent_interval(value))
        elif isinstance(value, tuple):
            found.add(count(len(value)))
    assert findings.candidate is not None and findings.judgement is not None
    kinds = [trial.recipe.kind for trial in findings.candidate.search.trials]
    found |= {count(kinds.count(kind)) for kind in kinds}
    return found | {figure(100 * (2 * findings.judgement.evaluation.confidence - 1))}


def invented(text: str, findings: Findings) -> set[str]:
    return figures(text) - stored_figures(findings) - WORDS_WITH_NUMBERS


def with_judgement(findings: Findings, **changes: object) -> Findings:
    assert findings.judgement is not None
    return dataclasses.replace(findings, judgement=findings.judgement.model_copy(update=changes))


@pytest.mark.parametrize("write", [card, summary])
def test_every_number_comes_from_a_stored_result(findings: Findings, write: object) -> None:
    assert callable(write)
    text = str(write(findings))
    assert len(figures(text)) > 20
    assert invented(text, findings) == set()
    assert invented(f"{text} 0.731987", findings) == {"0.731987"}


def test_the_same_findings_give_the_same_bytes_also_when_read_back(
    findings: Findings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("findings")
    findings.write(folder)
    again = Findings.read(folder)
    assert card(again) == card(findings)
    assert summary(again) == summary(findings)


def test_it_says_everything_a_reader_asks(findings: Findings) -> None:
    text = card(findings)
    assert findings.judgement is not None
    block = findings.judgement.evaluation
    for name, estimate in block.metrics.items():
        if name in METRIC_NAMES and name != "unlabelled_share":
            assert f"| {METRIC_NAMES[name]} | {interval(estimate)} |" in text
    for result in findings.results:
        assert f"| {result.name} | {result.verdict} | {result.sentence} |" in text
    for group in findings.judgement.analysis.declared + findings.judgement.analysis.found:
        assert group.name.replace("|", "\\|") in text
    for wanted in (
        "Intended use",
        "Not intended",
        "not exactly the judged one",
        "Depot team",
        "a1" * 32,
        "d" * 64,
        "A parcel that was lost",
    ):
        assert wanted in text
    assert "Too few cases to judge: depot = Isle | Pier." in text


def test_no_table_is_empty_and_every_row_has_its_cells(findings: Findings) -> None:
    bare = with_judgement(
        findings, analysis=ErrorAnalysis(declared=(), found=()), comparison=None, no_comparison="there is no champion"
    )
    bare = dataclasses.replace(
        bare, info=bare.info.model_copy(update={"views": ()}), model=bare.model.model_copy(deep=True), contract=None
    )
    for text in (card(findings), card(bare)):
        lines = text.splitlines()
        for number, line in enumerate(lines):
            if re.fullmatch(r"\| (--- \| ?)+", line + " ") or line.startswith("| ---"):
                assert lines[number + 1].startswith("| "), lines[number - 1]
                width = line.count("|")
                row = number + 1
                while row < len(lines) and lines[row].startswith("|"):
                    assert len(re.findall(r"(?<!\\)\|", lines[row])) == width, lines[row]
                    row += 1
    for sentence in (
        "Not compared: there is no champion.",
        "The spec names no groups.",
        "Nothing is looked up",
        "**not registered**",
    ):
        assert sentence in card(bare)


def test_a_refit_says_that_nothing_was_searched(findings: Findings) -> None:
    assert findings.candidate is not None
    update = {"mode": "refit", "trials": (), "importances": (), "selection_note": "The champion's columns were kept."}
    search = findings.candidate.search.model_copy(update=update)
    refit = dataclasses.replace(findings, candidate=findings.candidate.model_copy(update={"search": search}))
    assert "Nothing was searched: the champion's recipe was fitted again" in card(refit)
    assert "The champion's columns were kept." in card(refit)


def test_what_could_not_be_measured_is_said(findings: Findings) -> None:
    assert findings.judgement is not None
    block, comparison = findings.judgement.evaluation, findings.judgement.comparison
    assert comparison is not None
    left = {name: estimate for name, estimate in block.metrics.items() if name != "auc"}
    blind = block.model_copy(update={"metrics": left, "missing": {"auc": "no true case on these days"}, "invalid": 3})
    changed = with_judgement(findings, evaluation=blind, comparison=comparison.model_copy(update={"auc_difference": None}))
    text = card(changed)
    assert "Ranking (AUC) could not be measured: no true case on these days." in text
    assert "**3 probabilities were not numbers between 0 and 1**" in text
    assert "| AUC | not measured |" in text
    assert "such pairs" not in summary(changed)


def test_a_run_that_came_to_no_judgement_has_no_card(invalid: Findings) -> None:
    for write in (card, summary):
        with pytest.raises(ValueError, match="needs a candidate that was judged"):
            write(invalid)
