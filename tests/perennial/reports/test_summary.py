"""The page for everyone: no jargon, an answer first, and honest when there is little to say."""

import dataclasses
import re
from datetime import timedelta

import pytest

from perennial.evaluation.metrics import ErrorAnalysis, Estimate
from perennial.loop.window import WindowRecord
from perennial.reports.markdown import markdown
from perennial.reports.summary import lately, summary, summary_page, utility_of
from perennial.versions.findings import Findings
from tests.made_up import DIGESTS, FIRST, WEEK, measurement, performance


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


def window(week: int, utility: float, digest: str = DIGESTS[0], judged: bool = True) -> WindowRecord:
    """A week in which a version earned so much per 1,000 requests, ± 24 at 95 %."""
    start = FIRST + week * WEEK
    performed = performance(start + WEEK, arrived=1000)
    estimate = Estimate(value=utility, low=utility - 24.0, high=utility + 24.0, standard_error=12.0)
    return WindowRecord(
        model="parcel-late",
        start=start,
        end=start + WEEK,
        measured_at=start + WEEK + timedelta(hours=1),
        measurement=measurement(champion=digest),
        performance=performed.model_copy(update={"metrics": {**performed.metrics, "utility": estimate}}) if judged else None,
    )


def said_of(findings: Findings, *windows: WindowRecord) -> str:
    return markdown(lately(findings, windows, DIGESTS[0]))


@pytest.mark.parametrize(
    ("earned", "said"),
    [
        (190.0, "It keeps its promise as far as one can tell: so small a difference can be luck."),
        (20.0, "It earns less than it promised, very probably not by luck."),
        (420.0, "It earns more than it promised, very probably not by luck."),
    ],
)
def test_what_was_earned_lately_stands_beside_the_promise(findings: Findings, earned: float, said: str) -> None:
    text = said_of(findings, *(window(week, earned) for week in (3, 2, 1, 0)))
    assert "## What has it earned lately?" in text
    assert f"From 2024-04-01 to 2024-04-28 it earned about **{earned:g} points of customer satisfaction** more" in text
    assert "When it was made it promised 213, very probably between 142 and 285." in text
    assert said in text
    assert words(text) & JARGON == set()


def test_only_the_newest_windows_that_the_version_answered_alone_and_that_were_judged_count(findings: Findings) -> None:
    later = [window(9, 900.0, judged=False), window(8, 900.0, digest=DIGESTS[1])]
    mixed = window(7, 900.0)
    both = mixed.measurement.model_copy(update={"versions": {DIGESTS[0]: 700, DIGESTS[1]: 700}})
    mixed = mixed.model_copy(update={"measurement": both})
    text = said_of(findings, *later, mixed, *(window(week, 100.0) for week in (6, 5, 4, 3)), window(2, 900.0))
    assert "From 2024-04-22 to 2024-05-19 it earned about **100 points" in text


def test_a_version_without_judged_windows_says_so_and_one_without_a_promise_too(findings: Findings) -> None:
    assert "Nobody can say yet" in said_of(findings) and "Nobody can say yet" in said_of(findings, window(0, 9.0, judged=False))
    unknown = dataclasses.replace(findings, judgement=None)
    assert "What it would be worth was not known" in said_of(unknown, window(0, 9.0))


def test_the_utility_of_several_windows_weighs_them_by_their_labels() -> None:
    small = window(1, 300.0)
    assert small.performance is not None
    labels = small.performance.labels.model_copy(update={"arrived": 500})
    small = small.model_copy(update={"performance": small.performance.model_copy(update={"labels": labels})})
    found = utility_of([window(0, 0.0), small])
    assert found is not None
    assert found.value == pytest.approx(100.0)
    assert found.standard_error == pytest.approx(12.0 * (1.0 + 0.25) ** 0.5 / 1.5)
    assert utility_of([]) is None


def test_the_page_ends_with_what_was_earned_lately(findings: Findings) -> None:
    text = summary_page(findings, [window(0, 190.0)], DIGESTS[0])
    assert text.index("What happens next?") < text.index("<h2>What has it earned lately?</h2>")
    assert "<strong>190 points of customer satisfaction</strong>" in text
