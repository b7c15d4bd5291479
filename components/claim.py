"""Claim: take what the run is for, before anything else. A run that comes second stands aside."""

from typing import NamedTuple

from components.step import step


@step
def claim(key: str, owner: str) -> NamedTuple("Claimed", [("verdict", str), ("token", str)]):  # type: ignore[valid-type]
    """Take the claim of this run.

    Args:
        key: key of the claim.
        owner: id of the run that may take it.
    """
    from datetime import UTC, datetime

    from perennial.claim import take
    from perennial.settings import Settings

    return take(Settings.from_environment(), key, owner, datetime.now(UTC))
