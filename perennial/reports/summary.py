"""The one page for a reader who knows no statistics: does the model earn its keep, and where must one be careful?

From stored findings only; the same findings give the same bytes. A test holds the list of words that do not belong here.
"""

from typing import TYPE_CHECKING

from perennial.reports.formats import count, day, figure, last_day, of_100, sentence
from perennial.reports.markdown import table

if TYPE_CHECKING:
    from perennial.evaluation.metrics import BlockEvaluation, SegmentResult
    from perennial.spec.model import Model
    from perennial.versions.findings import CandidateSummary, Findings, Judgement

OCCASIONS = {"hurt": "it gets worse", "drift": "the world changes", "manual": "its owner asks for it"}
"""Reasons to train again, in words; *scheduled* is said with its days."""

MOST_GROUPS = 3
"""Most groups that are named."""


def summary(findings: "Findings") -> str:
    """The page as Markdown.

    Args:
        findings: what the run found; it came to its gates.
    """
    candidate, judgement = findings.candidate, findings.judgement
    if candidate is None or judgement is None:
        raise ValueError("a summary needs a candidate that was judged; the run did not come so far")
    model, block = findings.model, judgement.evaluation
    answer = "It is fit for use" if findings.registered else "It is not fit for use: a check stopped it, and nothing changes"
    objective = model.spec.objective
    parts = [
        f"# {model.name} in plain words",
        sentence(model.spec.description),
        f"**The question**: {sentence(objective.question)}",
        f"**What we do on a yes**: {sentence(objective.action)}",
        f"**The answer**: {sentence(answer)} {_worth(model, candidate, block)}",
        "## How well does it know?",
        *_knowledge(block),
        "## Is it better than before?",
        _progress(judgement),
        "## Where must one be careful?",
        _care(findings, judgement),
        "## What happens next?",
        _next(model),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _worth(model: "Model", candidate: "CandidateSummary", block: "BlockEvaluation") -> str:
    found, unit = block.metrics.get("utility"), model.spec.objective.utility.unit
    if found is None:
        return "What it is worth could not be measured."
    rule = "to act every time" if candidate.naive.acts else "never to act"
    earned = (
        f"Compared with the simple rule {rule}, it earned about **{figure(found.value)} {unit}** more for every 1,000 requests"
    )
    spread = f"Very probably the true figure lies between {figure(found.low)} and {figure(found.high)}"
    if found.low > 0:
        return f"{earned}. {spread}: more than nothing."
    return f"{earned}. {spread}: {'it may as well be nothing' if found.high > 0 else 'less than that rule earns'}."


def _knowledge(block: "BlockEvaluation") -> list[str]:
    parts = [
        (
            f"We tried it on {count(block.rows)} requests from {day(block.start)} to {last_day(block.end)}, whose outcome it "
            f"had not seen. It came true for {of_100(block.label_rate)}."
        )
    ]
    auc = block.metrics.get("auc")
    if auc is not None:
        parts.append(
            f"Take one request that came true and one that did not: it gave the right one the higher chance in "
            f"**{of_100(auc.value)}** such pairs. Guessing gets 50, knowing everything gets 100."
        )
    points = list(zip(block.reliability.x, block.reliability.y, strict=True))
    chosen = [points[place] for place in sorted({0, len(points) // 2, len(points) - 1})] if points else []
    rows = [[of_100(said), of_100(came)] for said, came in chosen]
    said = table(["when it said about", "it came true for"], rows, "")
    parts += ["Can its chances be taken at their word?", said] if said else []
    parts.append(
        f"It says *yes* from a chance of {of_100(block.threshold)} on. This follows from what right and wrong answers are worth."
    )
    return parts


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


def _care(findings: "Findings", judgement: "Judgement") -> str:
    info = findings.info
    analysis = judgement.analysis
    lines = [
        f"The outcome of {count(judgement.evaluation.unlabelled)} more requests of those days is not known; they do not count. "
        f"{sentence(findings.model.spec.label.never)}",
        f"It learned from {day(info.start)} to {last_day(info.end)}. Of other times of the year it knows nothing yet.",
    ]
    worse = [group for group in analysis.declared if group.judged and group.excess.low > 0]
    worse = sorted(worse, key=lambda group: (-group.excess.value, group.name))[:MOST_GROUPS]
    weak = [group for group in analysis.found if group.excess.low > 0][:MOST_GROUPS]
    if worse:
        rival = "the version in use" if worse[0].rival == "champion" else "giving everybody the same chance"
        lines.append(f"It did worse than {rival} for: {_named(worse)}.")
    if weak:
        lines.append(f"Its chances were least to be trusted for: {_named(weak)}.")
    few = [group.name for group in analysis.declared if not group.judged]
    if few:
        lines.append(f"Too few requests to tell: {', '.join(few[:MOST_GROUPS])}{', …' if len(few) > MOST_GROUPS else ''}.")
    return "\n".join(f"- {line}" for line in lines)


def _named(groups: list["SegmentResult"]) -> str:
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
