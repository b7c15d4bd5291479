"""Where a model is worst: groups of rows, declared in the objective or found by search, each with support and interval.

Two questions, two comparators. A *declared* group must not suffer: its log loss is compared with that of the champion (else the
baseline) on the same rows. A *found* group shows where the model is wrong: its log loss is compared with that of the same model
after a slope and an intercept learnt for this group. A group whose outcome is merely hard to tell has no excess then, and the
pairing makes small faults visible.

Searching hundreds of groups always finds a bad one. So every second day is searched, the correction is learnt there, and the
figures come from the other days: luck does not repeat, and a correction of luck costs there. The search ranks by the lower bound
of what the correction gains, so that small groups do not win by their noise. A pair of groups is taken only where a bound that is
corrected for the number of pairs (Bonferroni) lies above what either of the two gains by itself. Alternate days, because both
halves then have the same seasons and, with 14 days or more, the same weekdays. What counts as harm is decided in
`perennial.evaluation.gates`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perennial.errors import DataError
from perennial.evaluation.bootstrap import Estimate, Resamples, interval
from perennial.evaluation.calibration import Calibrator, sigmoid
from perennial.evaluation.metrics import ErrorAnalysis, SegmentResult, log_losses, relative, worst_where_invalid
from perennial.evaluation.predictions import Bools, Floats, Predictions
from perennial.spec.gates import SegmentsGate
from perennial.spec.training import Evaluation

Values = NDArray[Any]

CORRECTED = "the same model, corrected for this group"
"""Comparator of a found group."""
SHOWN_ROWS = 30
"""Fewest rows of a declared group that is shown: fewer say nothing."""
FOUND = 8
"""Most groups that the search reports: what a person looks at."""
PAIRED = 8
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


@dataclass(frozen=True)
class Comparator:
    """What the declared groups are compared with, on the same rows."""

    name: str
    """`champion` or `baseline`."""
    probability: Floats
    """Calibrated, [rows]."""


def analyse(
    columns: Mapping[str, Values],
    declared: Sequence[str],
    predictions: Predictions,
    comparator: Comparator,
    *,
    gate: SegmentsGate,
    evaluation: Evaluation,
    seed: int,
) -> ErrorAnalysis:
    """Every group of the declared columns, and the worst groups among all columns.

    Args:
        columns: values by column, [rows] each: numbers, texts, None and NaN for missing.
        declared: columns of the objective's segments.
        predictions: the labelled rows, in the order of the columns.
        comparator: the champion or the baseline, on the same rows.
        gate: the support that a judged group needs.
        evaluation: resamples and confidence.
        seed: of the resamples.

    Raises:
        DataError: a declared column is not there.
    """
    for name in declared:
        if name not in columns:
            raise DataError(f"segments: the column {name!r} is not in the dataset; it has {', '.join(sorted(columns))}")
    days = predictions.days
    if days < 2:
        return ErrorAnalysis(declared=(), found=(), note=f"No group was looked at: the labelled requests lie on {days} day only.")
    valid = predictions.scored(worst_where_invalid(predictions.probability, predictions.label)[0])
    pairing = Pairing.of(valid, comparator, Resamples.draw(predictions.time, evaluation.resamples, seed))
    groups = [group for name in dict.fromkeys(declared) for group in split(name, columns[name])]
    shown_groups = [group for group in groups if pairing.is_shown(group)]
    results = tuple(pairing.result(group, gate, evaluation.confidence) for group in shown_groups)
    notes = []
    if len(shown_groups) < len(groups):
        notes.append(
            f"{len(groups) - len(shown_groups):,} of {len(groups):,} groups of the declared segments are not shown: they have "
            f"fewer than {SHOWN_ROWS} labelled rows, or occur on one day."
        )
    worst_groups, note = search(columns, valid, gate=gate, evaluation=evaluation, seed=seed)
    return ErrorAnalysis(declared=results, found=worst_groups, note=" ".join([*notes, note]))


@dataclass(frozen=True)
class Pairing:
    """Losses of a model and of its comparator on the same rows."""

    label: Bools
    losses: Floats
    comparator_losses: Floats
    comparator: str
    resamples: Resamples

    @classmethod
    def of(cls, predictions: Predictions, comparator: Comparator, resamples: Resamples) -> "Pairing":
        """The losses of both; a probability of the comparator that is none counts as its worst answer."""
        label = predictions.label
        comparator_losses = log_losses(worst_where_invalid(comparator.probability, label)[0], label)
        return cls(label, log_losses(predictions.probability, label), comparator_losses, comparator.name, resamples)

    def is_shown(self, group: Group) -> bool:
        """Whether a declared group says anything: it has rows enough, on two days at least."""
        return bool(group.member.sum() >= SHOWN_ROWS) and self.resamples.days_with(group.member) >= 2

    def result(self, group: Group, gate: SegmentsGate, confidence: float) -> SegmentResult:
        """A declared group's log loss beside the comparator's on the same rows."""
        rows, days = int(group.member.sum()), self.resamples.days_with(group.member)
        sums = self.resamples.sums
        losses, comparator_losses = sums(self.losses * group.member), sums(self.comparator_losses * group.member)
        return SegmentResult(
            name=group.name,
            column=group.column,
            rows=rows,
            days=days,
            label_rate=float(self.label[group.member].mean()),
            log_loss=float(self.losses[group.member].mean()),
            excess=excess(losses, comparator_losses, self.resamples, confidence, days),
            comparator=self.comparator,
            judged=rows >= gate.min_rows and days >= gate.min_days,
        )


def split(column: str, values: Values, least: int = 1) -> list[Group]:
    """The groups of a column: its values, the quarters of a number with many, and the rows in which it is missing.

    >>> [group.name for group in split("colour", np.array(["red", "blue", None, "red"], dtype=object))]
    ['colour = blue', 'colour = red', 'colour is missing']
    >>> [group.name for group in split("temp", np.arange(101.0))]
    ['temp < 25', '25 ≤ temp < 50', '50 ≤ temp < 75', 'temp ≥ 75']
    >>> [group.name for group in split("colour", np.array(["red", "blue", "red"]), least=2)]
    ['colour = red']

    Args:
        column: its name.
        values: [rows].
        least: fewest rows of a group; smaller ones are left out.
    """
    numbers = as_numbers(values)
    if numbers is None:
        value_mask, parts = named_texts(column, values, least)
    else:
        value_mask = np.isfinite(numbers)
        parts = named_numbers(column, numbers[value_mask])
    groups = [Group(f"{column} is missing", column, ~value_mask)]
    for name, mask in parts:
        member = np.zeros(len(values), dtype=bool)
        member[value_mask] = mask
        groups.insert(-1, Group(name, column, member))
    return [group for group in groups if group.member.sum() >= max(least, 1)]


def as_numbers(values: Values) -> Floats | None:
    """A column as numbers, NaN where missing; none when it holds a text. A text of digits is a text.

    >>> as_numbers(np.array([1, None, True], dtype=object)), as_numbers(np.array(["1", None], dtype=object))
    (array([ 1., nan,  1.]), None)
    """
    if any(issubclass(kind, str) for kind in set(map(type, values.tolist()))):
        return None
    try:
        return values.astype(np.float64)
    except TypeError:  # a missing value of another library
        number_mask = [isinstance(value, int | float | np.number) for value in values.tolist()]
        return np.where(number_mask, values, np.nan).astype(np.float64)


def named_texts(column: str, values: Values, least: int) -> tuple[Bools, list[tuple[str, Bools]]]:
    """Which rows hold a text, and each text with at least so many rows, among those."""
    items = values.tolist()
    text_mask = np.array([isinstance(value, str) for value in items], dtype=bool)
    code_of: dict[str, int] = {}
    codes = np.array([code_of.setdefault(value, len(code_of)) for value in items if isinstance(value, str)], dtype=np.intp)
    counts = np.bincount(codes, minlength=len(code_of))
    return text_mask, [
        (f"{column} = {text}", codes == code_of[text]) for text in sorted(code_of) if counts[code_of[text]] >= least
    ]


def named_numbers(column: str, numbers: Floats) -> list[tuple[str, Bools]]:
    """Each value of a number that has few, else its quarters."""
    distinct_numbers = np.unique(numbers)
    if len(distinct_numbers) <= VALUES:
        return [(f"{column} = {number:g}", numbers == number) for number in distinct_numbers.tolist()]
    return quarters(column, numbers)


def quarters(column: str, numbers: Floats) -> list[tuple[str, Bools]]:
    """The rows between the quartiles of a number; the cuts are rounded first, so that the names are exact."""
    cuts = sorted({float(f"{cut:.4g}") for cut in np.quantile(numbers, [0.25, 0.5, 0.75]).tolist()})
    bins = np.searchsorted(cuts, numbers, side="right")
    names = [f"{column} < {cuts[0]:g}"]
    names += [f"{low:g} ≤ {column} < {high:g}" for low, high in pairwise(cuts)]
    names.append(f"{column} ≥ {cuts[-1]:g}")
    return [(name, bins == position) for position, name in enumerate(names)]


def search(
    columns: Mapping[str, Values],
    predictions: Predictions,
    *,
    gate: SegmentsGate,
    evaluation: Evaluation,
    seed: int,
) -> tuple[tuple[SegmentResult, ...], str]:
    """The worst groups, found on every second day and measured on the other days; and how, in words.

    Args:
        columns: values by column, [rows] each.
        predictions: the labelled rows, in the order of the columns.
        gate: half of its rows and days are needed in the days that are searched.
        evaluation: resamples and confidence.
        seed: of the resamples.
    """
    days, day = np.unique(predictions.time.astype("datetime64[D]"), return_inverse=True)
    if len(days) < SEARCH_DAYS:
        return (), f"No groups were searched for: that needs {SEARCH_DAYS} days with labels, there are {len(days)}."
    search_half = Half.of(predictions, day % 2 == 0, evaluation, seed)
    test_half = Half.of(predictions, day % 2 == 1, evaluation, seed + 1)
    support = gate.min_rows // 2, min(gate.min_days // 2, search_half.resamples.count)
    groups = [group for name, values in columns.items() for group in split(name, values, support[0])]
    singles = search_half.supported(groups, *support)
    ranked_singles = search_half.ranked(singles)
    pairs = search_half.pairs(ranked_singles[:PAIRED], *support)
    ranked_pairs = search_half.ranked([pair for pair, single_gain in pairs if search_half.bound(pair, len(pairs)) > single_gain])
    worst_groups = distinct_groups(sorted(ranked_singles + ranked_pairs, key=_worst_first), FOUND)
    measurements = [
        measurement
        for group in worst_groups
        if (measurement := test_half.result(group, search_half.correction(group))) is not None
    ]
    note = (
        f"The worst groups were searched for among {len(singles) + len(pairs):,} groups of {len(columns)} columns "
        f"on {search_half.resamples.count} days; all their figures are from the {test_half.resamples.count} days between, "
        f"which the search did not see."
    )
    return tuple(result for _, result in sorted(measurements, key=_worst_first)), note


def _worst_first(item: tuple[Estimate, Group | SegmentResult]) -> tuple[float, str]:
    return -item[0].low, item[1].name


def distinct_groups(ranked: Iterable[tuple[Estimate, Group]], most: int) -> list[Group]:
    """The first groups of a ranking that do not say the same thing twice."""
    groups: list[Group] = []
    for _, group in ranked:
        if len(groups) == most:
            break
        shares = (
            np.sum(group.member & earlier_group.member) / np.sum(group.member | earlier_group.member) for earlier_group in groups
        )
        if all(share <= SAME for share in shares):
            groups.append(group)
    return groups


@dataclass(frozen=True)
class Half:
    """The rows of every second day."""

    taken: Bools
    probability: Floats
    label: Bools
    losses: Floats
    resamples: Resamples
    confidence: float

    @classmethod
    def of(cls, predictions: Predictions, taken: Bools, evaluation: Evaluation, seed: int) -> "Half":
        """The taken rows."""
        half = predictions.take(taken)
        resamples = Resamples.draw(half.time, evaluation.resamples, seed)
        losses = log_losses(half.probability, half.label)
        return cls(taken, half.probability, half.label, losses, resamples, evaluation.confidence)

    def supported(self, groups: list[Group], least_rows: int, least_days: int) -> list[Group]:
        """The groups with enough rows on enough days, and a rest to differ from."""
        supported_groups = []
        for group in groups:
            member = group.member[self.taken]
            if least_rows <= member.sum() <= WHOLE * len(member) and self.resamples.days_with(member) >= least_days:
                supported_groups.append(group)
        return supported_groups

    def correction(self, group: Group) -> Calibrator:
        """Slope and intercept that fit the group on these days; its label rate where the labels do not rise with the model."""
        member = group.member[self.taken]
        label = self.label[member]
        calibrator = sigmoid(self.probability[member], label)
        if calibrator.kind == "sigmoid":
            return calibrator
        rate = (float(label.sum()) + 1) / (len(label) + 2)
        return Calibrator(kind="isotonic", x=(0.5,), y=(rate,))

    def sums(self, group: Group, correction: Calibrator) -> tuple[Floats, Floats, Floats]:
        """By day: log loss of the model, log loss of the corrected model, rows."""
        member = group.member[self.taken]
        corrected_losses = np.zeros(len(member))
        corrected_losses[member] = log_losses(correction.apply(self.probability[member]), self.label[member])
        sums = self.resamples.sums
        return sums(self.losses * member), sums(corrected_losses), sums(member)

    def pairs(self, worst: list[tuple[Estimate, Group]], least_rows: int, least_days: int) -> list[tuple[Group, float]]:
        """The supported pairs of groups of different columns, with the larger of what the two gain alone."""
        pairs = [
            (left_group & right_group, max(left_gain.value, right_gain.value))
            for (left_gain, left_group), (right_gain, right_group) in combinations(worst, 2)
            if left_group.column != right_group.column
        ]
        return [(pair, single_gain) for pair, single_gain in pairs if self.supported([pair], least_rows, least_days)]

    def ranked(self, groups: list[Group]) -> list[tuple[Estimate, Group]]:
        """The groups with what their correction gains, by its lower bound, worst first."""
        gains = [(self.gain(*self.sums(group, self.correction(group)), self.confidence), group) for group in groups]
        return sorted(gains, key=_worst_first)

    def bound(self, group: Group, tried: int) -> float:
        """Lower bound of what a group's correction gains, when so many groups were tried."""
        return self.gain(*self.sums(group, self.correction(group)), 1 - (1 - self.confidence) / tried).low

    def gain(self, ours: Floats, corrected: Floats, rows: Floats, confidence: float) -> Estimate:
        """The log loss for each row that the correction takes away.

        By row, not relative to what is left: else groups in which hardly anything ever happens would rank first.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            replicates = (self.resamples.weights @ (ours - corrected)) / (self.resamples.weights @ rows)
        value = float((ours - corrected).sum() / rows.sum())
        return interval(value, replicates, self.resamples.count, confidence, units=int(np.count_nonzero(rows)))

    def result(self, group: Group, correction: Calibrator) -> tuple[Estimate, SegmentResult] | None:
        """A found group's figures on these days, after the gain by which it is ordered; none without support."""
        losses, corrected_losses, rows = self.sums(group, correction)
        days, count = int(np.count_nonzero(rows)), int(rows.sum())
        if count < SHOWN_ROWS or days < 2:
            return None
        result = SegmentResult(
            name=group.name,
            column=group.column,
            rows=count,
            days=days,
            label_rate=float(self.label[group.member[self.taken]].mean()),
            log_loss=float(losses.sum() / count),
            excess=excess(losses, corrected_losses, self.resamples, self.confidence, days),
            comparator=CORRECTED,
            judged=False,
        )
        return self.gain(losses, corrected_losses, rows, self.confidence), result


def excess(ours: Floats, theirs: Floats, resamples: Resamples, confidence: float, days: int) -> Estimate:
    """How much larger one log loss is than another, as a share of the other, from sums by day."""
    with np.errstate(divide="ignore", invalid="ignore"):
        replicates = relative(resamples.weights @ ours, resamples.weights @ theirs)
    value = float(relative(np.array([ours.sum()]), np.array([theirs.sum()]))[0])
    return interval(value, replicates, resamples.count, confidence, units=days)
