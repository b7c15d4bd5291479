"""The one page for a reader who knows no statistics: does the model earn its keep, and where must one be careful?

From stored findings only; the same findings give the same bytes. A version keeps its summary as Markdown, from the day of its
training; `lately` adds what it has earned since, and `summary_page` is both as an HTML page. A test holds the list of words that
do not belong here.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from perennial.evaluation.estimate import NORMAL, Estimate, total
from perennial.loop.window import WindowRecord
from perennial.reports import run_tables
from perennial.reports.blocks import Document, Heading, Mark, Paragraph, Points, Table, Text, strong
from perennial.reports.formats import count, day, figure, last_day, of_100, sentence
from perennial.reports.html import page
from perennial.reports.markdown import markdown

if TYPE_CHECKING:
    from perennial.evaluation.metrics import BlockEvaluation, SegmentResult
    from perennial.spec.model import Model
    from perennial.versions.findings import CandidateSummary, Findings, Judgement

OCCASIONS = {"degraded": "it gets worse", "drift": "the world changes", "manual": "its owner asks for it"}
"""Reasons to train again, in words; *scheduled* is said with its days."""

MAX_GROUPS = 3
"""Most groups that are named."""

LATELY = 4
"""Most windows of *lately*: about a month of weeks, enough for some labels and too few to hide a change."""


def summary(findings: "Findings") -> str:
    """The page as Markdown, as it is on the day of the training.

    Args:
        findings: what the run found; it came to its gates.

    Raises:
        ValueError: there is no candidate, or it was not judged.
    """
    return markdown(_document(findings))


def summary_page(findings: "Findings", windows: Sequence[WindowRecord], digest: str) -> str:
    """The page as HTML, with what the version has earned lately.

    Args:
        findings: what the run found; it came to its gates.
        windows: of the model, newest first.
        digest: of the version.

    Raises:
        ValueError: there is no candidate, or it was not judged.
    """
    return page(f"{findings.model.name} in plain words", [*_document(findings), *lately(findings, windows, digest)])


def lately(findings: "Findings", windows: Sequence[WindowRecord], digest: str) -> list[Document]:
    """What a version earned lately beside what it promised when it was judged, as a section.

    Args:
        findings: what its run found.
        windows: of the model, newest first.
        digest: of the version; windows in which another one answered too are left out.
    """
    version_windows = [
        record for record in windows if set(record.measurement.versions) == {digest} and _utility(record) is not None
    ][:LATELY]
    promised = None if findings.judgement is None else findings.judgement.evaluation.metrics.get("utility")
    head, earned = Heading("What has it earned lately?"), utility_of(version_windows)
    if earned is None:
        return [head, Paragraph("Nobody can say yet: no stretch of its service is over whose outcomes are known.")]
    begin, end = min(record.start for record in version_windows), max(record.end for record in version_windows)
    span = f"From {begin:%Y-%m-%d} to {last_day(end.isoformat())}"
    amount = strong(f"{figure(earned.value)} {findings.model.spec.objective.utility.unit}")
    rest = f" more than that simple rule for every 1,000 requests; very probably {_between(earned)}. {_promise(earned, promised)}"
    return [head, Paragraph((f"{span} it earned about ", amount, rest))]


def _utility(record: WindowRecord) -> Estimate | None:
    return None if record.performance is None else record.performance.metrics.get("utility")


def utility_of(windows: Sequence[WindowRecord]) -> Estimate | None:
    """Utility per 1,000 labelled predictions over several windows, which are taken as independent; None where none has one."""
    utilities = [
        (utility, record.performance.labels.arrived)
        for record in windows
        if record.performance is not None and record.performance.labels.arrived and (utility := _utility(record)) is not None
    ]
    labelled = sum(arrived for _, arrived in utilities)
    return total([(utility, arrived / labelled) for utility, arrived in utilities])


def _between(estimate: Estimate) -> str:
    return f"between {figure(estimate.low)} and {figure(estimate.high)}"


def _promise(earned: Estimate, promised: Estimate | None) -> str:
    """What a version promised when it was judged, and whether it keeps that."""
    if promised is None:
        return "What it would be worth was not known when it was made."
    promise = f"When it was made it promised {figure(promised.value)}, very probably {_between(promised)}."
    difference = earned.value - promised.value
    if abs(difference) <= NORMAL * math.hypot(earned.standard_error, promised.standard_error):
        return f"{promise} It keeps its promise as far as one can tell: so small a difference can be luck."
    return f"{promise} It earns {'more' if difference > 0 else 'less'} than it promised, very probably not by luck."


def _document(findings: "Findings") -> list[Document]:
    candidate, judgement = findings.candidate, findings.judgement
    if candidate is None or judgement is None:
        raise ValueError("a summary needs a candidate that was judged; the run did not come so far")
    model, block = findings.model, judgement.evaluation
    answer = "It is fit for use" if findings.registered else "It is not fit for use: a check stopped it, and nothing changes"
    objective = model.spec.objective
    return [
        Heading(f"{model.name} in plain words", 1),
        Paragraph(sentence(model.spec.description)),
        Paragraph((strong("The question"), f": {sentence(objective.question)}")),
        Paragraph((strong("What we do on a yes"), f": {sentence(objective.action)}")),
        Paragraph((strong("The answer"), f": {sentence(answer)} ", *_worth(model, candidate, block))),
        Heading("How well does it know?"),
        *_knowledge(block),
        Heading("Is it better than before?"),
        Paragraph(_progress(judgement)),
        Heading("Where must one be careful?"),
        Points(_care(findings, judgement)),
        Heading("What happens next?"),
        Paragraph(_next(model)),
    ]


def _worth(model: "Model", candidate: "CandidateSummary", block: "BlockEvaluation") -> tuple[str | Mark, ...]:
    utility, unit = block.metrics.get("utility"), model.spec.objective.utility.unit
    if utility is None:
        return ("What it is worth could not be measured.",)
    rule = "to act every time" if candidate.baseline.acts else "never to act"
    spread = f"Very probably the true figure lies {_between(utility)}"
    luck = "it may as well be nothing" if utility.high > 0 else "less than that rule earns"
    return (
        f"Compared with the simple rule {rule}, it earned about ",
        strong(f"{figure(utility.value)} {unit}"),
        f" more for every 1,000 requests. {spread}: {'more than nothing' if utility.low > 0 else luck}.",
    )


def _knowledge(block: "BlockEvaluation") -> list[Document]:
    parts: list[Document] = [
        Paragraph(
            f"We tried it on {count(block.rows)} requests from {day(block.start)} to {last_day(block.end)}, whose outcome it "
            f"had not seen. It came true for {of_100(block.label_rate)}."
        )
    ]
    auc = block.metrics.get("auc")
    if auc is not None:
        pairs = "Take one request that came true and one that did not: it gave the right one the higher chance in "
        parts.append(Paragraph((pairs, strong(of_100(auc.value)), " such pairs. Guessing gets 50, knowing everything gets 100.")))
    points = list(zip(block.reliability.x, block.reliability.y, strict=True))
    sample = [points[index] for index in sorted({0, len(points) // 2, len(points) - 1})] if points else []
    if sample:
        rows = [(of_100(stated), of_100(came)) for stated, came in sample]
        parts.append(Paragraph("Can its chances be taken at their word?"))
        parts.append(Table(("when it said about", "it came true for"), rows))
    says = Mark("yes", "em")
    chance = f" from a chance of {of_100(block.threshold)} on. This follows from what right and wrong answers are worth."
    return [*parts, Paragraph(("It says ", says, chance))]


def _progress(judgement: "Judgement") -> str:
    comparison = judgement.comparison
    if comparison is None:
        return "It was not set beside an earlier version: there is none, or it could not be tried on the same requests."
    gain = comparison.utility_difference
    verb = "more" if gain.value > 0 else "less"
    certain = gain.low > 0 or gain.high < 0
    doubt = "very probably not by luck" if certain else "but so small a difference can be luck"
    return (
        f"On the same {count(comparison.rows)} requests it earned about {figure(abs(gain.value))} {verb} for every 1,000 of them "
        f"than the version in use, {doubt}."
    )


def _care(findings: "Findings", judgement: "Judgement") -> tuple[Text, ...]:
    info = findings.info
    analysis = judgement.analysis
    lines = [
        f"The outcome of {count(judgement.evaluation.unlabelled)} more requests of those days is not known; they do not count. "
        f"{sentence(findings.model.spec.label.never)}",
        f"It learned from {day(info.start)} to {last_day(info.end)}. Of other times of the year it knows nothing yet.",
    ]
    worse = [group for group in analysis.declared if group.judged and group.excess.low > 0]
    worse = sorted(worse, key=lambda group: (-group.excess.value, group.name))[:MAX_GROUPS]
    weak = run_tables.worst(analysis)[:MAX_GROUPS]
    if worse:
        comparator = "the version in use" if worse[0].comparator == "champion" else "giving everybody the same chance"
        lines.append(f"It did worse than {comparator} for: {_named(worse)}.")
    if weak:
        lines.append(f"Its chances were least to be trusted for: {_named(weak)}.")
    few = [group.name for group in analysis.declared if not group.judged]
    if few:
        lines.append(f"Too few requests to tell: {', '.join(few[:MAX_GROUPS])}{', …' if len(few) > MAX_GROUPS else ''}.")
    return tuple(lines)


def _named(groups: Sequence["SegmentResult"]) -> str:
    return "; ".join(f"{group.name} ({count(group.rows)} requests)" for group in groups)


def _next(model: "Model") -> str:
    retraining = model.spec.retraining
    occasions = [text for reason, text in OCCASIONS.items() if reason in retraining.reasons]
    if retraining.max_age_days is not None:
        occasions.insert(0, f"it is {count(retraining.max_age_days)} days old")
    renewed = f"It is made anew when {', or '.join(occasions)}." if occasions else "It is not made anew by itself."
    return (
        f"{renewed} A new version replaces it only if it passes the same checks. Whoever has a doubt asks the owner: "
        f"{sentence(model.spec.owner)}"
    )
