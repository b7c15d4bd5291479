"""What a training found: files of an older release are read by the names of today, and written by them."""

from pathlib import Path

from perennial.versions.findings import CandidateSummary, Findings, Judgement


def test_a_candidate_of_an_older_release_is_read(findings: Findings, tmp_path: Path) -> None:
    path = tmp_path / "candidate.json"
    assert findings.candidate is not None
    text = findings.candidate.to_json()
    assert '"baseline": {' in text and "naive" not in text
    path.write_text(text.replace('"baseline": {', '"naive": {'), encoding="utf-8")
    assert CandidateSummary.read(path) == findings.candidate


def test_a_judgement_of_an_older_release_is_read(findings: Findings, tmp_path: Path) -> None:
    path = tmp_path / "judgement.json"
    assert findings.judgement is not None
    text = findings.judgement.to_json()
    assert '"baseline_log_loss"' in text and "naive_" not in text
    path.write_text(text.replace('"baseline_', '"naive_').replace('"comparator"', '"rival"'), encoding="utf-8")
    assert '"rival": "champion"' in path.read_text(encoding="utf-8")
    assert Judgement.read(path) == findings.judgement


def test_a_group_that_was_held_against_the_naive_rule_was_held_against_the_baseline(findings: Findings) -> None:
    assert findings.judgement is not None
    group = findings.judgement.analysis.declared[0].model_copy(update={"comparator": "baseline"})
    before = group.to_json().replace('"comparator": "baseline"', '"rival": "naive rule"')
    assert type(group).model_validate_json(before) == group
