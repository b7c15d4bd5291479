"""The page for everyone: no jargon, an answer first, and honest when there is little to say."""

import dataclasses
import re

import pytest

from perennial.evaluation.metrics import ErrorAnalysis, Estimate
from perennial.reports.summary import summary
from perennial.versions.findings import Findings


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+(?:-[a-z]+)*", text.lower()))


JARGON = words(
    """
auc roc recall precision brier loss bootstrap resample calibration calibrated calibrator interval confidence significance
significant deviation variance metric percentile quantile median mean average distribution regression boosting forest logistic
hyper-parameter parameter threshold probability probabilities odds log-odds segment champion challenger gate candidate recipe
fold dataset label labelled feature non-inferiority margin estimate permutation importance validation null sample p-value
standard error false positive negative drift digest sha utility baseline naive
"""
)
"""Words that a reader without statistics need not know. What the spec's owner writes is the owner's."""


def with_utility(findings: Findings, value: float, low: float, high: float) -> str:
    assert findings.judgement is not None
    block = findings.judgement.evaluation
    found = {**block.metrics, "utility": Estimate(value=value, low=low, high=high, standard_error=1.0)}
    changed = findings.judgement.model_copy(update={"evaluation": block.model_copy(update={"metrics": found})})
    return summary(dataclasses.replace(findings, judgement=changed))


def test_no_word_of_statistics(findings: Findings) -> None:
    text = summary(findings)
    spec = findings.model.spec
    for own in (spec.description, spec.objective.question, spec.label.never, spec.owner):
        text = text.replace(own, "")
    assert words(text) & JARGON == set()
    assert words(f"{text} The AUC") & JARGON == {"auc"}


def test_it_fits_one_page(findings: Findings) -> None:
    assert len(summary(findings).split()) < 500


@pytest.mark.parametrize(
    ("value", "low", "high", "said"),
    [
        (213.4, 141.5, 285.3, "lies between 142 and 285: more than nothing."),
        (213.4, -20.0, 446.8, "lies between -20 and 447: it may as well be nothing."),
        (-80.0, -120.0, -40.0, "lies between -120 and -40: less than that rule earns."),
    ],
)
def test_it_says_whether_the_model_earns_its_keep(findings: Findings, value: float, low: float, high: float, said: str) -> None:
    assert said in with_utility(findings, value, low, high)


def test_a_stopped_run_is_not_fit_for_use(findings: Findings) -> None:
    assert "**The answer**: It is fit for use." in summary(findings)
    assert "It is not fit for use: a check stopped it" in summary(dataclasses.replace(findings, contract=None))


def test_only_groups_that_are_shown_to_be_worse_are_named(findings: Findings) -> None:
    text = summary(findings)
    assert "Its chances were least to be trusted for: road_speed ≥ 81.4 (1,204 requests)." in text
    assert "depot = South" not in text
    assert findings.judgement is not None
    harmed = findings.judgement.analysis.declared[1].model_copy(
        update={"excess": Estimate(value=0.1, low=0.05, high=0.15, standard_error=0.03)}
    )
    changed = findings.judgement.model_copy(update={"analysis": ErrorAnalysis(declared=(harmed,), found=())})
    text = summary(dataclasses.replace(findings, judgement=changed))
    assert "It did worse than the version in use for: depot = South (6,204 requests)." in text


def test_the_first_version_is_set_beside_nothing(findings: Findings) -> None:
    assert findings.judgement is not None
    changed = findings.judgement.model_copy(update={"comparison": None, "no_comparison": "there is no champion"})
    assert "It was not set beside an earlier version" in summary(dataclasses.replace(findings, judgement=changed))
