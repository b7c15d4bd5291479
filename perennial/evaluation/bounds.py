"""An estimate against a limit: what is shown, how likely it was to be shown, and how many days would settle it.

What is estimated and which limit it is held against is decided in `perennial.evaluation.gates`.

The end of the interval that lies on the bad side decides: *pass* when even that end is good enough, *fail* when even the good end
is not, *undecided* between. Powers are normal approximations with the observed standard error.
"""

import math
from dataclasses import dataclass
from typing import Literal

from perennial.evaluation.bootstrap import Estimate

MAX_DAYS = 1000
"""More days than this are not waited for: what was found lies on the limit."""

Style = Literal["plain", "signed", "share"]


@dataclass(frozen=True)
class Limit:
    """What is good enough."""

    value: float
    """The limit, in the unit of the estimate."""
    at_least: bool
    """Whether good is above it."""
    margin: float
    """The power is that of a truth which is better than the limit by so much."""
    strict: bool = False
    """Whether the limit itself is not good enough."""

    @property
    def words(self) -> str:
        """Begin of the demand, in words."""
        if self.strict:
            return "more than" if self.at_least else "less than"
        return "at least" if self.at_least else "at most"


@dataclass(frozen=True)
class BoundDecision:
    """What is shown."""

    verdict: Literal["pass", "fail", "undecided"]
    """Verdict."""
    sentence: str
    """One sentence: what was found, what was allowed."""
    numbers: dict[str, float | None]
    """What it was decided on."""


def decide(
    what: str, found: Estimate, limit: Limit, *, confidence: float, days: int, digits: int = 4, style: Style = "plain"
) -> BoundDecision:
    """Whether an estimate is shown to be on the good side of a limit.

    >>> auc = Estimate(value=0.71, low=0.69, high=0.73, standard_error=0.0117)
    >>> decide("The AUC", auc, Limit(0.68, at_least=True, margin=0.02), confidence=0.95, days=28, digits=3).sentence
    'The AUC is 0.710 and, with 95 % confidence, at least 0.690; required: at least 0.680.'
    >>> decide("The AUC", auc, Limit(0.74, at_least=True, margin=0.02), confidence=0.95, days=28).verdict
    'fail'
    >>> on_it = decide("The AUC", auc, Limit(0.70, at_least=True, margin=0.02), confidence=0.95, days=28)
    >>> on_it.verdict, on_it.numbers["needed_days"]
    ('undecided', 84.0)

    Args:
        what: begin of the sentence.
        found: a finite number with its interval.
        limit: what is good enough.
        confidence: one-sided, of the interval's ends.
        days: that the estimate comes from.
        digits: of plain and signed numbers in the sentence.
        style: how numbers are written.
    """
    sign = 1 if limit.at_least else -1
    bad_end, good_end = (found.low, found.high) if limit.at_least else (found.high, found.low)
    room, best_case = sign * (bad_end - limit.value), sign * (good_end - limit.value)
    reach, error = abs(bad_end - found.value), found.standard_error
    power = chance(limit.margin, error, reach / error if error > 0 else 0.0)
    numbers = numbers_of(found, limit=limit.value, margin=limit.margin, power=power, days=days)
    number = {"plain": f".{digits}f", "signed": f"+.{digits}f", "share": "+.2%"}[style]
    required = f"required: {limit.words} {limit.value:{number}}"
    certainty = f"with {100 * confidence:.4g} % confidence"
    if room > 0 or (room == 0 and not limit.strict):
        side = "at least" if limit.at_least else "at most"
        return BoundDecision(
            "pass", f"{what} is {found.value:{number}} and, {certainty}, {side} {bad_end:{number}}; {required}.", numbers
        )
    if best_case < 0 or (best_case == 0 and limit.strict):
        side = "at most" if limit.at_least else "at least"
        return BoundDecision(
            "fail", f"{what} is {found.value:{number}} and, {certainty}, {side} {good_end:{number}}; {required}.", numbers
        )
    needed_days = more_days(abs(found.value - limit.value), reach, days)
    sentence = (
        f"{what} is {found.value:{number}} with an interval of {found.low:{number}} to {found.high:{number}}, "
        f"which holds the limit; {required}; {wait(needed_days, passes=sign * (found.value - limit.value) > 0)}."
    )
    return BoundDecision("undecided", sentence, numbers | {"needed_days": float(needed_days)})


def more_days(distance: float, reach: float, days: int) -> int:
    """Days until an interval that shrinks with √days leaves a limit, if the value stays; at most 1000.

    >>> more_days(distance=0.01, reach=0.02, days=28), more_days(distance=0.0, reach=0.02, days=28)
    (84, 1000)

    Args:
        distance: of the value from the limit.
        reach: of the interval from the value.
        days: that the interval comes from.
    """
    if distance * math.sqrt(1 + MAX_DAYS / days) <= reach:
        return MAX_DAYS
    return max(1, math.ceil(days * ((reach / distance) ** 2 - 1) - 1e-9))


def wait(more: int, passes: bool) -> str:
    """How long to wait, in words."""
    if more >= MAX_DAYS:
        return f"it lies on the limit, which {MAX_DAYS:,} more days would not settle"
    days = "day" if more == 1 else "days"
    return f"needs about {more} more {days}, and will {'pass' if passes else 'fail'} then if the value stays as it is"


def chance(distance: float, error: float, times: float) -> float:
    """Chance that an estimate whose truth lies this far on the good side clears the limit by so many standard errors.

    >>> round(chance(distance=0.0, error=0.01, times=1.645), 2), round(chance(distance=0.03, error=0.01, times=1.645), 2)
    (0.05, 0.91)
    """
    if error <= 0:
        return 1.0 if distance > 0 else 0.0
    return 0.5 * math.erfc((times - distance / error) / math.sqrt(2))


def numbers_of(found: Estimate, *, limit: float, margin: float, power: float, days: int) -> dict[str, float | None]:
    """The numbers that every gate stores."""
    return {
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "limit": limit,
        "margin": margin,
        "power": power,
        "days": float(days),
        "needed_days": None,
    }


def digits_for(*numbers: float) -> int:
    """Digits behind the point that show these numbers and one more; 3 at least where all are below 1, never more than 4.

    >>> digits_for(0.68, 0.02), digits_for(0.1), digits_for(20.0, 10.0)
    (3, 3, 1)
    """
    minimum = 3 if all(abs(number) < 1 for number in numbers) else 1
    return min(4, max(minimum, *(1 + len(f"{number:.4f}".rstrip("0").split(".")[1]) for number in numbers)))
