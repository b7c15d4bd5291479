"""Decide: write the windows, one decision with its evidence, and incidents to the ledger."""

from kfp import dsl

from components.step import step


@step
def decide(
    spec: str,
    run_id: str,
    key: str,
    token: str,
    now: str,
    measurements: dsl.Input[dsl.Artifact],
    performances: dsl.Input[dsl.Artifact],
) -> str:
    """Conclude a monitoring run. Nothing is written once another run has taken its claim.

    Args:
        spec: model spec as JSON.
        run_id: the run.
        key: key of its claim.
        token: fencing token of its claim.
        now: ISO 8601 UTC; the time for which it is decided.
        measurements: JSON of what the closed windows held.
        performances: JSON of how the model did in the matured windows.

    Returns:
        What is to be done: `leave`, `retrain` or `fix data`.
    """
    from datetime import UTC, datetime
    from pathlib import Path

    from monitoring.conclusion import conclude
    from monitoring.results import Measurements, Performances
    from perennial.ledger import Fence
    from perennial.lifecycle.ending import Ending
    from perennial.settings import Settings
    from perennial.spec.read import read_text

    results = Measurements.read(Path(measurements.path)), Performances.read(Path(performances.path))
    ending = Ending(run_id, Fence(kind="claim", key=key, token=int(token)), datetime.now(UTC))
    return conclude(Settings.from_environment().ledger, read_text(spec), *results, ending, datetime.fromisoformat(now)).kind
