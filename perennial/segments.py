"""Where a model is worst: groups of rows, declared in the objective or found by search, each with support and interval.

Two questions, two rivals. A *declared* group must not suffer: its log loss is compared with that of the champion (else the naive
rule) on the same rows. A *found* group shows where to look: its log loss is compared with what its own label rate, known in
hindsight, would have given, so that a group is not called bad because its outcome is hard to tell.

Searching hundreds of groups always finds a bad one. So every second day is searched, and the figures come from the other days:
luck does not repeat there. The search ranks by a lower bound that is corrected for the number of groups (Bonferroni), so that
small groups do not win by their noise. Alternate days, because both halves then have the same seasons and, with 14 days or more,
the same weekdays. What counts as harm is decided in `perennial.gates`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perennial.bootstrap import Estimate, Resamples, interval
from perennial.errors import DataError
from perennial.evaluation import ErrorAnalysis, SegmentResult, log_losses, relative, worst_where_invalid
from perennial.spec.gates import SegmentsGate
from perennial.spec.training import Evaluation

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Times = NDArray[np.datetime64]
Values = NDArray[Any]

OWN_RATE = "its own label rate"
"""Rival of a found group."""
SHOWN_ROWS = 30
"""Fewest rows of a declared group that is shown: fewer say nothing."""
FOUND = 8
"""Most groups that the search reports: what a person looks at."""
SEEDS_OF_PAIRS = 8
"""How many of the worst single groups are paired with each other."""
VALUES = 12
"""A numeric column with at most so many different values is split by value, any other at its quartiles."""
WHOLE = 0.95
"""A group with a larger share of the rows is no group."""
SAME = 0.5
"""Two groups that share a larger part of their union are one finding."""
SEARCH_DAYS = 8
"""Fewest days that are searched: four to search and four to measure."""


@dataclass(frozen=True)
class Group:
    """Some rows, in words."""

    name: str
    column: str
    member: Bools

    def __and__(self, other: "Group") -> "Group":
        """The rows of both."""
        return Group(f"{self.name} and {other.name}", f"{self.column}, {other.column}", self.member & other.member)


def analyse(
    columns: Mapping[str, Values],
    declared: Sequence[str],
    probability: Floats,
    label: Bools,
    time: Times,
    rival_probability: Floats,
    rival: str,
    *,
    gate: SegmentsGate,
    evaluation: Evaluation,
    seed: int,
) -> ErrorAnalysis:
    """Every group of the declared columns, and the worst groups among all columns.

    Args:
        columns: values by column, [rows] each: numbers, texts, None and NaN for missing.
        declared: columns of the objective's segments.
        probability: calibrated, [rows].
        label: [rows].
        time: UTC time of each request, [rows].
        rival_probability: of the champion or the naive rule, [rows].
        rival: its name: `champion` or `naive rule`.
        gate: the support that a judged group needs.
        evaluation: resamples and confidence.
        seed: of the resamples.

    Raises:
        DataError: a declared column is not there.
    """
    for name in declared:
        if name not in columns:
            raise DataError(f"segments: the column {name!r} is not in the dataset; it has {', '.join(sorted(columns))}")
    days = len(np.unique(time.astype("datetime64[D]")))
    if days < 2:
        return ErrorAnalysis(declared=(), found=(), note=f"No group was looked at: the labelled requests lie on {days} day only.")
    losses = log_losses(worst_where_invalid(probability, label)[0], label)
    rival_losses = log_losses(worst_where_invalid(rival_probability, label)[0], label)
    resamples = Resamples.draw(time, evaluation.resamples, seed)
    groups = [group for name in dict.fromkeys(declared) for group in split(name, columns[name])]
    shown = [group for group in groups if group.member.sum() >= SHOWN_ROWS and resamples.days_with(group.member) >= 2]
    results = tuple(
        measured(group, losses, rival_losses, rival, label, resamples, gate, evaluation.confidence) for group in shown
    )
    notes = []
    if len(shown) < len(groups):
        notes.append(
            f"{len(groups) - len(shown):,} of {len(groups):,} groups of the declared segments are not shown: they have fewer "
            f"than {SHOWN_ROWS} labelled rows, or occur on one day."
        )
    found, note = search(columns, losses, label, time, gate=gate, evaluation=evaluation, seed=seed)
    return ErrorAnalysis(declared=results, found=found, note=" ".join([*notes, note]))


def measured(
    group: Group,
    losses: Floats,
    rival_losses: Floats,
    rival: str,
    label: Bools,
    resamples: Resamples,
    gate: SegmentsGate,
    confidence: float,
) -> SegmentResult:
    """A declared group's log loss beside the rival's on the same rows."""
    rows, days = int(group.member.sum()), resamples.days_with(group.member)
    ours, theirs = resamples.sums(losses * group.member), resamples.sums(rival_losses * group.member)
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = relative(resamples.weights @ ours, resamples.weights @ theirs)
    value = float(relative(ours.sum(), theirs.sum()))
    return SegmentResult(
        name=group.name,
        column=group.column,
        rows=rows,
        days=days,
        label_rate=float(label[group.member].mean()),
        log_loss=float(losses[group.member].mean()),
        excess=interval(value, drawn, resamples.count, confidence, units=days),
        rival=rival,
        judged=rows >= gate.min_rows and days >= gate.min_days,
    )


def split(column: str, values: Values, least: int = 1) -> list[Group]:
    """The groups of a column: its values, the quarters of a number with many, and the rows in which it is missing.

    >>> [group.name for group in split("carrier", np.array(["MQ", "UA", None, "MQ"], dtype=object))]
    ['carrier = MQ', 'carrier = UA', 'carrier is missing']
    >>> [group.name for group in split("temp", np.arange(101.0))]
    ['temp < 25', '25 ≤ temp < 50', '50 ≤ temp < 75', 'temp ≥ 75']
    >>> [group.name for group in split("carrier", np.array(["MQ", "UA", "MQ"]), least=2)]
    ['carrier = MQ']

    Args:
        column: its name.
        values: [rows].
        least: fewest rows of a group; smaller ones are left out.
    """
    present = np.array([is_present(value) for value in values], dtype=bool)
    known = values[present]
    numeric = all(not isinstance(value, str) for value in known.tolist())
    named: list[tuple[str, Bools]] = []
    if numeric:
        numbers = known.astype(np.float64)
        distinct = np.unique(numbers)
        if len(distinct) <= VALUES:
            named = [(f"{column} = {number:g}", numbers == number) for number in distinct.tolist()]
        else:
            named = quarters(column, numbers)
    else:
        texts = known.astype(str)
        distinct, counts = np.unique(texts, return_counts=True)
        named = [(f"{column} = {text}", texts == text) for text in distinct[counts >= least].tolist()]
    groups = []
    for name, among in named:
        member = np.zeros(len(values), dtype=bool)
        member[present] = among
        groups.append(Group(name, column, member))
    groups.append(Group(f"{column} is missing", column, ~present))
    return [group for group in groups if group.member.sum() >= max(least, 1)]


def is_present(value: object) -> bool:
    """Whether a cell holds a text, a truth value or a finite number.

    >>> [is_present(value) for value in ("", 0.0, True, None, float("nan"))]
    [True, True, True, False, False]
    """
    if isinstance(value, str):
        return True
    return isinstance(value, bool | int | float | np.bool_ | np.number) and bool(np.isfinite(value))


def quarters(column: str, numbers: Floats) -> list[tuple[str, Bools]]:
    """The rows between the quartiles of a number; the cuts are rounded first, so that the names are exact."""
    cuts = sorted({float(f"{cut:.4g}") for cut in np.quantile(numbers, [0.25, 0.5, 0.75]).tolist()})
    bin_of = np.searchsorted(cuts, numbers, side="right")
    names = [f"{column} < {cuts[0]:g}"]
    names += [f"{low:g} ≤ {column} < {high:g}" for low, high in pairwise(cuts)]
    names.append(f"{column} ≥ {cuts[-1]:g}")
    return [(name, bin_of == position) for position, name in enumerate(names)]


def search(
    columns: Mapping[str, Values],
    losses: Floats,
    label: Bools,
    time: Times,
    *,
    gate: SegmentsGate,
    evaluation: Evaluation,
    seed: int,
) -> tuple[tuple[SegmentResult, ...], str]:
    """The worst groups, found on every second day and measured on the other days; and how, in words.

    Args:
        columns: values by column, [rows] each.
        losses: log loss of each row, [rows].
        label: [rows].
        time: UTC time of each request, [rows].
        gate: half of its rows and days are needed in the days that are searched.
        evaluation: resamples and confidence.
        seed: of the resamples.
    """
    days, day = np.unique(time.astype("datetime64[D]"), return_inverse=True)
    if len(days) < SEARCH_DAYS:
        return (), f"No groups were searched for: that needs {SEARCH_DAYS} days with labels, there are {len(days)}."
    searched = day % 2 == 0
    looked = Half.of(losses, label, time, searched, evaluation, seed)
    measured_on = Half.of(losses, label, time, ~searched, evaluation, seed + 1)
    least_rows, least_days = gate.min_rows // 2, min(gate.min_days // 2, looked.resamples.count)
    groups = [group for name, values in columns.items() for group in split(name, values, least_rows)]
    candidates = looked.supported(groups, least_rows, least_days)
    ranked = looked.ranked(candidates, len(candidates), evaluation.confidence)
    pairs, to_beat = [], {}
    for (bound, left), (other_bound, right) in combinations(ranked[:SEEDS_OF_PAIRS], 2):
        if left.column != right.column:
            pairs.append(left & right)
            to_beat[pairs[-1].name] = max(bound, other_bound)
    pairs = looked.supported(pairs, least_rows, least_days)
    tried = len(candidates) + len(pairs)
    worse = [item for item in looked.ranked(pairs, tried, evaluation.confidence) if item[0] > to_beat[item[1].name]]
    everything = sorted(ranked + worse, key=lambda item: (-item[0], item[1].name))
    results = [measured_on.result(group, evaluation.confidence) for group in distinct_groups(everything, FOUND)]
    kept = sorted((found for found in results if found is not None), key=lambda item: (-item[0], item[1].name))
    note = (
        f"The worst groups were searched for among {tried:,} groups of {len(columns)} columns on {looked.resamples.count} days; "
        f"all their figures are from the {measured_on.resamples.count} days between, which the search did not see."
    )
    return tuple(result for _, result in kept), note


def distinct_groups(ranked: Iterable[tuple[float, Group]], most: int) -> list[Group]:
    """The first groups of a ranking that do not say the same thing twice."""
    kept: list[Group] = []
    for _, group in ranked:
        if len(kept) == most:
            break
        shares = (np.sum(group.member & other.member) / np.sum(group.member | other.member) for other in kept)
        if all(share <= SAME for share in shares):
            kept.append(group)
    return kept


@dataclass(frozen=True)
class Half:
    """The rows of every second day."""

    taken: Bools
    losses: Floats
    label: Bools
    resamples: Resamples

    @classmethod
    def of(cls, losses: Floats, label: Bools, time: Times, taken: Bools, evaluation: Evaluation, seed: int) -> "Half":
        """The taken rows."""
        return cls(taken, losses[taken], label[taken], Resamples.draw(time[taken], evaluation.resamples, seed))

    def sums(self, group: Group) -> tuple[Floats, Floats, Floats]:
        """Log loss, positives and rows of a group by day."""
        member = group.member[self.taken]
        return (
            self.resamples.sums(self.losses * member),
            self.resamples.sums(self.label & member),
            self.resamples.sums(member),
        )

    def supported(self, groups: list[Group], least_rows: int, least_days: int) -> list[Group]:
        """The groups with enough rows on enough days, and a rest to differ from."""
        kept = []
        for group in groups:
            member = group.member[self.taken]
            rows = int(member.sum())
            if least_rows <= rows <= WHOLE * len(member) and self.resamples.days_with(member) >= least_days:
                kept.append(group)
        return kept

    def excess(self, group: Group, confidence: float) -> Estimate:
        """Log loss for each row of a group above what its own label rate would have given."""
        loss, positives, rows = self.sums(group)
        weights = self.resamples.weights
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn = above_own_rate(weights @ loss, weights @ positives, weights @ rows)
        value = float(above_own_rate(loss.sum(), positives.sum(), rows.sum()))
        return interval(value, drawn, self.resamples.count, confidence, units=int(np.count_nonzero(rows)))

    def ranked(self, groups: list[Group], tried: int, confidence: float) -> list[tuple[float, Group]]:
        """The groups with the lower bound of their excess, corrected for the number of groups tried; worst first."""
        corrected = 1 - (1 - confidence) / max(tried, 1)
        return sorted(((self.excess(group, corrected).low, group) for group in groups), key=lambda item: (-item[0], item[1].name))

    def result(self, group: Group, confidence: float) -> tuple[float, SegmentResult] | None:
        """A found group's figures on these days, with the lower bound by which it is ordered; none without support."""
        loss, positives, rows = self.sums(group)
        days = int(np.count_nonzero(rows))
        if rows.sum() < SHOWN_ROWS or days < 2:
            return None
        weights = self.resamples.weights
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn = relative(weights @ loss, own_rate(weights @ positives, weights @ rows))
        value = float(relative(loss.sum(), own_rate(positives.sum(), rows.sum())))
        result = SegmentResult(
            name=group.name,
            column=group.column,
            rows=int(rows.sum()),
            days=days,
            label_rate=float(positives.sum() / rows.sum()),
            log_loss=float(loss.sum() / rows.sum()),
            excess=interval(value, drawn, self.resamples.count, confidence, units=days),
            rival=OWN_RATE,
            judged=False,
        )
        return self.excess(group, confidence).low, result


def own_rate(positives: Floats, rows: Floats) -> Floats:
    """The total log loss of a constant: the label rate of these very rows, half a row of each class added.

    >>> own_rate(np.array([5.0]), np.array([10.0])).round(3).tolist()
    [6.931]
    """
    rate = (positives + 0.5) / (rows + 1)
    total: Floats = -(positives * np.log(rate) + (rows - positives) * np.log(1 - rate))
    return total


def above_own_rate(loss: Floats, positives: Floats, rows: Floats) -> Floats:
    """Log loss for each row above that of the own label rate. Not relative: else groups without risk would rank first."""
    excess: Floats = (loss - own_rate(positives, rows)) / rows
    return excess
