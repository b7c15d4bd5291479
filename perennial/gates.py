"""The gates: rules that a trained candidate must pass. A gate that stops a run is a result, not an error."""

from typing import Literal

from perennial.record import Record

Verdict = Literal["pass", "fail", "undecided", "not applicable"]


class GateResult(Record):
    """What one gate said."""

    name: str
    """Name of the gate: `criterion:ranks-well`, `non-inferiority:auc`, `segments`, `calibration`, `data`, …"""
    verdict: Verdict
    """`pass` and `not applicable` let the run go on; `fail` and `undecided` end it."""
    sentence: str
    """One sentence in plain words: what was found, what was allowed; for `undecided` about how many more days it needs."""
    numbers: dict[str, float | None]
    """What it was decided on: `value`, `low`, `high`, `limit`, `margin`, `power` (chance of passing at the margin), `needed_days`, …"""


def passed(results: tuple[GateResult, ...]) -> bool:
    """Whether nothing but `pass` and `not applicable` was said.

    >>> passed((GateResult(name="data", verdict="not applicable", sentence="", numbers={}),))
    True
    >>> passed((GateResult(name="data", verdict="undecided", sentence="", numbers={}),))
    False
    """
    return all(result.verdict in ("pass", "not applicable") for result in results)
