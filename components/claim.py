"""Claim: take what the run is for, before anything else. A run that comes second stands aside."""

from kfp import dsl

from components.step import step


@step
def claim(key: str, owner: str, token: dsl.OutputPath(str)) -> str:  # type: ignore[valid-type] # KFP wants a call here
    """Take the claim of this run.

    The verdict is the step's unnamed output, because the local runner finds no other in a condition.

    Args:
        key: key of the claim.
        owner: id of the run that may take it.
        token: the fencing token; 0 when the claim is another run's.

    Returns:
        `mine`, or `theirs`: then nothing else of the run happens.
    """
    from datetime import UTC, datetime
    from pathlib import Path

    from perennial.lifecycle.claim import take
    from perennial.settings import Settings

    verdict, fencing_token = take(Settings.from_environment().ledger, key, owner, datetime.now(UTC))
    Path(token).write_text(str(fencing_token), encoding="utf-8")
    return verdict
