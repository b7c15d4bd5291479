"""The gates: rules that a trained candidate must pass. A gate that stops a run is a result, not an error.

A gate reads estimates and says a verdict, with the numbers it was decided on and one sentence for a reader who was not there.
Nothing is measured here: `metrics` and `slices` do that, and `bounds` holds an estimate against a limit.
A probability or an estimate that is not a number fails every gate that would have read it.
"""

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from perennial.evaluation.bootstrap import quantile
from perennial.evaluation.bounds import Limit, Style, chance, decide, digits_for, numbers_of
from perennial.evaluation.metrics import BlockEvaluation, Comparison, ErrorAnalysis, Estimate
from perennial.record import Record
from perennial.spec.gates import CalibrationGate, NonInferiority, SegmentsGate
from perennial.spec.model import Specification
from perennial.spec.objective import Criterion, Metric

Verdict = Literal["pass", "fail", "undecided", "not applicable"]

WORDS: dict[Metric, str] = {
    "auc": "The AUC",
    "average_precision": "The average precision",
    "log_loss": "The log loss",
    "brier": "The Brier score",
    "calibration_gap": "The gap between mean probability and label rate",
    "utility": "The utility per 1000 requests, above the better constant action,",
    "unlabelled_share": "The share of requests without a label",
}


class GateResult(Record):
    """What one gate said."""

    name: str
    """Name of the gate: `data`, `criterion:<name>`, `calibration`, `segments`, `non-inferiority:log-loss`,
    `non-inferiority:auc`, `utility`, `superiority`, `rank-agreement`, …"""
    verdict: Verdict
    """`pass` and `not applicable` let the run go on; `fail` and `undecided` end it."""
    sentence: str
    """One sentence in plain words: what was found, what was allowed; for `undecided` about how many more days it needs."""
    numbers: dict[str, float | None]
    """What it was decided on: `value`, `low`, `high`, `limit`, `margin`, `power` (chance of passing at the margin), `days`,
    `needed_days` (more days, while undecided), …"""


class Judged(Protocol):
    """What is judged: `perennial.versions.findings.Judgement`."""

    @property
    def evaluation(self) -> BlockEvaluation:
        """Metrics on the evaluation block."""

    @property
    def comparison(self) -> Comparison | None:
        """Paired with the champion; none where there is no comparison."""

    @property
    def no_comparison(self) -> str:
        """Why there is no comparison."""

    @property
    def champion(self) -> str:
        """Digest of the champion's version; empty when there is none."""

    @property
    def analysis(self) -> ErrorAnalysis:
        """Where the candidate is worst."""

    @property
    def recipe_changed(self) -> bool:
        """Whether the candidate's recipe differs from the champion's."""


def passed(results: tuple[GateResult, ...]) -> bool:
    """Whether nothing but `pass` and `not applicable` was said.

    >>> passed((GateResult(name="data", verdict="not applicable", sentence="", numbers={}),))
    True
    >>> passed((GateResult(name="data", verdict="undecided", sentence="", numbers={}),))
    False
    """
    return all(result.verdict in ("pass", "not applicable") for result in results)


def judge(spec: Specification, judged: Judged, data: GateResult) -> tuple[GateResult, ...]:
    """What every gate of the spec says, always in the same order: data, criteria, calibration, segments, champion.

    Args:
        spec: its gates and objective.
        judged: metrics, comparison and error analysis of the candidate.
        data: what the validation of the dataset said; passed through.
    """
    gates, criteria = spec.gates, {criterion.name: criterion for criterion in spec.objective.criteria}
    evaluation, confidence = judged.evaluation, spec.evaluation.confidence
    return (
        data,
        *(criterion_gate(criteria[name], evaluation) for name in gates.criteria),
        calibration_gate(gates.calibration, evaluation),
        segments_gate(gates.segments, judged.analysis, spec.objective.segments, confidence, evaluation.invalid),
        *champion_gates(gates.non_inferiority, judged, confidence),
    )


def criterion_gate(criterion: Criterion, evaluation: BlockEvaluation) -> GateResult:
    """Whether a metric is shown to be good enough. Power: of a model that is better than the bound by the margin."""
    name, at_least = f"criterion:{criterion.name}", criterion.at_least is not None
    bound = criterion.at_least if criterion.at_least is not None else criterion.at_most or 0.0  # the spec demands one of both
    return _measured(name, criterion.metric, evaluation, Limit(bound, at_least, criterion.margin))


def calibration_gate(gate: CalibrationGate, evaluation: BlockEvaluation) -> GateResult:
    """Whether mean probability and label rate are shown to agree. Power: of a model without any gap."""
    result = _measured("calibration", "calibration_gap", evaluation, Limit(gate.max_gap, at_least=False, margin=gate.max_gap))
    power = result.numbers.get("power")
    if power is None:
        return result
    two_sided_power = max(0.0, 2 * power - 1)
    return result.model_copy(update={"numbers": result.numbers | {"power": two_sided_power}})


def champion_gates(gate: NonInferiority, judged: Judged, confidence: float) -> tuple[GateResult, ...]:
    """Whether the challenger is shown to be no worse than the champion, earned more, and, with a new recipe, is better.

    Power: of a challenger that is equal to the champion; for superiority, of one that is better by the margin.

    Args:
        gate: margins and fewest days.
        judged: the comparison, or why there is none; a champion that cannot be scored leaves every gate undecided.
        confidence: one-sided, of the comparison's bounds.
    """
    names = ("non-inferiority:log-loss", "non-inferiority:auc", "utility", "superiority")
    comparison = judged.comparison
    if comparison is None and judged.champion:
        return tuple(_unknown(name, f"Nothing is shown against the champion: {judged.no_comparison}.", 0) for name in names)
    if comparison is None:
        return tuple(_not_applicable(name, f"Not compared with a champion: {judged.no_comparison}.") for name in names)
    if comparison.invalid:
        return tuple(_invalid(name, comparison.invalid) for name in names)
    if comparison.days < gate.min_days:
        return tuple(_too_few_days(name, comparison.days, gate.min_days) for name in names)
    ratio, days, margin = comparison.log_loss_ratio, comparison.days, gate.log_loss_margin
    tolerance, improvement = (
        Limit(margin, at_least=False, margin=margin),
        Limit(0.0, at_least=False, margin=margin, strict=True),
    )
    auc_limit = Limit(-gate.auc_margin, at_least=True, margin=gate.auc_margin)
    superiority = _not_applicable(names[3], "The recipe is the champion's: it need not be better, only no worse.")
    if judged.recipe_changed:
        subject = "The log loss of the changed recipe, relative to the champion's,"
        superiority = _decided(names[3], subject, ratio, improvement, confidence, days, style="share")
    return (
        _decided(names[0], "The log loss, relative to the champion's,", ratio, tolerance, confidence, days, style="share"),
        _decided(
            names[1], "The AUC, less the champion's,", comparison.auc_difference, auc_limit, confidence, days, style="signed"
        ),
        utility_gate(comparison),
        superiority,
    )


def utility_gate(comparison: Comparison) -> GateResult:
    """Whether the challenger earned more than the champion: the point estimate, since days cannot prove small gains.

    A tie is no pass: a change without a gain is not worth its risk. Power: of a challenger that is equal; a coin's.
    """
    difference = comparison.utility_difference
    if not _finite(difference):
        return _not_a_number("utility")
    power = 0.5 if difference.standard_error > 0 else 0.0
    return GateResult(
        name="utility",
        verdict="pass" if difference.value > 0 else "fail",
        sentence=(
            f"On the same rows the challenger earned {difference.value:+.1f} per 1000 requests against the champion "
            f"(interval {difference.low:+.1f} to {difference.high:+.1f}); required: more than 0."
        ),
        numbers=numbers_of(difference, limit=0.0, margin=0.0, power=power, days=comparison.days),
    )


def segments_gate(
    gate: SegmentsGate, analysis: ErrorAnalysis, declared: tuple[str, ...], confidence: float, invalid: int = 0
) -> GateResult:
    """Whether no declared group with enough support is shown to suffer.

    A group suffers when its log loss is above the comparator's by more than the margin, and is shown to when the lower bound of
    the increase is above 0 as well, at a confidence that is divided among the judged groups (Bonferroni): with 20 groups and no
    harm at all, bounds at .95 each would often show one. What is not shown does not stop a candidate, so the sentence says what
    would have been seen. Power: the chance that harm of the margin's size is told from none, in the group where it is lowest.

    Args:
        gate: margin and support.
        analysis: declared groups.
        declared: columns of the objective's segments.
        confidence: one-sided, of all groups together.
        invalid: rows of the block without a valid probability.
    """
    groups = [group for group in analysis.declared if group.judged]
    if not declared:
        return _not_applicable("segments", "The objective names no segments.")
    if invalid:
        return _invalid("segments", invalid)
    if not groups:
        requirement = f"{gate.min_rows:,} labelled rows on {gate.min_days} days"
        return _not_applicable("segments", f"No group of {', '.join(declared)} has {requirement}: none can be judged.")
    if not all(_finite(group.excess) for group in groups):
        return _not_a_number("segments")
    margin, level = gate.log_loss_margin, 1 - (1 - confidence) / len(groups)
    lows = {group.name: group.excess.value - quantile(level, group.days) * group.excess.standard_error for group in groups}
    harmed_groups = [group for group in groups if group.excess.value > margin and lows[group.name] > 0]
    worst_group = max(harmed_groups or groups, key=lambda group: (group.excess.value, group.name))
    power = min(chance(margin, group.excess.standard_error, quantile(level, group.days)) for group in groups)
    numbers = numbers_of(worst_group.excess, limit=margin, margin=margin, power=power, days=worst_group.days)
    numbers |= {
        "low": lows[worst_group.name],
        "rows": float(worst_group.rows),
        "groups": float(len(groups)),
        "harmed": float(len(harmed_groups)),
    }
    limit = f"more than {margin:.1%} above that of the {worst_group.comparator}"
    if harmed_groups:
        details = "; ".join(
            f"{group.name} ({group.excess.value:+.1%}, at least {lows[group.name]:+.1%})" for group in harmed_groups
        )
        sentence = f"The log loss of {len(harmed_groups)} of {len(groups)} groups is {limit}, and not by chance: {details}."
        return GateResult(name="segments", verdict="fail", sentence=sentence, numbers=numbers)
    sentence = (
        f"None of {len(groups)} groups is shown to have a log loss {limit}; the highest is {worst_group.name} with "
        f"{worst_group.excess.value:+.1%}, at least {lows[worst_group.name]:+.1%}; where it is hardest to see, "
        f"harm of {margin:.1%} is told from chance with a probability of {power:.2f}."
    )
    return GateResult(name="segments", verdict="pass", sentence=sentence, numbers=numbers)


def rank_agreement(judged: NDArray[np.float64], refitted: NDArray[np.float64], minimum: float) -> GateResult:
    """Whether the refitted model ranks the rows as the judged one did: Spearman's correlation.

    >>> ranks = np.array([0.1, 0.2, 0.3, 0.9])
    >>> rank_agreement(ranks, ranks**2, 0.95).verdict, rank_agreement(ranks, 1 - ranks, 0.95).verdict
    ('pass', 'fail')

    Args:
        judged: probabilities of the model that was judged, [rows].
        refitted: probabilities of the one that is shipped, [rows].
        minimum: smallest correlation.
    """
    name, numbers = "rank-agreement", {"value": None, "limit": minimum, "rows": float(len(judged))}
    invalid = int(np.count_nonzero(~(np.isfinite(judged) & np.isfinite(refitted))))
    if invalid:
        return _invalid(name, invalid)
    if len(judged) < 2 or np.ptp(judged) == 0 or np.ptp(refitted) == 0:
        sentence = f"On {len(judged):,} rows one of the two models gives every row the same probability: there is no ranking."
        return GateResult(name=name, verdict="fail", sentence=sentence, numbers=numbers)
    from scipy.stats import spearmanr

    correlation = float(spearmanr(judged, refitted).statistic)
    return GateResult(
        name=name,
        verdict="pass" if correlation >= minimum else "fail",
        sentence=(
            f"The refitted model ranks {len(judged):,} rows like the judged one with a correlation of {correlation:.3f}; "
            f"required: at least {minimum:g}."
        ),
        numbers=numbers | {"value": correlation},
    )


def _measured(name: str, metric: Metric, evaluation: BlockEvaluation, limit: Limit) -> GateResult:
    """What a gate on a metric of the evaluation block says."""
    if evaluation.invalid:
        return _invalid(name, evaluation.invalid)
    if metric not in evaluation.metrics:
        reason = evaluation.missing.get(metric, "it was not measured")
        return _unknown(name, f"{WORDS[metric]} cannot be computed: {reason}; more days with labels are needed.", evaluation.days)
    estimate, digits = evaluation.metrics[metric], digits_for(limit.value, limit.margin)
    return _decided(name, WORDS[metric], estimate, limit, evaluation.confidence, evaluation.days, digits=digits)


def _decided(
    name: str,
    what: str,
    found: Estimate | None,
    limit: Limit,
    confidence: float,
    days: int,
    *,
    digits: int = 4,
    style: Style = "plain",
) -> GateResult:
    if found is None:
        return _unknown(name, f"{what} cannot be computed: a class occurs on fewer than two of the {days} days.", days)
    if not _finite(found):
        return _not_a_number(name)
    decision = decide(what, found, limit, confidence=confidence, days=days, digits=digits, style=style)
    return GateResult(name=name, verdict=decision.verdict, sentence=decision.sentence, numbers=decision.numbers)


def _finite(found: Estimate) -> bool:
    return bool(np.isfinite([found.value, found.low, found.high, found.standard_error]).all())


def _not_applicable(name: str, why: str) -> GateResult:
    return GateResult(name=name, verdict="not applicable", sentence=why, numbers={})


def _not_a_number(name: str) -> GateResult:
    return GateResult(name=name, verdict="fail", sentence="What was measured is not a number: nothing is shown.", numbers={})


def _invalid(name: str, rows: int) -> GateResult:
    count_text = "one row" if rows == 1 else f"{rows:,} rows"
    sentence = (
        f"On {count_text} a model's probability is not a number between 0 and 1: such a model is broken, and nothing is shown."
    )
    return GateResult(name=name, verdict="fail", sentence=sentence, numbers={"invalid": float(rows)})


def _unknown(name: str, why: str, days: int) -> GateResult:
    return GateResult(name=name, verdict="undecided", sentence=why, numbers={"days": float(days), "needed_days": None})


def _too_few_days(name: str, days: int, least: int) -> GateResult:
    sentence = f"Challenger and champion were compared on {days} days; required: {least}; needs {least - days} more days."
    numbers: dict[str, float | None] = {"days": float(days), "limit": float(least), "needed_days": float(least - days)}
    return GateResult(name=name, verdict="undecided", sentence=sentence, numbers=numbers)
