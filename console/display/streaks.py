"""Decisions as a list shows them: consecutive ones that came to the same are one row."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from perennial.loop.decision import Decision
from perennial.loop.outcome import outcome_of


@dataclass(frozen=True)
class Streak:
    """Consecutive decisions about one model with the same kind, reason, state and outcome."""

    newest: Decision
    """The last of them."""
    oldest: Decision
    """The first of them; the same one where it is alone."""
    count: int
    """How many they are."""

    @property
    def numbers(self) -> str:
        """Their numbers, in a few words."""
        return f"{self.newest.number}" if self.count == 1 else f"{self.oldest.number}–{self.newest.number}"

    @property
    def title(self) -> str:
        """What was decided, and how often."""
        return self.newest.title if self.count == 1 else f"{self.newest.title} ({self.count} times)"


def streaks(decisions: Sequence[Decision]) -> tuple[Streak, ...]:
    """Decisions folded, newest first.

    Args:
        decisions: of one model, newest first.
    """
    groups = groupby(decisions, key=lambda decision: (decision.title, decision.state, outcome_of(decision)))
    folded = [list(group) for _, group in groups]
    return tuple(Streak(newest=group[0], oldest=group[-1], count=len(group)) for group in folded)
